"""Notes on a diagnosis."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

Result = TypeVar("Result")


class Notes(list[str]):
    """Notes on a diagnosis, among them what was left out because a late stage failed."""

    def optional(self, what: str, function: Callable[..., Result], *arguments: Any) -> Result | None:
        """Return the result of a stage; if it fails, return None and add a note."""
        try:
            return function(*arguments)
        except Exception as error:  # anything that a user's model or data may raise
            self.leave_out(what, error)
            return None

    def leave_out(self, what: str, error: Exception) -> None:
        """Add a note on a stage that failed."""
        text = " ".join(str(error).split())[:200]
        self.append(f"left out: {what} ({type(error).__name__}: {text})")
