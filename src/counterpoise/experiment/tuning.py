"""Tuning of hyper-parameters on validation, with one declared grid and the same number of trials for every row."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any, Final

from counterpoise._validation import Interval
from counterpoise.config import RunConfig
from counterpoise.data import split_of_seed
from counterpoise.errors import ConfigError
from counterpoise.experiment.trials import Trial, TrialResult, do_trials
from counterpoise.methods.catalogue import METHODS

__all__ = [
    "RATES",
    "SMOOTHINGS",
    "STRENGTHS",
    "Choice",
    "Point",
    "apply_point",
    "grid_of",
    "next_point",
    "tune",
    "tuning_table",
]

RATES: Final = (1.0, 3.0, 9.0, 1 / 3, 1.7, 5.2)
"""Factors of the recipe's learning rate. The first three are always tried first."""
FIRST: Final = 3
STRENGTHS: Final = (1.0, 1 / 3, 3.0)
"""Factors of the method's strength, if it has one, within its limits."""
SMOOTHINGS: Final = (0.0, 0.1)
"""Further values of the label smoothing of the unimodal heads, if the method has that hyper-parameter."""


@dataclass(frozen=True)
class Point:
    """A point of the grid.

    Attributes:
        rate: Factor of the learning rate.
        strength: Factor of the strength.
        smoothing: Label smoothing; None is the method's own.
    """

    rate: float = 1.0
    strength: float = 1.0
    smoothing: float | None = None

    def __str__(self) -> str:
        parts = [f"learning rate x{self.rate:.3g}"]
        parts += [f"strength x{self.strength:.3g}"] if self.strength != 1 else []
        parts += [f"smoothing {self.smoothing:g}"] if self.smoothing is not None else []
        return ", ".join(parts)

    def distance(self, other: Point) -> tuple[int, int]:
        """Return the number of coordinates in which two points differ, and which ones: smoothing, strength, then the
        rate.
        """
        differs = [self.smoothing != other.smoothing, self.strength != other.strength, self.rate != other.rate]
        return sum(differs), differs.index(True) if any(differs) else 0


