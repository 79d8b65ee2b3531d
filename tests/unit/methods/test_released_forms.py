"""The rows of releases and of a toolkit that were added later: each by hand, and what differs from the method."""

from __future__ import annotations

import copy
import math
from itertools import combinations
from typing import Any

import numpy as np
import pytest
import torch

from counterpoise.methods import AUG, MBSD, METHODS, OPM, EpochContext, GBlending, InfoReg
from counterpoise.methods.replicas.official import AUGOfficial, InfoRegOfficial, MMCosineOfficial
from counterpoise.methods.replicas.toolkit import GBlendingToolkit, MBSDToolkit, OPMToolkit, aliased_ratio


def test_inforeg_released_saturates_at_beta_e(warm: Any, tools: Any) -> None:
    model, batches = warm(2, epochs=3)
    method = tools.prepare(InfoRegOfficial(), model, batches)
    (record,) = method.steps(model, batches[0])
    assert record.coefficients["beta:a"].item() == pytest.approx(0.95 * math.e, rel=0.03)
    assert record.coefficients["beta:b"] == 0
    factors = method.pull(model, torch.tensor([3.0, 9.0]), 32)
    assert factors.tolist() == pytest.approx([0, 0.1 * math.e], rel=1e-3)
    unsure = method.pull(model, torch.tensor([0.5, 0.3]), 1)
    assert unsure.tolist() == pytest.approx([0.95 * math.exp(math.tanh(0.2)), 0], rel=1e-5)
    ours = tools.prepare(InfoReg(), model, batches)
    (record,) = ours.steps(model, batches[0])
    assert record.coefficients["beta:a"] < 0.95 * math.exp(math.tanh(1))


@pytest.mark.parametrize("names", [("a", "b"), ("b", "a")])
def test_inforeg_released_the_first_trace_in_the_alphabet_decides_for_all(
    names: tuple[str, str], make_model: Any, make_batches: Any, tools: Any
) -> None:
    model, batches = make_model(names), make_batches(names)
    grows, flat = torch.tensor([1.0, 1.0, 2.0]), torch.ones(3)
    windows = {}
    for method in (InfoReg(window=2), InfoRegOfficial(window=2)):
        tools.prepare(method, model, batches)
        traces = {"a": flat, "b": grows}
        method.history.copy_(torch.stack([traces[m] for m in names], 1))
        method.trace.copy_(method.history[-1])
        method.count.fill_(1)
        method.history.copy_(method.history.roll(1, 0))
        method.on_epoch_start(model, EpochContext(4, 9))
        windows[type(method)] = method.open
    assert windows[InfoReg] == {"a": False, "b": True}
    assert windows[InfoRegOfficial] == {"a": False, "b": False}


def test_aug_released_added_blocks_stay_as_they_were_drawn(make_model: Any, make_batches: Any, tools: Any) -> None:
    batches = make_batches(2)
    moved = {}
    for method in (AUG(blocks=3), AUGOfficial(blocks=3)):
        model = make_model(2)
        tools.prepare(method, model, batches)
        model.fusion.count.fill_(2)
        before = [w.detach().clone() for w in model.fusion.block_weights("b")]
        untouched = model.fusion.block_logits("b", torch.ones(4, 8)).detach()
        tools.run(method, model, batches, epochs=2)
        after = model.fusion.block_weights("b")
        moved[type(method)] = [not torch.equal(before[0][t], after[0][t]) for t in range(2)]
        assert untouched.shape == (3, 4, 3)
    assert moved == {AUG: [True, True], AUGOfficial: [True, False]}


def test_aug_released_added_blocks_are_constants_of_a_model_that_can_be_copied(
    make_model: Any, make_batches: Any, tools: Any
) -> None:
    model, batches = make_model(2), make_batches(2)
    tools.prepare(AUGOfficial(blocks=3), model, batches)
    assert not any(b.requires_grad for b in model.buffers())
    twin = copy.deepcopy(model)
    assert torch.equal(twin(batches[0].inputs).logits, model(batches[0].inputs).logits)


def test_aug_released_starts_as_the_method_does(make_model: Any, make_batches: Any, tools: Any) -> None:
    batches, logits = make_batches(2), []
    for method in (AUG(), AUGOfficial()):
        model = make_model(2)
        tools.prepare(method, model, batches)
        model.fusion.count.fill_(4)
        logits.append(model.fusion(model.encode(batches[0].inputs)))
    torch.testing.assert_close(*logits)


def test_mmcosine_released_predicts_without_its_normalisation(make_model: Any, make_batches: Any, tools: Any) -> None:
    model, batches = make_model(2), make_batches(2)
    tools.prepare(MMCosineOfficial(), model, batches)
    h = {m: torch.from_numpy(x) for m, x in tools.features(model, batches[0]).items()}
    weight = {m: model.fusion.weights[f"weight_{m}"].detach() for m in "ab"}
    plain = sum(h[m] @ weight[m].T for m in "ab")
    cosine = sum(10 * (h[m] @ weight[m].T) / h[m].norm(dim=1, keepdim=True) / weight[m].norm(dim=1) for m in "ab")
    torch.testing.assert_close(model.train()(batches[0].inputs).logits, cosine)
    torch.testing.assert_close(model.eval()(batches[0].inputs).logits, plain)


