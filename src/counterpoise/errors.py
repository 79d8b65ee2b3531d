"""Every error that counterpoise raises on purpose.

Each is also the right builtin, so that ``except ValueError`` works for people who do not know us, and each says what
was found, what was expected and what to do.
"""

from __future__ import annotations

__all__ = [
    "CheckpointError",
    "ConfigError",
    "CounterpoiseError",
    "DataError",
    "ModelError",
    "NotFoundError",
    "OutputError",
]


class CounterpoiseError(Exception):
    """Root of the library's errors."""


class ConfigError(CounterpoiseError, ValueError):
    """A setting that cannot be what was meant."""


class NotFoundError(CounterpoiseError, LookupError):
    """A name that no catalogue holds, or a folder that is not there."""


class DataError(CounterpoiseError, ValueError):
    """Data that would give a wrong number if we went on."""


class ModelError(CounterpoiseError, ValueError):
    """A model that does not fit the data or the method."""


class CheckpointError(CounterpoiseError, RuntimeError):
    """A checkpoint that does not belong to this model, or is damaged."""


class OutputError(CounterpoiseError, OSError):
    """A place that cannot be written to."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""
