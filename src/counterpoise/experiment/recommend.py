"""Recommendation of a method and a decision rule for a data set, by repeated splits of its training and validation
samples.
"""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from counterpoise._files import json_safe, write_atomic
from counterpoise._validation import Interval
from counterpoise.config import RunConfig
from counterpoise.data import MultimodalData
from counterpoise.errors import DataError
from counterpoise.experiment.config import make_config, parse_method
from counterpoise.experiment.folders import open_cached
from counterpoise.experiment.gains import BenchmarkGains, Gain, measured_gains, read_benchmark_gains
from counterpoise.experiment.trials import CORRUPTED, Trial, TrialResult, count_folds, count_splits, do_trials
from counterpoise.inference.catalogue import RULES
from counterpoise.methods.catalogue import METHODS

__all__ = [
    "CANDIDATES",
    "RULE_CANDIDATES",
    "Candidate",
    "Finding",
    "Recommendation",
    "choose",
    "expected_gains",
    "recommend",
]

CANDIDATES: Final = ("joint", "uniform", "lfm", "dgl", "separated-experts")
"""Default candidates: the best methods of the catalogue on the library's benchmarks, one of each kind."""
RULE_CANDIDATES: Final = ("fused", "calibrated", "dynamic")
"""Decision rules with which each training is scored by default."""
LEVEL: Final = 0.9
"""Level of intervals."""
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


BASELINE: Final = ("joint", "fused")


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]


def _probability(value: float) -> str:
    return f"{value:.0%}" if value >= 0.01 else "less than 1%"


def recommend(
    data: str | Path | MultimodalData,
    *,
    methods: Sequence[str] = CANDIDATES,
    rules: Sequence[str] = RULE_CANDIDATES,
    splits: int = 5,
    seed: int = 0,
    out: Path | None = None,
    jobs: int | None = None,
    given: Mapping[str, Any] | None = None,
    on_start: Callable[[int], None] | None = None,
    on_done: Callable[[TrialResult], None] | None = None,
) -> Recommendation:
    """Recommend a method and a decision rule for a data set, or joint training if every candidate is too likely to do
    worse.

    Every candidate method is trained once on each of several random splits of the training and validation samples, and
    scored with every rule. The test set is never read. The expected gain of a candidate is its posterior mean: the gain
    on the splits, shrunk towards the gain that the candidate had on the library's benchmark data sets. The candidate
    with the largest expected gain is recommended, among those that do worse than joint training with a probability of
    at most 25 %.

    Args:
        data: Name or path of a data set, or the data.
        methods: Candidates: names, with hyper-parameters in brackets.
        rules: Decision rules with which each training is scored.
        splits: Number of splits, at least 3. With 5 groups or fewer, each group is used for scores once.
        seed: Seed of the trainings; of a set with several splits, the one whose test set stays unread.
        out: Folder that keeps the trials, so that the same call resumes; None keeps nothing.
        jobs: Number of processes.
        given: Further settings of the runs, nested.
        on_start: Function that is called with the number of trainings, before the first.
        on_done: Function that is called after each training.

    Raises:
        ConfigError: If there are fewer than 3 splits.
        NotFoundError: For an unknown data set, method or rule.
        DataError: If joint training itself fails.
    """
    Interval(3, 1000, "[]", integer=True).check("recommend", "splits", splits)
    for rule in rules:
        RULES.resolve(rule)
    given_data = data if isinstance(data, MultimodalData) else None
    opened = given_data or open_cached(str(data), seed)
    name = str(data) if given_data is None else opened.info.name
    baseline = _config(opened, name, "joint", seed, given)
    rows = {method: _config(opened, name, method, seed, given) for method in dict.fromkeys(methods)}
    splits = count_splits(opened, splits)
    plans = [plan for part in range(splits) for plan in _plans(part, baseline, rows, rules)]
    if on_start is not None:
        on_start(len(plans))
    results = _done(plans, given_data, out, jobs, on_done)
    recommendation = _read_results(opened.info.name, splits, count_folds(opened), results)
    if out is not None:
        write_atomic(out / "recommendation.json", json.dumps(recommendation.to_dict(), indent=1))
    return recommendation


