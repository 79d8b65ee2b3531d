"""OPM: probabilities by hand, the expectation of the features, and the aliasing of a published toolkit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from counterpoise.methods import OPM, EpochContext
from counterpoise.methods._opm import drop_probability


@pytest.mark.parametrize("scores", [[3.0, 1.0], [3.0, 2.0], [2.0, 2.0], [5.0, 1.0, 3.0], [4.0, 4.0, 1.0, 1.0]])
def test_probabilities_by_hand(scores: list[float]) -> None:
    expected = []
    for k, s in enumerate(scores):
        u = s / np.mean([v for j, v in enumerate(scores) if j != k])
        expected.append(min(0.4 * (1 + 0.5 * np.tanh(max(u - 1, 0))), 1) if u > 1 else 0.0)
    probabilities = drop_probability(torch.tensor(scores), 0.4, 0.5)
    assert probabilities.tolist() == pytest.approx(expected)
    assert probabilities.min() == 0, "the weakest modality is never dropped"


def test_the_second_ratio_is_not_taken_of_the_first() -> None:
    """In-place division makes the toolkit's second ratio s2^2/s1: with (3, 2), 4/3 > 1 drops the weak one too."""
    scores = torch.tensor([3.0, 2.0])
    assert drop_probability(scores, 0.5, 0.5)[1] == 0

    def released(s: torch.Tensor) -> torch.Tensor:
        s = s.clone()
        s[0] /= s[1]  # overwrites the score
        second = s[1] / s[0]
        return torch.stack([s[0], second])

    assert released(scores)[1] > 1
    assert scores.tolist() == [3, 2]


def test_features_keep_their_expectation(warm: Any, tools: Any) -> None:
    """E[d_m] / (1 - theta), averaged over all dimensions, is 1."""
    model, batches = warm(2, dtype=torch.float32)
    method = tools.prepare(OPM(start=0, probability=1.0), model, batches)
    batch = batches[0]
    ones = {m: torch.ones(len(batch), 8) for m in "ab"}
    real = model.encode(batch.inputs)
    totals, q = torch.zeros(2), {}
    torch.manual_seed(0)
    draws = 400
    slices = {m: z.detach() for m, z in model.fusion.slice_logits(real).items()}
    model.fusion.slice_logits = lambda features: slices
    for _ in range(draws):
        masked, q = method.modulate(model, ones, batch)
        totals += torch.tensor([masked[m].mean() for m in "ab"]) / draws
    assert q["q:a"] > 0.5
    assert q["q:b"] == 0
    assert totals.mean().item() == pytest.approx(1.0, abs=0.03)
    kept = 1 - q["q:a"].item() / 2
    assert totals.tolist() == pytest.approx([(1 - q["q:a"].item()) / kept, 1 / kept], abs=0.05)


def test_the_warm_up_and_the_share_of_batches(warm: Any, tools: Any) -> None:
    model, batches = warm(2)
    method = tools.prepare(OPM(probability=0.7), model, batches)
    method.on_epoch_start(model, EpochContext(5, 20))
    (record,) = method.steps(model, batches[0])
    assert not record.coefficients
    method.on_epoch_start(model, EpochContext(6, 20))
    hits = []
    torch.manual_seed(0)
    for _ in range(200):
        (record,) = method.steps(model, batches[0])
        hits.append(record.coefficients["q:a"].item() > 0)
    assert np.mean(hits) == pytest.approx(0.7, abs=0.1)


def test_no_probability_exceeds_one() -> None:
    assert drop_probability(torch.tensor([3.0, 1.0]), 1.0, 0.5).tolist() == [1, 0]


def test_what_is_kept_is_a_constant_of_the_features_type(warm: Any, tools: Any) -> None:
    """No gradient flows through the probabilities, and float64 scores leave float32 features what they are."""
    model, batches = warm(2)
    method = tools.prepare(OPM(start=0, probability=1.0), model, batches)
    features = {m: torch.from_numpy(h).requires_grad_() for m, h in tools.features(model, batches[0]).items()}
    masked, _ = method.modulate(model, features, batches[0])
    sum(h.sum() for h in masked.values()).backward()
    for m in "ab":
        torch.testing.assert_close(features[m].grad * features[m], masked[m])
    slices = model.fusion.slice_logits({m: h.detach() for m, h in features.items()})
    model.fusion.slice_logits = lambda features: slices
    masked, _ = method.modulate(model, {m: h.detach().float() for m, h in features.items()}, batches[0])
    assert masked["a"].dtype == torch.float32
