"""A joint distribution of modalities and a target whose information is known."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, TypeAlias

import numpy as np
from torch import Tensor

Weights: TypeAlias = Mapping[str, float]
"""How strongly a model reads each modality: 1 as Bayes' rule does, 0 not at all."""

DRAWS = 100_000


@dataclass(frozen=True)
class Draw:
    """Samples.

    Attributes:
        inputs: ``{m: (N, D_m)}`` float32.
        target: ``(N,)`` classes, ``(N, L)`` labels of 0 and 1, or ``(N, K)`` reals.
        group: ``(N,)`` identifiers of samples that belong together, or None.
    """

    inputs: dict[str, np.ndarray]
    target: np.ndarray
    group: np.ndarray | None = None


class World(ABC):
    """A joint distribution.

    Attributes:
        task: multiclass, multilabel or regression.
        modalities: their names.
        independent: whether the modalities are independent given the target, so that a model that reads one of them
            holds exactly I(X_m; Y) of it when the others are averaged out.
        known: whether I(X; Y) is what the library estimates (not so for correlated labels, whose sum is).
        label_limit: H(Y), or infinity for real targets.
    """

    task: ClassVar[str] = "multiclass"
    modalities: tuple[str, ...] = ("a", "b")
    independent: bool = True
    known: bool = True

    @abstractmethod
    def draw(self, n: int, seed: int) -> Draw:
        """Return ``n`` samples."""

    @abstractmethod
    def outputs(self, inputs: Mapping[str, Tensor], weights: Weights) -> Tensor:
        """Return log p(y | x) up to a constant, log-odds or E[y | x], ``(N, C)``, of a model that reads the modalities
        with ``weights``. Weights of 0 and 1 give the exact posterior given those with weight 1.
        """

    @abstractmethod
    def information(self, subset: Sequence[str]) -> float:
        """Return I(X_S; Y)."""

    @abstractmethod
    def scale(self) -> float:
        """Return H(Y), or one nat per output for real targets: the unit of the verdicts' thresholds."""

    @property
    def label_limit(self) -> float:
        """The most that can be known about the target."""
        return np.inf if self.task == "regression" else self.scale()

    @cached_property
    def truths(self) -> dict[tuple[str, ...], float]:
        """I(X_S; Y) of all subsets."""
        sizes = range(len(self.modalities) + 1)
        subsets = (s for k in sizes for s in itertools.combinations(self.modalities, k))
        return {s: self.information(s) if s else 0.0 for s in subsets}

    def essence(self, n: int, seed: int) -> Draw:
        """Return ``n`` samples without the columns of noise that no posterior depends on."""
        return self.draw(n, seed)

    def joint(self) -> float:
        """Return I(X; Y)."""
        return self.truths[self.modalities]

    def mi(self, m: str) -> float:
        """Return I(X_m; Y)."""
        return self.truths[(m,)]

    def cmi(self, m: str) -> float:
        """Return I(X_m; Y | all others)."""
        rest = self.truths[tuple(k for k in self.modalities if k != m)]
        return np.inf if np.isinf(self.joint()) and np.isfinite(rest) else self.joint() - rest

    def available(self, m: str) -> float:
        """Return the larger of `mi` and `cmi` as a share of `scale`."""
        return max(self.mi(m), self.cmi(m)) / self.scale()


def channel(classes: int, flip: float) -> np.ndarray:
    """Return p(received | sent), ``(C, C)``: with probability ``flip`` another class, all alike."""
    return (1 - flip) * np.eye(classes) + flip / (classes - 1) * (1 - np.eye(classes))


def entropy(p: np.ndarray) -> float:
    """Return the entropy of a distribution of any shape.

    Example:
        >>> round(entropy(np.array([0.5, 0.5])), 4)
        0.6931
    """
    p = p[p > 0]
    return float(-(p * np.log(p)).sum())
