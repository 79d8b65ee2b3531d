"""A recommendation, and its words."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Final

from counterpoise._files import json_safe
from counterpoise.experiment.candidates import BASELINE, Candidate, expected_gains
from counterpoise.experiment.gains import read_benchmark_gains

LEVEL: Final = 0.9
"""Level of intervals."""


@dataclass(frozen=True)
class Finding:
    """The recommendation for one condition of the inputs.

    Attributes:
        corrupted: Whether the inputs of one modality at a time are corrupted.
        method: Recommended method; ``joint`` if every candidate is too likely to do worse.
        rule: Recommended rule; ``fused`` if joint training is recommended.
        best: Name of the candidate with the largest expected gain, whether it is recommended or not; empty if none is
            expected to gain.
        gain: Expected gain over joint training of that candidate, in units of the score.
        low: Lower end of its 90 % interval.
        high: Upper end.
        harm: Probability that it does worse than joint training.
        score: Mean score of the recommendation over the splits.
        joint: Mean score of joint training.
    """

    corrupted: bool
    method: str
    rule: str
    best: str
    gain: float
    low: float
    high: float
    harm: float
    score: float
    joint: float

    @property
    def stays(self) -> bool:
        """Whether joint training is recommended."""
        return (self.method, self.rule) == BASELINE


@dataclass(frozen=True)
class Recommendation:
    """Result of `recommend`.

    Attributes:
        data: Name of the data set.
        metric: Name of the score; larger is better.
        splits: Number of splits.
        folds: Number of folds of which each split scores on one.
        ordinary: Recommendation for clean inputs.
        corrupted: Recommendation for inputs of which one modality at a time is corrupted.
        candidates: Every candidate with its scores, the best first.
        notes: Notes, for example on methods that cannot be used with the data.
    """

    data: str
    metric: str
    splits: int
    folds: int
    ordinary: Finding
    corrupted: Finding
    candidates: tuple[Candidate, ...] = ()
    notes: tuple[str, ...] = field(default=())

    @property
    def method(self) -> str:
        """Recommended method for ordinary inputs."""
        return self.ordinary.method

    @property
    def rule(self) -> str:
        """Recommended rule for ordinary inputs."""
        return self.ordinary.rule

    def __str__(self) -> str:
        lines = [f"{self.data}: {_upper(self._sentence(self.ordinary))}"]
        if math.isfinite(self.corrupted.joint):
            lines.append(f"If one of the inputs may be corrupted: {self._sentence(self.corrupted)}")
        lines.append(
            f"({self.splits} random splits of the training and validation samples, and the gains on the library's "
            f"benchmarks; the test set was not read. In brackets: {LEVEL:.0%} intervals.)"
        )
        lines += [f"Note: {note}" for note in self.notes]
        if not self.ordinary.stays:
            lines.append(f'counterpoise train --data {self.data} --method "{self.method}" --rule {self.rule}')
        return "\n".join(lines)

    def _sentence(self, finding: Finding) -> str:
        words = self._gain(finding.gain, finding.low, finding.high)
        joint = self._level(finding.joint)
        if not finding.stays:
            return (
                f"use {finding.best}. Expected gain over joint training ({self.metric} {joint}): {words}; it does "
                f"worse with a probability of {_probability(finding.harm)}."
            )
        stay = f"stay with joint training ({self.metric} {joint})."
        if not finding.best:
            return f"{stay} No candidate is expected to gain."
        return (
            f"{stay} The best candidate, {finding.best}, does worse with a probability of "
            f"{_probability(finding.harm)}; expected gain {words}."
        )

    @property
    def _percent(self) -> bool:
        return "r2" not in self.metric and "deviance" not in self.metric

    def _gain(self, gain: float, low: float, high: float) -> str:
        if self._percent:
            return f"{100 * gain:+.1f} points ({100 * low:+.1f} to {100 * high:+.1f})"
        return f"{gain:+.3f} ({low:+.3f} to {high:+.3f})"

    def _level(self, value: float) -> str:
        return f"{100 * value:.1f} %" if self._percent else f"{value:.3f}"

    def to_dict(self) -> dict[str, Any]:
        """Return plain dictionaries, lists, texts and numbers, with None for numbers that are not finite."""
        conditions = {}
        for name, finding in (("ordinary", self.ordinary), ("corrupted", self.corrupted)):
            conditions[name] = {**vars(finding), "stays": finding.stays}
        plain: dict[str, Any] = json_safe(
            {
                "data": self.data,
                "metric": self.metric,
                "splits": self.splits,
                "folds": self.folds,
                **conditions,
                "candidates": [vars(c) for c in self.candidates],
                "notes": list(self.notes),
            }
        )
        return plain

    def table(self) -> str:
        """Return every candidate with its mean scores and its expected gains over joint training, in Markdown."""
        lines = [
            "| method | rule | ordinary | expected gain | corrupted | expected gain |",
            "|---|---|---:|---:|---:|---:|",
        ]
        gains = [
            expected_gains(self.candidates, read_benchmark_gains(self.metric, corrupted=c), self.folds, corrupted=c)
            for c in (False, True)
        ]
        for c in self.candidates:
            cells = [f"`{c.method}`", c.rule]
            for corrupted, by_name in zip((False, True), gains, strict=True):
                gain = by_name.get(c.name)
                shown = "–" if gain is None else self._gain(gain.mean, *gain.interval(LEVEL))
                cells += [self._level(float(c.values(corrupted=corrupted).mean())), shown]
            lines.append(f"| {' | '.join(cells)} |")
        return "\n".join(lines) + "\n"


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]


def _probability(value: float) -> str:
    return f"{value:.0%}" if value >= 0.01 else "less than 1%"
