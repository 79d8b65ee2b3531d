"""Likelihoods against torch.distributions, an independent implementation."""

from __future__ import annotations

import math

import pytest
import torch
from poisson import Poisson
from torch import distributions as td

from counterpoise.errors import ConfigError, DataError, NotFoundError
from counterpoise.tasks import MultiClass, MultiLabel, Regression, Task, make_task

N, C = 50, 4
G = torch.Generator().manual_seed(0)
LOGITS = torch.randn(N, C, generator=G, dtype=torch.float64)
OTHER = torch.randn(N, C, generator=G, dtype=torch.float64)
CLASSES = torch.randint(C, (N,), generator=G)
LABELS = torch.randint(2, (N, C), generator=G)
REALS = torch.randn(N, C, generator=G, dtype=torch.float64)

CASES = [
    (MultiClass(C), CLASSES, lambda z: td.Categorical(logits=z)),
    (MultiLabel(C), LABELS, lambda z: td.Independent(td.Bernoulli(logits=z), 1)),
    (Regression(C, scale=0.7), REALS, lambda z: td.Independent(td.Normal(z, 0.7), 1)),
]
ids = [task.name for task, _, _ in CASES]


@pytest.mark.parametrize(("task", "target", "make"), CASES, ids=ids)
def test_log_likelihood_and_kl_agree_with_torch_distributions(task: Task, target: torch.Tensor, make) -> None:
    value = target.double() if task.name == "multilabel" else target
    torch.testing.assert_close(task.log_likelihood(LOGITS, target), make(LOGITS).log_prob(value))
    torch.testing.assert_close(task.kl(LOGITS, OTHER), td.kl_divergence(make(LOGITS), make(OTHER)))
    torch.testing.assert_close(task.loss(LOGITS, target), -make(LOGITS).log_prob(value).mean())


@pytest.mark.parametrize(("task", "target", "make"), CASES, ids=ids)
def test_leading_dimensions_are_heads(task: Task, target: torch.Tensor, make) -> None:  # type: ignore[no-untyped-def]
    stacked = task.log_likelihood(torch.stack([LOGITS, OTHER]), target)
    torch.testing.assert_close(stacked[1], task.log_likelihood(OTHER, target))


@pytest.mark.parametrize(("task", "target"), [(c[0], c[1]) for c in CASES], ids=ids)
def test_no_constant_prediction_beats_the_marginal(task: Task, target: torch.Tensor) -> None:
    best = task.prior_logits(target)
    value = target if task.name == "multiclass" else target.double()
    at_best = task.loss(best.expand(N, -1), value)
    for shift in (0.1 * torch.eye(C, dtype=torch.float64)).unbind():
        assert task.loss((best + shift).expand(N, -1), value) > at_best


