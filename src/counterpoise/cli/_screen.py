"""Progress bars and tables of the command line."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Self

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

from counterpoise.runs import RunRecord

if TYPE_CHECKING:
    from counterpoise.experiment.parallel import Failure
    from counterpoise.experiment.trials import TrialResult

__all__ = ["RunProgress", "console"]

console = Console()


class RunProgress:
    """A progress bar over runs, with the last finished run and its score."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._bar = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=28),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[last]}"),
            console=console,
            disable=quiet,
        )
        self._figures: TaskID | None = None
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
        self._task = self._bar.add_task("training", total=total, last="")
        self._left = total

    def figure(self, count: int, total: int) -> None:
        """Count a figure that was written."""
        self._bar.update(self._writing, visible=False)
        if self._figures is None:
            self._figures = self._bar.add_task("figures", total=total, last="")
        self._bar.update(self._figures, completed=count)

    def trial(self, result: TrialResult) -> None:
        """Count a trial."""
        last = "[red]failed[/]" if result.error else ""
        self._bar.update(self._task, advance=1, last=last)

    def done(self, result: RunRecord | Failure) -> None:
        """Count a run."""
        if isinstance(result, RunRecord):
            score = result.value(result.score)
            last = f"{result.data} · {escape(result.label)} · seed {result.seed}: {score:.3f}"
        else:
            last = "[red]failed[/]"
        self._bar.update(self._task, advance=1, last=last)
        self._left -= 1
        if not self._left:
            self._bar.update(self._writing, visible=True)
