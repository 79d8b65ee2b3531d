"""Base class of the synthetic benchmarks with known information."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from itertools import combinations
from typing import ClassVar, TypeAlias

import numpy as np

from counterpoise._validation import Interval, unknown
from counterpoise.data._core import SPLITS, DataInfo, Modality, MultimodalData, Split
from counterpoise.errors import ConfigError

__all__ = ["Arrays", "World", "letters"]

Arrays: TypeAlias = dict[str, np.ndarray]
LETTERS = "abcdefghijklmnopqrstuvwxyz"


def letters(count: int, owner: str) -> tuple[str, ...]:
    """Return the modalities' names ``a``, ``b``, ... after checking that there are at least two."""
    if not 2 <= count <= len(LETTERS):
        raise ConfigError(f"`{owner}` needs 2 to {len(LETTERS)} modalities. Found {count}.")
    return tuple(LETTERS[:count])


class World(ABC):
    """A joint distribution of M modalities and a target whose information is known exactly.

    All true values are in nats. Noise dimensions are independent of everything and change no true value.

    Args:
        modalities: Names of the modalities.
        noise_dims: Number of standard normal columns appended to every modality's vector.
    """

    name: ClassVar[str]
    task: ClassVar[str] = "multiclass"
    num_outputs: int

    def __init__(self, modalities: tuple[str, ...], noise_dims: int) -> None:
        Interval(0, integer=True).check(type(self).__name__, "noise_dims", noise_dims)
        self.modalities = modalities
        self.noise_dims = noise_dims

    def sample(self, n: int, seed: int | Sequence[int]) -> tuple[Arrays, np.ndarray]:
        """Return ``n`` independent draws: ``{m: (n, D_m)}`` float32, and targets."""
        rng = np.random.default_rng(seed)
        inputs, target = self._draw(n, rng)
        for m in self.modalities:
            noise = rng.standard_normal((n, self.noise_dims))
            inputs[m] = np.concatenate([inputs[m], noise], 1, dtype=np.float32)
        return inputs, target

    @abstractmethod
    def _draw(self, n: int, rng: np.random.Generator) -> tuple[Arrays, np.ndarray]:
        """Return inputs without noise dimensions, and targets."""

    @abstractmethod
    def entropy(self) -> float:
        """Return H(Y) (differential for real targets)."""

    @abstractmethod
    def _mi(self, subset: tuple[str, ...]) -> float:
        """Return I(X_S; Y) of a non-empty subset, named in the world's order."""

    @abstractmethod
    def ideal(self, inputs: Arrays, subset: Collection[str] | None = None) -> np.ndarray:
        """Return the natural outputs ``(n, C)`` of the best possible predictor from a subset of the modalities: log
        p(y | x_S), log-odds, or E[y | x_S].
        """

    def mi(self, subset: Collection[str] | None = None) -> float:
        """Return I(X_S; Y); of all modalities if ``subset`` is None.

        Raises:
            NotFoundError: If a modality is unknown.
        """
        names = self._subset(subset)
        return max(self._mi(names), 0.0) if names else 0.0  # rounding may give -1e-17

    def cmi(self, m: str) -> float:
        """Return I(X_m; Y | all others)."""
        self._subset([m])
        return max(self.mi() - self.mi([other for other in self.modalities if other != m]), 0.0)

    def co_information(self) -> float:
        """Return the co-information of all modalities and the target, by inclusion and exclusion; for M = 2, it is
        redundancy minus synergy.
        """
        sizes = range(1, len(self.modalities) + 1)
        return sum((-1) ** (k + 1) * self.mi(s) for k in sizes for s in combinations(self.modalities, k))

    def data(self, n: int, seed: int) -> MultimodalData:
        """Return a data set of ``n`` training, ``n // 4`` (at least 1) validation and ``n`` test samples."""
        sizes = dict(zip(SPLITS, (n, max(n // 4, 1), n), strict=True))
        parts = {part: Split(*self.sample(size, (seed, k))) for k, (part, size) in enumerate(sizes.items())}
        shapes = {m: array.shape[1:] for m, array in parts["train"].arrays.items()}
        info = DataInfo(
            name=self.name,
            modalities=tuple(Modality(m, "vector", shape) for m, shape in shapes.items()),
            task=self.task,
            num_outputs=self.num_outputs,
            source=f"drawn from counterpoise.data.worlds.{self!r}",
            notes=(f"I(X; Y) = {self.mi():.4f} of H(Y) = {self.entropy():.4f} nats",),
            recipe={"fit": {"epochs": 20}, "model": {"width": 32}},
        )
        return MultimodalData(info, **parts)

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    def _subset(self, subset: Collection[str] | None) -> tuple[str, ...]:
        if subset is None:
            return self.modalities
        for m in subset:
            if m not in self.modalities:
                raise unknown("modality", m, self.modalities)
        return tuple(m for m in self.modalities if m in subset)