def test_entropy_closed_forms() -> None:
    assert MultiClass(3).entropy(torch.tensor([0, 0, 1, 2])).item() == pytest.approx(1.5 * math.log(2))
    labels = torch.tensor([[0, 1], [1, 1], [0, 1], [1, 1]])
    assert MultiLabel(2).entropy(labels).item() == pytest.approx(math.log(2), abs=1e-6)
    x = torch.randn(200_000, 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * 2
    assert Regression(1).entropy(x).item() == pytest.approx(0.5 * math.log(2 * math.pi * math.e * 4), abs=0.01)


@pytest.mark.parametrize(
    ("task", "target", "message"),
    [
        (MultiClass(3), torch.tensor([0, 3]), r"Labels should lie in 0\.\.2. Found 3 at sample 1"),
        (MultiClass(3), torch.tensor([-1, 0]), "Found -1 at sample 0"),
        (MultiClass(3), torch.tensor([0.5, 1.0]), "integer class ids"),
        (MultiLabel(2), torch.tensor([[0, 2]]), "0 or 1"),
        (MultiLabel(2), torch.tensor([0, 1]), r"shape \(N, 2\)"),
        (Regression(1), torch.tensor([[float("nan")]]), "finite"),
        (Regression(1), torch.tensor([1.0]), r"shape \(N, 1\)"),
    ],
)
def test_targets_that_do_not_fit_are_refused(task: Task, target: torch.Tensor, message: str) -> None:
    with pytest.raises(DataError, match=message):
        task.check_target(target)


def test_unknown_task_names_the_nearest() -> None:
    with pytest.raises(NotFoundError, match="Did you mean `regression`"):
        make_task("regresion", 1)
    with pytest.raises(ConfigError, match="at least 2 outputs"):
        MultiClass(1)
    with pytest.raises(ConfigError, match="scale"):
        Regression(1, scale=0)


def test_smoothed_loss_closed_forms() -> None:
    """Smoothing spreads a share of every label: over C classes, over on and off; real targets stay."""
    logits = torch.tensor([[2.0, 0.0, -1.0], [0.5, 0.5, 0.0]], dtype=torch.float64)
    log_p = logits.log_softmax(-1)
    for epsilon in (0.0, 0.1, 0.6):
        own = -(log_p[0, 0] + log_p[1, 2]) / 2
        loss = MultiClass(3, epsilon).loss(logits, torch.tensor([0, 2]))
        assert loss.item() == pytest.approx(((1 - epsilon) * own - epsilon * log_p.mean()).item())
        labels = torch.tensor([[1, 0, 0], [0, 1, 1]])
        p = (1 - epsilon) * labels.double() + epsilon / 2
        expected = -(p * logits.sigmoid().log() + (1 - p) * (-logits).sigmoid().log()).sum(-1).mean()
        assert MultiLabel(3, epsilon).loss(logits, labels).item() == pytest.approx(expected.item())
        assert Regression(3).with_smoothing(epsilon) == Regression(3)


COUNTS = torch.poisson(torch.full((N, C), 2.0, dtype=torch.float64), generator=torch.Generator().manual_seed(3))
ALL = [*((task, target) for task, target, _ in CASES), (Poisson(C), COUNTS)]
all_ids = [*ids, "poisson"]


@pytest.mark.parametrize(("task", "target"), ALL, ids=all_ids)
def test_residual_is_the_gradient_of_the_negative_log_likelihood(task: Task, target: torch.Tensor) -> None:
    logits = torch.stack([LOGITS, OTHER]).requires_grad_()
    (gradient,) = torch.autograd.grad(-task.log_likelihood(logits, target).sum(), logits)
    torch.testing.assert_close(task.residual(logits.detach(), target), gradient)


@pytest.mark.parametrize(("task", "target"), ALL, ids=all_ids)
def test_outputs_log_likelihoods_sum_to_the_sample(task: Task, target: torch.Tensor) -> None:
    parts = task.per_output_log_likelihood(LOGITS, target)
    assert parts.shape == (N, C if task.has_independent_outputs else 1)
    torch.testing.assert_close(parts.sum(-1), task.log_likelihood(LOGITS, target))


@pytest.mark.parametrize(("task", "target"), ALL, ids=all_ids)
def test_link_inverts_mean_and_mix_has_the_mean_of_the_mixture(task: Task, target: torch.Tensor) -> None:
    torch.testing.assert_close(task.link(task.mean(LOGITS)), task.normalise(LOGITS))
    mixed = task.mix(LOGITS, OTHER, 0.3)
    torch.testing.assert_close(task.mean(mixed), 0.7 * task.mean(LOGITS) + 0.3 * task.mean(OTHER))


@pytest.mark.parametrize(("task", "target"), ALL, ids=all_ids)
def test_prior_logits_predict_the_weighted_mean(task: Task, target: torch.Tensor) -> None:
    weight = torch.rand(2, N, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    values = task.one_hot(target, torch.float64)
    expected = (weight @ values) / weight.sum(1, keepdim=True)
    torch.testing.assert_close(task.mean(task.prior_logits(target, weight=weight)), expected)
    torch.testing.assert_close(task.mean(task.prior_logits(target)), values.mean(0))


def test_smoothed_priors_closed_forms() -> None:
    """Half a pseudo-observation per class, or per value of a label."""
    prior = MultiClass(3).prior_logits(torch.tensor([0, 0, 1, 0]), 0.5).exp()
    torch.testing.assert_close(prior, torch.tensor([3.5, 1.5, 0.5], dtype=torch.float64) / 5.5)
    prior = MultiLabel(2).prior_logits(torch.tensor([[1, 0], [1, 0], [0, 0]]), 0.5).sigmoid()
    torch.testing.assert_close(prior, torch.tensor([2.5, 0.5], dtype=torch.float64) / 4)


@pytest.mark.parametrize(("task", "target", "make"), CASES, ids=ids)
def test_combine_is_the_normalised_product_of_densities(task: Task, target: torch.Tensor, make) -> None:
    """log p1(y) / 2 + log p2(y) / 2 - log p(y) does not depend on y."""
    combined = task.combine(torch.stack([LOGITS, OTHER]), torch.tensor([0.5, 0.5]))

    def gap(y: torch.Tensor) -> torch.Tensor:
        first, second, product = (task.log_likelihood(z, y) for z in (LOGITS, OTHER, combined))
        return 0.5 * first + 0.5 * second - product

    torch.testing.assert_close(gap(target), gap(target.roll(1, 0)))


@pytest.mark.parametrize(("task", "target"), ALL, ids=all_ids)
def test_the_score_is_one_at_best_and_zero_for_a_constant_where_it_is_relative(
    task: Task, target: torch.Tensor
) -> None:
    best = task.link(task.one_hot(target, torch.float64))
    assert task.score(best, target) == pytest.approx(1, abs=1e-6)
    if task.score_name != "accuracy":
        assert task.score(task.prior_logits(target).expand(N, -1), target) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("constant", [False, True])
def test_r2_is_the_mean_over_outputs_as_in_scikit_learn(constant: bool) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    target = REALS * torch.tensor([1.0, 10.0, 100.0, 0.01])
    if constant:
        target[:, 1] = (
            0.5  # a number without rounding: the mean of many 0.1 is not 0.1, and scikit-learn divides by that
        )
    expected = metrics.r2_score(target, target + 0.3 * OTHER)
    assert Regression(C).score(target + 0.3 * OTHER, target) == pytest.approx(expected)


def test_confidence_is_the_probability_of_the_point_prediction() -> None:
    torch.testing.assert_close(MultiClass(C).confidence(LOGITS), td.Categorical(logits=LOGITS).probs.amax(-1))
    p = LOGITS.sigmoid()
    torch.testing.assert_close(MultiLabel(C).confidence(LOGITS), torch.where(p > 0.5, p, 1 - p))
    assert Regression(C).confidence(LOGITS) is None


def test_targets_in_words() -> None:
    assert MultiClass(2).describe(torch.tensor([1, 0]), ["cat", "dog"]) == ["dog", "cat"]
    assert MultiLabel(2).describe(torch.tensor([[1, 1], [0, 0]]), ["red", "big"]) == ["red, big", "none"]
    assert Regression(1).describe(torch.tensor([[0.12345]])) == ["0.123"]
