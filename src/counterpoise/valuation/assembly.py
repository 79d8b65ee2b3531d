"""Assembly of a `Valuation` from the information of subsets: chain rule, intervals, classes and samples."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import combinations
from typing import TypeAlias, TypeVar

import numpy as np

from counterpoise.valuation._valuation import Estimate, Valuation
from counterpoise.valuation.groups import degrees_of_freedom, effective_groups, too_few_groups, variance_of_mean
from counterpoise.valuation.inputs import EstimatorInput

__all__ = ["Subset", "SubsetEstimate", "assemble", "combine", "needed_subsets"]

Subset: TypeAlias = tuple[str, ...]
Part = TypeVar("Part")
NEGLIGIBLE = 0.02
"""Deviations below this share of the scale count as rounding errors of an estimate of zero."""
UNCERTAIN = 0.25
"""Standard deviation of the error of a correction, as a share of the correction."""
ROUNDING = 1e-12
"""Sums of estimates below this number of nats count as 0, because contributions that cancel leave a rounding error."""
MAX_LATTICE = 4
"""Maximum number of modalities for which all 2^M - 1 subsets, and the co-information, are estimated."""


@dataclass(frozen=True, eq=False)
class SubsetEstimate:
    """The estimate of I(Z_S; Y) for one subset S, before it becomes an interval; see `combine`.

    Attributes:
        pointwise: ``(N,)`` contributions of the samples in nats; their mean is the estimate before the correction.
            If they are unknown, it is empty, ``correction`` is the estimate, and ``selection`` is its standard error.
        correction: Correction of the estimator's first-order bias, which is added to the mean. A corrected estimate is
            no longer a bound.
        capacity: The correction of the most flexible classifier that might have been selected. It determines the
            second-order part of the standard error, which matters if the contributions of the samples hardly vary.
        bias: Signed uncertainty of the correction, a part of the standard error that falls like 1/N. Estimates from one
            source share it, so that it cancels in differences.
        selection: Gain that the selection among classifiers may have by chance; an independent part of the standard
            error.
        per_label: ``(N, C)`` shares of the labels (multi-label), or None.
        floor: Lower bound of the information, estimated without any correction; minus infinity if there is none.
        fitted: Whether anything was fitted; if not, the error comes from the spread of the samples only.
        source: Name of the measured data, such as ``inputs``, ``features`` or ``predictions``.
    """

    pointwise: np.ndarray
    correction: float = 0.0
    capacity: float = 0.0
    bias: float = 0.0
    selection: float = 0.0
    per_label: np.ndarray | None = None
    floor: float = -np.inf
    fitted: bool = True
    source: str = ""

    @property
    def value(self) -> float:
        """The estimate in nats."""
        return (float(self.pointwise.mean()) if len(self.pointwise) else 0.0) + self.correction


def needed_subsets(modalities: Subset) -> list[Subset]:
    """Return the subsets that a valuation needs: all subsets for M <= 4, else all modalities, each one, and all but
    each one.

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
    limit: float | None = None,
    label_free: Mapping[str, np.ndarray] | None = None,
    notes: tuple[str, ...] = (),
) -> Valuation:
    """Build the `Valuation` from the information of every subset of `needed_subsets`.

    Standard errors come from the spread of the samples' contributions (of the groups' sums, if there are groups):
    :math:`I = H - CE` is flat in the classifier to first order, so its fitting adds only second-order terms.

    Args:
        problem: The checked input.
        information: Estimates by subset.
        estimator: Name of the estimator.
        entropy: H(Y) in nats.
        bound: Kind of the estimates: estimate, lower or upper bound.
        confidence: Level of the intervals.
        limit: Largest possible information; by default H(Y), and infinite where H(Y) is a differential entropy.
        label_free: ``(N,)`` label-free contributions by modality.
        notes: Notes for the reader.
    """
    modalities = problem.modalities
    if limit is None:
        limit = entropy if problem.task.has_discrete_entropy else np.inf

    def contrast(*terms: tuple[int, SubsetEstimate], kind: str = "estimate", least: float = 0.0) -> Estimate:
        return combine(terms, problem.group, confidence, bound=kind, least=least, most=limit)

    whole, single, without = _parts(modalities, information)
    joint = contrast((1, whole), kind=bound)
    mi = {m: contrast((1, term), kind=bound) for m, term in single.items()}
    cmi = {m: contrast((1, whole), (-1, term)) for m, term in without.items()}
    co = None
    if len(information) == 2 ** len(modalities) - 1:
        co = contrast(*((1 if len(s) % 2 else -1, i) for s, i in information.items()), least=-limit)
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
        terms=dict(information),
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
    if problem.group is not None and too_few_groups(problem.group):
        groups = effective_groups(problem.group)
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
    """Return the quantities with impossible estimates: outside of [0, H(Y)] by more than the standard error."""
    scale = abs(problem.task.information_scale(problem.target))
    most = entropy if problem.task.has_discrete_entropy else np.inf
    return tuple(
        name
        for name, e in named.items()
        if max(-e.value, e.value - most) > max(e.se, NEGLIGIBLE * scale) or not np.isfinite(e.value)
    )


