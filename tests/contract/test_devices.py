"""Every row of the catalogue on a second device: build, prepare, move, one step, one prediction.

torch's meta device holds no numbers, so it needs no GPU, and any tensor that is created on the CPU is an error.
``COUNTERPOISE_TEST_DEVICE=cuda`` (or ``mps``) runs the same checks, and the whole battery, on that device.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
import torch

from counterpoise.inference import RULES, make_rule, predict
from counterpoise.methods import METHODS, EpochContext, make_method
from counterpoise.records import Batch

DEVICE = os.environ.get("COUNTERPOISE_TEST_DEVICE", "cpu")
SECOND = "meta" if DEVICE == "cpu" else DEVICE

_ANCHORS = "its reference parameters are copied, and its windows opened by numbers, when an epoch starts on the device"
READS_VALUES: Mapping[str, str] = {
    "inforeg": _ANCHORS,
    "inforeg-official": _ANCHORS,
    "mslr": "its factors are numbers that are read when an epoch starts on the device",
}
"""Methods that cannot start an epoch without numbers, and why. They run on a real device."""


def tensors(value: Any) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from tensors(part)


@pytest.mark.parametrize("modalities", [2, 3])
@pytest.mark.parametrize("name", sorted(METHODS))
def test_a_step_and_a_prediction_stay_on_the_device(
    name: str, modalities: int, make_model: Callable[..., Any], make_batches: Callable[..., Any]
) -> None:
    if SECOND == "meta" and name in READS_VALUES:
        pytest.skip(f"{name} reads values: {READS_VALUES[name]}")
    model, batches = make_model(modalities).to("cpu"), [b.to("cpu") for b in make_batches(modalities)]
    method = make_method(name, METHODS[name].early)
    method.use_teachers({required: copy.deepcopy(model) for required in method.requires})
    model = method.prepare(model, torch.cat([b.target for b in batches]))
    if SECOND != "meta":
        model, method, batches = model.to(SECOND), method.to(SECOND), [b.to(SECOND) for b in batches]
    for number in (0, 2):  # the second opens ramps and stages; computations between epochs need numbers
        where = EpochContext(number, 10, train=lambda: batches, held_out=lambda: batches[:1])
        method.on_epoch_start(model, where)
    model, method = model.to(SECOND), method.to(SECOND)
    batch: Batch = batches[0].to(SECOND)
    optimizer = torch.optim.SGD([p for p in [*model.parameters(), *method.parameters()] if p.requires_grad], lr=0.1)
    count = 0
    for record in method.steps(model, batch):
        for value in tensors({"loss": record.loss, **record.parts, **record.coefficients}):
            assert value.device.type == SECOND
        optimizer.step()
        optimizer.zero_grad()
        count += 1
    assert count
    assert all(p.device.type == SECOND for p in [*model.parameters(), *method.parameters()])
    assert predict(model, batch.inputs).device.type == SECOND


@pytest.mark.parametrize("task", ["multiclass", "multilabel", "regression"])
@pytest.mark.parametrize("name", sorted(RULES))
def test_every_rule_predicts_on_the_device(
    name: str, task: str, make_model: Callable[..., Any], make_batches: Callable[..., Any]
) -> None:
    model = make_model(3, task=task)
    rule = make_rule(name, model.modalities, model.task, feature_dims=model.feature_dims)
    model, rule, batch = model.to(SECOND), rule.to(SECOND), make_batches(3)[0].to(SECOND)
    logits, contributions = predict(model, batch.inputs, rule, return_contributions=True)
    assert all(value.device.type == SECOND for value in (logits, *contributions.values()))
