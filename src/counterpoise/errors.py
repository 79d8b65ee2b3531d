"""Every error that counterpoise raises on purpose.

Each is also the right builtin, so that ``except ValueError`` works without knowing this package, and each message says
what was found, what was expected and what to do.
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
    """Root of the library's errors."""


class ConfigError(CounterpoiseError, ValueError):
    """A setting that cannot be what was meant."""


class NotFoundError(CounterpoiseError, LookupError):
    """A name that is in no catalogue, or a file or folder that does not exist."""


class DataError(CounterpoiseError, ValueError):
    """Data that would give a wrong number if we went on."""


class ModelError(CounterpoiseError, ValueError):
    """A model that does not fit the data or the method."""


class CheckpointError(CounterpoiseError, RuntimeError):
    """A checkpoint that does not belong to this model, or is damaged."""


class MissingExtraError(CounterpoiseError, ImportError):
    """A package that is not installed. The message holds the command that installs it."""


class TrainingError(CounterpoiseError, RuntimeError):
    """A training that cannot continue, for example because it diverged."""


class OutputError(CounterpoiseError, OSError):
    """A place that cannot be written to."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


def describe(error: BaseException) -> str:
    """Return an error in one line; for an error that is not the library's own, with its type and place.

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
