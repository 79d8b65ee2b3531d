"""Outcomes of checks."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class CheckResult:
    """Outcome of one check.

    Attributes:
        name: Name of the check.
        status: "passed", "failed" or "skipped".
        message: Expected and actual behaviour, or the reason why the check was skipped.
    """

    name: str
    status: str
    message: str = ""


class CheckFailedError(AssertionError):
    """Raised by a check that fails."""


class NotApplicableError(Exception):
    """Raised by a check that does not apply to the method."""


def expect(condition: bool, message: str) -> None:
    """Raise `CheckFailedError` with ``message`` unless ``condition`` holds."""
    if not condition:
        raise CheckFailedError(message)
