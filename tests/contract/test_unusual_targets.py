"""Targets of one class, of many labels, in any unit, and large logits: a method trains on them or refuses them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from counterpoise.errors import ModelError
from counterpoise.methods import METHODS, EpochContext, Joint, Method, make_method
from counterpoise.model import MultimodalClassifier
from counterpoise.records import Batch

Make = Callable[..., Any]
ALL = sorted(METHODS)


def prepared(name: str, model: MultimodalClassifier, target: torch.Tensor, **arguments: Any) -> tuple[Method, Any]:
    if "noise" in METHODS[name].load().declarations:
        arguments["noise"] = False
    method = make_method(name, {**METHODS[name].early, **arguments})
    method.use_teachers({required: copy.deepcopy(model) for required in method.requires})
    return method, method.prepare(model, target)


def train(method: Method, model: MultimodalClassifier, batches: list[Batch], lr: float = 0.05) -> list[float]:
    optimizer = torch.optim.SGD([*model.parameters(), *method.parameters()], lr=lr)
    losses = []
    for number in range(3):
        where = EpochContext(number, 3, train=lambda: batches, held_out=lambda: batches[:1])
        method.on_epoch_start(model, where)
        for batch in batches:
            for record in method.steps(model, batch):
                optimizer.step()
                optimizer.zero_grad()
                losses.append(record.loss.item())
    return losses


@pytest.mark.parametrize("name", ALL)
def test_a_training_set_of_one_class(name: str, make_model: Make, make_batches: Make) -> None:
    batches = [Batch(b.inputs, torch.zeros_like(b.target), b.index) for b in make_batches(2)]
    try:
        method, model = prepared(name, make_model(2), torch.zeros(128, dtype=torch.long))
    except ModelError as error:
        assert "same label" in str(error)  # noqa: PT017
        return
    losses = train(method, model, batches)
    assert torch.tensor(losses).isfinite().all()
    assert all(bool(p.isfinite().all()) for p in model.parameters())


@pytest.mark.parametrize("name", ALL)
def test_logits_of_ten_thousand(name: str, make_model: Make, make_batches: Make) -> None:
    batches, model = make_batches(2), make_model(2)
    with torch.no_grad():
        for part in (model.fusion, model.head("a"), model.head("b")):
            for p in part.parameters():
                p.mul_(1e4)
    method, model = prepared(name, model, torch.cat([b.target for b in batches]))
    losses = train(method, model, batches, lr=1e-9)
    assert torch.tensor(losses).isfinite().all()
    assert all(bool(p.isfinite().all()) for p in model.parameters())


@pytest.mark.parametrize("task", ["regression", "multilabel"])
@pytest.mark.parametrize("name", ALL)
def test_large_targets_and_many_labels(name: str, task: str, make_model: Make, make_batches: Make) -> None:
    """Where joint training stays finite, so does every method (or it refuses the task)."""
    outputs = 1 if task == "regression" else 200
    weight = torch.randn(6, outputs, generator=torch.Generator().manual_seed(0))
    batches = []
    for b in make_batches(2):
        y = b.inputs["a"] @ weight
        batches.append(Batch(b.inputs, 100 * y if task == "regression" else (y > 0).float(), b.index))
    target = torch.cat([b.target for b in batches])
    reference = make_model(2, task=task, outputs=outputs)
    assert torch.tensor(train(Joint(), reference, batches, lr=1e-5)).isfinite().all()
    try:
        method, model = prepared(name, make_model(2, task=task, outputs=outputs), target)
    except ModelError as error:
        assert "multiclass" in str(error)  # noqa: PT017
        return
    losses = train(method, model, batches, lr=1e-5)
    assert torch.tensor(losses).isfinite().all()
    assert all(bool(p.isfinite().all()) for p in model.parameters())


def coefficients(name: str, model: MultimodalClassifier, batch: Batch, **arguments: Any) -> dict[str, float]:
    method, model = prepared(name, model, batch.target, **arguments)
    method.on_epoch_start(model, EpochContext(0, 10))
    torch.manual_seed(0)
    (record,) = method.steps(model, batch)
    return {key: value.item() for key, value in record.coefficients.items()}


SCORED = {"ogm-ge": {}, "opm": {"probability": 1.0}, "inforeg": {}, "g2d": {}}
"""Methods that compare the scores of single modalities."""


@pytest.mark.parametrize("name", sorted(SCORED))
def test_two_hundred_labels_are_compared_as_five_are(name: str) -> None:
    """`image` knows every label and `sound` none: a sum of products over the labels would be 0 for both."""
    by_labels = {}
    for labels in (5, 200):
        torch.manual_seed(0)
        dims = {"image": labels, "sound": labels}
        model = MultimodalClassifier(
            {m: nn.Identity() for m in dims}, num_outputs=labels, task="multilabel", fusion="sum", feature_dims=dims
        )
        y = (torch.rand(16, labels, generator=torch.Generator().manual_seed(1)) > 0.5).float()
        with torch.no_grad():
            for p in model.parameters():
                p.copy_(0.5 * torch.eye(labels) if p.ndim == 2 else torch.zeros_like(p))
        batch = Batch({"image": y - 0.5, "sound": torch.zeros(16, labels)}, y, torch.arange(16))
        by_labels[labels] = coefficients(name, model, batch, **SCORED[name])
        kind = next(iter(by_labels[labels])).split(":")[0]
        assert by_labels[labels][f"{kind}:image"] != by_labels[labels][f"{kind}:sound"]
    assert by_labels[200] == pytest.approx(by_labels[5], rel=1e-4)


@pytest.mark.parametrize("name", sorted(SCORED))
def test_the_unit_of_a_real_target_does_not_matter(name: str) -> None:
    by_unit = {}
    for unit in (1.0, 0.01, 100.0):
        torch.manual_seed(0)
        encoders = {"image": nn.Linear(4, 6), "sound": nn.Linear(5, 6)}
        model = MultimodalClassifier(encoders, num_outputs=1, task="regression")
        with torch.no_grad():  # the same model, whose outputs are read in another unit
            for module in (model.fusion, model.head("image"), model.head("sound")):
                for p in module.parameters():
                    p.mul_(unit)
        g = torch.Generator().manual_seed(1)
        x = {"image": torch.randn(32, 4, generator=g), "sound": torch.randn(32, 5, generator=g)}
        y = unit * (encoders["image"](x["image"]) @ torch.randn(6, 1, generator=g)).detach()
        by_unit[unit] = coefficients(name, model, Batch(x, y, torch.arange(32)), **SCORED[name])
    for unit in (0.01, 100.0):
        assert by_unit[unit] == pytest.approx(by_unit[1.0], rel=1e-3)
    assert len(set(by_unit[1.0].values())) > 1
