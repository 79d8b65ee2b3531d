"""The errors that counterpoise raises.

Each is also a subclass of the matching builtin, so that ``except ValueError`` works without importing this package.
Each message names the expected value, the value found, and a remedy.
"""

from __future__ import annotations

from pathlib import Path

__all__ = [
    "CheckpointError",
    "ConfigError",
    "CounterpoiseError",
    "DataError",
    "MissingExtraError",
    "ModelError",
    "NotFoundError",
    "OutputError",
    "TrainingError",
    "describe",
]


class CounterpoiseError(Exception):
    """Base class of the library's errors."""


class ConfigError(CounterpoiseError, ValueError):
    """Raised for an invalid setting."""


class NotFoundError(CounterpoiseError, LookupError):
    """Raised for a name that is in no catalogue, or a file or folder that does not exist."""


class DataError(CounterpoiseError, ValueError):
    """Raised for data that would silently produce incorrect results."""


class ModelError(CounterpoiseError, ValueError):
    """Raised for a model that does not fit the data or the method."""


class CheckpointError(CounterpoiseError, RuntimeError):
    """Raised for a checkpoint that does not belong to this model, or is damaged."""


class MissingExtraError(CounterpoiseError, ImportError):
    """Raised for a package that is not installed. The message holds the command that installs it."""


class TrainingError(CounterpoiseError, RuntimeError):
    """Raised when training cannot continue, for example because it diverged."""


class OutputError(CounterpoiseError, OSError):
    """Raised for a file or folder that cannot be written."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


def describe(error: BaseException) -> str:
    """Return an error in one line; an error that is not the library's own is shown with its type and place.

    Example:
        >>> describe(ConfigError("Parameter `seeds` should be at least 1. Found `seeds = 0`."))
        'Parameter `seeds` should be at least 1. Found `seeds = 0`.'
        >>> try:
        ...     1 / 0
        ... except ZeroDivisionError as error:
        ...     describe(error).partition(" (")[0]
        'ZeroDivisionError: division by zero'
    """
    text = " ".join(str(error).split())
    if isinstance(error, CounterpoiseError):
        return text
    place = ""
    trace = error.__traceback__
    while trace is not None:
        place = f" ({Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno})"
        trace = trace.tb_next
    return f"{type(error).__name__}: {text or 'no message'}{place}"
