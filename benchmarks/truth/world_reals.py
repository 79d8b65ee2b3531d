"""Real targets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from world import Draw, Weights, World


@dataclass(eq=False)
class Linear(World):
    r"""A real target, jointly Gaussian with one number per modality: I = -log(1 - R²) / 2.

    Args:
        correlations: of each modality's number with the target.
        between: correlation of any two of these numbers.
        noise: further columns of noise.
        unit: factor of the target.
        origin: constant added to the target.
    """

    task: ClassVar[str] = "regression"
    correlations: tuple[float, ...] = (0.7, 0.4)
    between: float = 0.0
    noise: int = 3
    unit: float = 1.0
    origin: float = 0.0

    def __post_init__(self) -> None:
        self.modalities = tuple("abcdefgh"[: len(self.correlations)])
        count = len(self.correlations)
        self._sigma = np.full((count, count), self.between) + (1 - self.between) * np.eye(count)
        self._rho = np.array(self.correlations)
        self.independent = False

    def _coefficients(self, subset: Sequence[str]) -> np.ndarray:
        rows = [self.modalities.index(m) for m in subset]
        full = np.zeros(len(self.modalities))
        full[rows] = np.linalg.solve(self._sigma[np.ix_(rows, rows)], self._rho[rows])
        return full

    def draw(self, n: int, seed: int) -> Draw:
        """See `World.draw`."""
        rng = np.random.default_rng((seed, 17))
        z = rng.standard_normal((n, len(self.modalities))) @ np.linalg.cholesky(self._sigma).T
        beta = self._coefficients(self.modalities)
        left = max(1 - self._rho @ beta, 0.0)
        y = z @ beta + np.sqrt(left if left > 1e-12 else 0.0) * rng.standard_normal(n)
        inputs = {
            m: np.concatenate([z[:, k : k + 1], rng.standard_normal((n, self.noise))], 1).astype(np.float32)
            for k, m in enumerate(self.modalities)
        }
        return Draw(inputs, (self.origin + self.unit * y)[:, None])

    def outputs(self, inputs: Mapping[str, Tensor], weights: Weights) -> Tensor:
        """See `World.outputs`."""
        seen = [m for m in self.modalities if m in inputs and weights.get(m, 1.0)]
        beta = self._coefficients(seen)
        n = len(next(iter(inputs.values())))
        total = torch.zeros(n, 1, dtype=torch.float64)
        for m in seen:
            total = total + weights.get(m, 1.0) * beta[self.modalities.index(m)] * inputs[m][:, :1].double()
        return self.origin + self.unit * total

    def scale(self) -> float:
        """See `World.scale`."""
        return 1.0

    def information(self, subset: Sequence[str]) -> float:
        """See `World.information`."""
        left = 1 - self._rho @ self._coefficients(subset)
        return np.inf if left < 1e-12 else float(-0.5 * np.log(left))


class Heteroscedastic(World):
    """y = 0.5 a + exp(b) e: the modality b says nothing of the mean, but how far from it the target is.

    With ``a`` and ``b`` standard normal, p(y | b) is Gaussian with variance 0.25 + exp(2 b), p(y | a) and p(y) are
    integrals over b, by Gauss-Hermite quadrature.
    """

    task: ClassVar[str] = "regression"
    independent = False

    def draw(self, n: int, seed: int) -> Draw:
        """See `World.draw`."""
        rng = np.random.default_rng((seed, 19))
        a, b, e = rng.standard_normal((3, n))
        y = 0.5 * a + np.exp(b) * e
        return Draw({"a": a[:, None].astype(np.float32), "b": b[:, None].astype(np.float32)}, y[:, None])

    def outputs(self, inputs: Mapping[str, Tensor], weights: Weights) -> Tensor:
        """See `World.outputs`."""
        return 0.5 * weights.get("a", 1.0) * inputs["a"].double() + 0 * inputs["b"].double()

    def scale(self) -> float:
        """See `World.scale`."""
        return 1.0

    def information(self, subset: Sequence[str]) -> float:
        """See `World.information`."""
        node, weight = np.polynomial.hermite_e.hermegauss(120)
        weight = weight / weight.sum()
        given_all = 0.5 * np.log(2 * np.pi * np.e)  # plus E[b] = 0
        variance = 0.25 + np.exp(2 * node)
        given_b = 0.5 * float(weight @ np.log(2 * np.pi * np.e * variance))
        marginal = _entropy_of_mixture(weight, variance)
        given_a = _entropy_of_mixture(weight, np.exp(2 * node))
        left = {("a", "b"): given_all, ("a",): given_a, ("b",): given_b}[tuple(subset)]
        return marginal - left


def _entropy_of_mixture(weight: np.ndarray, variance: np.ndarray) -> float:
    """Return the differential entropy of a mixture of centred Gaussians, by a sum over a grid in sinh(t)."""
    t, step = np.linspace(-25, 25, 20001, retstep=True)
    y = 1e-4 * np.sinh(t)
    p = (weight * np.exp(-0.5 * y[:, None] ** 2 / variance) / np.sqrt(2 * np.pi * variance)).sum(1)
    return float(-(np.where(p > 0, p * np.log(np.maximum(p, 1e-300)), 0) * 1e-4 * np.cosh(t)).sum() * step)