def combine(
    terms: Iterable[tuple[float, SubsetEstimate]],
    group: np.ndarray | None = None,
    confidence: float = 0.95,
    *,
    bound: str = "estimate",
    least: float = -np.inf,
    most: float = np.inf,
) -> Estimate:
    r"""Return value, standard error and interval of a weighted sum of estimates of the same samples.

    The variance is that of the mean of the weighted contributions, plus three parts that their spread does not include:

    - with k parameters the correction is k/2n and leaves a spread of sqrt(k/2)/n;
    - the correction is of first order: its error has a standard deviation of about a quarter of it, in simulations
      with 2 to 60 classes. It is shared by the terms of one source, as is ``bias``: both add up with their signs;
    - the gain from the selection among classifiers, term by term.

    An interval of information lies between its limits, which costs no coverage. That of a single term also ends at its
    ``floor`` less the sampling error: information that was found out of sample exists, however uncertain the correction
    is.

    Args:
        terms: Pairs of a weight and an estimate.
        group: ``(N,)`` groups from 0.
        confidence: Level of the interval.
        bound: What kind of number it is.
        least: Smallest possible value.
        most: Largest possible value.

    Example:
        >>> half = SubsetEstimate(np.array([0.4, 0.6, 0.5]))
        >>> combine([(1.0, half), (-1.0, half)]).se
        0.0
    """
    parts = _distinct(terms)
    value = float(sum(weight * term.value for weight, term in parts))
    value = 0.0 if abs(value) < ROUNDING else value
    sampling, shared, n = _variances(parts, group)
    se = float(np.sqrt(sampling + shared))
    freedom = degrees_of_freedom(n, group) if n else np.inf
    if most < value <= most + max(se, NEGLIGIBLE * most):
        value = (
            most  # left-out label frequencies are slightly worse than those of the sample, from which H(Y) is computed
        )
    estimate = Estimate.around(value, se, confidence=confidence, freedom=freedom, bound=bound)
    if len(parts) == 1 and parts[0][0] == 1:
        spread = Estimate.around(0.0, float(np.sqrt(sampling)), confidence=confidence, freedom=freedom)
        estimate = replace(estimate, low=max(estimate.low, parts[0][1].floor + spread.low))
    return estimate.within(least, most)


def _distinct(terms: Iterable[tuple[float, SubsetEstimate]]) -> list[tuple[float, SubsetEstimate]]:
    """Return the terms with the weights of equal ones added, without those that cancel."""
    total: dict[int, float] = {}
    known = {}
    for weight, term in terms:
        total[id(term)] = total.get(id(term), 0.0) + weight
        known[id(term)] = term
    return [(weight, known[key]) for key, weight in total.items() if weight]


def _variances(parts: list[tuple[float, SubsetEstimate]], group: np.ndarray | None) -> tuple[float, float, int]:
    """Return the variance of sampling and of choices, that of the corrections, and the number of samples."""
    if not all(len(term.pointwise) for _, term in parts):
        return _independent(parts, group)
    if not parts:
        return 0.0, 0.0, 0
    points = np.sum([weight * term.pointwise for weight, term in parts], axis=0)
    n = len(points)
    correction, bias = _by_source(parts, "correction"), _by_source(parts, "bias")
    noise = np.sqrt(np.square(correction).sum())
    capacity = np.sqrt(np.square(_by_source(parts, "capacity")).sum())
    rounding = 0.5 / n if any(term.fitted for _, term in parts) else 0.0
    sampling = variance_of_mean(points, group) + max(noise, capacity, rounding) / n
    sampling += sum((weight * term.selection) ** 2 for weight, term in parts)
    return float(sampling), float((UNCERTAIN * noise) ** 2 + np.square(bias).sum()), n


def _independent(parts: list[tuple[float, SubsetEstimate]], group: np.ndarray | None) -> tuple[float, float, int]:
    """Return the variances of a sum in which the contributions of the samples to some terms are unknown."""
    sampling = shared = 0.0
    for weight, term in parts:
        known = _variances([(1.0, term)], group)[:2] if len(term.pointwise) else (term.selection**2, 0.0)
        sampling += weight**2 * known[0]
        shared += weight**2 * known[1]
    return sampling, shared, 0


def _by_source(parts: list[tuple[float, SubsetEstimate]], name: str) -> np.ndarray:
    """Return the signed sums of an attribute, one for each source."""
    sums: dict[str, float] = {}
    for weight, term in parts:
        sums[term.source] = sums.get(term.source, 0.0) + weight * getattr(term, name)
    return np.array(list(sums.values()))


def _by_class(problem: EstimatorInput, pointwise: np.ndarray) -> np.ndarray:
    if not problem.task.has_classes:
        return np.empty(0)
    classes = problem.task.num_outputs
    counts = np.bincount(problem.labels, minlength=classes)
    sums = np.bincount(problem.labels, pointwise, minlength=classes)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