@dataclass(frozen=True)
class Choice:
    """Values that tuning chose for a row with one decision rule.

    Attributes:
        config: Chosen configuration, at the seed of the trials.
        point: Chosen point of the grid.
        score: Its validation score.
        rule: Name of the rule.
        trials: Validation score of every trial with that rule, by the description of its point; NaN if the trial
            failed.
        split: Number of the split that the trials used, of a data set with several seeded splits; else None.
    """

    config: RunConfig
    point: Point
    score: float
    rule: str
    trials: Mapping[str, float]
    split: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for ``tuning.json``."""
        return {
            "data": self.config.data,
            "split": self.split,
            "method": self.config.method,
            "arguments": {k: v for k, v in self.config.method_args.items() if k not in self.config.tuned},
            "rule": self.rule,
            "chosen": str(self.point),
            "learning_rate": self.config.optim.lr,
            "tuned": {k: self.config.method_args[k] for k in self.config.tuned},
            "validation": self.score,
            "trials": dict(self.trials),
        }


def grid_of(config: RunConfig) -> list[Point]:
    """Return the grid of a row: learning rates, and strength and smoothing if its method has them.

    Example:
        >>> len(grid_of(RunConfig("kanji", "joint"))), len(grid_of(RunConfig("kanji", "uniform")))
        (6, 36)
    """
    cls = METHODS.resolve(config.method)
    method = cls(**config.method_args)
    strengths: list[float] = [1.0]
    if getattr(method, "strength", 0):
        strengths = [k for k in STRENGTHS if _allowed(cls, "strength", k * method.strength)]
    own = method.smoothing if "smoothing" in cls.declarations else None
    smoothings = [None, *(s for s in SMOOTHINGS if s != own)] if own is not None else [None]
    return [Point(r, s, t) for r, s, t in product(RATES, strengths, smoothings)]


def _allowed(cls: Any, name: str, value: float) -> bool:
    try:
        cls.declarations[name].check(cls.__name__, value)
    except ConfigError:
        return False
    return True


def next_point(grid: Sequence[Point], scores: Mapping[Point, float]) -> Point | None:
    """Return the point to try next, or None if all are tried.

    After the first three learning rates, the next point is the one nearest to the best point so far: it differs in
    smoothing, else in strength, else in the rate, and then in two of them. Smoothing is changed first because it has
    the fewest values.

    Args:
        grid: All points.
        scores: Validation scores of the points that are tried; failed ones are NaN.

    Example:
        >>> grid = grid_of(RunConfig("kanji", "uniform"))
        >>> str(next_point(grid, {Point(1.0): 0.5, Point(3.0): 0.7, Point(9.0): 0.6}))
        'learning rate x3, smoothing 0.1'
    """
    first = next((Point(rate) for rate in RATES[:FIRST] if Point(rate) not in scores), None)
    left = [p for p in grid if p not in scores]
    if first is not None or not left:
        return first
    best = best_point(scores)
    return min(left, key=lambda p: (*p.distance(best), grid.index(p)))


def best_point(scores: Mapping[Point, float]) -> Point:
    """Return the point with the highest score; of equal ones, and if all failed, the first."""
    return max(scores, key=lambda p: scores[p] if math.isfinite(scores[p]) else -math.inf)


def apply_point(config: RunConfig, point: Point) -> RunConfig:
    """Return the configuration at a point of the grid.

    Example:
        >>> apply_point(RunConfig("kanji", "uniform"), Point(3.0, 1 / 3)).method_args
        {'strength': 0.3333333333333333}
    """
    changes: dict[str, float] = {}
    if point.strength != 1:
        changes["strength"] = point.strength * METHODS.resolve(config.method)(**config.method_args).strength
    if point.smoothing is not None:
        changes["smoothing"] = point.smoothing
    return replace(
        config,
        optim=replace(config.optim, lr=config.optim.lr * point.rate),
        method_args={**config.method_args, **changes},
        tuned=tuple(changes),
    )


def tune(
    configs: Sequence[RunConfig],
    trials: int,
    folder: Path,
    *,
    jobs: int | None = None,
    backend: str = "loky",
    cluster: str | None = None,
    on_start: Callable[[int], None] | None = None,
    on_done: Callable[[TrialResult], None] | None = None,
) -> tuple[list[RunConfig], list[Choice]]:
    """Choose learning rate, strength and smoothing of every row on validation, with the same number of trials.

    Rows that differ only in rule and seed share their trials: a network is trained once, with the first seed, and
    scored with every rule. Of a data set with several seeded splits, each split is tuned by itself, because the
    training and validation samples of one split are test samples of others.

    Args:
        configs: The runs of a comparison.
        trials: Number of trainings per row.
        folder: Folder of the trials. Those that are done are read.
        jobs: Number of processes.
        backend: One of `counterpoise.experiment.parallel.BACKENDS`.
        cluster: Cluster of the backend ``dask``, see `counterpoise.experiment.cluster.map_on_cluster`.
        on_start: Function that is called with the number of trials, before the first.
        on_done: Function that is called after each trial.

    Returns:
        The runs with the values chosen for their row and rule, and the choices.

    Raises:
        ConfigError: If ``trials`` is below 1.
    """
    Interval(1, 1000, "[]", integer=True).check("compare", "tune", trials)
    rows = _rows_of(configs)
    if on_start is not None:
        on_start(sum(min(trials, len(row.grid)) for row in rows.values()))
    where: dict[str, Any] = {"jobs": jobs, "backend": backend, "cluster": cluster}
    for _ in range(trials):
        waiting = [row for row in rows.values() if row.next_point() is not None]
        results = do_trials([row.trial() for row in waiting], folder, **where, on_done=on_done)
        for row, result in zip(waiting, results, strict=True):
            row.add_result(result)
    chosen = [_with_choice(config, rows[_row_key(config)].choice(config.rule)) for config in configs]
    return chosen, [choice for row in rows.values() for choice in row.choices()]


def _rows_of(configs: Sequence[RunConfig]) -> dict[tuple[str, int | None], _Row]:
    """Return the rows of a comparison by the settings that their runs share."""
    rows: dict[tuple[str, int | None], _Row] = {}
    for config in configs:
        rows.setdefault(_row_key(config), _Row(config)).add(config)
    return rows


class _Row:
    """The runs that share their trials, and the results so far."""

    def __init__(self, config: RunConfig) -> None:
        self.base = replace(config, rule="default")
        self.split = split_of_seed(config.data, config.seed)
        self.rules: dict[str, None] = {}
        self.grid = grid_of(self.base)
        self.done: dict[Point, TrialResult] = {}

    def add(self, config: RunConfig) -> None:
        """Add a run: its rule is scored, and the trials use the lowest seed."""
        self.rules[config.rule] = None
        self.base = replace(self.base, seed=min(self.base.seed, config.seed))

    def next_point(self) -> Point | None:
        """Return the point to try next."""
        return next_point(self.grid, {point: _mean_score(result) for point, result in self.done.items()})

    def trial(self) -> Trial:
        """Return the next trial."""
        point = self.next_point()
        assert point is not None  # the caller has asked
        return Trial(apply_point(self.base, point), tuple(self.rules))

    def add_result(self, result: TrialResult) -> None:
        """Add the result of the next trial."""
        point = self.next_point()
        assert point is not None
        self.done[point] = result

    def choices(self) -> list[Choice]:
        """Return the best choice for each rule."""
        return [self.choice(rule) for rule in self.rules]

    def choice(self, rule: str) -> Choice:
        """Return the best choice for a rule."""
        point = best_point({p: _score(r, rule) for p, r in self.done.items()})
        shown = {str(p): r.scores.get(rule, {}).get(r.score, math.nan) for p, r in self.done.items()}
        return Choice(apply_point(self.base, point), point, shown[str(point)], rule, shown, self.split)


def tuning_table(choices: Sequence[Choice]) -> str:
    """Return a Markdown table of the trials and the chosen values of every row.

    Args:
        choices: The choices.
    """
    lines = [
        "# Tuning",
        "",
        "Chosen on validation from the trials of each row; the learning rate is relative to the data set's recipe.",
        "",
        "| data | method | rule | trials | chosen | validation score |",
        "|---|---|---|---:|---|---:|",
    ]
    for c in choices:
        arguments = ", ".join(f"{k}={v}" for k, v in c.config.method_args.items() if k not in c.config.tuned)
        name = f"{c.config.method} [{arguments}]" if arguments else c.config.method
        data = c.config.data if c.split is None else f"{c.config.data}, split {c.split}"
        cells = (data, name, c.rule, str(len(c.trials)), str(c.point), f"{c.score:.4f}")
        lines.append(f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |")
    return "\n".join(lines) + "\n"


def _row_key(config: RunConfig) -> tuple[str, int | None]:
    return replace(config, rule="default", seed=0).key(""), split_of_seed(config.data, config.seed)


def _score(result: TrialResult, rule: str) -> float:
    """Return the selection criterion: the score, with ties broken by the likelihood; NaN for a failed trial."""
    scores = result.scores.get(rule, {})
    return scores.get(result.score, math.nan) - 1e-4 * scores.get("nll", math.nan)


def _mean_score(result: TrialResult) -> float:
    scores = [_score(result, rule) for rule in result.scores]
    return math.fsum(scores) / len(scores) if scores else math.nan


def _with_choice(config: RunConfig, choice: Choice) -> RunConfig:
    chosen = choice.config
    return replace(config, optim=chosen.optim, method_args=chosen.method_args, tuned=chosen.tuned)
