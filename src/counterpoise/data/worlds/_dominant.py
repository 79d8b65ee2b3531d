"""A synthetic benchmark of modality imbalance: one modality is easy to learn, the others are hard."""

from __future__ import annotations

import numpy as np

from counterpoise._validation import Interval
from counterpoise.data.worlds._discrete import PROBABILITY, DiscreteWorld, Table, one_hot

__all__ = ["Dominant"]


class Dominant(DiscreteWorld):
    r"""A benchmark in which modality ``a`` is easy to learn, the others are hard, and all of them are needed.

    Every modality shows the class or, in an independent share of the samples, a symbol for "nothing", so that
    :math:`I(X_S; Y) = \log C \, (1 - \prod_{m \in S} e_m)` with the shares :math:`e_m`. ``a`` shows it as a plain
    one-hot code. The others hide it: they show a random symbol u and the class minus u modulo C, which no linear map
    can read; an encoder must learn to add first. In joint training ``a`` explains most labels before that happens.

    Args:
        modalities: M.
        classes: C, equally likely.
        easy: Share of the samples in which ``a`` shows nothing.
        hard: Share in which each of the others shows nothing.
        noise_dims: See `World`.

    Example:
        >>> world = Dominant()
        >>> world.mi(["a"]) > world.mi(["b"]) > world.cmi("b") > 0
        True
    """

    name = "dominant"

    def __init__(
        self, modalities: int = 2, *, classes: int = 6, easy: float = 0.2, hard: float = 0.3, noise_dims: int = 16
    ) -> None:
        PROBABILITY.check("Dominant", "easy", easy)
        PROBABILITY.check("Dominant", "hard", hard)
        Interval(2, integer=True).check("Dominant", "classes", classes)
        super().__init__([classes + 1] * modalities, classes, noise_dims)
        self.easy = easy
        self.hard = hard

    def table(self) -> Table:
        """See `DiscreteWorld.table`; the last symbol of each modality is "nothing"."""
        size = self.num_outputs
        target, *blank = (axis.reshape(-1) for axis in np.indices((size, *(2 for _ in self.modalities))))
        probability = np.full(len(target), 1 / size)
        for k, nothing in enumerate(blank):
            share = self.hard if k else self.easy
            probability = probability * np.where(nothing == 1, share, 1 - share)
        return np.stack([np.where(nothing == 1, size, target) for nothing in blank], 1), target, probability

    def encode(self, m: str, symbols: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """See `DiscreteWorld.encode`."""
        size = self.num_outputs
        if m == self.modalities[0]:
            return one_hot(symbols, size + 1)
        key = rng.integers(size, size=len(symbols))
        hidden = np.where(symbols == size, size, (symbols - key) % size)
        return np.concatenate([one_hot(key, size), one_hot(hidden, size + 1)], 1)

    def decode(self, m: str, inputs: np.ndarray) -> np.ndarray:
        """See `DiscreteWorld.decode`."""
        size = self.num_outputs
        if m == self.modalities[0]:
            return inputs[:, : size + 1].argmax(1)
        key, hidden = inputs[:, :size].argmax(1), inputs[:, size : 2 * size + 1].argmax(1)
        return np.where(hidden == size, size, (key + hidden) % size)

    def __repr__(self) -> str:
        return (
            f"Dominant({len(self.modalities)}, classes={self.num_outputs}, easy={self.easy}, hard={self.hard}, "
            f"noise_dims={self.noise_dims})"
        )