@pytest.mark.parametrize("scores", [[3.0, 2.0], [20.0, 15.0], [4.0, 2.0, 1.0]])
def test_opm_of_the_toolkit_divides_in_place(scores: list[float]) -> None:
    expected = list(scores)
    for k in range(len(expected)):
        expected[k] = expected[k] / (sum(expected) - expected[k])
    assert aliased_ratio(torch.tensor(scores)).tolist() == pytest.approx(expected)
    if len(scores) == 2:
        assert expected[1] == pytest.approx(scores[1] ** 2 / scores[0])


def test_opm_of_the_toolkit_drops_the_weak_modality_too(warm: Any, tools: Any) -> None:
    model, batches = warm(2)
    probabilities = {}
    for method in (OPM(start=0, probability=1.0), OPMToolkit(start=0, probability=1.0)):
        tools.prepare(method, model, batches)
        (record,) = method.steps(model, batches[0])
        probabilities[type(method)] = [record.coefficients[f"q:{m}"].item() for m in "ab"]
    assert probabilities[OPM][1] == 0
    assert probabilities[OPMToolkit] == pytest.approx([probabilities[OPM][0], 0.75], rel=0.05)


@pytest.mark.parametrize("strength", [0.5, 1.0])
def test_opm_of_the_toolkit_is_finite_where_everything_is_dropped(strength: float, warm: Any, tools: Any) -> None:
    model, batches = warm(2)
    method = tools.prepare(OPMToolkit(strength, start=0, probability=1.0), model, batches)
    (record,) = method.steps(model, batches[0])
    assert torch.isfinite(record.loss)
    assert all(torch.isfinite(g).all() for m in "ab" for g in tools.grads(model, m))


@pytest.mark.parametrize("modalities", [2, 3])
def test_mbsd_of_the_toolkit_by_numpy(modalities: int, warm: Any, tools: Any) -> None:
    model, batches = warm(modalities, epochs=3)
    batch, y = batches[0], batches[0].target.numpy()
    z = tools.heads(model, batch)
    pairs = []
    for m, k in combinations(model.modalities, 2):
        p, q, per_sample = tools.softmax(z[m]), tools.softmax(z[k]), []
        x, w = (z[m], z[k]) if modalities == 2 else (p, q)
        for i, c in enumerate(y):
            strong, weak = (p[i], q[i]) if p[i, c] >= q[i, c] else (q[i], p[i])
            right = p[i].argmax() == c or q[i].argmax() == c
            misread = (strong * (np.log(strong) - weak)).sum()
            per_sample.append(abs(p[i, c] - q[i, c]) * right * (misread + ((x[i] - w[i]) ** 2).mean()))
        pairs.append(np.mean(per_sample))
    (record,) = MBSDToolkit(strength=0.6).steps(model, batch)
    assert record.parts["distillation"].item() == pytest.approx(0.6 * np.mean(pairs))
    (ours,) = MBSD(strength=0.6).steps(model, batch)
    assert abs(ours.parts["distillation"].item() - record.parts["distillation"].item()) > 1e-3


def test_g_blending_of_the_toolkit_weighs_by_numbers_of_batches(
    make_model: Any, make_batches: Any, tools: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """160 training and 40 held-out samples are 3 batches and 1 of up to 64. Head b gets worse: a gain."""
    model, batches = make_model(2), make_batches(2, batches=5, size=40)
    before = {"train": [1.0, 1.0, 1.0], "held_out": [1.0, 1.0, 1.0]}
    after = {"train": [0.8, 0.7, 1.2], "held_out": [0.9, 0.8, 1.3]}
    losses: list[list[float]] = []
    monkeypatch.setattr(
        "counterpoise.methods._gblending.head_losses", lambda model, batches: torch.tensor(losses.pop(0))
    )
    monkeypatch.setattr(GBlending, "_trained", lambda self, model, epoch, k: model)
    weights = {}
    for method in (GBlending(), GBlendingToolkit()):
        tools.prepare(method, model, batches)
        losses[:] = [before["train"], before["held_out"], *[after["train"], after["held_out"]] * 3]
        method.on_epoch_start(model, EpochContext(0, 9, train=lambda: batches[:4], held_out=lambda: batches[4:]))
        weights[type(method)] = method.weights.numpy()
    gain = np.array(before["held_out"]) - after["held_out"]
    overfit = np.array(after["held_out"]) - after["train"]
    raw = np.maximum(gain, 0) / overfit**2
    np.testing.assert_allclose(weights[GBlending], raw / raw.sum(), rtol=1e-4)
    assert weights[GBlending][2] == 0
    summed = np.array(after["held_out"]) - 3 * np.array(after["train"]) - (1 - 3)
    raw = np.abs(gain) / summed**2
    np.testing.assert_allclose(weights[GBlendingToolkit], raw / raw.sum(), rtol=1e-4)
    assert weights[GBlendingToolkit][2] > 0.3


@pytest.mark.parametrize("name", ["ogm_ge", "g_blending", "sample_valuation", "arm_official", "opm_toolkit", "mslr"])
def test_underscores_do_as_well(name: str) -> None:
    assert METHODS.resolve(name) is METHODS.resolve(name.replace("_", "-"))
    assert issubclass(METHODS.resolve(name), torch.nn.Module)


def test_mbsd_of_the_toolkit_is_finite_where_a_probability_is_zero(make_model: Any, make_batches: Any) -> None:
    model, batches = make_model(2), make_batches(2)
    with torch.no_grad():
        model.head("a").weight.mul_(1e4)
    (record,) = MBSDToolkit().steps(model, batches[0])
    assert torch.isfinite(record.loss)