def _done(
    plans: Sequence[tuple[str, Trial]],
    data: MultimodalData | None,
    out: Path | None,
    jobs: int | None,
    on_done: Callable[[TrialResult], None] | None,
) -> list[tuple[str, TrialResult]]:
    """Run the trials and return the results by method; they are kept below ``out`` if it is given."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) if out is None else out / "trials"
        results = do_trials([trial for _, trial in plans], folder, data=data, jobs=jobs, on_done=on_done)
    return [(method, result) for (method, _), result in zip(plans, results, strict=True)]


def _plans(
    part: int, baseline: RunConfig, rows: Mapping[str, RunConfig], rules: Sequence[str]
) -> list[tuple[str, Trial]]:
    """Return the trials of a split by method: first joint training as it is normally used, with nothing held out."""
    plans = [("", Trial(baseline, ("fused",), part, corrupted=True))]
    for method, config in rows.items():
        usable = tuple(rules) if METHODS.resolve(config.method).trains_fusion else ("default",)
        plans.append((method, Trial(config, usable, part, corrupted=True)))
    return plans


def _config(data: MultimodalData, name: str, method: str, seed: int, given: Mapping[str, Any] | None) -> RunConfig:
    plain, arguments = parse_method(method)
    METHODS.resolve(plain)
    own = {"data": name, "method": plain, "method_args": arguments, "rule": "default", "seed": seed}
    return make_config(data.info, {**(given or {}), **own})


def _read_results(data: str, splits: int, folds: int, results: Sequence[tuple[str, TrialResult]]) -> Recommendation:
    """Return the recommendation, given the results of all trials in the order of their splits."""
    by_method: dict[str, list[TrialResult]] = {}
    for method, result in results:
        by_method.setdefault(method, []).append(result)
    errors = {method: _error(own) for method, own in by_method.items() if _error(own)}
    if "" in errors:
        raise DataError(f"Joint training failed, so there is nothing to compare with: {errors['']}")
    baseline = by_method.pop("")
    candidates = {BASELINE: _candidate(*BASELINE, baseline)}
    for method in by_method.keys() - errors.keys():
        for rule in by_method[method][0].scores:
            candidates.setdefault((method, rule), _candidate(method, rule, by_method[method]))
    usable = [c for c in candidates.values() if all(map(math.isfinite, c.scores))]
    metric = baseline[0].score
    ranked = tuple(sorted(usable, key=lambda c: (-float(np.mean(c.scores)), c.name)))
    ordinary, corrupted = (_find(ranked, metric, folds, corrupted=c) for c in (False, True))
    notes = tuple(f"`{method}` was left out: {error}" for method, error in errors.items())
    return Recommendation(data, metric, splits, folds, ordinary, corrupted, ranked, notes)


def _error(results: Sequence[TrialResult]) -> str:
    return next((r.error for r in results if r.error), "")


def _candidate(method: str, rule: str, results: Sequence[TrialResult]) -> Candidate:
    own = [(r.scores[rule][r.score], r.scores[rule].get(CORRUPTED, math.nan)) for r in results]
    return Candidate(method, rule, tuple(x for x, _ in own), tuple(y for _, y in own))


def gains_on_splits(candidates: Sequence[Candidate], folds: int, *, corrupted: bool) -> dict[tuple[str, str], Gain]:
    """Return the measured gain over joint training of every other candidate that has scores.

    Args:
        candidates: The candidates, joint training with its fused head among them.
        folds: Number of folds of which each split scores on one.
        corrupted: Whether the inputs of one modality at a time are corrupted.
    """
    reference = _baseline(candidates).values(corrupted=corrupted)
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


def _baseline(candidates: Sequence[Candidate]) -> Candidate:
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


def _find(candidates: Sequence[Candidate], metric: str, folds: int, *, corrupted: bool) -> Finding:
    """Return the finding for one condition."""
    gains = expected_gains(candidates, read_benchmark_gains(metric, corrupted=corrupted), folds, corrupted=corrupted)
    chosen = choose(gains)
    best = chosen if chosen != BASELINE or not gains else max(gains, key=lambda name: gains[name].mean)
    gain = gains.get(best, Gain(0.0, 0.0))
    name = f"`{best[0]}` with the {best[1]} rule" if gain.mean > 0 else ""
    row = next(c for c in candidates if c.name == chosen)
    score, joint = (float(c.values(corrupted=corrupted).mean()) for c in (row, _baseline(candidates)))
    return Finding(corrupted, *chosen, name, gain.mean, *gain.interval(LEVEL), gain.harm, score, joint)
