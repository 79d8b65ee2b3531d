"""Declarations of a method's hyper-parameters: one line each, which defines defaults, limits and the constructor.

A declaration is a class attribute. The constructor, its signature, ``repr``, validation, the table in the docs and the
property tests are all derived from it::

    class Margin(ModulatedObjective):
        strength = Hyperparameter(1.0, Interval(0)) start = Hyperparameter(5, Interval(0, integer=True))

    Margin(strength=0.5)            # Margin(strength=0.5, start=5)

The values of an instance cannot be changed, so ``repr`` always describes the method that trains.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Generic, Protocol, TypeVar, overload

from counterpoise._validation import Interval, Options
from counterpoise.errors import ConfigError

__all__ = [
    "SMOOTHING",
    "STRENGTH",
    "Hyperparameter",
    "Interval",
    "Limits",
    "Names",
    "Options",
    "Rates",
    "declarations_of",
]

T = TypeVar("T")

STRENGTH = Interval(0)
"""Limits of a strength: 0 is joint training."""
SMOOTHING = Interval(0, 1)
"""Limits of a label smoothing."""


class Limits(Protocol):
    """The allowed values of a hyper-parameter, as `Interval` and `Options` describe them."""

    def check(self, owner: str, name: str, value: object) -> None:
        """Raise `ConfigError` if ``value`` is not allowed."""

    def invalid(self) -> object:
        """Return a value that `check` refuses."""


class Names:
    """Limits of a name, for example that of a modality: any text that is not empty."""

    def __str__(self) -> str:
        return "a name"

    def check(self, owner: str, name: str, value: object) -> None:
        """Raise `ConfigError` unless ``value`` is a text that is not empty."""
        if not (isinstance(value, str) and value):
            raise ConfigError(f"Parameter `{name}` of `{owner}` should be a name. Found `{name} = {value!r}`.")

    def invalid(self) -> object:
        """Return a value that `check` refuses."""
        return 3


class Rates:
    """Limits of a mapping from modalities to positive numbers."""

    def __str__(self) -> str:
        return "a positive number per modality"

    def check(self, owner: str, name: str, value: object) -> None:
        """Raise `ConfigError` unless ``value`` maps names to positive, finite numbers."""
        right = isinstance(value, Mapping) and bool(value)
        if right:
            assert isinstance(value, Mapping)  # for the type checker
            right = all(isinstance(m, str) and _positive(rate) for m, rate in value.items())
        if not right:
            raise ConfigError(
                f"Parameter `{name}` of `{owner}` should hold a positive number per modality. Found `{name} = "
                f"{value!r}`."
            )

    def invalid(self) -> object:
        """Return a value that `check` refuses."""
        return {"audio": -1.0}


def _positive(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf


class Hyperparameter(Generic[T]):
    """One hyper-parameter of a method: its default and its limits.

    Read from the class, it is the declaration; read from an instance, it is the value, which cannot be changed.

    Args:
        default: Default value. If it is None, None is allowed besides what the limits allow.
        limits: Allowed values. May be left out for booleans.

    Example:
        >>> rate = Hyperparameter(0.5, Interval(0, 1, "[]"))
        >>> print(rate)
        0.5, in [0, 1]
    """

    def __init__(self, default: T, limits: Limits | None = None) -> None:
        if limits is None and not isinstance(default, bool):
            raise ConfigError(f"A hyper-parameter that is not a boolean needs limits. Found the default `{default!r}`.")
        self.default = default
        self.limits: Limits = limits or Options((True, False))
        self.name = ""
        self.constant = False

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __str__(self) -> str:
        return f"{self.default!r}, {self.domain}"

    @property
    def domain(self) -> str:
        """The allowed values, in words."""
        return f"{self.limits}, or None" if self.default is None else str(self.limits)

    @overload
    def __get__(self, instance: None, owner: type) -> Hyperparameter[T]: ...
    @overload
    def __get__(self, instance: object, owner: type) -> T: ...
    def __get__(self, instance: object | None, owner: type) -> Hyperparameter[T] | T:
        if instance is None:
            return self
        if self.constant:
            return self.default
        value: T = instance.__dict__["_values"][self.name]
        return value

    def __set__(self, instance: object, value: object) -> None:
        raise AttributeError(f"Parameter `{self.name}` of `{type(instance).__name__}` is a constant.")

    def check(self, owner: str, value: object) -> None:
        """Raise `ConfigError` if ``value`` is not allowed.

        Args:
            owner: Name of the method's class, for the message.
            value: Value to check.
        """
        if value is not None or self.default is not None:
            self.limits.check(owner, self.name, value)

    def with_default(self, default: T) -> Hyperparameter[T]:
        """Return the same declaration with another default, for a subclass."""
        return Hyperparameter(default, self.limits)

    def fixed(self, value: T) -> Hyperparameter[T]:
        """Return a constant: a subclass that uses it no longer has this hyper-parameter."""
        constant = Hyperparameter(value, self.limits)
        constant.constant = True
        return constant


def declarations_of(cls: type) -> dict[str, Hyperparameter[Any]]:
    """Return the hyper-parameters that a class declares or inherits, by name, those of its base classes first.

    Example:
        >>> class Base:
        ...     strength = Hyperparameter(1.0, STRENGTH)
        ...     noise = Hyperparameter(True)
        >>> class Quiet(Base):
        ...     noise = Base.noise.fixed(False)
        >>> list(declarations_of(Base)), list(declarations_of(Quiet))
        (['strength', 'noise'], ['strength'])
    """
    declarations: dict[str, Hyperparameter[Any]] = {}
    for base in reversed(cls.__mro__):
        for name, value in vars(base).items():
            if isinstance(value, Hyperparameter):
                declarations[name] = value
            else:
                declarations.pop(name, None)  # replaced by something else
    return {name: declared for name, declared in declarations.items() if not declared.constant}
