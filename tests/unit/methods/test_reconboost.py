"""ReconBoost: the loss by NumPy, whose turn it is, and that nobody else moves."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from counterpoise.errors import ModelError
from counterpoise.methods import EpochContext, Joint, ReconBoost
from counterpoise.methods._reconboost import reconcilement_loss


@pytest.mark.parametrize("modalities", [2, 3, 4])
def test_a_turn_by_numpy(modalities: int, warm: Any, tools: Any) -> None:
    model, batches = warm(modalities, epochs=2)
    method = tools.prepare(ReconBoost(ratio=0.25), model, batches)
    method.on_epoch_start(model, EpochContext(8, 99))  # the second stage: b
    y = batches[0].target.numpy()
    slices = tools.slices(model, batches[0])
    others = tools.softmax(sum(z for m, z in slices.items() if m != "b"))[np.arange(len(y)), y]
    expected = ((1 - 0.25 * others) * tools.nll(slices["b"], y)).mean()
    (record,) = method.steps(model, batches[0])
    assert record.parts["reconcilement"].item() == pytest.approx(expected)
    for m in model.modalities:
        moved = any((g != 0).any() for g in tools.grads(model, m))
        assert moved is (m == "b")
    features = model.encode(batches[0].inputs)
    z = model.fusion.slice_logits(features)
    rest = sum(v for m, v in z.items() if m != "b").detach()
    own = reconcilement_loss(z["b"], rest, batches[0].target, 0.25)
    by_autograd = torch.autograd.grad(own, list(model.encoder("b").parameters()))
    torch.testing.assert_close(tools.grads(model, "b"), list(by_autograd))  # nothing of the unimodal head's
    assert record.loss.item() == pytest.approx(sum(part.item() for part in record.parts.values()))
    weight = model.fusion.head.weight.grad.split(8, dim=1)
    assert [bool((g != 0).any()) for g in weight] == [m == "b" for m in model.modalities]


def test_the_order_of_phases(make_model: Any, make_batches: Any, tools: Any) -> None:
    model, batches = make_model(3), make_batches(3)
    method = tools.prepare(ReconBoost(stage_epochs=2, rectify_epochs=1), model, batches)
    turns = []
    for number in range(12):
        method.on_epoch_start(model, EpochContext(number, 12))
        turns.append(method.turn)
    assert turns == [0, 0, None, 1, 1, None, 2, 2, None, 0, 0, None]


def test_the_rectification_is_joint_training(make_model: Any, make_batches: Any, tools: Any) -> None:
    one, two, batches = make_model(2), make_model(2), make_batches(2)
    method = tools.prepare(ReconBoost(), one, batches)
    method.on_epoch_start(one, EpochContext(5, 9))
    list(method.steps(one, batches[0]))
    list(Joint().steps(two, batches[0]))
    assert all(torch.equal(g, h) for g, h in zip(tools.grads(one, "b"), tools.grads(two, "b"), strict=True))


def test_a_fusion_without_slices_is_refused(make_model: Any) -> None:
    with pytest.raises(ModelError, match="additive fusion"):
        ReconBoost().prepare(make_model(2, fusion="gated"), torch.zeros(3, dtype=torch.long))


def test_the_first_turn_is_that_of_the_first_in_the_alphabet(make_model: Any, make_batches: Any, tools: Any) -> None:
    model, batches = make_model(("b", "a")), make_batches(("b", "a"))
    method = tools.prepare(ReconBoost(), model, batches)
    list(method.steps(model, batches[0]))
    assert {m: any((g != 0).any() for g in tools.grads(model, m)) for m in "ab"} == {"a": True, "b": False}


def test_a_task_without_classes_is_refused(make_model: Any) -> None:
    with pytest.raises(ModelError, match="multiclass"):
        ReconBoost().prepare(make_model(2, task="regression"), torch.zeros(4, 3))
