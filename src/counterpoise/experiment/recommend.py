"""Recommendation of a method and a decision rule for a data set, by repeated splits of its training and validation
samples.
"""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from counterpoise._files import write_atomic
from counterpoise._validation import Interval
from counterpoise.config import RunConfig
from counterpoise.data import MultimodalData
from counterpoise.errors import DataError
from counterpoise.experiment.candidates import (
    BASELINE,
    HARM,
    Candidate,
    baseline_of,
    choose,
    expected_gains,
    gains_on_splits,
)
from counterpoise.experiment.config import make_config, parse_method
from counterpoise.experiment.folders import open_cached
from counterpoise.experiment.gains import Gain, read_benchmark_gains
from counterpoise.experiment.recommendation import LEVEL, Finding, Recommendation
from counterpoise.experiment.trials import CORRUPTED, Trial, TrialResult, count_folds, count_splits, do_trials
from counterpoise.inference.catalogue import RULES
from counterpoise.methods.catalogue import METHODS

__all__ = [
    "BASELINE",
    "CANDIDATES",
    "HARM",
    "LEVEL",
    "RULE_CANDIDATES",
    "Candidate",
    "Finding",
    "Recommendation",
    "choose",
    "expected_gains",
    "gains_on_splits",
    "recommend",
]


CANDIDATES: Final = ("joint", "uniform", "lfm", "dgl", "separated-experts")
"""Default candidates: the best methods of the catalogue on the library's benchmarks, one of each kind."""


RULE_CANDIDATES: Final = ("fused", "calibrated", "dynamic")
"""Decision rules with which each training is scored by default."""


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


def _find(candidates: Sequence[Candidate], metric: str, folds: int, *, corrupted: bool) -> Finding:
    """Return the finding for one condition."""
    gains = expected_gains(candidates, read_benchmark_gains(metric, corrupted=corrupted), folds, corrupted=corrupted)
    chosen = choose(gains)
    best = chosen if chosen != BASELINE or not gains else max(gains, key=lambda name: gains[name].mean)
    gain = gains.get(best, Gain(0.0, 0.0))
    name = f"`{best[0]}` with the {best[1]} rule" if gain.mean > 0 else ""
    row = next(c for c in candidates if c.name == chosen)
    score, joint = (float(c.values(corrupted=corrupted).mean()) for c in (row, baseline_of(candidates)))
    return Finding(corrupted, *chosen, name, gain.mean, *gain.interval(LEVEL), gain.harm, score, joint)
