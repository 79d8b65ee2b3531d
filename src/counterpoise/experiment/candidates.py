"""Candidates of a recommendation, their gains over joint training, and the choice among them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from counterpoise.experiment.gains import BenchmarkGains, Gain, measured_gains

HARM: Final = 0.25
"""Largest probability of doing worse than joint training that a recommendation may have."""


@dataclass(frozen=True)
class Candidate:
    """A method with a decision rule.

    Attributes:
        method: Name of the method, with hyper-parameters in brackets where they are not the defaults.
        rule: Name of the decision rule.
        scores: Its score on each split; NaN where the training failed.
        corrupted: Its mean score with corrupted inputs on each split.
    """

    method: str
    rule: str
    scores: tuple[float, ...]
    corrupted: tuple[float, ...]

    @property
    def name(self) -> tuple[str, str]:
        """Method and rule."""
        return self.method, self.rule

    def values(self, *, corrupted: bool) -> np.ndarray:
        """Return the scores on each split, ``(J,)``."""
        return np.array(self.corrupted if corrupted else self.scores)


BASELINE: Final = ("joint", "fused")
"""Method and rule with which all others are compared."""


def gains_on_splits(candidates: Sequence[Candidate], folds: int, *, corrupted: bool) -> dict[tuple[str, str], Gain]:
    """Return the measured gain over joint training of every other candidate that has scores.

    Args:
        candidates: The candidates, joint training with its fused head among them.
        folds: Number of folds of which each split scores on one.
        corrupted: Whether the inputs of one modality at a time are corrupted.
    """
    reference = baseline_of(candidates).values(corrupted=corrupted)
    gains = {c.name: c.values(corrupted=corrupted) - reference for c in candidates if c.name != BASELINE}
    gains = {name: own for name, own in gains.items() if np.isfinite(own).all()}
    return dict(zip(gains, measured_gains(np.stack(list(gains.values())), folds), strict=True)) if gains else {}


def expected_gains(
    candidates: Sequence[Candidate], benchmarks: BenchmarkGains, folds: int, *, corrupted: bool
) -> dict[tuple[str, str], Gain]:
    """Return the posterior of the gain over joint training of every other candidate that has scores.

    Args:
        candidates: The candidates, joint training with its fused head among them.
        benchmarks: Distribution of gains over benchmark data sets.
        folds: Number of folds of which each split scores on one.
        corrupted: Whether the inputs of one modality at a time are corrupted.
    """
    measured = gains_on_splits(candidates, folds, corrupted=corrupted)
    return {name: benchmarks.posterior(name, gain) for name, gain in measured.items()}


def baseline_of(candidates: Sequence[Candidate]) -> Candidate:
    """Return the candidate with which all others are compared."""
    return next(c for c in candidates if c.name == BASELINE)


def choose(gains: Mapping[tuple[str, str], Gain], harm: float = HARM) -> tuple[str, str]:
    """Return the candidate with the largest expected gain among those that are unlikely to do worse; otherwise joint
    training.

    Args:
        gains: Posterior of the gain of every candidate, by method and rule.
        harm: Largest probability of a negative gain.

    Example:
        >>> choose({("uniform", "fused"): Gain(0.03, 0.06), ("arm", "fused"): Gain(0.02, 0.01)})
        ('arm', 'fused')
    """
    safe = {name: gain for name, gain in gains.items() if gain.mean > 0 and gain.harm <= harm}
    return max(safe, key=lambda name: safe[name].mean) if safe else BASELINE
