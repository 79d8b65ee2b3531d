"""Vectors around a centre of their class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor
from world import DRAWS, Draw, Weights, World, channel, entropy


@dataclass(eq=False)
class Classes(World):
    """Vectors around a centre of their class: Gaussian or Poisson.

    Args:
        classes: C.
        spread: standard deviation by modality; infinite for a modality that knows nothing. For counts, the smaller the
            clearer.
        columns: number of informative columns of a modality.
        noise: number of further columns of standard normal numbers, by modality.
        prior: class probabilities, or None for equal ones.
        flip: probability that the label is another class than the one that made the inputs.
        counts: whether columns are Poisson counts.
        groups: number of groups (subjects) that share an offset, or 0.
        offset: standard deviation of the offset.
        seed: Seed of the centres.
    """

    classes: int = 2
    spread: tuple[float, ...] = (1.0, 1.5)
    columns: int = 4
    noise: tuple[int, ...] = (0, 0)
    prior: tuple[float, ...] | None = None
    flip: float = 0.0
    counts: bool = False
    groups: int = 0
    offset: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        self.modalities = tuple("abcdefgh"[: len(self.spread)])
        rng = np.random.default_rng((self.seed, 5))
        centres = {m: rng.standard_normal((self.classes, self.columns)) for m in self.modalities}
        if self.classes == 2:  # the same distance whatever the seed
            centres = {m: np.stack([np.zeros(self.columns), np.eye(self.columns)[0] * 2]) for m in self.modalities}
        self._centre = {m: c * 0 if np.isinf(s) else c for (m, c), s in zip(centres.items(), self.spread, strict=True)}
        self._spread = {m: 1.0 if np.isinf(s) else s for m, s in zip(self.modalities, self.spread, strict=True)}
        self._prior = np.full(self.classes, 1 / self.classes) if self.prior is None else np.array(self.prior)
        self._channel = channel(self.classes, self.flip) if self.flip else None
        self.independent = not self.flip

    def draw(self, n: int, seed: int) -> Draw:
        """See `World.draw`."""
        rng = np.random.default_rng((seed, 11))
        sent = rng.choice(self.classes, size=n, p=self._prior)
        group = rng.integers(self.groups, size=n) if self.groups else None
        inputs = {}
        for m, extra in zip(self.modalities, self._noises(), strict=True):
            centre = self._centre[m][sent]
            if self.counts:
                x = rng.poisson(np.exp(centre / self._spread[m])).astype(float)
            else:
                x = centre + self._spread[m] * rng.standard_normal(centre.shape)
            if group is not None:
                x = x + self.offset * rng.standard_normal((self.groups, self.columns))[group]
            inputs[m] = np.concatenate([x, rng.standard_normal((n, extra))], 1).astype(np.float32)
        target = sent
        if self.flip:
            other = (sent + rng.integers(1, self.classes, size=n)) % self.classes
            target = np.where(rng.random(n) < self.flip, other, sent)
        return Draw(inputs, target, group)

    def essence(self, n: int, seed: int) -> Draw:
        """See `World.essence`."""
        return replace(self, noise=()).draw(n, seed)

    def _noises(self) -> tuple[int, ...]:
        return self.noise if len(self.noise) == len(self.modalities) else (0,) * len(self.modalities)

    def outputs(self, inputs: Mapping[str, Tensor], weights: Weights) -> Tensor:
        """See `World.outputs`."""
        total = torch.from_numpy(np.log(self._prior))
        for m in self.modalities:
            if m in inputs and weights.get(m, 1.0):
                total = total + weights.get(m, 1.0) * self._evidence(m, inputs[m][:, : self.columns].double())
        if total.ndim == 1:
            total = total.expand(len(next(iter(inputs.values()))), -1)
        if self._channel is None:
            return total
        return (total.softmax(-1) @ torch.from_numpy(self._channel)).log()

    def _evidence(self, m: str, x: Tensor) -> Tensor:
        centre = torch.from_numpy(self._centre[m])
        if self.counts:
            log_rate = centre / self._spread[m]
            return x @ log_rate.T - log_rate.exp().sum(-1)
        variance = self._spread[m] ** 2 + self.offset**2
        return (x @ centre.T - 0.5 * centre.square().sum(-1)) / variance

    def scale(self) -> float:
        """See `World.scale`."""
        return entropy(self._prior if self._channel is None else self._prior @ self._channel)

    @cached_property
    def _sample(self) -> Draw:
        return self.essence(DRAWS, 987654)

    def information(self, subset: Sequence[str]) -> float:
        """See `World.information`."""
        inputs = {m: torch.from_numpy(x) for m, x in self._sample.inputs.items()}
        weights = {m: float(m in subset and np.isfinite(s)) for m, s in zip(self.modalities, self.spread, strict=True)}
        log_p = self.outputs(inputs, weights).log_softmax(-1)
        return self.scale() - float(-(log_p.exp() * log_p.clamp_min(-1e4)).sum(-1).mean())
