"""Checks of user input: allowed ranges, allowed values, known keys, and suggestions for misspelt names."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from counterpoise.errors import ConfigError, NotFoundError

__all__ = ["Interval", "Options", "check_keys", "nearest", "unknown"]


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ``" Did you mean `x`?"`` for the closest known name, or an empty string."""
    match = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f" Did you mean `{match[0]}`?" if match else ""


def unknown(kind: str, name: str, known: Iterable[str]) -> NotFoundError:
    """Build the error for a name that is not in a catalogue.

    Example:
        >>> print(unknown("method", "omg-ge", ["joint", "ogm-ge"]))
        Unknown method `omg-ge`. Did you mean `ogm-ge`? Known: joint, ogm-ge.
    """
    known = sorted(known)
    return NotFoundError(f"Unknown {kind} `{name}`.{nearest(name, known)} Known: {', '.join(known)}.")


@dataclass(frozen=True)
class Interval:
    """Allowed range of a numeric hyper-parameter; a square bracket includes the end, a parenthesis excludes it.

    Example:
        >>> Interval(0, 1, "[)").check("OGM", "rate", 1.0)
        Traceback (most recent call last):
        ...
        counterpoise.errors.ConfigError: Parameter `rate` of `OGM` should be in [0, 1). Found `rate = 1.0`.
    """

    low: float
    high: float = float("inf")
    ends: str = "[)"
    integer: bool = False

    def __str__(self) -> str:
        kind = "an integer in " if self.integer else "in "
        return f"{kind}{self.ends[0]}{self.low:g}, {self.high:g}{self.ends[1]}"

    def check(self, owner: str, name: str, value: object) -> None:
        """Raise `ConfigError` if ``value`` lies outside."""
        value = value.item() if isinstance(value, np.number) else value
        numeric = isinstance(value, int if self.integer else (int, float)) and not isinstance(value, bool)
        if numeric:
            assert isinstance(value, (int, float))  # for the type checker
            above = value >= self.low if self.ends[0] == "[" else value > self.low
            below = value <= self.high if self.ends[1] == "]" else value < self.high
            if above and below:
                return
        raise ConfigError(f"Parameter `{name}` of `{owner}` should be {self}. Found `{name} = {value!r}`.")

    def invalid(self) -> object:
        """A value that `check` must refuse (the tests generate one for every parameter)."""
        return self.low - 1


@dataclass(frozen=True)
class Options:
    """Allowed values of a hyper-parameter that is a choice."""

    values: tuple[object, ...]

    def __str__(self) -> str:
        return "one of " + ", ".join(repr(v) for v in self.values)

    def check(self, owner: str, name: str, value: object) -> None:
        """Raise `ConfigError` if ``value`` is none of the options."""
        if not any(value is v or (type(value) is type(v) and value == v) for v in self.values):
            hint = nearest(value, [str(v) for v in self.values]) if isinstance(value, str) else ""
            raise ConfigError(f"Parameter `{name}` of `{owner}` should be {self}. Found `{name} = {value!r}`.{hint}")

    def invalid(self) -> object:
        """A value that `check` must refuse."""
        return "no such option"


def check_keys(owner: str, entries: Mapping[str, object], known: Iterable[str]) -> None:
    """Raise `ConfigError` for the first key of ``entries`` that is not known."""
    known = list(known)
    for key in entries:
        if key not in known:
            raise ConfigError(
                f"Unknown key `{key}` for {owner}.{nearest(key, known)} Known: {', '.join(known) or 'none'}."
            )
