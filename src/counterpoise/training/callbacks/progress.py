"""One line per epoch during training: loss, validation score, contribution of each modality and remaining time."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from lightning.pytorch.callbacks import Callback
from rich.console import Console

from counterpoise.runs import CurveId
from counterpoise.training.callbacks.loggers import epoch_values

if TYPE_CHECKING:
    import lightning
    from rich.progress import Progress

__all__ = ["Column", "EpochLines", "make_columns", "waiting"]

SHORT: Final = 5
"""Minimum number of characters of a modality's name on a narrow screen."""

MISSING: Final = "–"


@dataclass(frozen=True)
class Column:
    """A right-aligned column.

    Attributes:
        heading: Heading of the column.
        width: Characters.
        text: Function that returns the text from the values of an epoch, by curve.
    """

    heading: str
    width: int
    text: Callable[[Mapping[CurveId, float]], str]


def number(value: float | None, digits: int = 2, unit: str = "") -> str:
    """Format a number; a missing one is a dash.

    Example:
        >>> number(0.1234), number(81.25, 1, " %"), number(None), number(float("nan")), number(123456.0)
        ('0.12', '81.2 %', '–', '–', '1.2e+05')
    """
    if value is None or value != value:
        return MISSING
    return (f"{value:.{digits}f}" if abs(value) < 1e4 else f"{value:.2g}") + unit


def make_columns(modalities: Sequence[str], score_name: str, width: int, *, curves: bool = True) -> list[Column]:
    r"""Return the columns of a line.

    Per modality it shows :math:`\phi_{MI}` and, in brackets, :math:`\phi_{CMI}`; if that is wider than the screen, or
    there is one modality, only the first is shown, if necessary with a shortened name.

    Args:
        modalities: Names of the modalities.
        score_name: Name of the task's score, such as ``accuracy``; a share is shown in per cent.
        width: Width of the screen in characters, without the first and the last column.
        curves: Whether contributions are estimated.
    """
    share = score_name == "accuracy"

    def score(values: Mapping[CurveId, float]) -> str:
        value = values.get(CurveId("score", score_name), float("nan"))
        return number(100 * value, 1, " %") if share else number(value, 3)

    columns = [
        Column("loss", 7, lambda v: number(v.get(CurveId("loss", "total")), 3)),
        Column(score_name, max(len(score_name), 7), score),
    ]
    if not curves:
        return columns

    def quantity(name: str, m: str | None = None) -> Callable[[Mapping[CurveId, float]], str]:
        return lambda v: number(v.get(CurveId("contribution", name, m)))

    def both(m: str) -> Callable[[Mapping[CurveId, float]], str]:
        return lambda v: f"{quantity('phi_mi', m)(v)} ({quantity('phi_cmi', m)(v)})"

    joint = [Column("joint", 5, quantity("phi_mi"))] if len(modalities) > 1 else []
    if len(modalities) > 1:
        full = [*columns, *(Column(m, max(len(m), 12), both(m)) for m in modalities), *joint]
        if sum(c.width + 2 for c in full) <= width:
            return full
    room = (width - sum(c.width + 2 for c in (*columns, *joint))) // len(modalities) - 2
    room = max(room, SHORT)
    return [
        *columns,
        *(Column(_shorten(m, room), max(min(len(m), room), SHORT), quantity("phi_mi", m)) for m in modalities),
        *joint,
    ]


def _shorten(name: str, room: int) -> str:
    return name if len(name) <= room else name[: room - 1] + "…"


def clock(seconds: float) -> str:
    """Format a duration.

    Example:
        >>> clock(5), clock(75), clock(3700)
        ('0:05', '1:15', '1:01:40')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def waiting(text: str, shown: bool) -> AbstractContextManager[object]:
    """Return a context in which a terminal shows the current activity.

    Args:
        text: Description of the activity.
        shown: Whether to show it.
    """
    return Console().status(text) if shown else nullcontext()


class EpochLines(Callback):
    """Callback that prints a line per epoch; on a terminal, a progress bar of the current epoch is shown below.

    It reads the curves of `MethodModule` and does not depend on the method.

    Args:
        console: Console to write to; None uses the standard output.

    Example:
        >>> from counterpoise.training import fit
        >>> fit(data, config, callbacks=[EpochLines()])  # doctest: +SKIP
    """

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console()
        self._columns: list[Column] = []
        self._bar: Progress | None = None
        self._started = 0.0
        self._first = 0

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"console": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ = state | {"console": Console()}  # in another process

    def on_train_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Print a description of the run and the headings."""
        if not trainer.is_global_zero:
            self.console = Console(quiet=True)
        config, task = pl_module.config, pl_module.model.task
        single = pl_module.method.single_modality
        modalities = (single,) if single else pl_module.model.modalities
        self._columns = make_columns(
            modalities, task.score_name, self.console.width - self._edge(trainer), curves=pl_module.curves
        )
        self._started, self._first = time.monotonic(), trainer.current_epoch
        name = trainer.datamodule.data.info.name  # type: ignore[attr-defined]
        title = f"{config.method} on {name}, seed {config.seed}: {trainer.max_epochs} epochs"
        if self._first:
            title += f", {self._first} of them done before"
        if pl_module.curves:
            brackets = any("(" in c.text({}) for c in self._columns)
            title += f"; {task.score_name} and contributions (nats) on the validation set: φ_MI"
            title += " (φ_CMI)" if brackets else ""
        self._print(title, style="bold")
        self._line(trainer, "epoch", [c.heading for c in self._columns], "left", style="dim")
        if self.console.is_terminal:
            self._bar = _bar(self.console)
            self._bar.start()

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Set the bar to zero."""
        if self._bar is not None:
            for task in self._bar.task_ids:
                self._bar.remove_task(task)
            self._bar.add_task(f"epoch {trainer.current_epoch + 1}", total=int(trainer.num_training_batches))

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Move the bar."""
        if self._bar is not None:
            self._bar.advance(self._bar.task_ids[0])

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Print the epoch's line."""
        epoch, epochs = trainer.current_epoch, trainer.max_epochs or 0
        values = epoch_values(pl_module.history, epoch)
        done = epoch + 1 - self._first
        left = (time.monotonic() - self._started) / done * (epochs - epoch - 1)
        self._line(trainer, f"{epoch + 1}/{epochs}", [c.text(values) for c in self._columns], clock(left))

    def teardown(self, trainer: lightning.Trainer, pl_module: Any, stage: str) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def on_exception(self, trainer: lightning.Trainer, pl_module: Any, exception: BaseException) -> None:
        """Take the bar away."""
        self.teardown(trainer, pl_module, "fit")

    def _edge(self, trainer: lightning.Trainer) -> int:
        """Return the characters of the first and the last column."""
        return self._first_width(trainer) + 9

    def _first_width(self, trainer: lightning.Trainer) -> int:
        return max(5, 2 * len(str(trainer.max_epochs)) + 1)

    def _line(
        self, trainer: lightning.Trainer, first: str, cells: Sequence[str], last: str, style: str | None = None
    ) -> None:
        widths = [c.width for c in self._columns]
        middle = "".join(f"  {cell:>{width}}" for cell, width in zip(cells, widths, strict=True))
        self._print(f"{first:>{self._first_width(trainer)}}{middle}  {last:>7}", style=style)

    def _print(self, text: str, style: str | None = None) -> None:
        self.console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)


def _bar(console: Console) -> Progress:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=28),
        MofNCompleteColumn(),
        TextColumn("batches"),
        console=console,
        transient=True,
    )
