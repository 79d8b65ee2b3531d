"""G-Blending: weights by hand, per-sample losses, the estimate on a model with one overfitting head."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch

from counterpoise.errors import DataError
from counterpoise.methods import EpochContext, GBlending
from counterpoise.methods._gblending import blending_weights, head_losses
from counterpoise.records import Batch


def test_weights_by_hand() -> None:
    gain, overfit = np.array([0.3, 0.2, 0.05]), np.array([0.1, 0.4, 0.05])
    raw = gain / overfit**2
    weights = blending_weights(torch.from_numpy(gain), torch.from_numpy(overfit))
    assert weights.tolist() == pytest.approx((raw / raw.sum()).tolist())


def test_a_head_that_only_overfits_gets_nothing() -> None:
    """A published toolkit takes |dG|, so that a growing held-out loss earns weight."""
    gain, overfit = torch.tensor([0.2, -0.8]), torch.tensor([0.1, 0.1])
    assert blending_weights(gain, overfit).tolist() == [1, 0]
    released = gain.abs() / overfit.square()
    assert released[1] > released[0]
    assert blending_weights(-gain.abs(), overfit).tolist() == [0.5, 0.5]


def test_losses_are_means_per_sample_whatever_the_batches(warm: Any, tools: Any) -> None:
    """The toolkit sums batch losses, so that the overfit is dominated by the numbers of batches."""
    model, batches = warm(2, epochs=2)
    split = [
        Batch({m: x[rows] for m, x in b.inputs.items()}, b.target[rows], b.index[rows])
        for b in batches
        for rows in torch.arange(len(b)).split([5, 27])
    ]
    torch.testing.assert_close(head_losses(model, batches), head_losses(model, split))
    y = np.concatenate([b.target.numpy() for b in batches])
    expected = [tools.nll(np.concatenate([sum(tools.slices(model, b).values()) for b in batches]), y).mean()]
    expected += [tools.nll(np.concatenate([tools.heads(model, b)[m] for b in batches]), y).mean() for m in "ab"]
    assert head_losses(model, batches).tolist() == pytest.approx(expected)
    assert model.training


@pytest.mark.parametrize("modalities", [2, 3])
def test_the_loss_is_weighted_and_heads_get_their_full_gradient(modalities: int, warm: Any, tools: Any) -> None:
    model, batches = warm(modalities, epochs=2)
    method = tools.prepare(GBlending(), model, batches)
    w = torch.linspace(1, 2, modalities + 1, dtype=torch.float64)
    method.weights.copy_(w / w.sum())
    list(method.steps(model, batches[0]))
    grads = {m: tools.grads(model, m) for m in model.modalities}
    heads = {m: model.head(m).weight.grad.clone() for m in model.modalities}
    model.zero_grad()
    outputs = model(batches[0].inputs)
    loss = method.weights[0] * model.task.loss(outputs.logits, batches[0].target)
    for k, m in enumerate(model.modalities):
        loss = loss + method.weights[k + 1] * model.task.loss(outputs.unimodal_logits[m], batches[0].target)
    loss.backward()
    for k, m in enumerate(model.modalities):
        for g, e in zip(grads[m], tools.grads(model, m), strict=True):
            torch.testing.assert_close(g, e)
        torch.testing.assert_close(heads[m] * method.weights[k + 1], model.head(m).weight.grad)


def test_an_overfitting_modality_loses_weight_and_the_model_is_untouched(
    make_model: Any, make_batches: Any, tools: Any
) -> None:
    model, batches = make_model(2), make_batches(2, batches=6)
    noise = torch.Generator().manual_seed(3)
    batches = [
        Batch({**b.inputs, "b": 3 * torch.randn(b.inputs["b"].shape, generator=noise)}, b.target, b.index)
        for b in batches
    ]
    method = tools.prepare(GBlending(inner_epochs=30, inner_lr=1e-2), model, batches)
    before, random = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    method.on_epoch_start(model, EpochContext(0, 10, train=lambda: batches[:3], held_out=lambda: batches[3:]))
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    assert torch.equal(random, torch.get_rng_state())
    assert method.weights.sum().item() == pytest.approx(1)
    assert method.weights[2] < 0.05, "b is noise: it can only overfit"
    assert method.weights[1] > 0.1


def test_when_it_estimates(make_model: Any, make_batches: Any, tools: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model, batches = make_model(2), make_batches(2)
    assert GBlending.needs_held_out
    for online, expected in ((True, [0, 3, 6]), (False, [0])):
        method = tools.prepare(GBlending(super_epoch=3, online=online), model, batches)
        seen = []
        monkeypatch.setattr(method, "_trained", lambda model, epoch, k, seen=seen: seen.append(epoch.number) or model)
        for number in range(8):
            method.on_epoch_start(model, EpochContext(number, 8, train=lambda: batches, held_out=lambda: batches))
        assert sorted(set(seen)) == expected
    with pytest.raises(DataError, match="held-out samples"):
        method.on_epoch_start(model, EpochContext(0, 8, train=lambda: batches))


def test_the_estimate_is_made_of_the_losses_before_and_after(
    make_model: Any, make_batches: Any, tools: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows: training and held-out losses; columns: the heads."""
    model, batches = make_model(2), make_batches(2)
    before = torch.tensor([[1.0, 1.1, 1.2], [1.5, 1.7, 1.9]], dtype=torch.float64)
    after = [
        torch.tensor([[0.8, 9.0, 9.0], [1.2, 9.0, 9.0]], dtype=torch.float64),
        torch.tensor([[9.0, 0.7, 9.0], [9.0, 1.6, 9.0]], dtype=torch.float64),
        torch.tensor([[9.0, 9.0, 0.3], [9.0, 9.0, 1.2]], dtype=torch.float64),
    ]
    method = tools.prepare(GBlending(), model, batches)
    assert method.weights.tolist() == pytest.approx([1 / 3] * 3), "equal weights to begin with"
    measured = iter([before, *after])
    monkeypatch.setattr(method, "_measure", lambda model, epoch: next(measured))
    monkeypatch.setattr(method, "_trained", lambda model, epoch, k: model)
    method.on_epoch_start(model, EpochContext(0, 8))
    gain = np.array([1.5 - 1.2, 1.7 - 1.6, 1.9 - 1.2])
    overfit = np.array([0.4 - 0.5, 0.9 - 0.6, 0.9 - 0.7])
    raw = gain / overfit**2
    assert method.weights.tolist() == pytest.approx((raw / raw.sum()).tolist(), rel=1e-5)


