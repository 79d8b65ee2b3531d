"""MLB, TCMax, PCGrad and uncertainty weighting: one step by NumPy or autograd, and the identities of their papers."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
import torch

from counterpoise.errors import ModelError
from counterpoise.methods import MLB, Joint, PCGrad, TCMax, UncertaintyWeighting, Uniform
from counterpoise.methods._mlb import balancing_factors
from counterpoise.methods._pcgrad import projected_sum
from counterpoise.methods._tcmax import total_correlation_loss


def gradients(method: Any, model: Any, batch: Any, tools: Any) -> dict[str, list[torch.Tensor]]:
    model.zero_grad()
    list(method.steps(model, batch))
    return {m: tools.grads(model, m) for m in model.modalities}


@pytest.mark.parametrize("modalities", [2, 3])
def test_mlb_is_uniform_training_times_its_factors(modalities: int, warm: Any, tools: Any) -> None:
    model, batches = warm(modalities, epochs=3)
    batch, y = batches[0], batches[0].target.numpy()
    scores = {m: tools.softmax(z)[np.arange(len(y)), y].mean() for m, z in tools.heads(model, batch).items()}
    kappa = {}
    for m, s in scores.items():
        rho = np.mean([v for k, v in scores.items() if k != m]) / s
        kappa[m] = 1 + np.tanh(0.8 * (rho - 1))
    grads = gradients(tools.prepare(MLB(), model, batches), model, batch, tools)
    uniform = gradients(Uniform(), model, batch, tools)
    for m in model.modalities:
        for g, e in zip(grads[m], uniform[m], strict=True):
            torch.testing.assert_close(g, kappa[m] * e)
    assert min(kappa.values()) < 1 < max(kappa.values())


def test_mlb_without_alpha_is_uniform_training_bit_for_bit(make_model: Any, make_batches: Any, tools: Any) -> None:
    one, two, batches = make_model(2), make_model(2), make_batches(2)
    list(tools.prepare(MLB(alpha=0.0), one, batches).steps(one, batches[0]))
    list(Uniform().steps(two, batches[0]))
    for p, q in zip(one.parameters(), two.parameters(), strict=True):
        assert torch.equal(p.grad, q.grad)
    assert balancing_factors(torch.tensor([0.3, 0.3, 0.3]), 5.0).tolist() == [1, 1, 1]


@pytest.mark.parametrize("modalities", [2, 3])
def test_tcmax_loss_by_brute_force(modalities: int) -> None:
    """Over all combinations of samples, one by one."""
    z = np.random.default_rng(0).normal(size=(modalities, 4, 3))
    y = np.array([0, 2, 1, 1])
    total = sum(
        np.exp(sum(z[m, j] for m, j in enumerate(combination))).sum()
        for combination in product(range(4), repeat=modalities)
    )
    expected = -np.mean(z.sum(0)[np.arange(4), y]) + np.log(total) - np.log(4**modalities * 3)
    loss = total_correlation_loss(torch.from_numpy(z), torch.from_numpy(y))
    assert loss.item() == pytest.approx(expected)


def test_tcmax_identities() -> None:
    z, y = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2, 0, 1])
    one = total_correlation_loss(z[:, :1], y[:1])
    expected = torch.nn.functional.cross_entropy(z[:, :1].sum(0), y[:1]) - np.log(3)
    torch.testing.assert_close(one, expected.float())
    torch.testing.assert_close(total_correlation_loss(z + 7.0, y), total_correlation_loss(z, y), atol=1e-5, rtol=0)
    assert total_correlation_loss(300 * z, y).isfinite()


def test_tcmax_takes_the_place_of_the_fused_loss(make_model: Any, make_batches: Any, tools: Any) -> None:
    model, batches = make_model(3, dtype=torch.float64), make_batches(3, dtype=torch.float64)
    grads = gradients(tools.prepare(TCMax(), model, batches), model, batches[0], tools)
    model.zero_grad()
    features = model.encode(batches[0].inputs)
    slices = torch.stack(list(model.fusion.slice_logits(features).values()))
    total_correlation_loss(slices, batches[0].target).backward()
    for m in model.modalities:
        for g, e in zip(grads[m], tools.grads(model, m), strict=True):
            torch.testing.assert_close(g, e)
    with pytest.raises(ModelError, match="additive"):
        TCMax().prepare(make_model(2, fusion="gated"), torch.zeros(3, dtype=torch.long))


def test_pcgrad_projects_conflicts_only() -> None:
    joint, own = [torch.tensor([1.0, 0.0]), torch.tensor([2.0])], [torch.tensor([-1.0, 3.0]), torch.tensor([-1.0])]
    flat = [np.concatenate([t.numpy() for t in part]) for part in (joint, own)]
    dot = flat[0] @ flat[1]
    assert dot < 0
    first = flat[0] - dot / (flat[1] @ flat[1]) * flat[1]
    second = flat[1] - dot / (flat[0] @ flat[0]) * flat[0]
    assert first @ flat[1] == pytest.approx(0, abs=1e-6)
    combined, _ = projected_sum(joint, own)
    np.testing.assert_allclose(torch.cat(combined).numpy(), first + second, rtol=1e-6)
    agreeing, weight = projected_sum([torch.tensor([1.0, 1.0])], [torch.tensor([0.0, 2.0])])
    assert agreeing[0].tolist() == [1, 3]
    assert weight == 0.5
    nothing, weight = projected_sum([torch.zeros(2)], [torch.zeros(2)])
    assert nothing[0].tolist() == [0, 0]
    assert weight == 0.5


def test_pcgrad_by_autograd(warm: Any, tools: Any) -> None:
    model, batches = warm(2, epochs=3)
    grads = gradients(PCGrad(strength=0.7), model, batches[0], tools)
    joint = gradients(Joint(), model, batches[0], tools)
    both = gradients(Uniform(strength=0.7), model, batches[0], tools)
    for m in model.modalities:
        own = [b - j for b, j in zip(both[m], joint[m], strict=True)]
        expected, _ = projected_sum(joint[m], own)
        for g, e in zip(grads[m], expected, strict=True):
            torch.testing.assert_close(g, e)


def test_uncertainty_weighting_starts_as_uniform_training_and_then_weighs(
    make_model: Any, make_batches: Any, tools: Any
) -> None:
    one, two = (make_model(2, dtype=torch.float64) for _ in range(2))
    batches = make_batches(2, dtype=torch.float64)
    method = tools.prepare(UncertaintyWeighting(), one, batches)
    grads, uniform = (gradients(x, model, batches[0], tools) for x, model in ((method, one), (Uniform(), two)))
    for m in "ab":
        for g, e in zip(grads[m], uniform[m], strict=True):
            torch.testing.assert_close(g, e)
    outputs = one(batches[0].inputs)
    losses = [one.task.loss(z, batches[0].target).item() for z in outputs.experts()]
    s = torch.tensor([0.5, -1.0, 2.0])
    with torch.no_grad():
        method.log_variance.copy_(s)
    method.zero_grad()
    grads = gradients(method, one, batches[0], tools)
    expected = [0.5 - np.exp(-v) * loss for v, loss in zip(s.tolist(), losses, strict=True)]
    assert method.log_variance.grad.tolist() == pytest.approx(expected)
    two.zero_grad()
    outputs = two(batches[0].inputs)
    sum(
        np.exp(-v) * two.task.loss(z, batches[0].target) for v, z in zip(s.tolist(), outputs.experts(), strict=True)
    ).backward()
    for m in "ab":
        for g, e in zip(grads[m], tools.grads(two, m), strict=True):
            torch.testing.assert_close(g, e)


def test_uncertainty_weighting_at_its_optimum(make_model: Any, make_batches: Any, tools: Any) -> None:
    """exp(s) = 2 L, where the gradient of s is 0; also for real targets, per output."""
    model, batches = make_model(2), make_batches(2)
    method = tools.prepare(UncertaintyWeighting(), model, batches)
    losses = torch.stack([model.task.loss(z, batches[0].target) for z in model(batches[0].inputs).experts()])
    with torch.no_grad():
        method.log_variance.copy_((2 * losses).log())
    list(method.steps(model, batches[0]))
    assert method.log_variance.grad.abs().max() < 1e-6
