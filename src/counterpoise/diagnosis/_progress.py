"""A line with the current stage of a long call: in a terminal, a notebook or a log."""

from __future__ import annotations

import importlib
import multiprocessing
import threading
import time
from types import TracebackType
from typing import Any, Final, Protocol, Self

from rich.console import Console

__all__ = ["Progress"]

DELAY: Final = 2.0
"""Seconds after which progress is shown."""
PAUSE: Final = 5.0
"""Seconds between two lines in a log."""


class _Display(Protocol):
    def start(self) -> None: ...

    def update(self, text: str) -> None: ...

    def stop(self) -> None: ...


class Progress:
    """A context that shows the text of each call, from `DELAY` seconds on.

    A terminal and a notebook show one line that changes, a log gets a line every few seconds.

    Args:
        show: Whether to show it; None shows it in a terminal and in a notebook, but not from worker processes.
        numbered: Whether the calls are counted as steps.

    Example:
        >>> with Progress(False) as progress:
        ...     progress("predictions")
    """

    def __init__(self, show: bool | None = None, *, numbered: bool = True) -> None:
        console = Console(stderr=True)
        main = multiprocessing.current_process().name == "MainProcess"  # several workers would share one terminal
        changing = main and (console.is_terminal or console.is_jupyter)
        self._show = changing if show is None else show
        self._display: _Display = _Terminal(console)
        if not console.is_terminal:
            self._display = _Notebook() if console.is_jupyter else _Log(console)
        self._count, self._numbered = 0, numbered

    def __call__(self, text: str) -> None:
        """Show the name of the next stage."""
        self._count += 1
        if self._show:
            step = f" (step {self._count})" if self._numbered else ""
            self._display.update(f"counterpoise: {text}{step}")

    def __enter__(self) -> Self:
        if self._show:
            self._display.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._show:
            self._display.stop()


class _Terminal:
    """A terminal line with a spinner."""

    def __init__(self, console: Console) -> None:
        self._status = console.status("counterpoise: reading samples")
        self._timer = threading.Timer(DELAY, self._status.start)
        self._timer.daemon = True

    def start(self) -> None:
        self._timer.start()

    def update(self, text: str) -> None:
        self._status.update(text)

    def stop(self) -> None:
        self._timer.cancel()
        self._status.stop()


class _Notebook:
    """An output of a notebook cell that is overwritten, and cleared at the end."""

    def __init__(self) -> None:
        self._begin = 0.0
        self._handle: Any = None

    def start(self) -> None:
        self._begin = time.monotonic()

    def update(self, text: str) -> None:
        if time.monotonic() - self._begin < DELAY:
            return
        if self._handle is None:
            # The kernel of a notebook has IPython; it is no requirement of this package.
            display = importlib.import_module("IPython.display").display
            self._handle = display(_text(text), raw=True, display_id=True)
        else:
            self._handle.update(_text(text), raw=True)

    def stop(self) -> None:
        if self._handle is not None:
            self._handle.update(_text(""), raw=True)


def _text(text: str) -> dict[str, Any]:
    return {"text/plain": text}


class _Log:
    """Lines on standard error, for log files."""

    def __init__(self, console: Console) -> None:
        self._console, self._next = console, 0.0

    def start(self) -> None:
        self._next = time.monotonic() + DELAY

    def update(self, text: str) -> None:
        if time.monotonic() >= self._next:
            self._console.print(text, highlight=False, soft_wrap=True)
            self._next = time.monotonic() + PAUSE

    def stop(self) -> None:
        pass
