"""CGGM, MSES and QMF: coefficients and terms by NumPy and by autograd, directions, poles."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from counterpoise.errors import ModelError
from counterpoise.inference import predict
from counterpoise.methods import CGGM, MSES, QMF, EpochContext, Uniform
from counterpoise.methods._cggm import gain_shares, head_gradient_of
from counterpoise.methods._early_stop import patience_update
from counterpoise.methods._qmf import EnergyFusion, rank_loss, relative_difficulty
from counterpoise.records import Batch


def test_cggm_shares_by_hand_and_without_poles() -> None:
    shares = gain_shares(torch.tensor([0.3, 0.1, 0.1], dtype=torch.float64))
    assert shares.tolist() == pytest.approx([0.2 / 0.5, 0.4 / 0.5, 0.4 / 0.5])
    assert gain_shares(torch.zeros(3)).tolist() == [1, 1, 1]

    def released(gain: torch.Tensor) -> torch.Tensor:
        return (gain.sum() - gain) / gain.sum()

    mixed = torch.tensor([0.20, -0.19])
    assert released(mixed).abs().max() > 15
    assert gain_shares(mixed).tolist() == pytest.approx([0, 1])


@pytest.mark.parametrize(("task", "outputs"), [("multiclass", 3), ("multilabel", 3), ("regression", 2)])
def test_cggm_head_gradient_is_autograds(task: str, outputs: int, make_model: Any) -> None:
    torch.manual_seed(0)
    likelihood = make_model(2, task=task, outputs=outputs).task
    head, h = nn.Linear(5, outputs), torch.randn(7, 5)
    y = torch.randint(3, (7,)) if task == "multiclass" else torch.randint(2, (7, outputs)).float()
    likelihood.loss(head(h), y).backward()
    torch.testing.assert_close(head_gradient_of(likelihood.residual(head(h), y), h), head.weight.grad)


@pytest.mark.parametrize("modalities", [2, 3])
def test_cggm_one_step_by_numpy(modalities: int, warm: Any, tools: Any) -> None:
    model, batches = warm(modalities, epochs=3)
    method = tools.prepare(CGGM(direction=0.2, strength=0.5), model, batches)
    method.accuracy.copy_(torch.linspace(0.2, 0.3, modalities, dtype=torch.float64))
    method.started.fill_(True)
    batch, y = batches[0], batches[0].target.numpy()
    z, h = tools.heads(model, batch), tools.features(model, batch)
    now = np.array([(v.argmax(1) == y).mean() for v in z.values()])
    gain = np.maximum(now - np.linspace(0.2, 0.3, modalities), 0)
    share = (gain.sum() - gain) / gain.sum()
    kappa = 1 + 0.5 * (1.3 * share - 1)
    onehot = np.eye(3)[y]
    p = tools.softmax(sum(tools.slices(model, batch).values()))
    cosines = []
    for m in model.modalities:
        own, fused = ((tools.softmax(z[m]) - onehot).T @ h[m]).ravel(), ((p - onehot).T @ h[m]).ravel()
        cosines.append(own @ fused / np.linalg.norm(own) / np.linalg.norm(fused))
    (record,) = method.steps(model, batch)
    assert [record.coefficients[f"kappa:{m}"].item() for m in model.modalities] == pytest.approx(kappa.tolist())
    assert record.parts["direction"].item() == pytest.approx(0.5 * 0.2 * np.mean(share - share * np.array(cosines)))
    assert method.accuracy.tolist() == pytest.approx(now.tolist())


def test_cggm_the_first_step_has_no_gains(make_model: Any, make_batches: Any, tools: Any) -> None:
    model, batches = make_model(2), make_batches(2)
    method = tools.prepare(CGGM(), model, batches)
    (record,) = method.steps(model, batches[0])
    assert [record.coefficients[f"kappa:{m}"].item() for m in "ab"] == [1, 1]
    method.accuracy.zero_()
    (record,) = method.steps(model, batches[0])
    assert [record.coefficients[f"kappa:{m}"].item() for m in "ab"] != [1, 1], "the second step has"


def test_cggm_a_floor_bounds_the_coefficients(make_model: Any, make_batches: Any, tools: Any) -> None:
    """Where one head gained and the other did not, the coefficient of the first is 0, or the floor."""
    model, batches = make_model(2), make_batches(2)
    for floor in (0.0, 0.25):
        method = tools.prepare(CGGM(floor=floor), model, batches)
        list(method.steps(model, batches[0]))
        method.accuracy.copy_(torch.tensor([0.0, 1.0]))
        (record,) = method.steps(model, batches[0])
        assert [record.coefficients[f"kappa:{m}"].item() for m in "ab"] == pytest.approx([floor, 1.3])


def test_cggm_knows_no_unit_of_a_real_target(make_model: Any, make_batches: Any, tools: Any) -> None:
    coefficients = []
    for unit in (1.0, 1000.0):
        model, batches = make_model(2, task="regression", outputs=1, dtype=torch.float64), []
        with torch.no_grad():
            for p in (*model.head("a").parameters(), *model.head("b").parameters(), *model.fusion.parameters()):
                p.mul_(unit)
        for batch in make_batches(2, dtype=torch.float64)[:2]:
            y = unit * batch.inputs["a"][:, :1]
            batches.append(Batch(batch.inputs, y, batch.index))
        method = tools.prepare(CGGM(direction=0.0), model, batches)
        for batch in batches:
            (record,) = method.steps(model, batch)
        coefficients.append([k.item() for k in record.coefficients.values()])
    assert coefficients[0] == pytest.approx(coefficients[1])
    assert coefficients[0] != pytest.approx([1.0, 1.0])


def test_cggm_an_accuracy_that_stays_is_no_gain_in_double_precision_either(make_model: Any, make_batches: Any) -> None:
    """The last accuracy is kept in float32; 7 of 10 differs from it by 1e-8, and coefficients know no scale."""
    model = make_model(2, dtype=torch.float64)
    (batch,) = make_batches(2, batches=1, size=10, dtype=torch.float64)
    with torch.no_grad():
        for m in "ab":
            right = model.head(m)(model.encoder(m)(batch.inputs[m])).argmax(-1)
    batch = Batch(batch.inputs, torch.cat([right[:7], (right[7:] + 1) % 3]), batch.index)  # b is right 7 times
    method = CGGM()
    model.fusion = method.prepare(model, batch.target).fusion
    for _ in range(2):
        (record,) = method.steps(model, batch)
        assert method.accuracy[1].item() == pytest.approx(0.7)
        assert [record.coefficients[f"kappa:{m}"].item() for m in "ab"] == [1, 1]


def test_mses_stops_where_the_held_out_loss_stops_falling(
    make_model: Any, make_batches: Any, tools: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, batches = make_model(2), make_batches(2)
    losses = iter([[9.0, 1.0, 1.0], [9.0, 0.9, 1.1], [9.0, 0.8, 1.2], [9.0, 0.7, 1.3], [9.0, 0.6, 0.5]])
    monkeypatch.setattr(
        "counterpoise.methods._early_stop.head_losses", lambda model, batches: torch.tensor(next(losses))
    )
    factors = {}
    for release in (True, False):
        losses = iter([[9.0, 1.0, 1.0], [9.0, 0.9, 1.1], [9.0, 0.8, 1.2], [9.0, 0.7, 1.3], [9.0, 0.6, 0.5]])
        method = tools.prepare(MSES(patience=2, release=release), model, batches)
        factors[release] = []
        for number in range(5):
            method.on_epoch_start(model, EpochContext(number, 5, held_out=lambda: batches))
            model.zero_grad()
            (record,) = method.steps(model, batches[0])
            kappa = [record.coefficients[f"kappa:{m}"].item() for m in "ab"]
            assert all((g == 0).all() for g in tools.grads(model, "b")) is (kappa[1] == 0)
            factors[release].append(kappa)
    assert factors[True] == [[1, 1], [1, 1], [1, 0], [1, 0], [1, 1]]
    assert factors[False] == [[1, 1], [1, 1], [1, 0], [1, 0], [1, 0]]


def test_mses_an_equal_loss_is_no_better_one() -> None:
    best, waited = patience_update(torch.tensor([0.5, 0.4]), torch.tensor([0.5, 0.5]), torch.tensor([1, 1]))
    assert best.tolist() == pytest.approx([0.5, 0.4])
    assert waited.tolist() == [2, 0]


def test_mses_a_loss_that_stays_is_no_better_one_in_whatever_precision_it_comes(
    make_model: Any, make_batches: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Losses are float64; the best one, kept in float32, is 0.1 rounded up."""
    losses = torch.tensor([9.0, 0.1, 0.1], dtype=torch.float64)
    monkeypatch.setattr("counterpoise.methods._early_stop.head_losses", lambda *_: losses)
    model, batches = make_model(2), make_batches(2)
    method = MSES(patience=2)
    model.fusion = method.prepare(model, batches[0].target).fusion
    waits = []
    for number in range(4):
        method.on_epoch_start(model, EpochContext(number, 5, held_out=lambda: batches))
        waits.append(method.waited.tolist())
    assert waits == [[0, 0], [1, 1], [2, 2], [3, 3]]


