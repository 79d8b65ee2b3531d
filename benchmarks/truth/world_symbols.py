"""Symbols with a table of probabilities, and labels with such a table each."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from world import Draw, Weights, World, channel, entropy


@dataclass(eq=False)
class Discrete(World):
    """Symbols with a table of probabilities, shown as noisy one-hot codes or as signs of products of columns.

    Args:
        table: p(s_1, ..., s_M, y), one axis each.
        noise: further columns of noise.
        jitter: standard deviation of the noise on the codes.
        parity: number of columns the product of whose signs is the symbol, by modality; 0 for one-hot codes.
        given_target: whether the modalities are independent given the target.
    """

    table: np.ndarray
    noise: int = 0
    jitter: float = 0.1
    parity: tuple[int, ...] = ()
    given_target: bool = True

    def __post_init__(self) -> None:
        self.modalities = tuple("abcdefgh"[: self.table.ndim - 1])
        self.independent = self.given_target
        self.sizes = dict(zip(self.modalities, self.table.shape, strict=False))
        self._parity = dict(zip(self.modalities, self.parity or (0,) * len(self.modalities), strict=True))

    def draw(self, n: int, seed: int) -> Draw:
        """See `World.draw`."""
        rng = np.random.default_rng((seed, 13))
        event = rng.choice(self.table.size, size=n, p=self.table.reshape(-1) / self.table.sum())
        *symbols, target = np.unravel_index(event, self.table.shape)
        inputs = {}
        for m, s in zip(self.modalities, symbols, strict=True):
            code = self._signs(m, s, rng) if self._parity[m] else np.eye(self.sizes[m])[s]
            code = code + (0 if self._parity[m] else self.jitter) * rng.standard_normal(code.shape)
            inputs[m] = np.concatenate([code, rng.standard_normal((n, self.noise))], 1).astype(np.float32)
        return Draw(inputs, target)

    def _signs(self, m: str, s: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        x = rng.standard_normal((len(s), self._parity[m]))
        wrong = (x.prod(1) > 0) != (s == 1)
        x[wrong, 0] *= -1
        return x

    def symbols(self, m: str, x: Tensor) -> Tensor:
        """Return the symbols ``(N,)`` that inputs show."""
        if self._parity[m]:
            return (x[:, : self._parity[m]].double().prod(1) > 0).long()
        return x[:, : self.sizes[m]].argmax(1)

    def _posterior(self, subset: Sequence[str]) -> np.ndarray:
        """Return log p(y | s_S) with one axis per modality of the subset; p(y) for symbols that never meet."""
        axes = tuple(k for k, m in enumerate(self.modalities) if m not in subset)
        joint = self.table.sum(axes)
        total = joint.sum(-1, keepdims=True)
        prior = self.table.sum(tuple(range(self.table.ndim - 1)))
        p = np.where(total > 0, joint / np.where(total > 0, total, 1), prior)
        return np.log(np.maximum(p, 1e-6))

    def outputs(self, inputs: Mapping[str, Tensor], weights: Weights) -> Tensor:
        """See `World.outputs`."""
        seen = [m for m in self.modalities if m in inputs and weights.get(m, 1.0)]
        n = len(next(iter(inputs.values())))
        symbols = {m: self.symbols(m, inputs[m]) for m in seen}
        prior = torch.from_numpy(self._posterior(())).expand(n, -1)
        if all(weights.get(m, 1.0) == 1 for m in seen):
            return torch.from_numpy(self._posterior(seen))[tuple(symbols[m] for m in seen)] if seen else prior
        parts = (weights.get(m, 1.0) * (torch.from_numpy(self._posterior((m,)))[symbols[m]] - prior) for m in seen)
        return sum(parts, prior)

    def scale(self) -> float:
        """See `World.scale`."""
        return entropy(self.table.sum(tuple(range(self.table.ndim - 1))))

    def information(self, subset: Sequence[str]) -> float:
        """See `World.information`."""
        axes = tuple(k for k, m in enumerate(self.modalities) if m not in subset)
        joint = self.table.sum(axes)
        return entropy(joint.sum(-1)) + self.scale() - entropy(joint)


@dataclass(eq=False)
class Multilabel(World):
    """Several labels, each with a discrete world of its own; their columns stand side by side.

    Args:
        parts: worlds with two classes and the same modalities.
        equal: whether all labels are copies of the first, so that what the sum over labels says is not I(X; Y).
    """

    task: ClassVar[str] = "multilabel"
    parts: tuple[Discrete, ...] = ()
    equal: int = 0

    def __post_init__(self) -> None:
        self.modalities = self.parts[0].modalities
        self.independent = all(part.independent for part in self.parts)
        self.known = not self.equal

    def draw(self, n: int, seed: int) -> Draw:
        """See `World.draw`."""
        drawn = [part.draw(n, 100 * seed + k) for k, part in enumerate(self.parts)]
        inputs = {m: np.concatenate([d.inputs[m] for d in drawn], 1) for m in self.modalities}
        target = np.stack([d.target for d in drawn], 1)
        return Draw(inputs, np.repeat(target[:, :1], self.equal, 1) if self.equal else target)

    def outputs(self, inputs: Mapping[str, Tensor], weights: Weights) -> Tensor:
        """See `World.outputs`."""
        start = dict.fromkeys(self.modalities, 0)
        columns = []
        for part in self.parts:
            own = {}
            for m, x in inputs.items():
                width = part.sizes[m] + part.noise
                own[m] = x[:, start[m] : start[m] + width]
                start[m] += width
            log_p = part.outputs(own, weights)
            columns.append(log_p[:, 1] - log_p[:, 0])
        odds = torch.stack(columns, 1)
        return odds[:, :1].expand(-1, self.equal) if self.equal else odds

    def scale(self) -> float:
        """See `World.scale`."""
        return sum(part.scale() for part in self.parts)

    def information(self, subset: Sequence[str]) -> float:
        """See `World.information`."""
        return sum(part.information(subset) for part in self.parts)


def noisy_copies(classes: int, flips: Sequence[float]) -> np.ndarray:
    """Return the table of modalities that each show the class, independently wrong with their own probability."""
    table = np.full(classes, 1 / classes)
    for flip in reversed(flips):
        table = table[None] * channel(classes, flip).T.reshape(classes, *(1,) * (table.ndim - 1), classes)
    return table


def common_copy(classes: int, flip: float, modalities: int = 2) -> np.ndarray:
    """Return the table of modalities that all show the same noisy copy of the class."""
    table = np.zeros((classes,) * (modalities + 1))
    for symbol in range(classes):
        table[(symbol,) * modalities] = channel(classes, flip)[:, symbol] / classes
    return table


def parts(states: Sequence[int], flip: float) -> np.ndarray:
    """Return the table of a class with one part per modality, each shown by its own; 1 state is a fair coin's noise."""
    sizes = [max(size, 2) for size in states]
    table = np.zeros((*sizes, int(np.prod(states))))
    for symbols in itertools.product(*(range(size) for size in sizes)):
        for target, values in enumerate(itertools.product(*(range(size) for size in states))):
            chance = 1.0
            for symbol, value, size in zip(symbols, values, states, strict=True):
                chance *= channel(size, flip)[value, symbol] if size > 1 else 0.5
            table[(*symbols, target)] = chance / np.prod(states)
    return table


def parity(modalities: int, flip: float, classes: int = 2) -> np.ndarray:
    """Return the table of a target that is the sum of all symbols modulo C, wrong with probability ``flip``."""
    table = np.zeros((classes,) * (modalities + 1))
    for symbols in itertools.product(range(classes), repeat=modalities):
        table[symbols] = channel(classes, flip)[sum(symbols) % classes] / classes**modalities
    return table
