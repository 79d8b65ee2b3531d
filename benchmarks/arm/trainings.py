"""The trainings of ``study.jsonl`` by data set and row, and what the tables share."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from scipy import stats
from study import RATES, SETS, shared_rate

from counterpoise.report.analysis.statistics import crossed_error

__all__ = [
    "CONTROL",
    "HERE",
    "NAMES",
    "OFF",
    "ON",
    "PARTS",
    "RECIPE",
    "RULES",
    "Study",
    "markdown",
    "mean_error",
    "signed",
    "tested",
    "with_p",
]

HERE: Final = Path(__file__).parent
RULES: Final = ("fused", "calibrated", "dynamic")
OFF: Final = "loss_weights=false,resampling=false"
ON, CONTROL, RECIPE = "arm", "uniform", "separated-experts"
PARTS: Final = {
    "fusion": f"arm[{OFF}]",
    "loss weights": "arm[fusion=false,resampling=false]",
    "re-sampling": "arm[fusion=false,loss_weights=false]",
}
"""The three parts of ARM, each of which is trained alone."""
NAMES: Final = {
    "joint": "joint",
    "uniform": "uniform (ARM without its parts)",
    "arm": "arm",
    f"arm[{OFF}]": "fusion only",
    "arm[fusion=false,resampling=false]": "loss weights only",
    "arm[fusion=false,loss_weights=false]": "re-sampling only",
    f"arm[fusion=false,{OFF},smoothing=0.1]": "smoothing only",
    "separated-gradients": "separation only",
    "separated-experts[fusion=false]": "separation and smoothing",
    "separated-experts": "separated-experts",
}

Lines = Mapping[tuple[Any, ...], dict[str, Any]]


class Study:
    """The trainings, each row at the rate that validation chose for it, or all at one rate per data set.

    Args:
        lines: Trainings by data set, split, row, rate and seed.
        rates: Rates that every row was tried at.
        shared: Whether all rows have the rate with the best mean over them.
        sets: Data sets.
    """

    def __init__(
        self, lines: Lines, rates: Sequence[float] = RATES, *, shared: bool = False, sets: Sequence[str] = SETS
    ) -> None:
        self.lines = {k: v for k, v in lines.items() if k[1] is None and k[3] in rates}
        self.rates, self.shared = rates, shared
        known = {k[0] for k in self.lines if k[2] == ON}
        self.sets = [d for d in sets if d in known]
        trained = {k[2] for k in self.lines}
        self.rows = [r for r in NAMES if r in trained]

    def rate(self, data: str, row: str) -> float | None:
        """Return the rate with the best validation score of seed 0."""
        if self.shared:
            return shared_rate(self.lines, data, self.rates)
        tried = {k[3]: v["scores"]["val:calibrated"] for k, v in self.lines.items() if k[0::2] == (data, row, 0)}
        return max(tried, key=lambda r: tried[r]) if len(tried) > 1 else None

    def runs(self, data: str, row: str) -> dict[int, dict[str, Any]]:
        """Return the trainings at that rate by seed."""
        rate = self.rate(data, row)
        return {k[4]: v for k, v in self.lines.items() if (k[0], k[2], k[3]) == (data, row, rate)}

    def complete(self, *rows: str) -> list[str]:
        """Return the data sets on which all rows have two seeds or more in common."""
        return [d for d in self.sets if len(set.intersection(*(set(self.runs(d, r)) for r in rows))) > 1]

    def scores(self, data: str, row: str, metric: str) -> dict[int, float]:
        """Return a metric by seed."""
        return {s: x["scores"][metric] for s, x in sorted(self.runs(data, row).items()) if metric in x["scores"]}

    def right(self, data: str, row: str, rule: str) -> dict[int, np.ndarray]:
        """Return which test samples are predicted rightly, by seed."""
        return {
            s: np.unpackbits(np.frombuffer(bytes.fromhex(x["right"][rule]), np.uint8))[: x["samples"]].astype(float)
            for s, x in self.runs(data, row).items()
        }

    def gain(self, data: str, ours: str, theirs: str, metric: str) -> np.ndarray:
        """Return the differences by seed."""
        a, b = self.scores(data, ours, metric), self.scores(data, theirs, metric)
        return np.array([a[s] - b[s] for s in sorted(a.keys() & b.keys())])


def mean_error(values: np.ndarray) -> tuple[float, float]:
    """Return the mean and its standard error."""
    return float(values.mean()), float(values.std(ddof=1) / math.sqrt(len(values))) if len(values) > 1 else math.nan


def signed(values: np.ndarray) -> str:
    mean, error = mean_error(values)
    return f"{mean:+.1f} ± {error:.1f}"


def markdown(title: str, text: str, header: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """Return a page with one table."""
    lines = ["| " + " | ".join(header) + " |", "|---|" + "---:|" * (len(header) - 1)]
    lines += ["| " + " | ".join(line) + " |" for line in body]
    return "\n".join([f"# {title}", "", text, "", *lines]) + "\n"


def tested(study: Study, sets: Sequence[str], ours: str, theirs: str, rule: str) -> str:
    """Return the mean difference, its error over seeds and test samples, and the p-value, for a set of data sets."""
    means, variances = [], []
    for d in sets:
        a, b = study.right(d, ours, rule), study.right(d, theirs, rule)
        seeds = sorted(a.keys() & b.keys())
        table = np.stack([a[s] - b[s] for s in seeds])
        # Splits that differ by seed have other test samples: only the seeds are then drawn.
        paired = d != "kanji"
        error = mean_error(table.mean(1))[1]
        error = max(error, crossed_error(table)) if paired else error  # the latter is a difference, and can be 0
        means.append(100 * table.mean())
        variances.append((100 * error) ** 2)
    if not means:
        return "–"
    return with_p(float(np.mean(means)), math.sqrt(sum(variances)) / len(means), 2)


def with_p(mean: float, error: float, digits: int) -> str:
    """Return a mean, its standard error and the two-sided p, as text."""
    if not error:
        return f"{mean:+.{digits}f}"
    p = 2 * stats.norm.sf(abs(mean) / error)
    return f"{mean:+.{digits}f} ± {error:.{digits}f} (p {f'= {p:.3f}' if p >= 0.001 else '< 0.001'})"
