"""A line in the terminal that says what a diagnosis is doing, once it has taken a while."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Final, Self

from rich.console import Console

__all__ = ["Progress"]

DELAY: Final = 2.0
"""Seconds after which progress is shown."""


class Progress:
    """Context in which calls with a text are shown on standard error after `DELAY` seconds.

    Args:
        show: Whether to show it; None shows it in a terminal.

    Example:
        >>> with Progress(False) as progress:
        ...     progress("predictions")
    """

    def __init__(self, show: bool | None = None) -> None:
        console = Console(stderr=True)
        self._show = console.is_terminal if show is None else show
        self._status = console.status("counterpoise: reading samples")
        self._timer = threading.Timer(DELAY, self._status.start)
        self._timer.daemon = True
        self._count = 0

    def __call__(self, text: str) -> None:
        """Say what comes next."""
        self._count += 1
        if self._show:
            self._status.update(f"counterpoise: {text} (step {self._count})")

    def __enter__(self) -> Self:
        if self._show:
            self._timer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        self._status.stop()