@pytest.mark.parametrize("strength", [1.0, 0.3])
def test_mses_before_anything_stops_is_uniform_training(
    strength: float, make_model: Any, make_batches: Any, tools: Any
) -> None:
    """Also where one epoch without a better loss would be enough."""
    one, two = (make_model(2, dtype=torch.float64) for _ in range(2))
    batches = make_batches(2, dtype=torch.float64)
    method = tools.prepare(MSES(strength, patience=1), one, batches)
    (record,) = method.steps(one, batches[0])
    list(Uniform(strength).steps(two, batches[0]))
    assert [record.coefficients[f"kappa:{m}"].item() for m in "ab"] == [1, 1]
    for p, q in zip(one.parameters(), two.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad)
    method.waited.fill_(1)
    kappa = method.scales(one, {"a": None, "b": None}, batches[0])
    assert [k.item() for k in kappa.values()] == [1 - strength] * 2, "in the model's precision"


@pytest.mark.parametrize(("release", "last"), [(True, 1.0), (False, 0.75)])
def test_mses_without_release_an_encoder_stays_stopped_from_the_first_epoch_on(
    release: bool, last: float, make_model: Any, make_batches: Any, tools: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its loss is better right after it stopped; s = 1/4 of its gradient is taken away."""
    model, batches = make_model(2), make_batches(2)
    losses = iter([[9.0, 1.0, 1.0], [9.0, 0.9, 1.1], [9.0, 0.8, 1.2], [9.0, 0.7, 0.5]])
    monkeypatch.setattr("counterpoise.methods._early_stop.head_losses", lambda *_: torch.tensor(next(losses)))
    method = tools.prepare(MSES(strength=0.25, patience=2, release=release), model, batches)
    factors = []
    for number in range(4):
        method.on_epoch_start(model, EpochContext(number, 5, held_out=lambda: batches))
        factors.append(method.scales(model, {"a": None, "b": None}, batches[0])["b"].item())
    assert factors == [1, 1, 0.75, last]


def test_mses_of_no_strength_needs_no_held_out_samples(make_model: Any) -> None:
    assert MSES.needs_held_out
    MSES(strength=0).on_epoch_start(make_model(2), EpochContext(0, 5))


@pytest.mark.parametrize("modalities", [2, 3])
def test_qmf_one_step_by_numpy(modalities: int, make_model: Any, make_batches: Any, tools: Any) -> None:
    model, batches = make_model(modalities, dtype=torch.float64), make_batches(modalities, dtype=torch.float64)
    z = np.stack(list(tools.heads(model, batches[0]).values()))  # the branches start as the unimodal heads
    method = tools.prepare(QMF(rank=0.3), model, batches)
    y = batches[0].target.numpy()
    c = np.log(np.exp(z).sum(-1)) / 10
    loss = np.stack([tools.nll(v, y) for v in z])
    d = loss / loss.max(1, keepdims=True)  # the samples of the other batches have no loss yet
    gap = np.roll(d, -1, axis=1) - d
    rank = np.maximum(np.abs(gap) - np.sign(gap) * (c - np.roll(c, -1, axis=1)), 0).mean(1).sum()
    (record,) = method.steps(model, batches[0])
    assert record.parts["rank"].item() == pytest.approx(0.3 * rank)
    fused = (c[..., None] * z).sum(0)
    assert record.parts["fused"].item() == pytest.approx(tools.nll(fused, y).mean())
    np.testing.assert_allclose(predict(model, batches[0].inputs).numpy(), fused)
    for k, m in enumerate(model.modalities):
        assert record.parts[f"branch:{m}"].item() == pytest.approx(loss[k].mean())


def test_qmf_difficulty_is_the_summed_loss_scaled_over_the_training_set(
    make_model: Any, make_batches: Any, tools: Any
) -> None:
    """After an epoch in which nothing moved, two samples are seen again: by NumPy."""
    model, batches = make_model(2, dtype=torch.float64), make_batches(2, dtype=torch.float64)
    method = tools.prepare(QMF(rank=0.5), model, batches)
    for batch in batches:
        list(method.steps(model, batch))
    loss, c = [], []
    for batch in batches:
        z = np.stack(list(tools.heads(model, batch).values()))
        loss.append(np.stack([tools.nll(v, batch.target.numpy()) for v in z]))
        c.append(np.log(np.exp(z).sum(-1)) / 10)
    history, sure = np.concatenate(loss, 1), np.concatenate(c, 1)
    rows = [5, 11]
    history[:, rows] *= 2
    low, high = history.min(1, keepdims=True), history.max(1, keepdims=True)
    d, c = ((history - low) / (high - low))[:, rows], sure[:, rows]
    gap = d[:, ::-1] - d
    expected = 0.5 * np.maximum(np.abs(gap) - np.sign(gap) * (c - c[:, ::-1]), 0).mean(1).sum()
    first = batches[0]
    pair = Batch({m: x[rows] for m, x in first.inputs.items()}, first.target[rows], first.index[rows])
    (record,) = method.steps(model, pair)
    assert record.parts["rank"].item() == pytest.approx(expected)


def test_qmf_difficulty_of_one_modality_does_not_depend_on_the_other() -> None:
    total = torch.tensor([[1.0, 2.0, 3.0], [100.0, 300.0, 200.0]])
    assert relative_difficulty(total)[0].tolist() == [0, 0.5, 1]
    assert relative_difficulty(total)[1].tolist() == [0, 1, 0.5]


def test_qmf_easier_samples_should_be_surer() -> None:
    easy_sure = rank_loss(torch.tensor([[3.0, 0.0]]), torch.tensor([[0.1, 0.9]]))
    easy_unsure = rank_loss(torch.tensor([[0.0, 3.0]]), torch.tensor([[0.1, 0.9]]))
    assert easy_sure == 0
    assert easy_unsure > 3


def test_qmf_gradients_flow_through_the_rank_loss_but_not_through_the_weights(warm: Any, tools: Any) -> None:
    """On a second visit, with difficulties that are constants."""
    model, batches = warm(2, epochs=5)
    method = tools.prepare(QMF(rank=0.3), model, batches)
    batch = batches[0]
    losses = []
    for _ in range(2):
        z = model.fusion.branch_logits(model.encode(batch.inputs))
        losses.append(-z.log_softmax(-1)[:, range(32), batch.target].detach())
        model.zero_grad()
        (record,) = method.steps(model, batch)
        grads = {m: tools.grads(model, m) for m in "ab"}
        with torch.no_grad():
            for p in model.encoder("a").parameters():
                p.mul_(0.9)
    with torch.no_grad():
        for p in model.encoder("a").parameters():
            p.div_(0.9)
    model.zero_grad()
    z = model.fusion.branch_logits(model.encode(batch.inputs))
    c = z.logsumexp(-1) / 10
    total = torch.stack(losses).sum(0)
    target = batch.target
    loss = model.task.loss((c.detach().unsqueeze(-1) * z).sum(0), target) + sum(model.task.loss(v, target) for v in z)
    (loss + 0.3 * rank_loss(c, total / total.amax(1, keepdim=True))).backward()
    for m in "ab":
        torch.testing.assert_close(grads[m], tools.grads(model, m))
    assert [record.coefficients[f"confidence:{m}"].item() for m in "ab"] == pytest.approx(c.mean(1).tolist())


def test_qmf_without_any_loss_nothing_is_difficult(make_model: Any, make_batches: Any, tools: Any) -> None:
    model, batches = make_model(2), make_batches(2)
    batches[0].target.zero_()
    with torch.no_grad():
        for m in "ab":
            model.head(m).bias[0] = 1e4
    method = tools.prepare(QMF(), model, batches)
    (record,) = method.steps(model, batches[0])
    assert record.parts["rank"] == 0
    method.total[:, batches[0].index] = 0.25 * torch.arange(32) / 31
    (record,) = method.steps(model, batches[0])
    c = model.fusion.confidence(model.fusion.branch_logits(model.encode(batches[0].inputs)))
    expected = 0.1 * rank_loss(c, (torch.arange(32) / 31).expand(2, -1))
    assert record.parts["rank"].item() == pytest.approx(expected.item(), rel=1e-5)


def test_qmf_the_branches_are_copies_of_the_heads(make_model: Any, make_batches: Any, tools: Any) -> None:
    model, batches = make_model(2), make_batches(2)
    tools.prepare(QMF(), model, batches)
    before = [p.clone() for p in model.fusion.parameters()]
    with torch.no_grad():
        for p in model.head("a").parameters():
            p.add_(1)
    assert all(torch.equal(p, q) for p, q in zip(before, model.fusion.parameters(), strict=True))
    assert EnergyFusion({"a": nn.Linear(2, 3)}).temperature == QMF().temperature
    with pytest.raises(ModelError, match="multiclass"):
        QMF().prepare(make_model(2, task="regression"), torch.zeros(4, 3))
