"""MMPareto: min-norm point by search, conflicting gradients by hand, heads unchanged; the toolkit's bug fails here."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from counterpoise.methods import Joint, MMPareto, Uniform
from counterpoise.methods._mmpareto import min_norm, pareto_gradient
from counterpoise.model import MultimodalClassifier


def test_min_norm_is_the_shortest_convex_combination() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        a, b = rng.standard_normal((2, 5))
        grid = np.linspace(0, 1, 100_001)
        lengths = np.linalg.norm(np.outer(grid, a) + np.outer(1 - grid, b), axis=1)
        alpha = min_norm(
            [torch.from_numpy(a[:2]), torch.from_numpy(a[2:])], [torch.from_numpy(b[:2]), torch.from_numpy(b[2:])]
        )
        assert alpha.item() == pytest.approx(grid[lengths.argmin()], abs=2e-5)


def test_two_conflicting_gradients_by_hand() -> None:
    """g_J = (2, 0), g_m = (-1, 1): alpha = (g_m - g_J).g_m / |g_J - g_m|^2 = (3 + 1) / 10 = 0.4."""
    joint, own = torch.tensor([2.0, 0.0]), torch.tensor([-1.0, 1.0])
    (d,), alpha = pareto_gradient([joint], [own], gamma=1.5)
    assert alpha.item() == pytest.approx(0.4)
    direction = 0.8 * joint + 1.2 * own  # (0.4, 1.2), length sqrt(1.6); the sum (1, 1) has length sqrt(2)
    torch.testing.assert_close(d, 1.5 * (2 / 1.6) ** 0.5 * direction)
    (short,), _ = pareto_gradient([0.1 * joint], [0.1 * own], gamma=1.5)
    torch.testing.assert_close(short, 0.1 * d)
    assert d @ joint > 0
    assert d @ own > 0

    def released(joint: torch.Tensor, own: torch.Tensor) -> torch.Tensor:
        """The toolkit does not clear between the passes, so both gradients are the sum, which has no conflict."""
        both = joint + own
        (combined,), _ = pareto_gradient([both], [both], gamma=1.5)
        return combined

    torch.testing.assert_close(released(joint, own), 3 * (joint + own))
    strong = torch.tensor([-4.0, 1.0])
    (d,), _ = pareto_gradient([joint], [strong], gamma=1.5)
    assert d @ joint >= -1e-6, "a common descent direction"
    assert released(joint, strong) @ joint < 0, "the released form walks against the joint loss"


def test_without_conflict_it_is_the_sum_times_gamma() -> None:
    a, b = torch.tensor([1.0, 0.5]), torch.tensor([0.2, 3.0])
    (d,), alpha = pareto_gradient([a], [b], gamma=1.5)
    torch.testing.assert_close(d, 1.5 * (a + b))
    assert alpha == 0.5


def test_zero_and_equal_gradients_are_finite() -> None:
    zero = torch.zeros(3)
    for a, b in ((zero, zero), (torch.ones(3), zero), (torch.ones(3), -torch.ones(3))):
        (d,), alpha = pareto_gradient([a], [b], gamma=1.5)
        assert torch.isfinite(d).all()
        assert torch.isfinite(alpha)


@pytest.mark.parametrize("modalities", [2, 3, 4])
def test_one_step_by_numpy(modalities: int, warm: Any, tools: Any) -> None:
    model, batches = warm(modalities, epochs=4)
    batch = batches[0]
    outputs = model(batch.inputs)
    losses = {m: model.task.loss(outputs.unimodal_logits[m], batch.target) for m in model.modalities}
    fused = model.task.loss(outputs.logits, batch.target)
    expected, alphas = {}, {}
    for m in model.modalities:
        p = list(model.encoder(m).parameters())
        g = [x.numpy() for x in torch.autograd.grad(fused, p, retain_graph=True)]
        h = [x.numpy() for x in torch.autograd.grad(losses[m], p, retain_graph=True)]
        flat_g, flat_h = (np.concatenate([x.ravel() for x in v]) for v in (g, h))
        if flat_g @ flat_h > 0:
            alpha = 0.5
        else:
            alpha = float(np.clip((flat_h - flat_g) @ flat_h / ((flat_g - flat_h) ** 2).sum(), 0, 1))
        alphas[m], expected[m] = alpha, []
        for x, y in zip(g, h, strict=True):
            d = 2 * alpha * x + 2 * (1 - alpha) * y
            ratio = np.linalg.norm(x + y) / np.linalg.norm(d)
            expected[m].append(1.5 * max(ratio, 1.0) * d)
    (record,) = MMPareto().steps(model, batch)
    for m in model.modalities:
        assert record.coefficients[f"alpha:{m}"].item() == pytest.approx(alphas[m])
        for actual, e in zip(tools.grads(model, m), expected[m], strict=True):
            np.testing.assert_allclose(actual.numpy(), e, rtol=1e-8, atol=1e-12)
    heads = {m: [p.grad.clone() for p in model.head(m).parameters()] for m in model.modalities}
    fusion = [p.grad.clone() for p in model.fusion.parameters()]
    model.zero_grad()
    list(Uniform().steps(model, batch))
    for m in model.modalities:
        for actual, p in zip(heads[m], model.head(m).parameters(), strict=True):
            torch.testing.assert_close(actual, p.grad)
    for actual, p in zip(fusion, model.fusion.parameters(), strict=True):
        torch.testing.assert_close(actual, p.grad)


def test_it_is_not_uniform_training_with_a_factor(warm: Any, tools: Any) -> None:
    """As the toolkit's row is. With a unimodal head that is the fused one turned round, the gradients conflict."""
    model, batches = warm(2, epochs=2)
    with torch.no_grad():
        model.head("b").weight.copy_(-model.fusion.head.weight[:, 8:])
    (record,) = MMPareto().steps(model, batches[0])
    gradient = torch.cat([g.flatten() for g in tools.grads(model, "b")])
    assert record.coefficients["alpha:b"] != 0.5
    model.zero_grad()
    list(Uniform().steps(model, batches[0]))
    plain = torch.cat([g.flatten() for g in tools.grads(model, "b")])
    assert torch.cosine_similarity(gradient, plain, dim=0) < 0.999


