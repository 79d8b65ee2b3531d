"""ARM's parts against independent derivations, and the faults of the authors' release as tests that they would fail."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from counterpoise.errors import ConfigError
from counterpoise.fusion import Concat
from counterpoise.inference import predict
from counterpoise.methods import (
    ARM,
    AsymmetricFusion,
    BalancedMinMaxLoss,
    ContributionProbes,
    ContributionResampler,
    Method,
    SeparatedGradients,
    Uniform,
)
from counterpoise.methods.arm import fusion_weights, reinforcement, synergy_share
from counterpoise.methods.base import unimodal_losses
from counterpoise.records import Batch

Make = Callable[..., Any]


def set_up(make_model: Make, batches: Any, modalities: int = 2, **arguments: Any) -> tuple[Any, ARM]:
    model = make_model(modalities, dtype=torch.float64)
    method = ARM(**arguments)
    model.fusion = method.prepare(model, torch.cat([b.target for b in batches])).fusion
    return model, method.double()


def run(method: Method, model: Any, batches: Any, steps: int = 40, lr: float = 1e-2) -> Any:
    optimizer = torch.optim.Adam([*model.parameters(), *method.parameters()], lr=lr)
    records = []
    for i in range(steps):
        for record in method.steps(model, batches[i % len(batches)]):
            optimizer.step()
            optimizer.zero_grad()
            records.append(record)
    return records[-1]


@pytest.mark.parametrize("modalities", [2, 3])
def test_one_step_by_numpy(modalities: int, make_model: Make, make_batches: Make) -> None:
    batches = make_batches(modalities, dtype=torch.float64)
    model, method = set_up(make_model, batches, modalities, resampling=False)
    with torch.no_grad():
        generator = torch.Generator().manual_seed(5)
        method.probes.weight.normal_(generator=generator)
        method.phi.copy_(torch.linspace(0.1, 0.4, modalities, dtype=torch.float64))
    batch = batches[0]
    y = batch.target.numpy()
    features = {m: model.encoder(m)(batch.inputs[m]).detach().numpy() for m in model.modalities}

    def ce(z: np.ndarray) -> np.ndarray:
        return -(z - np.log(np.exp(z).sum(1, keepdims=True)))[np.arange(len(y)), y]

    def probe(row: int, without: int | None) -> np.ndarray:
        z = np.concatenate([h * (i != without) for i, h in enumerate(features.values())], 1)
        return ce(z @ method.probes.weight[row].detach().numpy().T + method.probes.bias[row].detach().numpy())

    every = probe(0, None)
    hat = np.array([probe(i + 1, i).mean() - every.mean() for i in range(modalities)])
    phi = 0.95 * np.linspace(0.1, 0.4, modalities) + 0.05 * hat
    counts = np.bincount(torch.cat([b.target for b in batches]).numpy())
    p = counts / counts.sum()
    entropy = -(p * np.log(p)).sum()
    plus = np.maximum(phi, 0) + 0.02 * entropy
    w = np.sqrt(plus.mean() / plus)
    w /= w.mean()
    lam = 1 + 2 * (phi.max() - phi) / entropy

    head = model.fusion.inner.head.weight.detach().numpy(), model.fusion.inner.head.bias.detach().numpy()
    fused = ce(np.concatenate([wi * h for wi, h in zip(w, features.values(), strict=True)], 1) @ head[0].T + head[1])

    def smoothed(z: np.ndarray) -> np.ndarray:
        surprise = np.log(np.exp(z).sum(1, keepdims=True)) - z
        return 0.9 * surprise[np.arange(len(y)), y] + 0.1 * surprise.mean(1)

    unimodal = {
        m: smoothed(h @ model.head(m).weight.detach().numpy().T + model.head(m).bias.detach().numpy()).mean()
        for m, h in features.items()
    }
    (record,) = method.steps(model, batch)
    np.testing.assert_allclose(method.phi.numpy(), phi, rtol=1e-9)
    np.testing.assert_allclose(model.fusion.weights.numpy(), w, rtol=1e-6)
    assert record.parts["fused"].item() == pytest.approx(fused.mean(), rel=1e-6)
    for m, weight in zip(model.modalities, lam, strict=True):
        assert record.coefficients[f"lambda:{m}"].item() == pytest.approx(weight, rel=1e-9)
        assert record.parts[m].item() == pytest.approx(unimodal[m], rel=1e-9)
    expected = fused.mean() + sum(weight * u for weight, u in zip(lam, unimodal.values(), strict=True))
    assert record.loss.item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("strength", [1.0, 0.4, 2.5])
@pytest.mark.parametrize("rate", [0.0, 0.6])
@pytest.mark.parametrize(("additive", "fused"), [(0.1, 0.3), (0.4, 0.3), (0.0, -0.1)])
def test_encoder_gradient_is_a_share_of_the_fused_one_plus_lambda_times_the_unimodal(
    additive: float, fused: float, rate: float, strength: float, make_model: Make, make_batches: Make
) -> None:
    """With re-sampling, the fused head reads the batch's mean of a hidden modality, through which no gradient flows."""
    batches = make_batches(2, dtype=torch.float64)
    model, method = set_up(make_model, batches, rate=rate, strength=strength)
    with torch.no_grad():
        method.phi.copy_(torch.tensor([0.6, 0.1]))
        method.loss.known.copy_(torch.tensor([additive, fused]) / method.entropy)
    rho = {0.1: 1 - 0.1 / 0.3, 0.4: 0.0, 0.0: 1.0}[additive]
    torch.manual_seed(3)
    (record,) = method.steps(model, batches[0])
    assert record.coefficients["rho"].item() == pytest.approx(rho, rel=1e-6)
    lost = torch.zeros(len(batches[0]), 2, dtype=torch.bool)
    if rate:
        torch.manual_seed(3)
        lost = method.resampler.draw(len(batches[0]), method.phi, method.entropy)
        assert lost.any()
    for m in "ab":
        twin = make_model(2, dtype=torch.float64)
        features = twin.encode(batches[0].inputs)
        shown = {}
        for k, (name, z) in enumerate(features.items()):
            rows = [z.detach().mean(0) if gone else row for row, gone in zip(z, lost[:, k], strict=True)]
            shown[name] = torch.stack(rows)
        weighted = {k: z * w for (k, z), w in zip(shown.items(), model.fusion.weights, strict=True)}
        loss = nn.functional.cross_entropy(twin.fusion(weighted), batches[0].target)
        log_p = twin.head(m)(features[m]).log_softmax(-1)
        code = 0.9 * nn.functional.one_hot(batches[0].target, 3) + 0.1 / 3
        own = -(code * log_p).sum(-1).mean()
        head = torch.autograd.grad(loss, list(twin.fusion.parameters()), retain_graph=True)
        for p, gradient in zip(model.fusion.parameters(), head, strict=True):
            torch.testing.assert_close(p.grad, gradient, msg="the fused head gets all of it")
        (rho * loss + record.coefficients[f"lambda:{m}"] * own).backward()
        for p, q in zip(model.encoder(m).parameters(), twin.encoder(m).parameters(), strict=True):
            torch.testing.assert_close(p.grad, q.grad)


