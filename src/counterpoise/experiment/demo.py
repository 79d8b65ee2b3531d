"""The demo: real smart-watch recordings, two sensors, and the question whether a model uses both."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from counterpoise.experiment.compare import Failure, compare
from counterpoise.runs import RunRecord

__all__ = ["DEMO_DATA", "DEMO_METHODS", "run_demo"]

DEMO_DATA = "smartwatch"
DEMO_METHODS = ("unimodal", "unimodal-ensemble", "joint", "uniform", "arm")


def run_demo(
    *,
    seeds: int = 3,
    out: Path = Path("counterpoise-demo"),
    jobs: int | None = None,
    on_start: Callable[[int], None] | None = None,
    on_done: Callable[[RunRecord | Failure], None] | None = None,
    on_figure: Callable[[int, int], None] | None = None,
) -> tuple[list[RunRecord], list[Failure]]:
    """Train every demo method on the smart-watch data and write records, tables, figures and the page into ``out``.

    Args:
        seeds: how many runs of each method.
        out: the folder.
        jobs: processes; None takes one per core.
        on_start: called with the number of runs, before the first.
        on_done: called after each run.
        on_figure: called after each figure, with how many are written and how many there are.
    """
    return compare(
        [DEMO_DATA],
        DEMO_METHODS,
        seeds=seeds,
        out=out,
        jobs=jobs,
        on_start=on_start,
        on_done=on_done,
        on_figure=on_figure,
    )
