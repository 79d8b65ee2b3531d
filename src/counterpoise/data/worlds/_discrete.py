"""Discrete synthetic benchmarks: the information is a sum over a table."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Sequence
from functools import cached_property

import numpy as np

from counterpoise._validation import Interval
from counterpoise.data.worlds._base import Arrays, World, letters

__all__ = ["XOR", "DiscreteWorld", "Redundant", "Table", "Unique", "channel", "one_hot"]

PROBABILITY = Interval(0, 1, "[]")
Table = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Symbols ``(K, M)``, target ``(K,)`` and probability ``(K,)`` of every event."""


def one_hot(symbols: np.ndarray, size: int) -> np.ndarray:
    """Return ``(n, size)`` float32 codes."""
    return np.eye(size, dtype=np.float32)[symbols]


def channel(sent: np.ndarray, received: np.ndarray, size: int, flip: float) -> np.ndarray:
    """Return p(received | sent) of the symmetric channel: with probability ``flip`` one of the other symbols, each
    alike.
    """
    if size == 1:
        return np.ones(np.broadcast(sent, received).shape)
    return np.where(sent == received, 1 - flip, flip / (size - 1))


class DiscreteWorld(World):
    """A synthetic benchmark over finite alphabets. Inputs are one-hot codes; the true values are computed by
    enumeration.

    Args:
        sizes: Alphabet size of each modality.
        num_outputs: Number of classes.
        noise_dims: See `World`.
    """

    def __init__(self, sizes: Sequence[int], num_outputs: int, noise_dims: int) -> None:
        super().__init__(letters(len(sizes), type(self).__name__), noise_dims)
        self.sizes = dict(zip(self.modalities, sizes, strict=True))
        self.num_outputs = num_outputs

    @abstractmethod
    def table(self) -> Table:
        """Return every event with its probability."""

    @cached_property
    def _events(self) -> Table:
        symbols, target, probability = self.table()
        possible = probability > 0
        return symbols[possible], target[possible], probability[possible] / probability[possible].sum()

    def joint(self, subset: Collection[str] | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Return the distinct symbols of a subset ``(K, |S|)`` and p(x_S, y) ``(K, C)``."""
        symbols, target, probability = self._events
        columns = [self.modalities.index(m) for m in self._subset(subset)]
        values, row = np.unique(symbols[:, columns], axis=0, return_inverse=True)
        joint = np.zeros((len(values), self.num_outputs))
        np.add.at(joint, (row.reshape(-1), target), probability)
        return values, joint

    def entropy(self) -> float:
        """See `World.entropy`."""
        return _entropy(self.joint()[1].sum(0))

    def _mi(self, subset: tuple[str, ...]) -> float:
        joint = self.joint(subset)[1]
        return _entropy(joint.sum(0)) + _entropy(joint.sum(1)) - _entropy(joint)

    def _draw(self, n: int, rng: np.random.Generator) -> tuple[Arrays, np.ndarray]:
        symbols, target, probability = self._events
        row = rng.choice(len(target), size=n, p=probability)
        return {m: self.encode(m, symbols[row, k], rng) for k, m in enumerate(self.modalities)}, target[row]

    def encode(self, m: str, symbols: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return the code ``(n, D_m)`` of a modality's symbols ``(n,)``; `decode` undoes it."""
        del rng
        return one_hot(symbols, self.sizes[m])

    def decode(self, m: str, inputs: np.ndarray) -> np.ndarray:
        """Return the symbols ``(n,)`` behind inputs ``(n, D_m)``."""
        return inputs[:, : self.sizes[m]].argmax(1)

    def ideal(self, inputs: Arrays, subset: Collection[str] | None = None) -> np.ndarray:
        """See `World.ideal`; impossible classes get the log of a very small number, impossible inputs p(y)."""
        names = self._subset(subset)
        values, joint = self.joint(names)
        joint = np.concatenate([joint, joint.sum(0, keepdims=True)])  # last: inputs that never occur
        conditional = np.log(np.maximum(joint / joint.sum(1, keepdims=True), 1e-12))
        if not names:
            return np.repeat(conditional[:1], len(next(iter(inputs.values()))), axis=0)
        strides = np.cumprod([1, *(self.sizes[m] for m in names[:-1])])
        rows = np.full(int(np.prod([self.sizes[m] for m in names])), -1, dtype=np.int64)
        rows[values @ strides] = np.arange(len(values))
        seen = np.stack([self.decode(m, inputs[m]) for m in names], 1)
        return conditional[rows[seen @ strides]]


def _entropy(p: np.ndarray) -> float:
    p = p[p > 0]
    return float(-(p * np.log(p)).sum())


def _grid(*sizes: int) -> list[np.ndarray]:
    return [axis.reshape(-1) for axis in np.indices(sizes)]


class Redundant(DiscreteWorld):
    """A benchmark in which all modalities show the same copy of Y: I(X_m; Y) = I(X; Y), and no information is unique.

    Args:
        modalities: M.
        classes: C, equally likely.
        flip: Probability that the common copy is another class.
        noise_dims: See `World`.

    Example:
        >>> world = Redundant()
        >>> [round(v, 4) for v in (world.entropy(), world.mi(["a"]), world.cmi("a"), world.co_information())]
        [0.6931, 0.6931, 0.0, 0.6931]
    """

    name = "redundant"

    def __init__(self, modalities: int = 2, *, classes: int = 2, flip: float = 0.0, noise_dims: int = 0) -> None:
        PROBABILITY.check("Redundant", "flip", flip)
        Interval(2, integer=True).check("Redundant", "classes", classes)
        super().__init__([classes] * modalities, classes, noise_dims)
        self.flip = flip

    def table(self) -> Table:
        """See `DiscreteWorld.table`."""
        target, copy = _grid(self.num_outputs, self.num_outputs)
        symbols = np.repeat(copy[:, None], len(self.modalities), axis=1)
        return symbols, target, channel(target, copy, self.num_outputs, self.flip) / self.num_outputs

    def __repr__(self) -> str:
        size = f"{len(self.modalities)}, classes={self.num_outputs}"
        return f"Redundant({size}, flip={self.flip}, noise_dims={self.noise_dims})"


class Unique(DiscreteWorld):
    """A benchmark in which Y has one independent part per modality, and each modality shows its own: I(X; Y) is the sum
    of the I(X_m; Y).

    Args:
        states: Number of values of each part, equally likely; a modality with 1 shows a fair coin, which is
            uninformative.
        flip: Probability that a shown part has another value.
        noise_dims: See `World`.

    Example:
        >>> world = Unique((2, 1))
        >>> [round(v, 4) for v in (world.mi(["a"]), world.mi(["b"]), world.cmi("a"), world.cmi("b"))]
        [0.6931, 0.0, 0.6931, 0.0]
    """

    name = "unique"

    def __init__(self, states: Sequence[int] = (2, 2), *, flip: float = 0.0, noise_dims: int = 0) -> None:
        PROBABILITY.check("Unique", "flip", flip)
        for size in states:
            Interval(1, integer=True).check("Unique", "states", size)
        Interval(2, integer=True).check("Unique", "product of states", int(np.prod(states)))
        super().__init__([max(size, 2) for size in states], int(np.prod(states)), noise_dims)
        self.states = tuple(states)
        self.flip = flip

    def table(self) -> Table:
        """See `DiscreteWorld.table`."""
        count = len(self.states)
        axes = _grid(*self.states, *self.sizes.values())
        parts, shown = axes[:count], axes[count:]
        target = np.ravel_multi_index(parts, self.states)
        probability = np.full(len(target), 1 / self.num_outputs)
        for part, symbol, size in zip(parts, shown, self.states, strict=True):
            probability = probability * (channel(part, symbol, size, self.flip) if size > 1 else 0.5)
        return np.stack(shown, 1), target, probability

    def __repr__(self) -> str:
        return f"Unique({self.states}, flip={self.flip}, noise_dims={self.noise_dims})"


class XOR(DiscreteWorld):
    """A benchmark of pure synergy: Y is the sum of all symbols modulo C, so that nothing is known if any modality is
    missing.

    Args:
        modalities: M.
        classes: C; 2 is the exclusive or.
        flip: Probability that Y is another class.
        noise_dims: See `World`.

    Example:
        >>> world = XOR()
        >>> [round(v, 4) for v in (world.mi(["a"]), world.mi(), world.cmi("a"), world.co_information())]
        [0.0, 0.6931, 0.6931, -0.6931]
    """

    name = "xor"

    def __init__(self, modalities: int = 2, *, classes: int = 2, flip: float = 0.0, noise_dims: int = 0) -> None:
        PROBABILITY.check("XOR", "flip", flip)
        Interval(2, integer=True).check("XOR", "classes", classes)
        super().__init__([classes] * modalities, classes, noise_dims)
        self.flip = flip

    def table(self) -> Table:
        """See `DiscreteWorld.table`."""
        *symbols, target = _grid(*self.sizes.values(), self.num_outputs)
        shown = np.stack(symbols, 1)
        total = shown.sum(1) % self.num_outputs
        return shown, target, channel(total, target, self.num_outputs, self.flip) / np.prod(list(self.sizes.values()))

    def __repr__(self) -> str:
        return (
            f"XOR({len(self.modalities)}, classes={self.num_outputs}, flip={self.flip}, noise_dims={self.noise_dims})"
        )
