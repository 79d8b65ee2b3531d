"""Progress bars and tables of the command line."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from counterpoise.runs import RunRecord

if TYPE_CHECKING:
    from counterpoise.experiment.parallel import Failure
    from counterpoise.experiment.trials import TrialResult

__all__ = ["RunProgress", "console"]

console = Console()


PAUSE: Final = 2.0
"""Seconds between two lines if the output is not a terminal."""


class RunProgress:
    """A progress bar over runs, with the last finished run and its score.

    If the output is not a terminal (the log of a job, for example), it prints lines on the standard error instead, at
    most one every two seconds.

    Args:
        quiet: Whether to show nothing.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self._lines = not quiet and not console.is_terminal
        self._spoken = float("-inf")
        self._bar = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=28),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[last]}"),
            console=console,
            disable=quiet or self._lines,
        )
        self._figures: TaskID | None = None
        self._opening = self._bar.add_task("opening the data", total=None, last="")
        self._writing = self._bar.add_task("tables and page", total=None, visible=False, last="")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def start(self, total: int) -> None:
        """Show the number of runs."""
        self._bar.update(self._opening, visible=False)
        self._total = total
        self._task = self._bar.add_task("training", total=total, last="")
        self._left = total

    def figure(self, count: int, total: int) -> None:
        """Count a figure that was written."""
        self._bar.update(self._writing, visible=False)
        if self._figures is None:
            self._figures = self._bar.add_task("figures", total=total, last="")
        self._bar.update(self._figures, completed=count)
        self._print(f"figures: {count} of {total}")

    def trial(self, result: TrialResult) -> None:
        """Count a trial."""
        self._count("[red]failed[/]" if result.error else "")

    def done(self, result: RunRecord | Failure) -> None:
        """Count a run."""
        if isinstance(result, RunRecord):
            score = result.value(result.score)
            last = f"{result.data} · {escape(result.label)} · seed {result.seed}: {score:.3f}"
        else:
            last = "[red]failed[/]"
        self._count(last)
        if not self._left:
            self._bar.update(self._writing, visible=True)

    def _count(self, last: str) -> None:
        self._bar.update(self._task, advance=1, last=last)
        self._left -= 1
        done = f"{self._total - self._left} of {self._total}"
        self._print(f"{done}  {Text.from_markup(last).plain}", always=not self._left)

    def _print(self, text: str, *, always: bool = False) -> None:
        """Print a line if the output is not a terminal, unless another line was printed just before."""
        now = time.monotonic()
        if self._lines and (always or now - self._spoken >= PAUSE):
            print(text.rstrip(), file=sys.stderr, flush=True)
            self._spoken = now
