"""Assembly of a `Valuation` from the information of subsets: chain rule, intervals, classes and samples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import TypeAlias, TypeVar

import numpy as np

from counterpoise.valuation._groups import MIN_GROUPS, degrees_of_freedom, effective_groups, variance_of_mean
from counterpoise.valuation._valuation import Estimate, Valuation
from counterpoise.valuation.inputs import EstimatorInput

__all__ = ["Subset", "SubsetEstimate", "assemble", "estimate_of", "needed_subsets"]

Subset: TypeAlias = tuple[str, ...]
Part = TypeVar("Part")
NEGLIGIBLE = 0.02
"""Deviations below this share of the scale are rounding of an estimate of zero."""
MAX_LATTICE = 4
"""Maximum number of modalities for which all 2^M - 1 subsets are valued, and the co-information with them."""


@dataclass(frozen=True)
class SubsetEstimate:
    """The estimate of I(Z_S; Y) for one subset S.

    Attributes:
        pointwise: ``(N,)`` contributions of the samples in nats; their mean is the estimate before the correction.
        correction: Added to the mean: the estimator's own first-order bias, by which the estimate ceases to be a bound.
        capacity: The correction of the most flexible rule that might have been chosen; it sets the second-order part
            of the standard error, which matters where the samples hardly vary.
        doubt: Signed, how far the correction may be off: a part of the standard error that falls like 1/N.
        selection: Gain that choosing among heads may have by chance; an independent part of the standard error.
        per_label: ``(N, C)`` shares of the labels (multi-label), or None.
    """

    pointwise: np.ndarray
    correction: float = 0.0
    capacity: float = 0.0
    doubt: float = 0.0
    selection: float = 0.0
    per_label: np.ndarray | None = None


def needed_subsets(modalities: Subset) -> list[Subset]:
    """Return the subsets that a valuation needs: all for M <= 4, else the whole, each one, and all but each one.

    Example:
        >>> needed_subsets(("a", "b"))
        [('a', 'b'), ('a',), ('b',)]
    """
    sizes = range(len(modalities), 0, -1)
    if len(modalities) > MAX_LATTICE:
        sizes = [len(modalities), len(modalities) - 1, 1]  # type: ignore[assignment]
    return [subset for size in sizes for subset in combinations(modalities, size)]


def assemble(
    problem: EstimatorInput,
    information: Mapping[Subset, SubsetEstimate],
    *,
    estimator: str,
    entropy: float,
    bound: str = "estimate",
    confidence: float = 0.95,
    label_free: Mapping[str, np.ndarray] | None = None,
    notes: tuple[str, ...] = (),
) -> Valuation:
    """Build the `Valuation` from the information of every subset of `needed_subsets`.

    Standard errors come from the spread of the samples' contributions (of the groups' sums, where there are groups):
    :math:`I = H - CE` is flat in the classifier to first order, so its fitting adds only second-order terms.

    Args:
        problem: The checked input.
        information: Estimates by subset.
        estimator: Name of the estimator.
        entropy: H(Y) in nats.
        bound: Kind of the estimates: estimate, lower or upper bound.
        confidence: Level of the intervals.
        label_free: ``(N,)`` label-free contributions by modality.
        notes: Notes for the reader.
    """
    modalities = problem.modalities

    def contrast(*terms: tuple[int, SubsetEstimate], kind: str = "estimate") -> Estimate:
        return _estimate(terms, problem.group, confidence, kind)

    whole, single, without = _parts(modalities, information)
    joint = contrast((1, whole), kind=bound)
    mi = {m: contrast((1, term), kind=bound) for m, term in single.items()}
    cmi = {m: contrast((1, whole), (-1, term)) for m, term in without.items()}
    co = None
    if len(information) == 2 ** len(modalities) - 1:
        co = contrast(*((1 if len(s) % 2 else -1, i) for s, i in information.items()))
    per_sample = _named(
        whole.pointwise,
        {m: term.pointwise for m, term in single.items()},
        {m: whole.pointwise - term.pointwise for m, term in without.items()},
    )
    impossible, doubtful = _too_few(problem, _named(joint, mi, cmi), entropy)
    return Valuation(
        modalities=modalities,
        n=problem.n,
        entropy=entropy,
        joint_mi=joint,
        mi=mi,
        cmi=cmi,
        co_information=co,
        subsets={s: contrast((1, i), kind=bound) for s, i in information.items()},
        per_class=_per_class(problem, information, per_sample),
        per_sample=per_sample | {f"kl:{m}": value for m, value in (label_free or {}).items()},
        estimator=estimator,
        task=problem.task.name,
        differential=not problem.task.has_discrete_entropy,
        confidence=confidence,
        notes=(*problem.notes, *notes, *doubtful),
        too_few_samples=impossible,
    )


def _parts(
    modalities: Subset, information: Mapping[Subset, SubsetEstimate]
) -> tuple[SubsetEstimate, dict[str, SubsetEstimate], dict[str, SubsetEstimate]]:
    """Return the information of all modalities, of each one, and of all but each one."""
    single = {m: information[(m,)] for m in modalities}
    without = {m: information[tuple(k for k in modalities if k != m)] for m in modalities}
    return information[modalities], single, without


def _named(joint: Part, mi: Mapping[str, Part], cmi: Mapping[str, Part]) -> dict[str, Part]:
    """Return the three quantities under the names of `Valuation.per_sample`."""
    return {"mi": joint} | {f"mi:{m}": part for m, part in mi.items()} | {f"cmi:{m}": part for m, part in cmi.items()}


def _per_class(
    problem: EstimatorInput, information: Mapping[Subset, SubsetEstimate], per_sample: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Return the means over the samples of each class, or the shares of each label."""
    if information[problem.modalities].per_label is None:
        means = {key: _by_class(problem, value) for key, value in per_sample.items()}
        return {key: value for key, value in means.items() if len(value)}
    labels = {s: term.per_label for s, term in information.items() if term.per_label is not None}
    shares = {s: value.mean(0) for s, value in labels.items()}
    everything = problem.modalities
    mi = {m: shares[(m,)] for m in everything}
    cmi = {m: shares[everything] - shares[tuple(k for k in everything if k != m)] for m in everything}
    return _named(shares[everything], mi, cmi)


