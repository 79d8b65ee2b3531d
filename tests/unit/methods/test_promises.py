"""What every method promises beside its own equation: heads that learn their own task, and modes left as they were."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

from counterpoise.methods import METHODS, EpochContext, Method, make_method
from counterpoise.model import MultimodalClassifier

OTHERWISE = {
    "cggm": "its direction term compares the heads' gradients, and so trains the heads, too",
    "corruption": "its heads see the corrupted inputs",
    "mbsd": "its distillation is between the heads",
    "mbsd-toolkit": "its distillation is between the heads",
    "modality-dropout": "its heads see no dropped modality",
    "separated-experts": "its heads learn from smoothed labels (tests/reference/test_arm.py)",
    "unimodal": "it has one head",
}
"""Methods whose unimodal heads get another gradient, and why."""


def ready(name: str, model: MultimodalClassifier, batches: Any, tools: Any) -> Method:
    method = make_method(name)
    method.use_teachers({required: copy.deepcopy(model) for required in method.requires})
    method = tools.prepare(method, model, batches)
    method.on_epoch_start(model, EpochContext(0, 10, train=lambda: batches, held_out=lambda: batches[:1]))
    return method


@pytest.mark.parametrize("name", sorted(METHODS))
def test_the_heads_learn_their_own_task(name: str, make_model: Any, make_batches: Any, tools: Any) -> None:
    """The gradient of each head is that of its own loss on the features, whatever enters the encoders."""
    if name in OTHERWISE:
        pytest.skip(OTHERWISE[name])
    model, batches = make_model(3, dtype=torch.float64), make_batches(3, dtype=torch.float64)
    method = ready(name, model, batches, tools)
    batch = batches[0]
    expected = {}
    for m in model.modalities:
        z = model.head(m)(model.encoder(m)(batch.inputs[m]).detach())
        loss = nn.functional.cross_entropy(z, batch.target)
        expected[m] = torch.autograd.grad(loss, list(model.head(m).parameters()))
    for _ in method.steps(model, batch):
        pass  # without a step of the optimizer, so what alternates adds up
    for m in model.modalities:
        for p, e in zip(model.head(m).parameters(), expected[m], strict=True):
            torch.testing.assert_close(p.grad, e)


@pytest.mark.parametrize("name", sorted(METHODS))
def test_records_keep_no_graph(name: str, make_model: Any, make_batches: Any, tools: Any) -> None:
    """Whoever collects the records of an epoch would keep every step's activations otherwise."""
    model, batches = make_model(2), make_batches(2)
    for record in ready(name, model, batches, tools).steps(model, batches[0]):
        assert not record.loss.requires_grad
        kept = {k for k, v in {**record.parts, **record.coefficients}.items() if v.requires_grad}
        assert not kept


@pytest.mark.parametrize("name", sorted(METHODS))
def test_records_hold_numbers_that_can_be_averaged(name: str, make_model: Any, make_batches: Any, tools: Any) -> None:
    """Of the same type whatever they tell: one number each, in floating point."""
    model, batches = make_model(2), make_batches(2)
    for record in ready(name, model, batches, tools).steps(model, batches[0]):
        for key, value in {"loss": record.loss, **record.parts, **record.coefficients}.items():
            assert value.shape == (), key
            assert value.is_floating_point(), key


@pytest.mark.parametrize("name", sorted(METHODS))
def test_training_and_evaluation_mode_are_left_as_they_were(
    name: str, make_model: Any, make_batches: Any, tools: Any
) -> None:
    """Here one encoder is frozen in evaluation mode, as people do with pretrained ones."""
    model, batches = make_model(2), make_batches(2)
    method = ready(name, model.train(), batches, tools)
    model.encoder("b").eval()
    for number in (0, 1):
        method.on_epoch_start(model, EpochContext(number, 10, train=lambda: batches, held_out=lambda: batches[:1]))
        for _ in method.steps(model, batches[0]):
            model.zero_grad()
        assert model.training
        assert model.encoder("a").training
        assert model.fusion.training
