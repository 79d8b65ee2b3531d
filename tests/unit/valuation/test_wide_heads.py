"""More columns than samples: heads are fitted in the samples' own span, and predict what they would have predicted."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from counterpoise.diagnosis._matrices import MOST_PIXELS, as_matrix
from counterpoise.tasks import make_task
from counterpoise.valuation.heads.linear import LinearHeads, standardise


@pytest.mark.parametrize("penalty", [1.0, 30.0])
def test_predictions_are_those_of_all_columns(penalty):
    rng = np.random.default_rng(0)
    x = standardise(torch.from_numpy(rng.normal(size=(40, 300))))
    y = torch.from_numpy(rng.integers(0, 3, 40))
    train = torch.arange(40) % 4 != 0
    heads = LinearHeads([x[:, :100], x[:, 100:]], y, make_task("multiclass", 3))
    assert heads.dim <= 40
    logits = heads.logits(heads.fit(train[None], torch.tensor([penalty]), iterations=500, tolerance=1e-12))[:, 0]
    oracle = LogisticRegression(C=1 / penalty, max_iter=5000, tol=1e-10).fit(x[train].numpy(), y[train].numpy())
    np.testing.assert_allclose(logits.softmax(-1).numpy(), oracle.predict_proba(x.numpy()), atol=2e-4)


def test_ridge_predictions_are_those_of_all_columns():
    rng = np.random.default_rng(1)
    x = standardise(torch.from_numpy(rng.normal(size=(30, 200))))
    y = torch.from_numpy(rng.normal(size=(30, 1)))
    train = torch.arange(30) % 3 != 0
    heads = LinearHeads([x], y, make_task("regression", 1))
    logits = heads.logits(heads.fit(train[None], torch.tensor([5.0])))[:, 0, 0]
    a, b = x[train], y[train, 0]
    centre = a.mean(0)
    dual = (a - centre) @ (a - centre).T + 5 * torch.eye(len(a), dtype=torch.float64)
    expected = (x - centre) @ (a - centre).T @ torch.linalg.solve(dual, b - b.mean()) + b.mean()
    torch.testing.assert_close(logits, expected, atol=1e-5, rtol=1e-5)


def test_constant_columns_give_the_prior():
    y = torch.tensor([0, 1, 1, 1])
    heads = LinearHeads([torch.zeros(4, 9, dtype=torch.float64)], y, make_task("multiclass", 2))
    logits = heads.logits(heads.fit(torch.ones(1, 4, dtype=torch.bool), torch.tensor([1.0])))[:, 0]
    np.testing.assert_allclose(logits.softmax(-1)[:, 1], 0.75, atol=1e-3)


def test_large_videos_are_averaged_before_anything_is_fitted():
    videos = torch.rand(3, 2, 3, 128, 96)
    matrix, done = as_matrix(videos)
    assert matrix.shape[1] <= MOST_PIXELS
    assert "averaged" in done
    torch.testing.assert_close(matrix.mean(1), videos.flatten(1).double().mean(1), atol=2e-3, rtol=0)
