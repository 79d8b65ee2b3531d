"""GradNorm, AMSS, M-SAM, RGM, PDMP and MILES: one step by autograd or NumPy, and the identities of their papers."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch

from counterpoise.errors import ConfigError, ModelError
from counterpoise.methods import AMSS, MILES, MSAM, PDMP, RGM, EpochContext, GradNorm, Joint, Uniform
from counterpoise.methods._amss import masked_gradient, update_shares
from counterpoise.methods._gradnorm import balanced_weights, feature_gradient_norms
from counterpoise.methods._miles import conditional_utilisation, scheduled_rates
from counterpoise.methods._msam import accuracy_shares
from counterpoise.methods._rgm import aligned_blocks, balance_of, conflict_corrections, pair_shares, reconciled


def gradients(method: Any, model: Any, batch: Any) -> dict[str, torch.Tensor]:
    model.zero_grad()
    list(method.steps(model, batch))
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def encoders(grads: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: g for name, g in grads.items() if name.startswith("_encoders")}


# -- GradNorm ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("modalities", [2, 3])
def test_gradnorm_over_two_steps(modalities: int, warm: Any, tools: Any) -> None:
    """The weights after a step by finite differences of the objective; the second step uses them."""
    model, batches = warm(modalities, epochs=3)
    method = tools.prepare(GradNorm(alpha=0.7, rate=0.1), model, batches)
    gradients(method, model, batches[0])
    first = [model.task.loss(z, batches[0].target).item() for z in model(batches[0].inputs).experts()]
    outputs = model(batches[0].inputs)
    norms = []
    for k, z in enumerate(outputs.experts()):
        own = list(outputs.features.values()) if k == 0 else [outputs.features[model.modalities[k - 1]]]
        parts = torch.autograd.grad(model.task.loss(z, batches[0].target), own, retain_graph=True)
        norms.append(np.sqrt(sum(g.square().sum().item() for g in parts)))
    n = np.array(norms)
    goal = n.mean() * np.ones_like(n)  # every loss is at its start, so all have progressed equally

    def objective(w: np.ndarray) -> float:
        return float(np.abs(w * n - goal).sum())

    w = np.ones_like(n)
    slope = np.array([(objective(w + e) - objective(w - e)) / 2e-6 for e in 1e-6 * np.eye(len(n))])
    w = w - 0.1 * slope / n.mean()
    w *= len(n) / w.sum()
    np.testing.assert_allclose(method.weights.numpy(), w, rtol=1e-4)
    np.testing.assert_allclose(method.initial.numpy(), first, rtol=1e-5)

    grads = encoders(gradients(method, model, batches[1]))
    model.zero_grad()
    losses = [model.task.loss(z, batches[1].target) for z in model(batches[1].inputs).experts()]
    sum(float(v) * loss for v, loss in zip(w, losses, strict=True)).backward()  # type: ignore[attr-defined]
    for name, g in grads.items():
        torch.testing.assert_close(g, model.get_parameter(name).grad, rtol=1e-4, atol=1e-8)


def test_gradnorm_identities(make_model: Any, make_batches: Any, tools: Any) -> None:
    w, n = torch.ones(3, dtype=torch.float64), torch.tensor([4.0, 1.0, 0.5], dtype=torch.float64)
    for _ in range(3000):
        w = balanced_weights(w, n, torch.tensor([1.0, 0.2, 3.0]), alpha=0.0, rate=1e-3)
        assert w.sum().item() == pytest.approx(3)
    norms = (w * n).tolist()
    assert max(norms) / min(norms) == pytest.approx(1, abs=0.02), "alpha = 0 makes all gradients equally large"
    slow = balanced_weights(torch.ones(2), torch.ones(2), torch.tensor([1.0, 0.5]), alpha=1.5, rate=0.1)
    assert slow[0] > 1 > slow[1], "the loss that has fallen less gets more"
    one, two, batches = make_model(2), make_model(2), make_batches(2)
    method = tools.prepare(GradNorm(rate=0.0), one, batches)
    for batch in batches[:2]:
        for name, g in gradients(method, one, batch).items():
            assert torch.equal(g, gradients(Uniform(), two, batch)[name])
    assert feature_gradient_norms(one, one.encode(batches[0].inputs), batches[0].target).shape == (3,)


# -- AMSS --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("modalities", [2, 3])
def test_amss_keeps_the_gradients_of_joint_training_in_a_share_of_the_units(
    modalities: int, warm: Any, tools: Any
) -> None:
    model, batches = warm(modalities, epochs=3)
    batch, y = batches[0], batches[0].target.numpy()
    counts = np.bincount(y) / len(y)
    entropy = -(counts * np.log(counts)).sum()
    h, z = tools.features(model, batch), tools.slices(model, batch)
    gain = np.array([entropy - tools.nll(z[m], y).mean() + 0.5 for m in model.modalities])
    spread = []
    for m in model.modalities:
        p = tools.softmax(h[m])
        spread.append(-(p * np.log(p)).sum(1).mean())
    t = gain / (0.5 * np.array(spread)) if (gain > 0).all() else np.ones(modalities)
    share = np.clip(tools.softmax(-t), 0.1, 0.9)
    torch.manual_seed(3)
    grads = gradients(tools.prepare(AMSS(temperature=0.5), model, batches), model, batch)
    joint = gradients(Joint(), model, batch)
    for m, r in zip(model.modalities, share, strict=True):
        for name in (n for n in grads if n.startswith(f"_encoders.encoder_{m}.")):
            kept = grads[name] != 0 if grads[name].ndim == 1 else grads[name].flatten(1).any(1)
            if grads[name].ndim > 1:
                assert int(kept.sum()) == int(np.ceil(len(kept) * r))
            torch.testing.assert_close(grads[name][kept], joint[name][kept])
    for name in joint:
        if not name.startswith("_encoders"):
            assert torch.equal(grads[name], joint[name])


def test_amss_identities() -> None:
    equal = update_shares(torch.tensor(1.0), torch.tensor([0.3, 0.3]), torch.tensor([2.0, 2.0]), 0.2)
    assert equal.tolist() == [0.5, 0.5]
    worse = update_shares(torch.tensor(1.0), torch.tensor([0.1, 3.0]), torch.tensor([2.0, 2.0]), 0.2)
    assert worse.tolist() == [0.5, 0.5], "a loss above the entropy of the labels: all rates are equal"
    g = torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 0.0], [0.0, 0.0]])
    torch.manual_seed(0)
    drawn = torch.stack([masked_gradient(g, torch.tensor(0.25), unbiased=False).any(1) for _ in range(4000)]).double()
    torch.testing.assert_close(drawn.mean(0), torch.tensor([1, 4, 9, 0]).double() / 14, atol=0.03, rtol=0)
    assert torch.equal(masked_gradient(g, torch.tensor(1.0), unbiased=False), g)
    large = masked_gradient(g, torch.tensor(1.0), unbiased=True)
    torch.testing.assert_close(large, g / (g.square().sum(1, keepdim=True) / 14 + 0.25))


# -- M-SAM -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("modalities", [2, 3])
def test_m_sam_by_moving_a_copy(modalities: int, warm: Any, tools: Any) -> None:
    model, batches = warm(modalities, epochs=2)
    batch, before = batches[0], copy.deepcopy(model.state_dict())
    grads = encoders(gradients(tools.prepare(MSAM(radius=0.3), model, batches), model, batch))
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())

    v = accuracy_shares(model, model.encode(batch.inputs), batch.target).max().item()
    moved = copy.deepcopy(model)
    moved.zero_grad()
    model.zero_grad()
    model.task.loss(model(batch.inputs, 0.0).logits, batch.target).backward()
    g = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    norm = torch.cat([x.flatten() for x in g.values()]).norm()
    with torch.no_grad():
        for name, x in g.items():
            moved.get_parameter(name).add_(0.3 * x / norm)
    moved.task.loss(moved(batch.inputs, 0.0).logits, batch.target).backward()
    for name, x in grads.items():
        torch.testing.assert_close(x, v * moved.get_parameter(name).grad + (1 - v) * g[name], rtol=1e-5, atol=1e-9)


def test_accuracy_shares_by_the_definition(warm: Any) -> None:
    model, batches = warm(2, epochs=5)
    features, y = model.encode(batches[0].inputs), batches[0].target

    def worth(*present: str) -> float:
        read = {m: h if m in present else torch.zeros_like(h) for m, h in features.items()}
        return (model.fusion(read).argmax(-1) == y).double().mean().item()

    values = [
        0.5 * (worth(m) - worth()) + 0.5 * (worth("a", "b") - worth(*({"a", "b"} - {m}))) for m in model.modalities
    ]
    expected = np.clip(values, 0, None) / np.clip(values, 0, None).sum()
    np.testing.assert_allclose(accuracy_shares(model, features, y).numpy(), expected, rtol=1e-6)


def test_m_sam_without_radius_is_joint_training_and_leaves_statistics_alone(make_model: Any, make_batches: Any) -> None:
    batches, one, two = make_batches(2, dtype=torch.float64), *(make_model(2, dtype=torch.float64) for _ in range(2))
    for name, g in gradients(MSAM(radius=0.0), one, batches[0]).items():
        torch.testing.assert_close(g, gradients(Joint(), two, batches[0])[name])
    normal = make_model(2)
    normal._encoders["encoder_a"][1] = torch.nn.Sequential(torch.nn.BatchNorm1d(12), torch.nn.Dropout(0.5))
    other, batch = copy.deepcopy(normal), make_batches(2)[0]
    torch.manual_seed(0)
    gradients(MSAM(), normal, batch)
    after = torch.get_rng_state()
    torch.manual_seed(0)
    gradients(Joint(), other, batch)
    assert torch.equal(after, torch.get_rng_state()), "one pass's worth of random numbers"
    for (name, value), expected in zip(normal.named_buffers(), other.buffers(), strict=True):
        assert torch.equal(value, expected), name


# -- RGM ---------------------------------------------------------------------------------------------------------------


def test_rgm_blocks_keep_the_total_and_follow_the_shares() -> None:
    g = torch.randn(3, 5, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    shares = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    scaled = aligned_blocks(g, shares, blocks=4)
    for part, before in zip(scaled.chunk(4, -1), g.chunk(4, -1), strict=True):
        squared = part.square().sum((1, 2))
        torch.testing.assert_close(squared, shares * before.square().sum())


def test_rgm_corrections_meet_their_condition_and_are_the_shortest() -> None:
    """Against a constrained least-squares problem; the printed form leaves a conflict."""
    generator = np.random.default_rng(0)
    gi, gj = generator.normal(size=5), generator.normal(size=5)
    gj -= 1.5 * (gi @ gj + 0.5) * gi / (gi @ gi)
    s = gi @ gj
    assert s < 0
    wi, wj = 0.8, 0.2
    # minimise |x|^2 subject to one linear condition, with x = (sqrt(wi) Oi, sqrt(wj) Oj)
    row = np.concatenate([gj / np.sqrt(wi), gi / np.sqrt(wj)])
    x = np.linalg.pinv(row[None]) @ np.array([-s])
    expected = np.stack([x[:5] / np.sqrt(wi), x[5:] / np.sqrt(wj)])
    shares = torch.tensor([[0.5, wi], [wj, 0.5]], dtype=torch.float64)
    g = torch.from_numpy(np.stack([gi, gj]))
    corrections = conflict_corrections(g, shares).numpy()
    np.testing.assert_allclose(corrections, expected, rtol=1e-10)
    printed = conflict_corrections(g, shares, printed=True).numpy()
    assert abs(gi @ printed[1] + gj @ printed[0] + s) > 1e-3
    assert not conflict_corrections(torch.tensor([[1.0, 0.0], [1.0, 1.0]]), torch.full((2, 2), 0.5)).any()


def test_rgm_axes() -> None:
    assert balance_of(torch.tensor([3.0, 1.0])).item() == pytest.approx(8 * 0.75 * 0.25 - 1)
    assert balance_of(torch.zeros(2)).item() == 1
    assert pair_shares(torch.tensor([3.0, 1.0]))[0, 1] == 0.75


@pytest.mark.parametrize("modalities", [2, 3])
def test_rgm_step(modalities: int, warm: Any, tools: Any) -> None:
    model, batches = warm(modalities, epochs=2)
    method = tools.prepare(RGM(strength=0.6, blocks=2), model, batches)
    gradients(method, model, batches[1])
    energy = method.energy.clone()
    grads = encoders(gradients(method, model, batches[0]))
    assert (method.energy >= energy).all()
    model.zero_grad()
    features = model.encode(batches[0].inputs)
    loss = model.task.loss(model.fusion(features), batches[0].target)
    g = torch.stack(torch.autograd.grad(loss, list(features.values()), retain_graph=True))
    entering = 0.4 * g + 0.6 * reconciled(g, energy + g.square().sum((1, 2)), 2)
    torch.autograd.backward(list(features.values()), list(entering))
    for name, x in grads.items():
        torch.testing.assert_close(x, model.get_parameter(name).grad)


def test_rgm_by_hand_for_one_sample() -> None:
    """Two gradients in two dimensions, one block, written out."""
    g = torch.tensor([[[1.0, 0.0]], [[-1.0, 1.0]]], dtype=torch.float64)
    energy = torch.tensor([3.0, 1.0], dtype=torch.float64)
    w, cos, s = np.array([0.75, 0.25]), -1 / np.sqrt(2), -1.0
    scaled = [np.sqrt(0.75 * 3) * np.array([1, 0]), np.sqrt(0.25 * 3 / 2) * np.array([-1, 1])]
    denominator = 0.75 * 1 + 0.25 * 2
    corrected = [
        np.array([1, 0]) - w[1] * s / denominator * np.array([-1, 1]),
        np.array([-1, 1]) - w[0] * s / denominator * np.array([1, 0]),
    ]
    gate = 1 / (1 + np.exp(-(1 + abs(8 * 0.75 * 0.25 - 1)) * cos))
    factor = np.clip(np.sqrt(2 / np.array([3.0, 1.0])), 0.5, 2)
    expected = [f * (gate * a + (1 - gate) * c) for f, a, c in zip(factor, scaled, corrected, strict=True)]
    np.testing.assert_allclose(reconciled(g, energy, 1).squeeze(1).numpy(), expected, rtol=1e-10)


def test_rgm_refuses_unequal_widths() -> None:
    from counterpoise.model import build_model

    model = build_model({"a": ("vector", (4,), 0), "b": ("vector", (6,), 0)}, num_outputs=2)
    model.feature_dims = {"a": 3, "b": 5}
    with pytest.raises(ModelError, match="same dimension"):
        RGM().prepare(model, torch.zeros(3, dtype=torch.long))


# -- PDMP and MILES ----------------------------------------------------------------------------------------------------


def trained(method: Any, model: Any, batches: Any, optimizer: torch.optim.Optimizer, epochs: range) -> None:
    for number in epochs:
        context = EpochContext(number, 10, train=lambda: batches, held_out=lambda: batches[:1])
        method.on_epoch_start(model, context)
        for batch in batches:
            for _ in method.steps(model, batch):
                optimizer.step()
                optimizer.zero_grad()


@pytest.mark.parametrize("kind", ["sgd", "adam"])
def test_pdmp_is_another_learning_rate_for_the_best_encoder(
    kind: str, warm: Any, make_model: Any, make_batches: Any, tools: Any
) -> None:
    teacher, _ = warm(2, epochs=3)
    batches = make_batches(2, dtype=torch.float64)
    one, two = (make_model(2, dtype=torch.float64) for _ in range(2))
    method = PDMP(best=3.0, rest=0.5)
    method.use_teachers({"unimodal-ensemble": teacher})
    tools.prepare(method, one, batches)
    maker = torch.optim.SGD if kind == "sgd" else torch.optim.Adam
    trained(method, one, batches, maker(one.parameters(), lr=1e-3), range(2))
    rest = [p for name, p in two.named_parameters() if not name.startswith("_encoders")]
    groups = [{"params": two.encoder(m).parameters(), "lr": 1e-3 * f} for m, f in (("a", 3.0), ("b", 0.5))]
    trained(Joint(), two, batches, maker([*groups, {"params": rest}], lr=1e-3), range(2))
    for p, q in zip(one.parameters(), two.parameters(), strict=True):
        torch.testing.assert_close(p, q)


def test_pdmp_with_factors_of_one_is_joint_training(make_model: Any, make_batches: Any, tools: Any) -> None:
    one, two, batches = make_model(2), make_model(2), make_batches(2)
    method = PDMP(best=1.0, rest=1.0)
    method.use_teachers({"unimodal-ensemble": make_model(2)})
    tools.prepare(method, one, batches)
    trained(method, one, batches, torch.optim.SGD(one.parameters(), lr=0.1), range(2))
    trained(Joint(), two, batches, torch.optim.SGD(two.parameters(), lr=0.1), range(2))
    assert all(torch.equal(p, q) for p, q in zip(one.parameters(), two.parameters(), strict=True))
    with pytest.raises(ConfigError, match="`best`"):
        PDMP(best=0.5)


@pytest.mark.parametrize("modalities", [2, 3])
def test_miles_measures_utilisation_without_each_modality(modalities: int, warm: Any, tools: Any) -> None:
    model, batches = warm(modalities, epochs=3)
    method = tools.prepare(MILES(threshold=0.1, factor=0.25), model, batches)
    method.on_epoch_start(model, EpochContext(0, 3, train=lambda: batches))
    assert method.rate.tolist() == [1] * modalities
    method.on_epoch_start(model, EpochContext(1, 3, train=lambda: batches))

    def accuracy(missing: str) -> float:
        hits = []
        for batch in batches:
            features = {m: h * (m != missing) for m, h in model.encode(batch.inputs).items()}
            hits.append(model.fusion(features).argmax(-1) == batch.target)
        return torch.cat(hits).double().mean().item()

    u = np.array([1 - accuracy(m) / accuracy("") for m in model.modalities])
    gap = np.array([u[k] - np.delete(u, k).mean() for k in range(modalities)])
    assert method.rate.tolist() == [0.25 if g > 0.1 else 1 for g in gap]
    assert 0.25 in method.rate.tolist()


def test_miles_of_a_model_that_knows_nothing_uses_nothing() -> None:
    assert conditional_utilisation(torch.tensor([0.2, 0.1, 0.0, 0.0]), 2).tolist() == [0, 0]
    assert scheduled_rates(torch.tensor([0.2, 0.2]), 0.0, 0.5).tolist() == [1, 1]