def test_probes_read_features_and_leave_encoders_alone(make_model: Make, make_batches: Make) -> None:
    model, batch = make_model(3), make_batches(3)[0]
    probes = ContributionProbes(model)
    with torch.no_grad():
        probes.weight.normal_()
    features = model.encode(batch.inputs)
    out = probes(features)
    for i, m in enumerate(model.modalities, 1):
        zeroed = {k: torch.zeros_like(z) if k == m else z for k, z in features.items()}
        torch.testing.assert_close(probes(zeroed)[i], out[i])
        assert not torch.allclose(probes(zeroed)[0], out[0])
    out.square().sum().backward()
    assert all(p.grad is None for p in model.parameters())


def test_the_weak_modality_is_reinforced_and_the_strong_one_keeps_its_weight(
    make_model: Make, make_batches: Make
) -> None:
    """Direction: `a` contributes more, so w_a < 1 < w_b and lambda_a = 1 < lambda_b; the release did the opposite."""
    batches = make_batches(2, dtype=torch.float64)
    model, method = set_up(make_model, batches)
    record = run(method, model, batches)
    assert method.phi[0] > method.phi[1]
    w = model.fusion.weights
    assert w[0] < 1 < w[1]
    assert record.coefficients["lambda:a"] == 1
    assert record.coefficients["lambda:b"] > 1


