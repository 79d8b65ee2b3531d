"""No step of any method reads a tensor's value: on an accelerator that would wait for the device."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch

from counterpoise.methods import METHODS, EpochContext, make_method

READS = ("item", "tolist", "__bool__", "__float__", "__int__", "__index__", "nonzero", "numpy", "cpu")


@contextmanager
def no_reading(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        for name in READS:

            def refuse(self: torch.Tensor, *args: Any, name: str = name, **kwargs: Any) -> Any:
                raise AssertionError(f"a step reads a tensor's value by `{name}`")

            patch.setattr(torch.Tensor, name, refuse)
        yield


def test_the_check_notices(monkeypatch: pytest.MonkeyPatch) -> None:
    for read in (lambda x: x.item(), bool, float, lambda x: 1 if x > 0 else 2):
        with no_reading(monkeypatch), pytest.raises(AssertionError, match="reads a tensor's value"):
            read(torch.ones(()))


@pytest.mark.parametrize("modalities", [2, 3])
@pytest.mark.parametrize("name", sorted(METHODS))
def test_no_step_reads_a_value(
    name: str, modalities: int, make_model: Any, make_batches: Any, tools: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, batches = make_model(modalities), make_batches(modalities)
    method = make_method(name)
    method.use_teachers({required: copy.deepcopy(model) for required in method.requires})
    tools.prepare(method, model, batches)
    optimizer = torch.optim.SGD([*model.parameters(), *method.parameters()], lr=0.01)
    steps = 0
    for number in (0, 6, 11):  # before and after every warm-up
        method.on_epoch_start(model, EpochContext(number, 12, train=lambda: batches, held_out=lambda: batches[:1]))
        for batch in batches[:2]:
            iterator = method.steps(model, batch)
            while True:
                with no_reading(monkeypatch):
                    record = next(iterator, None)
                if record is None:
                    break
                optimizer.step()
                optimizer.zero_grad()
                steps += 1
    assert steps >= 6
