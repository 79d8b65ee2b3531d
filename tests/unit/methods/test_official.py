"""The released forms: each differs from its method in exactly what it says, and the two forms of DGL."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from counterpoise.methods import (
    AGM,
    DGL,
    LFM,
    MLA,
    PMR,
    EpochContext,
    Joint,
    SeparatedGradients,
    Uniform,
    UnimodalEnsemble,
)
from counterpoise.methods.replicas.official import ARLOfficial, LFMOfficial, MLAOfficial, PMROfficial
from counterpoise.methods.replicas.toolkit import AGMToolkit, MMParetoToolkit


def test_pmr_released_is_a_hard_switch(warm: Any, tools: Any) -> None:
    model, batches = warm(2)
    boosts = {}
    for method in (PMR(share=1.0, entropy=0.0), PMROfficial(share=1.0)):
        tools.prepare(method, model, batches)
        method.on_epoch_start(model, EpochContext(0, 9, train=lambda: batches))
        (record,) = method.steps(model, batches[0])
        assert "entropy" not in record.parts
        boosts[type(method)] = [record.coefficients[f"beta:{m}"].item() for m in "ab"]
    assert boosts[PMROfficial] == [0, 1]
    assert boosts[PMR][0] == 0
    assert 0 < boosts[PMR][1] < 1


def test_agm_of_the_toolkit_speeds_the_stronger_modality_up(make_model: Any, make_batches: Any, tools: Any) -> None:
    model, batches = make_model(2), make_batches(2)
    scores = torch.tensor([0.2, 1.5])
    for method, faster in ((AGM(strength=0.1), False), (AGMToolkit(), True)):
        tools.prepare(method, model, batches)
        method.usual.fill_(1.0)
        assert bool(method.coefficients(scores)[0] > 1) is faster


def test_mla_released_is_mla_without_projection(make_model: Any, make_batches: Any, tools: Any) -> None:
    batches, states = make_batches(2), []
    for method in (MLA(project=False), MLAOfficial()):
        model = make_model(2)
        tools.prepare(method, model, batches)
        tools.run(method, model, batches, epochs=2)
        states.append(model.state_dict())
    assert all(torch.equal(v, states[1][k]) for k, v in states[0].items())


def test_mmpareto_of_the_toolkit_is_uniform_training_with_a_factor(warm: Any, tools: Any) -> None:
    model, batches = warm(3, epochs=3)
    list(MMParetoToolkit().steps(model, batches[0]))
    grads = {m: tools.grads(model, m) for m in "abc"}
    model.zero_grad()
    list(Uniform().steps(model, batches[0]))
    for m in "abc":
        for g, e in zip(grads[m], tools.grads(model, m), strict=True):
            torch.testing.assert_close(g, 3 * e)


def test_lfm_released_has_no_upper_bound() -> None:
    far = torch.tensor([[[40.0, 0.0]], [[0.0, 40.0]]])
    assert LFM().divergence(far) < 0.694
    assert LFMOfficial().divergence(far) > 10
    near = torch.zeros(2, 3, 4)
    assert LFMOfficial().divergence(near) == 0


@pytest.mark.parametrize("modalities", [2, 3])
def test_arl_released_is_multitask_training_with_a_factor(modalities: int, warm: Any, tools: Any) -> None:
    model, batches = warm(modalities, epochs=3)
    method = tools.prepare(ARLOfficial(gamma=2.0, start=0), model, batches)
    list(method.steps(model, batches[0]))
    grads = {m: tools.grads(model, m) for m in model.modalities}
    model.zero_grad()
    list(Uniform(strength=2.0).steps(model, batches[0]))
    for m in model.modalities:
        for g, e in zip(grads[m], tools.grads(model, m), strict=True):
            torch.testing.assert_close(g, (1 + 1 / modalities) * e)


def test_separated_gradients_train_the_encoders_of_the_unimodal_ensemble_and_a_fused_head_on_them(
    make_model: Any, make_batches: Any, tools: Any
) -> None:
    batches, one, two = make_batches(3), make_model(3), make_model(3)
    start = [p.detach().clone() for p in one.fusion.parameters()]
    tools.run(SeparatedGradients(), one, batches, epochs=3)
    tools.run(UnimodalEnsemble(), two, batches, epochs=3)
    for m in "abc":
        for part in ("encoder", "head"):
            pairs = zip(getattr(one, part)(m).parameters(), getattr(two, part)(m).parameters(), strict=True)
            assert all(torch.equal(p, q) for p, q in pairs)
    assert not any(torch.equal(p, q) for p, q in zip(start, one.fusion.parameters(), strict=True))


@pytest.mark.parametrize("kind", [DGL, SeparatedGradients])
def test_half_the_strength_is_the_mean_of_both_gradients(kind: Any, warm: Any, tools: Any) -> None:
    model, batches = warm(2, epochs=3)
    grads = []
    for method in (kind(strength=0.5), kind(), Joint()):
        model.zero_grad()
        list(method.steps(model, batches[0]))
        grads.append(tools.grads(model, "b"))
    for half, own, joint in zip(*grads, strict=True):
        torch.testing.assert_close(half, (own + joint) / 2)


@pytest.mark.parametrize(("modalities", "alpha"), [(2, 3.0), (3, 0.5)])
def test_dgl_one_step_by_numpy(modalities: int, alpha: float, make_model: Any, make_batches: Any, tools: Any) -> None:
    """Encoders get alpha times the fused head's loss on one modality, with its bias; the fused head its own loss."""
    model, batches = make_model(modalities, dtype=torch.float64), make_batches(modalities, dtype=torch.float64)
    batch, y = batches[0], np.eye(3)[batches[0].target.numpy()]
    h = tools.features(model, batch)
    weight, bias = (p.detach().numpy() for p in model.fusion.parameters())

    def residual(z: np.ndarray) -> np.ndarray:
        return (tools.softmax(z) - y) / len(y)

    list(tools.prepare(DGL(alpha=alpha), model, batches).steps(model, batch))
    whole = np.concatenate(list(h.values()), 1)
    expected = residual(whole @ weight.T + bias)
    np.testing.assert_allclose(model.fusion.head.weight.grad.numpy(), expected.T @ whole, atol=1e-12)
    np.testing.assert_allclose(model.fusion.head.bias.grad.numpy(), expected.sum(0), atol=1e-12)
    for k, m in enumerate(model.modalities):
        part = weight[:, 8 * k : 8 * k + 8]
        at_features = alpha * residual(h[m] @ part.T + bias) @ part  # then through the encoder's last layer
        hidden = model.encoder(m)[:2](batch.inputs[m]).detach().numpy()
        np.testing.assert_allclose(model.encoder(m)[2].weight.grad.numpy(), at_features.T @ hidden, atol=1e-12)
        own = tools.softmax(tools.heads(model, batch)[m]) - y
        np.testing.assert_allclose(model.head(m).weight.grad.numpy(), own.T @ h[m] / len(y), atol=1e-12)