def test_a_strength_multiplies_the_asymmetry_of_every_part(make_model: Make, make_batches: Make) -> None:
    batches = make_batches(2, dtype=torch.float64)
    model, method = set_up(make_model, batches, strength=0.5, tau=0.8, gamma=3.0, rate=0.4)
    method.phi.copy_(torch.tensor([0.6, 0.1]))
    (record,) = method.steps(model, batches[0])
    expected = fusion_weights(method.phi, method.entropy, tau=0.4)
    assert model.fusion.weights.tolist() == pytest.approx(expected.tolist())
    expected = reinforcement(method.phi, method.entropy, gamma=1.5)
    assert [record.coefficients[f"lambda:{m}"].item() for m in "ab"] == pytest.approx(expected.tolist())
    assert method.resampler.rate == pytest.approx(0.2)
    assert set_up(make_model, batches, strength=5.0, rate=0.4)[1].resampler.rate == 1.0, "a share is at most all"


@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
@pytest.mark.parametrize(("strength", "minmax"), [(0.0, True), (0.5, True), (3.0, True), (1.0, False)])
def test_labels_are_smoothed_and_gradients_apart_at_any_strength_but_zero(
    strength: float, minmax: bool, task: str, make_model: Make, make_batches: Make
) -> None:
    (plain,) = make_batches(2, batches=1, dtype=torch.float64)
    code = nn.functional.one_hot(plain.target, 3)
    target = plain.target if task == "multiclass" else code
    model = make_model(2, task=task, outputs=3, dtype=torch.float64)
    method = ARM(strength, minmax=minmax, smoothing=0.2, resampling=False)
    model.fusion = method.prepare(model, target).fusion
    (record,) = method.double().steps(model, Batch(plain.inputs, target, plain.index))
    apart = minmax and strength > 0
    assert record.coefficients["rho"] == (0 if apart else 1)
    share = 0.2 if apart else 0.0
    for m, z in model(plain.inputs).unimodal_logits.items():
        if task == "multiclass":
            expected = -(((1 - share) * code + share / 3) * z.log_softmax(-1)).sum(-1).mean()
        else:
            on = (1 - share) * code + share / 2
            expected = -(on * z.sigmoid().log() + (1 - on) * (-z).sigmoid().log()).sum(-1).mean()
        torch.testing.assert_close(record.parts[m], expected.detach())


def test_no_label_is_smoothed_unless_asked_for(make_model: Make, make_batches: Make) -> None:
    model, batch = make_model(2, task="multilabel", outputs=3), make_batches(2)[0]
    target = nn.functional.one_hot(batch.target, 3)
    outputs = model(batch.inputs)
    for m, loss in unimodal_losses(model, outputs, target).items():
        torch.testing.assert_close(loss, model.task.loss(outputs.unimodal_logits[m], target))


def test_smoothing_is_a_share() -> None:
    for beyond in (-0.1, 1.0):
        with pytest.raises(ConfigError, match="smoothing"):
            ARM(smoothing=beyond)


