"""Scores against scikit-learn and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from counterpoise.errors import DataError
from counterpoise.evaluation.collect import collect
from counterpoise.evaluation.metrics import calibration_error, scores
from counterpoise.model import build_model
from counterpoise.tasks import MultiClass, MultiLabel, Regression

G = torch.Generator().manual_seed(0)


def binned(confidence: np.ndarray, right: np.ndarray) -> float:
    """Expected calibration error over 15 bins of equal width."""
    place = np.clip(np.ceil(confidence * 15).astype(int) - 1, 0, 14)
    return sum(abs((right - confidence)[place == b].sum()) for b in range(15)) / len(confidence)


def test_multiclass() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    logits, target = 3 * torch.randn(500, 4, generator=G), torch.randint(4, (500,), generator=G)
    values = scores(MultiClass(4), logits, target)
    p, k = logits.double().softmax(-1).max(-1)
    assert set(values) == {"accuracy", "macro_f1", "nll", "ece"}
    assert values["accuracy"] == pytest.approx(metrics.accuracy_score(target, k))
    assert values["macro_f1"] == pytest.approx(metrics.f1_score(target, k, average="macro"))
    assert values["nll"] == pytest.approx(metrics.log_loss(target, logits.double().softmax(-1)))
    assert values["ece"] == pytest.approx(binned(p.numpy(), (k == target).numpy()), abs=1e-6)


def test_multilabel() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    logits, target = 2 * torch.randn(300, 3, generator=G), torch.randint(2, (300, 3), generator=G)
    values = scores(MultiLabel(3), logits, target)
    p, k = logits.double().sigmoid(), logits > 0
    assert set(values) == {"accuracy", "macro_f1", "nll", "ece"}
    assert values["accuracy"] == pytest.approx((k == target).double().mean().item())
    assert values["macro_f1"] == pytest.approx(metrics.f1_score(target, k, average="macro"))
    assert values["nll"] == pytest.approx(sum(metrics.log_loss(target[:, c], p[:, c], labels=[0, 1]) for c in range(3)))
    confidence = torch.where(k, p, 1 - p).flatten().numpy()
    assert values["ece"] == pytest.approx(binned(confidence, (k == target).flatten().numpy()), abs=1e-6)


def test_regression() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    target = torch.randn(300, 2, generator=G, dtype=torch.float64) * torch.tensor([1.0, 30.0])
    logits = target + torch.randn(300, 2, generator=G, dtype=torch.float64)
    values = scores(Regression(2), logits, target)
    assert set(values) == {"r2", "rmse", "nll"}
    assert values["r2"] == pytest.approx(metrics.r2_score(target, logits))
    assert values["rmse"] == pytest.approx(metrics.mean_squared_error(target, logits) ** 0.5)
    assert values["nll"] == pytest.approx(((target - logits).square().sum(1) / 2).mean().item() + np.log(2 * np.pi))


def test_calibration_error_at_the_ends() -> None:
    sure = torch.tensor([[30.0, -30.0], [30.0, -30.0]])
    assert calibration_error(MultiClass(2), sure, torch.tensor([0, 0])) == pytest.approx(0, abs=1e-6)
    assert calibration_error(MultiClass(2), sure, torch.tensor([1, 1])) == pytest.approx(1, abs=1e-6)
    assert calibration_error(MultiClass(2), 0 * sure, torch.tensor([0, 1])) == pytest.approx(0, abs=1e-6)
    assert calibration_error(Regression(2), sure, sure) is None


def test_smoothing_of_a_loss_does_not_change_a_score() -> None:
    logits, target = torch.randn(50, 3, generator=G), torch.randint(3, (50,), generator=G)
    assert scores(MultiClass(3, smoothing=0.2), logits, target) == scores(MultiClass(3), logits, target)


def test_scores_do_not_depend_on_the_precision_of_the_logits() -> None:
    logits, target = torch.randn(200, 3, generator=G).half(), torch.randint(3, (200,), generator=G)
    assert scores(MultiClass(3), logits, target) == scores(MultiClass(3), logits.double(), target)


def test_no_batch_is_an_error() -> None:
    model = build_model({"a": ("vector", (4,), 0), "b": ("vector", (6,), 0)}, num_outputs=3)
    with pytest.raises(DataError, match="at least one batch"):
        collect(model, [])