def test_each_snapshot_trains_its_own_head_as_long_as_asked(
    make_model: Any, make_batches: Any, tools: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, batches = make_model(2), make_batches(2)
    seen = []

    def spy(model: Any, epochs: Any, head: str | None, *, lr: float, seed: int) -> Any:
        seen.append((head, len(list(epochs)), lr, seed))
        return model

    monkeypatch.setattr("counterpoise.methods._gblending.trained_alone", spy)
    method = tools.prepare(GBlending(inner_epochs=3, inner_lr=0.02, super_epoch=4), model, batches)
    method.on_epoch_start(model, EpochContext(4, 8, train=lambda: batches, held_out=lambda: batches))
    assert seen == [(None, 3, 0.02, 4), ("a", 3, 0.02, 4), ("b", 3, 0.02, 4)]


def test_a_partial_strength_lies_between_joint_training_and_the_method(
    make_model: Any, make_batches: Any, tools: Any
) -> None:
    model, batches = make_model(2), make_batches(2)
    method = tools.prepare(GBlending(strength=0.25), model, batches)
    method.weights.copy_(torch.tensor([0.2, 0.5, 0.3]))
    assert float(method.fused_weight()) == pytest.approx(1 - 0.25 * 0.8)
    scales = method.head_gradient(model, batches[0])
    assert [float(scales[m]) for m in "ab"] == pytest.approx([0.25 * 0.5, 0.25 * 0.3])
    GBlending(strength=0).on_epoch_start(model, EpochContext(0, 8))  # nothing to estimate, so no samples needed


def test_an_overfit_of_nothing_counts_as_a_thousandth() -> None:
    weights = blending_weights(torch.tensor([1.0, 1.0, 4.0]), torch.tensor([0.0, 1e-3, 2e-3]))
    assert weights.tolist() == pytest.approx([1 / 3] * 3)


def test_small_gains_with_much_overfit_are_compared_all_the_same() -> None:
    weights = blending_weights(torch.tensor([0.01, 0.03]), torch.tensor([1.0, 1.0]))
    assert weights.tolist() == pytest.approx([0.25, 0.75])