@pytest.mark.parametrize("part", ["fusion", "minmax", "resampling"])
def test_every_part_can_be_switched_off(part: str, make_model: Make, make_batches: Make) -> None:
    batches = make_batches(2, dtype=torch.float64)
    model, method = set_up(make_model, batches, **{part: False})
    record = run(method, model, batches)
    features = model.encode(batches[0].inputs)
    shown = method.resampler(features, method.phi, entropy=method.entropy)
    assert torch.equal(model.fusion.weights, torch.ones(2, dtype=torch.float64)) == (part == "fusion")
    assert (record.coefficients["lambda:b"] == 1).item() == (part == "minmax")
    assert (record.coefficients["rho"] == 1).item() == (part == "minmax")
    assert all(torch.equal(shown[m], features[m]) for m in "ab") == (part == "resampling")


@pytest.mark.parametrize(
    ("other", "bare"),
    [(Uniform, {"minmax": False}), (SeparatedGradients, {"gamma": 0.0, "smoothing": 0.0})],
    ids=["without its loss: uniform", "where a sum over modalities says it all: separated gradients"],
)
def test_without_its_parts_arm_is_a_simpler_method_bit_for_bit(
    other: type[Method], bare: dict[str, Any], make_model: Make, make_batches: Make
) -> None:
    """So under one rule, ARM gains over separated gradients by its fusion, weights, re-sampling and smoothing only."""
    batches = make_batches(2)
    found = []
    for method in (other(), ARM(fusion=False, resampling=False, **bare)):
        model = make_model(2)
        model.fusion = method.prepare(model, torch.cat([b.target for b in batches])).fusion
        record = run(method, model, batches, steps=3 * len(batches))
        assert record.coefficients.get("rho", 0) == (other is Uniform and isinstance(method, ARM))
        found.append(model(batches[0].inputs))
    assert torch.equal(found[0].logits, found[1].logits)
    assert all(torch.equal(found[0].unimodal_logits[m], found[1].unimodal_logits[m]) for m in "ab")


@pytest.mark.parametrize("tau", [0.0, 0.3, 1.0])
def test_fusion_weights_have_mean_one_and_fall_with_the_contribution(tau: float) -> None:
    phi = torch.tensor([0.9, 0.3, -0.2, 0.0])
    w = fusion_weights(phi, entropy=1.5, tau=tau)
    assert w.mean().item() == pytest.approx(1)
    if tau == 0:
        assert torch.equal(w, torch.ones(4))
    else:
        assert w[0] < w[1] < w[3]
        assert w[2] == w[3], "a negative contribution counts as none"
    torch.testing.assert_close(fusion_weights(7 * phi, 7 * 1.5, tau), w, msg="only shares of H(Y) matter")
    torch.testing.assert_close(fusion_weights(torch.full((3,), 0.4), 1.0, tau), torch.ones(3))


def test_reinforcement_is_at_least_one_and_one_for_the_strongest() -> None:
    lam = reinforcement(torch.tensor([0.8, 0.2, -0.1]), entropy=2.0, gamma=2.0)
    assert lam.tolist() == pytest.approx([1.0, 1.6, 1.9])
    loss = BalancedMinMaxLoss(gamma=0.0)
    value = loss(
        torch.tensor(1.0), {"a": torch.tensor(2.0), "b": torch.tensor(3.0)}, torch.tensor([0.5, 0.1]), entropy=1.0
    )
    assert value.item() == 6.0, "gamma = 0 is the sum of cross-entropies"


def test_synergy_is_what_no_sum_over_modalities_can_say() -> None:
    known = [(0.0, 0.5), (0.3, 0.5), (0.5, 0.5), (0.6, 0.5), (0.0, 0.0), (-0.2, 0.2), (0.05, -0.3)]
    additive, fused = torch.tensor(known).T
    assert synergy_share(additive, fused, entropy=2.0).tolist() == pytest.approx([1, 0.4, 0, 0, 1, 1, 0.75])
    assert synergy_share(torch.tensor(0.1), torch.tensor(0.15), entropy=2.0, eps=0.2).item() == pytest.approx(0.75)


