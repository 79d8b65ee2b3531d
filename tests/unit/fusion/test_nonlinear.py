"""FiLM, gated and shared-head fusion against NumPy, for 2 to 4 modalities of unequal width."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from counterpoise.errors import ModelError
from counterpoise.fusion import FUSIONS, FiLM, Gated, SharedHead

DIMS = {"a": 3, "b": 5, "c": 4, "d": 2}


def features(count: int, equal: bool = False) -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    return {m: torch.randn(7, 3 if equal else d) for m, d in list(DIMS.items())[:count]}


def linear(layer: nn.Module, x: np.ndarray) -> np.ndarray:
    weight, bias = (p.detach().numpy() for p in layer.parameters())
    return x @ weight.T + bias


@pytest.mark.parametrize("count", [2, 3, 4])
def test_film(count: int) -> None:
    x = features(count)
    fusion = FiLM({m: h.shape[1] for m, h in x.items()}, 4)
    f = linear(fusion.base, x["a"].numpy())
    for m in list(x)[1:]:
        both = linear(fusion.films[f"film_{m}"], x[m].numpy())
        f = both[:, : f.shape[1]] * f + both[:, f.shape[1] :]
    np.testing.assert_allclose(fusion(x).detach().numpy(), linear(fusion.head, f), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("count", [2, 3, 4])
def test_gated(count: int) -> None:
    x = features(count)
    fusion = Gated({m: h.shape[1] for m, h in x.items()}, 4)
    width = max(h.shape[1] for h in x.values())
    gates = linear(fusion.gate, np.concatenate([h.numpy() for h in x.values()], 1)).reshape(7, count, width)
    gates = np.exp(gates) / np.exp(gates).sum(1, keepdims=True)
    f = sum(gates[:, k] * np.tanh(linear(fusion.values[f"value_{m}"], h.numpy())) for k, (m, h) in enumerate(x.items()))
    np.testing.assert_allclose(fusion(x).detach().numpy(), linear(fusion.head, f), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("count", [2, 3, 4])
def test_shared_head(count: int) -> None:
    x = features(count, equal=True)
    fusion = SharedHead(dict.fromkeys(x, 3), 4)
    expected = np.mean([linear(fusion.head, h.numpy()) for h in x.values()], axis=0)
    np.testing.assert_allclose(fusion(x).detach().numpy(), expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(torch.stack(list(fusion.slice_logits(x).values())).sum(0), fusion(x))


def test_the_shared_head_needs_equal_widths_and_the_others_have_no_slices() -> None:
    with pytest.raises(ModelError, match="`a`: 3, `b`: 5"):
        SharedHead({"a": 3, "b": 5}, 4)
    for cls in (FiLM, Gated):
        with pytest.raises(ModelError, match="not additive"):
            cls({"a": 3, "b": 5}, 4).slice_logits(features(2))


@pytest.mark.parametrize("name", sorted(FUSIONS))
def test_every_fusion_trains_all_its_parameters(name: str) -> None:
    x = features(3, equal=True)
    fusion = FUSIONS.resolve(name)(dict.fromkeys(x, 3), 4)
    fusion(x).square().sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in fusion.parameters())
