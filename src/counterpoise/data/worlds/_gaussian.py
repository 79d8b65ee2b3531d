"""Gaussian synthetic benchmarks: determinants for real targets, one integral for classes."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import Final

import numpy as np

from counterpoise.data.worlds._base import Arrays, World, letters
from counterpoise.errors import ConfigError

__all__ = ["Gaussian", "GaussianClasses"]

LOG_2PI_E: Final = 1.0 + math.log(2 * math.pi)


def _equicorrelation(count: int, between: float, owner: str) -> np.ndarray:
    if not -1 / (count - 1) < between < 1:
        raise ConfigError(
            f"Parameter `between` of `{owner}` should lie in ({-1 / (count - 1):.4g}, 1) for {count} modalities. "
            f"Found `between = {between}`."
        )
    return np.full((count, count), between) + (1 - between) * np.eye(count)


class Gaussian(World):
    r"""One standard normal number per modality and as target, jointly Gaussian with chosen correlations.

    .. math:: I(X_S; Y) = -\tfrac12 \log(1 - \rho_S^\top \Sigma_S^{-1} \rho_S)

    which is :math:`\tfrac12 \log(\det\Sigma_S \cdot \operatorname{var} Y / \det\Sigma_{SY})`.

    Args:
        correlations: Correlation of each modality with Y.
        between: Correlation of any two modalities.
        noise_dims: See `World`.

    Raises:
        ConfigError: If no distribution has these correlations.

    Example:
        >>> world = Gaussian((0.6, 0.8))
        Traceback (most recent call last):
        ...
        counterpoise.errors.ConfigError: No Gaussian has the correlations (0.6, 0.8) with Y and 0.0 between: Y would be
            explained to 100 %. Lower them.
        >>> round(Gaussian((0.6, 0.6)).mi(["a"]), 4)          # -log(1 - 0.36) / 2
        0.2231
    """

    name = "gaussian"
    task = "regression"
    num_outputs = 1

    def __init__(
        self, correlations: Sequence[float] = (0.7, 0.4), *, between: float = 0.0, noise_dims: int = 0
    ) -> None:
        super().__init__(letters(len(correlations), "Gaussian"), noise_dims)
        self.correlations = tuple(float(rho) for rho in correlations)
        self.between = between
        self._sigma = _equicorrelation(len(correlations), between, "Gaussian")
        self._rho = np.array(self.correlations)
        explained = self._explained(self.modalities)
        if explained > 1 - 1e-9:
            raise ConfigError(
                f"No Gaussian has the correlations {self.correlations} with Y and {between} between: Y would be "
                f"explained to {explained:.0%}. Lower them.".replace("%", " %")
            )

    def _weights(self, subset: tuple[str, ...]) -> tuple[list[int], np.ndarray]:
        rows = [self.modalities.index(m) for m in subset]
        return rows, np.linalg.solve(self._sigma[np.ix_(rows, rows)], self._rho[rows])

    def _explained(self, subset: tuple[str, ...]) -> float:
        rows, weights = self._weights(subset)
        return float(self._rho[rows] @ weights)

    def covariance(self) -> np.ndarray:
        """Return the covariance of ``(X_a, X_b, ..., Y)``."""
        return np.block([[self._sigma, self._rho[:, None]], [self._rho[None], np.ones((1, 1))]])

    def entropy(self) -> float:
        """Return the differential entropy of Y."""
        return 0.5 * LOG_2PI_E

    def _mi(self, subset: tuple[str, ...]) -> float:
        return -0.5 * float(np.log1p(-self._explained(subset)))

    def scale(self, subset: Collection[str] | None = None) -> float:
        """Return the standard deviation of Y given a subset of the modalities."""
        names = self._subset(subset)
        return float(np.sqrt(1 - self._explained(names))) if names else 1.0

    def ideal(self, inputs: Arrays, subset: Collection[str] | None = None) -> np.ndarray:
        """Return E[Y | x_S], ``(n, 1)``."""
        names = self._subset(subset)
        if not names:
            return np.zeros((len(next(iter(inputs.values()))), 1))
        _, weights = self._weights(names)
        return np.stack([inputs[m][:, 0] for m in names], 1).astype(np.float64) @ weights[:, None]

    def _draw(self, n: int, rng: np.random.Generator) -> tuple[Arrays, np.ndarray]:
        factor = np.linalg.cholesky(self.covariance())
        values = (rng.standard_normal((n, len(factor))) @ factor.T).astype(np.float32)
        return {m: values[:, k : k + 1] for k, m in enumerate(self.modalities)}, values[:, -1:].copy()

    def __repr__(self) -> str:
        return f"Gaussian({self.correlations}, between={self.between}, noise_dims={self.noise_dims})"


class GaussianClasses(World):
    r"""Two equally likely classes; one number per modality, Gaussian given the class, with chosen separations.

    Given y the modalities are :math:`N((y - \tfrac12)\delta, R)`. The log-likelihood ratio of a subset is itself
    Gaussian, :math:`L | y = 1 \sim N(d^2/2, d^2)` with :math:`d^2 = \delta_S^\top R_S^{-1} \delta_S`, so that

    .. math:: I(X_S; Y) = \log 2 - E \log(1 + e^{-L})

    is one integral. With ``between`` > 0 a modality of separation 0 still helps: it carries the noise of the others.

    Args:
        separations: Distance of the class means by modality, in standard deviations.
        between: Correlation of any two modalities given the class.
        noise_dims: See `World`.

    Raises:
        ConfigError: For a correlation that no distribution has.

    Example:
        >>> world = GaussianClasses((2.0, 0.0), between=0.6)
        >>> round(world.mi(["b"]), 4), world.cmi("b") > 0.05
        (0.0, True)
    """

    name = "gaussian-classes"
    num_outputs = 2

    def __init__(self, separations: Sequence[float] = (2.0, 1.0), *, between: float = 0.0, noise_dims: int = 0) -> None:
        super().__init__(letters(len(separations), "GaussianClasses"), noise_dims)
        self.separations = tuple(float(delta) for delta in separations)
        self.between = between
        self._correlation = _equicorrelation(len(separations), between, "GaussianClasses")
        self._delta = np.array(self.separations)

    def _weights(self, subset: tuple[str, ...]) -> tuple[list[int], np.ndarray]:
        rows = [self.modalities.index(m) for m in subset]
        return rows, np.linalg.solve(self._correlation[np.ix_(rows, rows)], self._delta[rows])

    def entropy(self) -> float:
        """See `World.entropy`."""
        return float(np.log(2))

    def _mi(self, subset: tuple[str, ...]) -> float:
        rows, weights = self._weights(subset)
        distance = float(np.sqrt(max(self._delta[rows] @ weights, 0.0)))
        z, step = np.linspace(-12, 12, 24001, retstep=True)
        density = np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
        loss = np.logaddexp(0, -(distance**2 / 2 + distance * z))
        return float(np.log(2) - (density * loss).sum() * step)

    def ideal(self, inputs: Arrays, subset: Collection[str] | None = None) -> np.ndarray:
        """See `World.ideal`."""
        names = self._subset(subset)
        ratio = np.zeros(len(next(iter(inputs.values()))))
        if names:
            _, weights = self._weights(names)
            ratio = np.stack([inputs[m][:, 0] for m in names], 1).astype(np.float64) @ weights
        return -np.logaddexp(0, np.stack([ratio, -ratio], 1))

    def _draw(self, n: int, rng: np.random.Generator) -> tuple[Arrays, np.ndarray]:
        target = rng.integers(2, size=n)
        noise = rng.standard_normal((n, len(self._delta))) @ np.linalg.cholesky(self._correlation).T
        values = ((target - 0.5)[:, None] * self._delta + noise).astype(np.float32)
        return {m: values[:, k : k + 1] for k, m in enumerate(self.modalities)}, target

    def __repr__(self) -> str:
        return f"GaussianClasses({self.separations}, between={self.between}, noise_dims={self.noise_dims})"
