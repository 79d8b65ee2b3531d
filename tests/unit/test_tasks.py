"""Likelihoods against torch.distributions, an independent implementation."""

from __future__ import annotations

import math

import pytest
import torch
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
def test_log_likelihood_and_kl_agree_with_torch_distributions(task: Task, target: torch.Tensor, make) -> None:  # type: ignore[no-untyped-def]
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
    best = task.marginal_logits(target)
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
        found = MultiClass(3).loss(logits, torch.tensor([0, 2]), epsilon)
        assert found.item() == pytest.approx(((1 - epsilon) * own - epsilon * log_p.mean()).item())
        labels = torch.tensor([[1, 0, 0], [0, 1, 1]])
        p = (1 - epsilon) * labels.double() + epsilon / 2
        expected = -(p * logits.sigmoid().log() + (1 - p) * (-logits).sigmoid().log()).sum(-1).mean()
        assert MultiLabel(3).loss(logits, labels, epsilon).item() == pytest.approx(expected.item())
        task, real = Regression(3), torch.ones(2, 3, dtype=torch.float64)
        assert task.loss(logits, real, epsilon) == task.loss(logits, real)
