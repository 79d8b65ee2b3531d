"""Synthetic joint distributions of modalities and a target whose information is known.

Nothing here uses the library: truths come from enumeration, determinants, quadrature or 100,000 draws, and posteriors
from Bayes' rule. All information is in nats.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar, TypeAlias

import numpy as np
import torch
from torch import Tensor

__all__ = [
    "Classes",
    "Discrete",
    "Draw",
    "Heteroscedastic",
    "Linear",
    "Multilabel",
    "Weights",
    "World",
    "channel",
    "common_copy",
    "noisy_copies",
    "parity",
    "parts",
]

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
