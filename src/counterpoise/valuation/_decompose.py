"""Partial information decomposition from data: each modality against the rest."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from torch import Tensor

from counterpoise._validation import Interval, Options
from counterpoise.errors import DataError
from counterpoise.valuation._valuation import Estimate, Valuation
from counterpoise.valuation.assembly import SubsetEstimate, combine
from counterpoise.valuation.estimators.variational import fit_heads
from counterpoise.valuation.functional.pid import broja
from counterpoise.valuation.groups import degrees_of_freedom
from counterpoise.valuation.heads.predictions import marginal
from counterpoise.valuation.heads.table import cells
from counterpoise.valuation.inputs import EstimatorInput, Features, prepare

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = ["PartialInformation", "decompose", "decompose_samples"]

MAX_SYMBOLS: Final = 12
MAX_TABLE: Final = 2000
REPLICATES: Final = 20
PER_CELL: Final = 5
"""Minimum mean number of samples per cell of a table, below which its frequencies are mostly noise."""


@dataclass(frozen=True)
class PartialInformation:
    """One modality against the rest, in nats.

    Attributes:
        modality: Name of the modality.
        redundant: Information that both it and the rest carry.
        unique: Information that only it carries.
        unique_rest: Information that only the rest carries.
        synergistic: Information that only it and the rest together carry.
        definition: ``broja`` or ``imin``.
        source: Data that were decomposed: ``features`` or the ``predictions`` of classifiers on them.
        n: Number of samples.
    """

    modality: str
    redundant: Estimate
    unique: Estimate
    unique_rest: Estimate
    synergistic: Estimate
    definition: str
    source: str
    n: int

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        parts = ("redundant", "unique", "unique_rest", "synergistic")
        return {
            "modality": self.modality,
            **{part: getattr(self, part).to_dict() for part in parts},
            "definition": self.definition,
            "source": self.source,
            "n": self.n,
            "unit": "nats",
        }


def decompose(
    features: Features,
    target: ArrayLike | Tensor,
    *,
    definition: str = "imin",
    num_outputs: int | None = None,
    folds: int = 5,
    group: ArrayLike | None = None,
    seed: int = 0,
    confidence: float = 0.95,
) -> dict[str, PartialInformation]:
    """Split the information of each modality and the rest about the class into redundant, unique and synergistic
    information.

    Definitions (see `counterpoise.valuation.functional.pid`):

    - ``imin``, of Williams and Beer: from cross-fitted heads, for features and classes of any number; standard errors
      from the samples;
    - ``broja``, the reference: on a table of the modality's values, the rest's values and the class. Features of more
      than 12 values are replaced by the class that cross-fitted heads predict, so that the information of the
      predictions is decomposed (``source`` is then ``predictions``). Plug-in frequencies; intervals by 20 bootstrap
      tables.

    Args:
        features: ``{m: (N, D_m)}``, at least two modalities.
        target: ``(N,)`` classes.
        definition: ``imin`` or ``broja``.
        num_outputs: C; inferred from the labels by default.
        folds: Number of folds of the heads.
        group: ``(N,)`` groups of samples that belong together.
        seed: Seed of all random numbers.
        confidence: Level of the intervals.

    Returns:
        One decomposition per modality; for M = 2 the two are mirror images.

    Raises:
        DataError: As for `estimate`; for ``broja`` also if the table is too large.
        ConfigError: For another definition.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> a, b = rng.integers(2, size=(2, 1000))
        >>> information = decompose({"a": a, "b": b}, a ^ b, definition="broja")["a"]
        >>> f"{information.synergistic.value:.2f}", abs(information.redundant.value) < 0.01
        ('0.69', True)
    """
    Options(("imin", "broja")).check("decompose", "definition", definition)
    Interval(0, 1, "()").check("decompose", "confidence", confidence)
    problem = prepare(features, target, num_outputs=num_outputs, folds=folds, group=group, seed=seed)
    split = _imin if definition == "imin" else _broja
    if len(problem.modalities) == 2:
        first, second = problem.modalities
        information = split(problem, first, confidence)
        mirrored = replace(information, modality=second, unique=information.unique_rest, unique_rest=information.unique)
        return {first: information, second: mirrored}
    return {m: split(problem, m, confidence) for m in problem.modalities}


def decompose_samples(
    value: Valuation, labels: np.ndarray, *, group: np.ndarray | None = None
) -> dict[str, PartialInformation]:
    """Decompose an existing valuation by ``imin``; no head is fitted again.

    The shared information is computed from the contributions of the samples; unique and synergistic information are the
    rest of the valuation's own numbers, so that redundant + unique is its ``mi`` and unique + synergistic its ``cmi``.

    Args:
        value: Valuation of a multi-class task, with ``per_sample``.
        labels: ``(N,)`` class ids.
        group: ``(N,)`` which samples belong together, ids from 0.

    Returns:
        One decomposition per modality, in the valuation's unit; empty if there are no contributions of samples.

    Example:
        >>> from counterpoise.valuation import estimate
        >>> y = np.arange(400) % 4
        >>> z = np.eye(4)[y] + 0.1 * np.random.default_rng(0).normal(size=(400, 4))
        >>> parts = decompose_samples(estimate({"a": z, "b": z}, y), y)["a"]
        >>> f"{parts.redundant.value:.1f} {abs(parts.unique.value):.1f} {abs(parts.synergistic.value):.1f}"
        '1.4 0.0 0.0'
    """
    information: dict[str, PartialInformation] = {}
    points = value.per_sample
    if value.task != "multiclass" or "mi" not in points:
        return information
    for m in value.modalities:
        own, whole = points[f"mi:{m}"], points["mi"]
        others = whole - points[f"cmi:{m}"]
        parts = _shared(own, others, whole, labels)
        most = value.entropy if value.unit == "nats" else np.inf
        redundancy = float(parts[0].mean())
        unique, rest = value.mi[m].value - redundancy, value.joint_mi.value - value.cmi[m].value - redundancy
        values = (redundancy, unique, rest, value.cmi[m].value - unique)
        r, u, o, s = (_summary(*part, group, value.confidence, most) for part in zip(parts, values, strict=True))
        information[m] = PartialInformation(m, r, u, o, s, "imin", "features", value.n)
    return information


def _imin(problem: EstimatorInput, m: str, confidence: float) -> PartialInformation:
    prior = marginal(problem)
    rest = tuple(k for k in problem.modalities if k != m)
    own, others, whole = (
        (fit_heads(problem, s, prior).log_likelihood - prior.log_likelihood).numpy()
        for s in ((m,), rest, problem.modalities)
    )
    parts = _shared(own, others, whole, problem.labels)
    most = problem.largest_information
    redundancy, unique, unique_rest, synergy = (
        _summary(part, float(part.mean()), problem.group, confidence, most) for part in parts
    )
    return PartialInformation(m, redundancy, unique, unique_rest, synergy, "imin", "features", problem.n)


def _shared(
    own: np.ndarray, others: np.ndarray, whole: np.ndarray, labels: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return redundant, unique, the others' unique and synergistic contributions ``(N,)``.

    Of the two sides, the one that is less informative about a class gives the redundant contribution of that class.
    """
    counts = np.maximum(np.bincount(labels), 1)
    weaker = np.bincount(labels, own) / counts <= np.bincount(labels, others) / counts
    redundant = np.where(weaker[labels], own, others)
    return redundant, own - redundant, others - redundant, whole - own - others + redundant