@pytest.mark.parametrize("probe", [0.0, 3.0])
def test_the_share_comes_from_averages_of_the_better_sum_over_modalities(
    probe: float, make_model: Make, make_batches: Make
) -> None:
    """A probe without information loses to the product of the unimodal heads, which is a sum over modalities, too."""
    batches = make_batches(2, dtype=torch.float64)
    model, method = set_up(make_model, batches, resampling=False)
    assert method.loss.share() == 0, "own losses come first"
    y = batches[0].target
    with torch.no_grad():
        method.probes.weight.zero_()
        method.probes.bias[0] = torch.tensor([0.0, probe, 0.0])
    features = {m: z.detach() for m, z in model.encode(batches[0].inputs).items()}
    counts = torch.cat([b.target for b in batches]).bincount().double()
    prior = -(counts / counts.sum() * (counts / counts.sum()).log()).sum()
    product = torch.stack([model.head(m)(z) for m, z in features.items()]).log_softmax(-1).sum(0)
    levels = [nn.functional.cross_entropy(x, y).item() for x in (method.probes(features)[0], product)]
    assert (levels[0] < levels[1]) == (probe == 0)
    (record,) = method.steps(model, batches[0])
    measured = torch.stack([prior - min(levels), prior - record.parts["fused"]]) / prior
    expected = 0.95 * torch.tensor([0.3, 0.0]) + 0.05 * measured
    torch.testing.assert_close(method.loss.known, expected, atol=1e-6, rtol=1e-5)
    assert record.coefficients["rho"] == 0, "of the steps before"
    with torch.no_grad():
        method.loss.known[0] = 0.05
    (second,) = method.steps(model, batches[1])
    wanted = synergy_share(method.entropy * torch.tensor(0.05), method.entropy * expected[1], method.entropy)
    torch.testing.assert_close(second.coefficients["rho"], wanted, atol=1e-5, rtol=1e-5)


def test_if_own_losses_teach_nothing_the_fused_one_is_let_in_after_twenty_to_fifty_steps() -> None:
    loss = BalancedMinMaxLoss()
    shares = []
    for _ in range(60):
        shares.append(loss.share().item())
        loss.observe(torch.tensor(0.0), torch.tensor(0.0), entropy=2.0)
    opens = next(k for k, share in enumerate(shares) if share > 0)
    assert opens == 22  # .3 * .95^k < .1
    assert shares[50] > 0.7


def test_asymmetric_fusion_scales_inputs_of_any_fusion_and_is_saved() -> None:
    inner = Concat({"a": 2, "b": 3}, 4)
    fusion = AsymmetricFusion(inner)
    features = {"a": torch.randn(5, 2), "b": torch.randn(5, 3)}
    assert torch.equal(fusion(features), inner(features))
    fusion.update(torch.tensor([1.0, 0.2]), entropy=1.0, tau=1.0)
    w = fusion.weights
    torch.testing.assert_close(fusion(features), inner({"a": w[0] * features["a"], "b": w[1] * features["b"]}))
    torch.testing.assert_close(torch.stack(list(fusion.slice_logits(features).values())).sum(0), fusion(features))
    twin = AsymmetricFusion(Concat({"a": 2, "b": 3}, 4))
    twin.load_state_dict(fusion.state_dict())
    assert torch.equal(twin(features), fusion(features))


def test_the_resampler_takes_away_in_proportion_to_the_contribution() -> None:
    torch.manual_seed(0)
    resampler = ContributionResampler(rate=0.4)
    lost = resampler.draw(40_000, torch.tensor([0.5, 0.2, -0.3]), entropy=1.0)
    assert lost.sum(1).max() == 1, "a sample loses one modality at most"
    expected = 0.4 * torch.tensor([0.52, 0.22, 0.02]) / 0.76
    torch.testing.assert_close(lost.double().mean(0).float(), expected, atol=0.01, rtol=0)


def test_the_floor_of_a_contribution_is_a_share_of_the_entropy() -> None:
    torch.manual_seed(0)
    lost = ContributionResampler(rate=1.0).draw(40_000, torch.tensor([0.5, 0.0]), entropy=3.0)
    torch.testing.assert_close(lost.double().mean(0), torch.tensor([0.56, 0.06]).double() / 0.62, atol=0.01, rtol=0)


