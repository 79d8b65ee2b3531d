"""ARM's parts against independent derivations, and the faults of the authors' release as tests that they would fail."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from counterpoise.fusion import Concat
from counterpoise.inference import predict
from counterpoise.methods import (
    ARM,
    AsymmetricFusion,
    BalancedMinMaxLoss,
    ContributionProbes,
    ContributionResampler,
    Uniform,
)
from counterpoise.methods.arm import fusion_weights, reinforcement

Make = Callable[..., Any]


def set_up(make_model: Make, batches: Any, modalities: int = 2, **arguments: Any) -> tuple[Any, ARM]:
    model = make_model(modalities, dtype=torch.float64)
    method = ARM(**arguments)
    method.setup(model, torch.cat([b.target for b in batches]))
    return model, method.double()


def run(method: ARM, model: Any, batches: Any, steps: int = 40, lr: float = 1e-2) -> Any:
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
    model, method = set_up(make_model, batches, modalities)
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
    unimodal = {
        m: ce(h @ model.head(m).weight.detach().numpy().T + model.head(m).bias.detach().numpy()).mean()
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
    gap = np.stack([probe(i + 1, i) - every for i in range(modalities)], 1)
    np.testing.assert_allclose(
        method.resampler.gap[batch.index].numpy(), gap.max(1) - gap.mean(1), rtol=1e-6, atol=1e-12
    )


def test_encoder_gradient_is_fused_plus_lambda_times_unimodal(make_model: Make, make_batches: Make) -> None:
    batches = make_batches(2, dtype=torch.float64)
    model, method = set_up(make_model, batches)
    with torch.no_grad():
        method.phi.copy_(torch.tensor([0.6, 0.1]))
    (record,) = method.steps(model, batches[0])
    for m in "ab":
        twin = make_model(2, dtype=torch.float64)
        features = twin.encode(batches[0].inputs)
        weighted = {k: z * w for (k, z), w in zip(features.items(), model.fusion.weights, strict=True)}
        loss = nn.functional.cross_entropy(twin.fusion(weighted), batches[0].target)
        own = nn.functional.cross_entropy(twin.head(m)(features[m]), batches[0].target)
        (loss + record.coefficients[f"lambda:{m}"] * own).backward()
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


@pytest.mark.parametrize("part", ["fusion", "minmax", "resampling"])
def test_every_part_can_be_switched_off(part: str, make_model: Make, make_batches: Make) -> None:
    batches = make_batches(2, dtype=torch.float64)
    model, method = set_up(make_model, batches, **{part: False})
    record = run(method, model, batches)
    order = torch.arange(len(method.resampler.gap))
    again = method.resample(order, torch.Generator().manual_seed(0))
    assert torch.equal(model.fusion.weights, torch.ones(2, dtype=torch.float64)) == (part == "fusion")
    assert (record.coefficients["lambda:b"] == 1).item() == (part == "minmax")
    assert torch.equal(again, order) == (part == "resampling")


def test_without_its_parts_arm_is_uniform_multitask_bit_for_bit(make_model: Make, make_batches: Make) -> None:
    batches = make_batches(2)
    results = []
    for method in (Uniform(), ARM(fusion=False, minmax=False, resampling=False)):
        model = make_model(2)
        method.setup(model, torch.cat([b.target for b in batches]))
        optimizer = torch.optim.Adam([*model.parameters(), *method.parameters()], lr=1e-2)
        for batch in batches * 3:
            for _ in method.steps(model, batch):
                optimizer.step()
                optimizer.zero_grad()
        results.append([p for m in "ab" for p in model.encoder(m).parameters()])
    assert all(torch.equal(p, q) for p, q in zip(*results, strict=True))


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


def test_the_resampler_draws_in_proportion_to_the_gap_and_keeps_the_length() -> None:
    n = 2000
    resampler = ContributionResampler(n, rate=0.5)
    phi = torch.zeros(n, 2)
    phi[:500, 0] = 2.0  # gap 1
    phi[500:1000, 1] = 1.0  # gap 0.5
    resampler.update(torch.arange(n), phi)
    drawn = torch.zeros(n)
    for epoch in range(20):
        generator = torch.Generator().manual_seed(epoch)
        order = torch.randperm(n, generator=generator)
        again = resampler(order, generator)
        assert len(again) == n
        drawn += torch.bincount(again, minlength=n)
    share = drawn.view(4, 500).sum(1) / drawn.sum()
    # half of each epoch stays (1/8 per quarter), half is drawn 2 : 1 : 0 : 0
    torch.testing.assert_close(share, torch.tensor([1 / 8 + 1 / 3, 1 / 8 + 1 / 6, 1 / 8, 1 / 8]), atol=0.01, rtol=0)


def test_the_resampler_keeps_to_what_an_epoch_may_use() -> None:
    """Held-out samples are not in the order, so they are not drawn, whatever their gap."""
    resampler = ContributionResampler(10, rate=1.0)
    resampler.update(torch.arange(10), torch.stack([torch.arange(10.0), torch.zeros(10)], 1))
    order = torch.tensor([0, 1, 2, 3])
    assert set(resampler(order, torch.Generator().manual_seed(0)).tolist()) <= set(order.tolist())


def test_an_unseen_training_set_is_left_in_its_order() -> None:
    order = torch.randperm(6)
    assert torch.equal(ContributionResampler(6, rate=0.5)(order, torch.Generator()), order)


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
    from counterpoise.records import Batch

    model = make_model(2, task=task, outputs=outputs)
    batches = []
    for batch in make_batches(2):
        code = nn.functional.one_hot(batch.target, 3)[:, :outputs]
        target = code if task == "multilabel" else code.float() * 2 - 1
        batches.append(Batch(batch.inputs, target, batch.index))
    method = ARM()
    method.setup(model, torch.cat([b.target for b in batches]))
    first = next(iter(method.steps(model, batches[0]))).loss.item()
    model.zero_grad()
    last = run(method, model, batches, steps=60).loss.item()
    assert last < first
    assert method.phi[0] > method.phi[1]