def _summary(pointwise: np.ndarray, value: float, group: np.ndarray | None, confidence: float, most: float) -> Estimate:
    """Return an estimate with the uncertainty of the samples' contributions."""
    part = SubsetEstimate(pointwise, correction=value - float(pointwise.mean()), fitted=False)
    return combine([(1.0, part)], group, confidence, least=0.0, most=most)


def _broja(problem: EstimatorInput, m: str, confidence: float) -> PartialInformation:
    rest = tuple(k for k in problem.modalities if k != m)
    a, b = cells(problem.matrix((m,)), MAX_SYMBOLS), cells(problem.matrix(rest), MAX_SYMBOLS**2)
    source = "features"
    if a is None or b is None:
        source, prior = "predictions", marginal(problem)
        a, b = (fit_heads(problem, s, prior).parameters.argmax(1).numpy() for s in ((m,), rest))
        a, b = (np.unique(x, return_inverse=True)[1].reshape(-1) for x in (a, b))
    shape = (int(a.max()) + 1, int(b.max()) + 1, problem.task.num_outputs)
    if np.prod(shape) > MAX_TABLE:
        raise DataError(
            f"A `broja` decomposition of {shape[0]} x {shape[1]} x {shape[2]} values is too large (at most {MAX_TABLE} "
            "cells). Use definition='imin'."
        )
    if problem.n < PER_CELL * np.prod(shape):
        raise DataError(
            f"A `broja` decomposition of {shape[0]} x {shape[1]} x {shape[2]} values needs at least "
            f"{PER_CELL * int(np.prod(shape))} samples, {PER_CELL} per cell. Found {problem.n}. Use definition='imin'."
        )
    return _corrected_parts(problem, m, (a, b), shape, source, confidence)


