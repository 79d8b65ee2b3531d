r"""Information in a model's own predictions: with all modalities, with each one alone, and with all but each one.

Every number is a property of the predictions. They are calibrated jointly: one scale (an inverse temperature) for the
whole model, fitted on the predictions from all modalities, and constant offsets. With some modalities averaged out, the
same scale is used, not one fitted to these predictions. A modality that changes no prediction therefore has exactly 0
nats, even if its effect on the eighth digit of the logits could be decoded, and a modality that changes predictions
little has little information.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor

from counterpoise.diagnosis._calls import Partial
from counterpoise.diagnosis._information import Scored, scored
from counterpoise.tasks import Regression
from counterpoise.valuation.heads.predictions import marginal, predictive
from counterpoise.valuation.inputs import EstimatorInput

__all__ = ["Readout"]

LOG_SCALES: Final = torch.linspace(-4, 3, 71, dtype=torch.float64)
"""Candidate scales, as logarithms; the prior on the logarithm is a standard normal distribution."""

MARGIN: Final = 2.0
"""Minimum total gain in nats for which a calibration with more parameters is chosen."""

_MAX_NUMBERS: Final = 4 * 10**6
"""Maximum number of logits on which a scale is fitted; of more, every k-th sample is used."""


def _gaussian(problem: EstimatorInput) -> bool:
    return isinstance(problem.task, Regression)


@dataclass(frozen=True)
class _Candidate:
    total: float
    pointwise: np.ndarray
    inside: float


class Readout:
    """Calibrated predictions of one model on one set of samples.

    Args:
        problem: Labels and folds.
        logits: ``(N, C)`` of the model with all modalities.
        confidence: Level of the intervals.

    Attributes:
        whole: Information in the predictions with all modalities.
        scale: The scale fitted on all samples.
    """

    def __init__(self, problem: EstimatorInput, logits: Tensor, *, confidence: float = 0.95) -> None:
        self.problem, self.confidence = problem, confidence
        self._prior = marginal(problem)
        fold = torch.from_numpy(problem.fold)
        outside = (fold[None] != torch.arange(problem.folds)[:, None]).double()  # (K, N)
        self._weight = outside / outside.sum(1, keepdim=True)
        self._scales = self._fit_scales(logits, outside)
        self.scale = float(self._fit_scales(logits, torch.ones(1, problem.n, dtype=torch.float64))[0])
        self.whole = self.partial(Partial(logits, {scale: scale * logits for scale in self.scales}))

    @property
    def scales(self) -> tuple[float, ...]:
        """The scales with which predictions are averaged over background samples."""
        return (1.0,) if _gaussian(self.problem) else (1.0, self.scale)

    def partial(self, predictions: Partial) -> Scored:
        """Return the information with some modalities averaged out, under the calibration of the whole model."""
        spread = (predictions.logits - predictions.logits.mean(0)).abs().max()
        if float(spread) <= 1e-9 * (1 + float(predictions.logits.abs().max())):
            return scored(self.problem, np.zeros(self.problem.n), 0.0, self.confidence)
        return self._best(self._calibrated(predictions))

    def _calibrated(self, predictions: Partial) -> Iterator[_Candidate]:
        unit = torch.ones_like(self._scales)
        for scales in (unit, self._scales):
            yield from self._offsets(predictions.logits, scales)
        if not _gaussian(self.problem):
            for mixture in predictions.mixtures.values():
                yield from self._offsets(mixture, unit)

    def _offsets(self, base: Tensor, scales: Tensor) -> Iterator[_Candidate]:
        """Yield predictions without offsets, with offsets that centre them at the label frequencies, and with fitted
        offsets.
        """
        scaled = self.problem.task.normalise(base[:, None] * scales[:, None])  # (N, K, C)
        if not _gaussian(self.problem):
            yield self._score(scaled)
        means = torch.einsum("kn,nkc->kc", self._weight, scaled)
        prior = self.problem.task.prior_logits(self.problem.target, smoothing=0.5, weight=self._weight)
        centred = scaled - means + prior
        yield self._score(centred)
        if not _gaussian(self.problem) and centred.numel() <= 5 * _MAX_NUMBERS:
            yield self._score(centred + self._fit_offsets(centred))

    def _fit_offsets(self, base: Tensor) -> Tensor:
        """Return ``(K, C)`` offsets with the best likelihood outside each fold, with one pseudo-observation at zero."""
        task, target = self.problem.task, self.problem.target
        logits = base.transpose(0, 1)  # (K, N, C)
        offsets = torch.zeros(logits.shape[0], logits.shape[2], dtype=torch.float64, requires_grad=True)
        optimiser = torch.optim.LBFGS([offsets], max_iter=25, tolerance_grad=1e-5, line_search_fn="strong_wolfe")

        def loss() -> Tensor:
            optimiser.zero_grad()
            likelihood = task.log_likelihood(logits + offsets[:, None], target)
            value = -(self._weight * likelihood).sum() + 0.5 * offsets.square().sum() / self.problem.n
            value.backward()
            return value

        with torch.enable_grad():
            optimiser.step(loss)
        return offsets.detach()

    def _fit_scales(self, logits: Tensor, outside: Tensor) -> Tensor:
        """Return one scale per row of ``outside``."""
        if _gaussian(self.problem):
            return self._fit_slopes(logits, outside)
        step = max(1, -(-logits.numel() // _MAX_NUMBERS))
        rows = slice(None, None, step)
        base, target, weight = logits[rows], self.problem.target[rows], outside[:, rows]
        base = self.problem.task.normalise(base)
        likelihood = torch.stack([self.problem.task.log_likelihood(base * s, target) for s in LOG_SCALES.exp()])
        total = likelihood @ weight.T * step - 0.5 * LOG_SCALES[:, None].square()  # (scales, K)
        return LOG_SCALES[total.argmax(0)].exp()

    def _fit_slopes(self, means: Tensor, outside: Tensor) -> Tensor:
        """Return the least-squares slope of the target on the predictions, one for all outputs."""
        weight = outside / outside.sum(1, keepdim=True)
        y = self.problem.target / self.problem.target.std(0).clamp_min(1e-30)
        f = means / self.problem.target.std(0).clamp_min(1e-30)
        centred = [x[None] - (weight @ x)[:, None] for x in (f, y)]  # (K, N, C)
        covariance = torch.einsum("kn,knc->k", weight, centred[0] * centred[1])
        variance = torch.einsum("kn,knc->k", weight, centred[0].square())
        return (covariance / variance.clamp_min(1e-30)).clamp(0.02, 20)

    def _score(self, logits: Tensor) -> _Candidate:
        out = predictive(self.problem, logits, self._prior)
        pointwise = (out.log_likelihood - self._prior.log_likelihood).numpy()
        return _Candidate(float(pointwise.sum()), pointwise, out.in_sample - self._prior.in_sample)

    def _best(self, candidates: Iterable[_Candidate]) -> Scored:
        """Return the candidate with the best likelihood out of fold; worse than the label frequencies counts as 0."""
        best: _Candidate | None = None
        for candidate in candidates:
            if best is None or candidate.total > best.total + MARGIN:
                best = candidate
        assert best is not None  # there always is one
        points, inside = best.pointwise, best.inside
        if _gaussian(self.problem):
            cap = self.problem.largest_information
            points, inside = np.minimum(points, cap), min(inside, cap)
        if points.mean() < 0:
            points, inside = points - points.mean(), max(inside, 0.0)
        return scored(self.problem, points, inside, self.confidence)
