"""What ARM computes once per epoch follows every change of what it is computed from."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from counterpoise.fusion import Concat
from counterpoise.methods.arm import AsymmetricFusion
from counterpoise.methods.arm._cache import Cache


def test_the_value_follows_changes_in_place_and_replaced_tensors() -> None:
    module = nn.Module()
    module.register_buffer("x", torch.ones(2))
    cache: Cache[list[float]] = Cache()

    def read() -> list[float]:
        return cache.get([module.x], module.x.tolist)

    assert read() is read()
    module.x.mul_(2)
    assert read() == [2.0, 2.0]
    module.load_state_dict({"x": torch.tensor([3.0, 4.0])})
    assert read() == [3.0, 4.0]
    module.double()
    module.x = torch.zeros(2)
    assert read() == [0.0, 0.0]
    with torch.inference_mode():
        module.x = torch.full((2,), 5.0)
        assert read() == [5.0, 5.0]
        module.x.add_(1)
        assert read() == [6.0, 6.0]


def test_loaded_weights_of_the_fusion_count_from_the_next_step() -> None:
    features = {"a": torch.randn(5, 2), "b": torch.randn(5, 2)}
    fusion = AsymmetricFusion(Concat({"a": 2, "b": 2}, num_outputs=3))
    before = fusion(features)
    assert torch.equal(before, fusion.inner(features))
    fusion.load_state_dict({**fusion.state_dict(), "weights": torch.tensor([1.5, 0.5])})
    expected = fusion.inner({"a": 1.5 * features["a"], "b": 0.5 * features["b"]})
    assert torch.allclose(fusion(features), expected, atol=1e-6)
    assert not torch.allclose(expected, before, atol=1e-2)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda pair: pickle.loads(pickle.dumps(pair))])
def test_a_copy_computes_for_itself(duplicate: Callable[[Any], Any]) -> None:
    """A copied tensor counts its changes from the start, so that its count can come to equal that of the original."""
    for changes in range(4):
        cache, x = Cache[float](), torch.ones(2)
        for _ in range(changes):
            x.mul_(2)
        cache.get([x], lambda x=x: float(x.sum()))
        for count in range(1, 4):
            other, y = duplicate((cache, x))
            for _ in range(count):
                y.mul_(3)
            assert other.get([y], lambda y=y: float(y.sum())) == 2.0 * 2.0**changes * 3.0**count