def test_the_resamplers_rate_is_a_share() -> None:
    assert ContributionResampler().rate == 0.3
    for rate in (-0.1, 1.1):
        with pytest.raises(ConfigError, match="should be in"):
            ContributionResampler(rate)
    shown = ContributionResampler(1.0)({"a": torch.tensor([[0.0], [1.0]])}, torch.ones(1), entropy=1.0)
    assert shown["a"].tolist() == [[0.5], [0.5]], "two samples are enough"


def test_the_resampler_takes_contributions_of_each_sample_too() -> None:
    torch.manual_seed(0)
    phi = torch.tensor([[5.0, 0.0], [0.0, 5.0]]).repeat(500, 1)
    lost = ContributionResampler(rate=1.0, eps=0.0).draw(1000, phi, entropy=1.0)
    assert torch.equal(lost, phi > 0)


def test_what_is_lost_is_the_mean_and_the_rest_is_as_it_was() -> None:
    torch.manual_seed(0)
    features = {"a": torch.randn(64, 3, requires_grad=True), "b": torch.randn(64, 5, requires_grad=True)}
    resampler = ContributionResampler(rate=0.5)
    torch.manual_seed(1)
    shown = resampler(features, torch.tensor([0.3, 0.3]), entropy=1.0)
    torch.manual_seed(1)
    lost = resampler.draw(64, torch.tensor([0.3, 0.3]), entropy=1.0)
    for k, (m, z) in enumerate(features.items()):
        gone = lost[:, k]
        assert gone.any()
        assert torch.equal(shown[m][~gone], z[~gone])
        torch.testing.assert_close(shown[m][gone], z.mean(0).expand(int(gone.sum()), -1))
    sum(x.sum() for x in shown.values()).backward()  # type: ignore[union-attr]
    for k, z in enumerate(features.values()):
        assert z.grad is not None
        assert torch.equal(z.grad.abs().sum(1) == 0, lost[:, k])


def test_a_lone_sample_loses_nothing_and_a_rate_of_zero_draws_nothing() -> None:
    alone = {m: torch.randn(1, 3, requires_grad=True) for m in "ab"}
    shown = ContributionResampler(rate=1.0)(alone, torch.tensor([0.3, 0.3]), entropy=1.0)
    torch.stack(list(shown.values())).sum().backward()
    for m, z in alone.items():
        assert torch.equal(shown[m], z)
        assert z.grad is not None
        assert (z.grad == 1).all(), "not even its gradient"
    state = torch.get_rng_state()
    ContributionResampler(rate=0.0)({"a": torch.ones(4, 3)}, torch.ones(1), entropy=1.0)
    assert torch.equal(torch.get_rng_state(), state)


def test_no_prediction_depends_on_labels_or_batch_mates(make_model: Make, make_batches: Make) -> None:
    """The authors' release computes its fusion weights from the batch's true labels, at test time too."""
    batches = make_batches(2, dtype=torch.float64)
    model, method = set_up(make_model, batches)
    run(method, model, batches)
    inputs = batches[0].inputs
    whole = predict(model, inputs)
    shuffled = torch.randperm(len(whole))
    torch.testing.assert_close(predict(model, {m: x[shuffled] for m, x in inputs.items()}), whole[shuffled])
    torch.testing.assert_close(predict(model, {m: x[:1] for m, x in inputs.items()}), whole[:1])


@pytest.mark.parametrize(("task", "outputs"), [("multilabel", 3), ("regression", 2)])
def test_other_tasks(task: str, outputs: int, make_model: Make, make_batches: Make) -> None:
    model = make_model(2, task=task, outputs=outputs)
    batches = []
    for batch in make_batches(2):
        code = nn.functional.one_hot(batch.target, 3)[:, :outputs]
        target = code if task == "multilabel" else code.float() * 2 - 1
        batches.append(Batch(batch.inputs, target, batch.index))
    method = ARM()
    model.fusion = method.prepare(model, torch.cat([b.target for b in batches])).fusion
    first = next(iter(method.steps(model, batches[0]))).loss.item()
    model.zero_grad()
    last = run(method, model, batches, steps=60).loss.item()
    assert last < first
    assert method.phi[0] > method.phi[1]
    before = method.phi.clone()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        list(method.steps(model, batches[0]))
    assert method.phi.dtype == torch.float32
    assert (method.phi != before).all()