def _corrected_parts(
    problem: EstimatorInput,
    m: str,
    symbols: tuple[np.ndarray, np.ndarray],
    shape: tuple[int, int, int],
    source: str,
    confidence: float,
) -> PartialInformation:
    """Solve the table and subtract the mean result of tables without information, because chance frequencies look like
    synergy.

    The null permutes the labels. The error comes from resampled tables, and from the spread of the null.
    """
    rng = np.random.default_rng(problem.seed)
    cell = np.ravel_multi_index((*symbols, np.zeros_like(symbols[0])), shape)

    def parts(labels: np.ndarray) -> np.ndarray:
        counts = np.bincount(cell + labels, minlength=int(np.prod(shape)))
        return _solve(counts.reshape(shape))

    observed = parts(problem.labels)
    null = np.array([parts(rng.permutation(problem.labels)) for _ in range(REPLICATES)])
    counts = np.bincount(cell + problem.labels, minlength=int(np.prod(shape)))
    if problem.group is None:
        draws = rng.multinomial(problem.n, counts / problem.n, size=REPLICATES)
        resampled = np.array([_solve(table.reshape(shape)) for table in draws])
    else:  # whole groups are drawn, because their samples depend on each other
        tables = np.zeros((int(problem.group.max()) + 1, int(np.prod(shape))), dtype=np.int64)
        np.add.at(tables, (problem.group, cell + problem.labels), 1)
        picks = rng.integers(len(tables), size=(REPLICATES, len(tables)))
        resampled = np.array([_solve(tables[pick].sum(0).reshape(shape)) for pick in picks])
    values = observed - null.mean(0)
    errors = np.sqrt(resampled.var(0, ddof=1) + null.var(0, ddof=1))
    freedom = min(REPLICATES - 1.0, degrees_of_freedom(problem.n, problem.group))
    most = problem.largest_information
    estimates = [
        Estimate.around(float(v), float(se), confidence=confidence, freedom=freedom).within(0.0, most)
        for v, se in zip(values, errors, strict=True)
    ]
    redundant, unique, others, synergistic = estimates
    return PartialInformation(m, redundant, unique, others, synergistic, "broja", source, problem.n)


def _solve(table: np.ndarray) -> np.ndarray:
    """Return redundant, unique (of both sides) and synergistic information of a table of counts."""
    d = broja(table, tolerance=1e-4, iterations=1000)
    return np.array([d.redundant, d.unique_a, d.unique_b, d.synergistic])
