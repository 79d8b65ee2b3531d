"""Data remixing: assignment by NumPy, one modality per sample and per batch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from counterpoise.errors import ModelError
from counterpoise.methods import DataRemixing, EpochContext
from counterpoise.methods._remixing import group_order, least_confident


@pytest.mark.parametrize("modalities", [2, 3, 4])
def test_samples_go_to_the_modality_nearest_to_uniform(modalities: int, warm: Any, tools: Any) -> None:
    model, batches = warm(modalities, epochs=3)
    method = tools.prepare(DataRemixing(warmup=0), model, batches)
    method.on_epoch_start(model, EpochContext(0, 9, train=lambda: batches))
    for batch in batches:
        p = np.stack([tools.softmax(z) for z in tools.heads(model, batch).values()])
        kl = (p * np.log(p * 3)).sum(-1)
        assert method.assigned[batch.index].tolist() == kl.argmin(0).tolist()
    share = torch.bincount(method.assigned, minlength=modalities) / len(method.assigned)
    assert share[0] < 1 / modalities, "the dominant modality is sure of most, so it gets less than its part"


def test_loss_and_gradients_of_assigned_samples_only(warm: Any, tools: Any) -> None:
    model, batches = warm(2, epochs=3)
    method = tools.prepare(DataRemixing(warmup=0, strength=0.7), model, batches)
    method.on_epoch_start(model, EpochContext(0, 9, train=lambda: batches))
    batch = batches[0]
    assigned = method.assigned[batch.index]
    assert 0 < (assigned == 0).sum() < len(batch)
    list(method.steps(model, batch))
    grads = {m: tools.grads(model, m) for m in "ab"}
    model.zero_grad()
    features = model.encode(batch.inputs)
    masked = {m: h * (assigned == k).unsqueeze(1) for k, (m, h) in enumerate(features.items())}
    loss = model.task.loss(model.fusion(masked), batch.target)
    for k, (m, h) in enumerate(features.items()):
        nll = -model.task.log_likelihood(model.head(m)(h), batch.target)
        loss = loss + 0.7 * (nll * (assigned == k)).sum() / len(batch)
    loss.backward()
    for m in "ab":
        for g, e in zip(grads[m], tools.grads(model, m), strict=True):
            torch.testing.assert_close(g, e)


def test_batches_hold_one_modality(warm: Any, tools: Any) -> None:
    model, batches = warm(3, epochs=3)
    method = tools.prepare(DataRemixing(warmup=0), model, batches)
    method.on_epoch_start(model, EpochContext(0, 9, train=lambda: batches))
    method.batch_size.fill_(8)
    order = torch.randperm(128)
    resampled = method.resample(order, torch.Generator().manual_seed(0))
    assert sorted(resampled.tolist()) == list(range(128))
    pure = sum(len(set(chunk.tolist())) == 1 for chunk in method.assigned[resampled].split(8))
    expected = sum(int(n) // 8 for n in torch.bincount(method.assigned))
    assert pure >= expected
    first = [chunk[0].item() for chunk in method.assigned[resampled].split(8)[:expected]]
    assert first != sorted(first), "the modalities' batches are mixed"


def test_group_order_is_a_permutation_even_with_tiny_groups() -> None:
    order, group = torch.randperm(10), torch.tensor([0] * 9 + [1])
    assert sorted(group_order(order, group, 4, torch.Generator().manual_seed(0)).tolist()) == list(range(10))
    assert least_confident(torch.zeros(2, 3, 4)).shape == (3,)


def test_the_warm_up_keeps_the_order_and_shows_everything(make_model: Any, make_batches: Any, tools: Any) -> None:
    model, batches = make_model(2), make_batches(2)
    method = tools.prepare(DataRemixing(warmup=2), model, batches)
    method.on_epoch_start(model, EpochContext(1, 9, train=lambda: batches))
    (record,) = method.steps(model, batches[0])
    assert [v.item() for v in record.coefficients.values()] == [1, 1]
    order = torch.randperm(128)
    assert torch.equal(method.resample(order, torch.Generator()), order)


@pytest.mark.parametrize("strength", [1.0, 3.0])
def test_the_warm_up_weighs_the_fused_and_the_unimodal_losses(strength: float, warm: Any, tools: Any) -> None:
    """Half and half at full strength, as in the authors' code: by autograd."""
    model, batches = warm(2, epochs=3)
    method = tools.prepare(DataRemixing(strength, warmup=2), model, batches)
    method.on_epoch_start(model, EpochContext(1, 9, train=lambda: batches))
    list(method.steps(model, batches[0]))
    grads = {m: tools.grads(model, m) for m in "ab"}
    model.zero_grad()
    outputs = model(batches[0].inputs)
    own = sum(model.task.loss(z, batches[0].target) for z in outputs.unimodal_logits.values())
    fused = model.task.loss(outputs.logits, batches[0].target)
    ((fused + strength * own) / (1 + strength)).backward()
    for m in "ab":
        for g, e in zip(grads[m], tools.grads(model, m), strict=True):
            torch.testing.assert_close(g, e)


def test_when_the_order_is_kept_and_when_not(make_model: Any, make_batches: Any, tools: Any) -> None:
    """Batches of one need no order; those of two do, also if some samples show all modalities."""
    model, batches = make_model(2), make_batches(2)
    method = tools.prepare(DataRemixing(warmup=0), model, batches)
    method.assigned.copy_(torch.arange(128) % 2 - 1)  # all, and the first only
    order = torch.arange(128)

    def resampled() -> torch.Tensor:
        return method.resample(order, torch.Generator().manual_seed(0))

    assert torch.equal(resampled(), order), "the size of batches is not known yet"
    for size, kept in ((1, True), (2, False), (8, False)):
        method.batch_size.fill_(size)
        assert torch.equal(resampled(), order) is kept
    assert all(len(group.unique()) == 1 for group in method.assigned[resampled()].split(8))
    with pytest.raises(ModelError, match="multiclass"):
        method.prepare(make_model(2, task="regression"), torch.zeros(4, 3))


def test_the_size_of_batches_is_exact_in_half_precision(make_model: Any, make_batches: Any, tools: Any) -> None:
    """bfloat16 has no number between 256 and 258."""
    model = make_model(2, dtype=torch.bfloat16)
    batches = make_batches(2, batches=1, size=257, dtype=torch.bfloat16)
    method = tools.prepare(DataRemixing(), model, batches)
    list(method.steps(model, batches[0]))
    assert method.batch_size.item() == 257


def test_a_strength_without_a_point_does_as_well(make_model: Any, make_batches: Any, tools: Any) -> None:
    model, batches, grads = make_model(2), make_batches(2), []
    for strength in (2, 2.0):
        list(tools.prepare(DataRemixing(strength), model, batches).steps(model, batches[0]))
        grads.append(tools.grads(model, "a"))
        model.zero_grad()
    assert all(torch.equal(g, h) for g, h in zip(*grads, strict=True))