def _too_few(
    problem: EstimatorInput, named: Mapping[str, Estimate], entropy: float
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the quantities for which there are too few samples or groups, and a note on them."""
    groups = np.inf if problem.group is None else effective_groups(problem.group)
    if groups < MIN_GROUPS:
        note = (
            f"too few groups: groups of these sizes count as {groups:.1f} equally large groups; "
            "an estimate needs at least 5"
        )
        return tuple(named), (note,)
    impossible = _impossible(problem, named, entropy)
    if not impossible:
        return (), ()
    return impossible, (f"too few samples for {', '.join(impossible)}: outside of 0 to H(Y) by more than the error",)


def _impossible(problem: EstimatorInput, named: Mapping[str, Estimate], entropy: float) -> tuple[str, ...]:
    """Return the quantities that no information can be: outside of [0, H(Y)] by more than the standard error."""
    scale = abs(problem.task.information_scale(problem.target))
    most = entropy if problem.task.has_discrete_entropy else np.inf
    return tuple(
        name
        for name, e in named.items()
        if max(-e.value, e.value - most) > max(e.se, NEGLIGIBLE * scale) or not np.isfinite(e.value)
    )


def estimate_of(data: EstimatorInput, term: SubsetEstimate, confidence: float, kind: str = "estimate") -> Estimate:
    """Return value, standard error and interval of the information of one subset."""
    return _estimate(((1, term),), data.group, confidence, kind)


def _estimate(
    terms: tuple[tuple[int, SubsetEstimate], ...], group: np.ndarray | None, confidence: float, kind: str
) -> Estimate:
    pointwise = np.sum([sign * term.pointwise for sign, term in terms], axis=0)
    value = float(pointwise.mean() + sum(sign * term.correction for sign, term in terms))
    n = len(pointwise)
    # With k parameters the correction is k/2n and leaves a spread of sqrt(k/2)/n. It is of first order: half of it is
    # doubt, and so is the loss that the learning curve predicts.
    noise = abs(sum(sign * term.correction for sign, term in terms))
    second = max(noise, abs(sum(sign * term.capacity for sign, term in terms)), 0.5 / n) / n
    second += (noise / 2) ** 2 + sum(sign * term.doubt for sign, term in terms) ** 2
    second += sum(term.selection**2 for _, term in terms)
    se = float(np.sqrt(variance_of_mean(pointwise, group) + second))
    return Estimate.around(value, se, confidence=confidence, freedom=degrees_of_freedom(n, group), bound=kind)


def _by_class(problem: EstimatorInput, pointwise: np.ndarray) -> np.ndarray:
    if not problem.task.has_classes:
        return np.empty(0)
    classes = problem.task.num_outputs
    counts = np.bincount(problem.labels, minlength=classes)
    sums = np.bincount(problem.labels, pointwise, minlength=classes)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