def test_contributions_are_a_moving_average_from_nothing_and_records_keep_what_they_said(
    make_model: Make, make_batches: Make
) -> None:
    batches = make_batches(2, dtype=torch.float64)
    model, method = set_up(make_model, batches, decay=0.9, resampling=False)
    assert method.phi.tolist() == [0, 0]
    with torch.no_grad():
        method.probes.weight.normal_(generator=torch.Generator().manual_seed(5))
    features = {m: z.detach() for m, z in model.encode(batches[0].inputs).items()}
    nll = -model.task.log_likelihood(method.probes(features), batches[0].target).detach()
    expected = 0.1 * (nll[1:] - nll[0]).mean(-1)
    (first,) = method.steps(model, batches[0])
    said = {name: float(value) for name, value in first.coefficients.items()}
    assert [said["phi:a"], said["phi:b"]] == pytest.approx(expected.tolist(), rel=1e-5)
    assert [said["w:a"], said["w:b"]] == pytest.approx(
        fusion_weights(method.phi, method.entropy, method.tau).tolist(), rel=1e-6
    )
    assert float(first.parts["probes"]) == pytest.approx(float(nll.mean(-1).sum()), rel=1e-6)
    for batch in batches[1:]:
        list(method.steps(model, batch))
    assert {name: float(value) for name, value in first.coefficients.items()} == said


def test_probes_learn_from_the_sum_of_their_cross_entropies(make_model: Make, make_batches: Make) -> None:
    (batch,) = make_batches(2, batches=1, dtype=torch.float64)
    model, method = set_up(make_model, [batch], resampling=False)
    list(method.steps(model, batch))
    found = [p.grad.clone() for p in method.probes.parameters()]
    features = {m: z.detach() for m, z in model.encode(batch.inputs).items()}
    nll = -model.task.log_likelihood(method.probes(features), batch.target)
    loss = sum(head.sum() / len(batch) for head in nll)
    for mine, expected in zip(found, torch.autograd.grad(loss, list(method.probes.parameters())), strict=True):
        torch.testing.assert_close(mine, expected)


def test_the_loss_weighs_by_twice_the_gap_unless_told_and_lets_no_gradient_through_its_weights() -> None:
    phi = torch.tensor([1.0, 0.5], requires_grad=True)
    weights = BalancedMinMaxLoss().weights(phi, entropy=2.0)
    assert weights.tolist() == [1.0, 1.5]
    assert not weights.requires_grad


def test_for_regression_the_sum_over_modalities_is_the_mean_of_the_heads(make_model: Make, make_batches: Make) -> None:
    model = make_model(2, task="regression", outputs=2, dtype=torch.float64)
    (plain,) = make_batches(2, batches=1, dtype=torch.float64)
    batch = Batch(plain.inputs, nn.functional.one_hot(plain.target, 3)[:, :2].double() - 5, plain.index)
    method = ARM()
    model.fusion = method.prepare(model, batch.target).fusion
    method.double()
    features = {m: z.detach() for m, z in model.encode(batch.inputs).items()}
    mean = torch.stack([model.head(m)(z) for m, z in features.items()]).mean(0)
    with torch.no_grad():
        method.probes.bias.fill_(9.0)  # a probe that knows less than nothing
    constant = model.task.loss(batch.target.mean(0).expand_as(batch.target), batch.target)
    list(method.steps(model, batch))
    expected = 0.95 * 0.3 + 0.05 * (constant - model.task.loss(mean, batch.target)) / 2
    torch.testing.assert_close(method.loss.known[0], expected.detach(), atol=1e-6, rtol=1e-6)