def test_parameters_that_encoders_share_get_the_plain_sum(make_batches: Any, tools: Any) -> None:
    torch.manual_seed(0)
    trunk = nn.Linear(6, 5)
    encoders = {m: nn.Sequential(trunk, nn.Tanh(), nn.Linear(5, 4)) for m in "ab"}
    model = MultimodalClassifier(encoders, num_outputs=3).double()
    batch = make_batches(2, dtype=torch.float64)[0]
    list(MMPareto().steps(model, batch))
    gradient = trunk.weight.grad.clone()
    model.zero_grad()
    list(Uniform().steps(model, batch))
    torch.testing.assert_close(gradient, trunk.weight.grad)


def test_the_limit_of_no_unimodal_weight_is_joint_training(make_model: Any, make_batches: Any, tools: Any) -> None:
    one, two, batch = make_model(2), make_model(2), make_batches(2)[0]
    list(MMPareto(strength=0).steps(one, batch))
    list(Joint().steps(two, batch))
    assert all(torch.equal(g, h) for g, h in zip(tools.grads(one, "a"), tools.grads(two, "a"), strict=True))


def test_weights_where_the_gradients_are_short_equal_or_at_right_angles() -> None:
    short, across = [torch.tensor([0.1, 0.0])], [torch.tensor([0.0, 0.3])]
    assert min_norm(short, across).item() == pytest.approx(0.9)
    _, alpha = pareto_gradient(short, across, gamma=1.5)
    assert alpha.item() == pytest.approx(0.9), "an inner product of zero is no agreement"
    assert min_norm([torch.tensor([2.0])], [torch.tensor([1.0])]) == 0
    assert min_norm([torch.tensor([1.0])], [torch.tensor([2.0])]) == 1
    assert min_norm(short, short) == 0.5
    assert min_norm([torch.zeros(2)], [torch.zeros(2)]) == 0.5


def test_opposite_gradients_cancel() -> None:
    """3 and -1: a quarter of one and three quarters of the other are 0, which no factor makes as long as their sum."""
    (d,), alpha = pareto_gradient([torch.tensor([3.0])], [torch.tensor([-1.0])], gamma=1.5)
    assert alpha == 0.25
    assert d == 0


def test_each_tensor_is_stretched_by_itself_and_none_is_shortened() -> None:
    joint, own = [torch.tensor([2.0, 0.0]), torch.tensor([1.0])], [torch.tensor([-1.0, 1.0]), torch.tensor([-0.9])]
    combined, alpha = pareto_gradient(joint, own, gamma=2.0)
    assert alpha.item() == pytest.approx(5.71 / 13.61)
    first, second = (2 * alpha * a + 2 * (1 - alpha) * b for a, b in zip(joint, own, strict=True))
    torch.testing.assert_close(combined[0], 2 * first * 2**0.5 / first.norm())
    assert second.norm() > 0.2 > (joint[1] + own[1]).norm()
    torch.testing.assert_close(combined[1], 2 * second)
