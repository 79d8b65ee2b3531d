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
from counterpoise.experiment.trials import CORRUPTED, SHARE, Trial, TrialResult, do_trials
from counterpoise.inference.catalogue import RULES
from counterpoise.methods.catalogue import METHODS
from counterpoise.report.analysis.statistics import t_interval

__all__ = ["CANDIDATES", "RULE_CANDIDATES", "Candidate", "Finding", "Recommendation", "gain_interval", "recommend"]

CANDIDATES: Final = ("joint", "uniform", "lfm", "dgl", "separated-experts")
"""Default candidates: the best methods of the catalogue on the library's benchmarks, one of each kind."""
RULE_CANDIDATES: Final = ("fused", "calibrated", "dynamic")
"""Decision rules with which each training is scored by default."""
LEVEL: Final = 0.9
"""Level of intervals. A gain is significant if the whole interval is above 0: a one-sided test at 5 per cent."""


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

    def values(self, *, corrupted: bool) -> np.ndarray:
        """Return the scores on each split, ``(J,)``."""
        return np.array(self.corrupted if corrupted else self.scores)


@dataclass(frozen=True)
class Finding:
    """The recommendation for one condition of the inputs.

    Attributes:
        corrupted: Whether the inputs of one modality at a time are corrupted.
        method: Recommended method; ``joint`` if no candidate is significantly better.
        rule: Recommended rule; ``fused`` if joint training is recommended.
        best: Name of the best candidate, whether it is recommended or not; empty if it is joint training itself.
        gain: Expected gain over joint training of choosing the best candidate, in units of the score.
        low: Lower end of its 90 % interval.
        high: Upper end.
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
    score: float
    joint: float

    @property
    def significant(self) -> bool:
        """Whether another choice than joint training is recommended."""
        return self.low > 0


@dataclass(frozen=True)
class Recommendation:
    """Result of `recommend`.

    Attributes:
        data: Name of the data set.
        metric: Name of the score; larger is better.
        splits: Number of splits.
        ordinary: Recommendation for clean inputs.
        corrupted: Recommendation for inputs of which one modality at a time is corrupted.
        candidates: Every candidate with its scores, the best first.
        notes: Notes, for example on methods that cannot be used with the data.
    """

    data: str
    metric: str
    splits: int
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
            f"({self.splits} random splits of the training and validation samples; the test set was not read. In "
            f"brackets: {LEVEL:.0%} intervals.)"
        )
        lines += [f"Note: {note}" for note in self.notes]
        if self.ordinary.significant:
            lines.append(f'counterpoise train --data {self.data} --method "{self.method}" --rule {self.rule}')
        return "\n".join(lines)

    def _sentence(self, finding: Finding) -> str:
        words = self._gain(finding.gain, finding.low, finding.high)
        if finding.significant:
            return (
                f"use `{finding.method}` with the {finding.rule} rule. Expected {self.metric} "
                f"{self._level(finding.score)} against {self._level(finding.joint)} for joint training: {words}."
            )
        stay = f"stay with joint training ({self.metric} {self._level(finding.joint)})."
        if not finding.best:
            return f"{stay} No candidate has a higher mean."
        return f"{stay} The best candidate, {finding.best}, is not better beyond chance: {words}."

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
            conditions[name] = {**vars(finding), "significant": finding.significant}
        plain: dict[str, Any] = json_safe(
            {
                "data": self.data,
                "metric": self.metric,
                "splits": self.splits,
                **conditions,
                "candidates": [vars(c) for c in self.candidates],
                "notes": list(self.notes),
            }
        )
        return plain

    def table(self) -> str:
        """Return every candidate with its mean scores and its gains over joint training, in Markdown."""
        base = next(c for c in self.candidates if (c.method, c.rule) == BASELINE)
        lines = ["| method | rule | ordinary | gain | corrupted | gain |", "|---|---|---:|---:|---:|---:|"]
        for c in self.candidates:
            cells = [f"`{c.method}`", c.rule]
            for corrupted in (False, True):
                own, other = c.values(corrupted=corrupted), base.values(corrupted=corrupted)
                shown = self._gain(*gain_interval(own - other)) if c is not base else "–"
                cells += [self._level(float(own.mean())), shown]
            lines.append(f"| {' | '.join(cells)} |")
        return "\n".join(lines) + "\n"


BASELINE: Final = ("joint", "fused")


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]


def gain_interval(gains: np.ndarray) -> tuple[float, float, float]:
    r"""Return the mean gain over repeated splits, and the ends of its interval.

    The training sets of the splits overlap, so that the gains are correlated: the variance of the mean is
    :math:`s^2 (1/J + n_2 / n_1)` with :math:`n_1` training and :math:`n_2` scored samples (Nadeau & Bengio, "Inference
    for the Generalization Error", Machine Learning 52, 2003), with Student's quantile for J - 1 degrees of freedom.

    Args:
        gains: Gain on each split, ``(J,)``.

    Example:
        >>> [round(x, 3) for x in gain_interval(np.array([0.01, 0.02, 0.03]))]
        [0.02, -0.002, 0.042]
    """
    count = len(gains)
    spread = float(np.std(gains, ddof=1)) if count > 1 else math.nan
    error = spread * math.sqrt(1 / count + SHARE / (1 - SHARE))
    mean = float(np.mean(gains))
    low, high = t_interval(mean, error, count, level=LEVEL)
    return mean, low, high


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
    """Recommend a method and a decision rule for a data set, or joint training if no candidate is significantly better.

    Every candidate method is trained once on each of several random splits of the training and validation samples, and
    scored with every rule. The test set is never read. The best candidate is recommended if it is significantly better
    than joint training. On each split, the gain is measured for the candidate that is best on the *other* splits, so
    that it is not biased by the choice of the best.

    Args:
        data: Name or path of a data set, or the data.
        methods: Candidates: names, with hyper-parameters in brackets.
        rules: Decision rules with which each training is scored.
        splits: Number of splits, at least 3.
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
    plans = [plan for part in range(splits) for plan in _plans(part, baseline, rows, rules)]
    if on_start is not None:
        on_start(len(plans))
    results = _done(plans, given_data, out, jobs, on_done)
    recommendation = _read_results(opened.info.name, splits, results)
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


def _read_results(data: str, splits: int, results: Sequence[tuple[str, TrialResult]]) -> Recommendation:
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
    usable = [usable[0], *sorted(usable[1:], key=lambda c: (c.method, c.rule))]
    ordinary, corrupted = _find(usable, corrupted=False), _find(usable, corrupted=True)
    ranked = sorted(usable, key=lambda c: -float(np.mean(c.scores)))
    notes = tuple(f"`{method}` was left out: {error}" for method, error in errors.items())
    return Recommendation(data, baseline[0].score, splits, ordinary, corrupted, tuple(ranked), notes)


def _error(results: Sequence[TrialResult]) -> str:
    return next((r.error for r in results if r.error), "")


def _candidate(method: str, rule: str, results: Sequence[TrialResult]) -> Candidate:
    own = [(r.scores[rule][r.score], r.scores[rule].get(CORRUPTED, math.nan)) for r in results]
    return Candidate(method, rule, tuple(x for x, _ in own), tuple(y for _, y in own))


def _find(candidates: Sequence[Candidate], *, corrupted: bool) -> Finding:
    """Return the finding for one condition; the first candidate is joint training."""
    values = np.stack([c.values(corrupted=corrupted) for c in candidates])  # (K, J)
    gains = np.nan_to_num(values - values[0], nan=-math.inf) if np.isfinite(values[0]).all() else 0 * values
    best = int(gains.mean(1).argmax())
    # On each split, the gain of the candidate that is best on the others.
    others = gains.sum(1, keepdims=True) - gains
    crossed = gains[others.argmax(0), np.arange(gains.shape[1])]
    gain, low, high = gain_interval(crossed)
    chosen = best if low > 0 else 0
    name = f"`{candidates[best].method}` with the {candidates[best].rule} rule" if best else ""
    score, joint = (float(values[k].mean()) for k in (chosen, 0))
    row = candidates[chosen]
    return Finding(corrupted, row.method, row.rule, name, gain, low, high, score, joint)