@pytest.mark.parametrize("modalities", [2, 3])
def test_lfm_released_divergence_by_numpy(modalities: int, tools: Any) -> None:
    z = np.random.default_rng(0).standard_normal((modalities, 5, 4))
    p = tools.softmax(z)
    mean = p.mean(0)
    expected = np.mean([(mean * np.log(mean / q)).sum(1).mean() for q in p])
    assert LFMOfficial().divergence(torch.from_numpy(z)).item() == pytest.approx(expected)


def test_agm_of_the_toolkit_by_hand(make_model: Any, make_batches: Any, tools: Any) -> None:
    """exp(alpha min(cap, r(usual) - r(now))) with r = exp(M / (M - 1) (s_m - mean)), whose sign is reversed."""
    model, batches = make_model(3), make_batches(3)
    scores, usual = np.array([0.2, 1.5, 0.4]), np.array([0.9, 1.1, 4.0])
    change = np.exp(1.5 * (usual - usual.mean())) - np.exp(1.5 * (scores - scores.mean()))
    assert 7 < change.max() < 100
    for cap in (7.0, 2.0, 100.0):
        method = tools.prepare(AGMToolkit(strength=0.2, cap=cap), model, batches)
        method.usual.copy_(torch.from_numpy(usual))
        coefficients = method.coefficients(torch.from_numpy(scores).float())
        assert coefficients.tolist() == pytest.approx(np.exp(0.2 * np.minimum(change, cap)).tolist(), rel=1e-5)


def test_mmpareto_of_the_toolkit_says_that_both_weigh_the_same(warm: Any) -> None:
    model, batches = warm(2, epochs=3)
    (record,) = MMParetoToolkit().steps(model, batches[0])
    assert [record.coefficients[f"alpha:{m}"].item() for m in "ab"] == [0.5, 0.5]
