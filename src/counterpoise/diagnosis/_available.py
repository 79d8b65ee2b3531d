"""Available information: the largest estimate for every subset of modalities, including that of the model."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Final, TypeAlias

import numpy as np

from counterpoise import coalitions
from counterpoise.diagnosis._information import PREDICTIONS
from counterpoise.valuation import Estimate, Valuation
from counterpoise.valuation.assembly import SubsetEstimate, combine
from counterpoise.valuation.groups import too_few_groups
from counterpoise.valuation.inputs import EstimatorInput

__all__ = [
    "Lattice",
    "at_least",
    "best_of",
    "capped",
    "flags_of",
    "from_valuation",
    "merged",
    "raised",
    "shapley_share",
]

Subset: TypeAlias = frozenset[str]
Flag: TypeAlias = tuple[str, str]
Lattice: TypeAlias = dict[Subset, SubsetEstimate]
"""Information by subset of modalities: at least all, each one, and all but each one."""

MARGIN: Final = 2.0
"""Minimum total gain in nats for which another source is preferred."""
LEVEL: Final = 0.1
"""Two sources count as equal if they differ by less than this share and by less than the error of the difference."""
SHARPER: Final = 0.8
"""Of two equal sources, the second is preferred if its error is at most this share of the error of the first."""


def from_valuation(v: Valuation, source: str) -> Lattice:
    """Return the information of the subsets of a valuation."""
    whole = frozenset(v.modalities)
    estimates = {whole: v.joint_mi} | {frozenset([m]): v.mi[m] for m in v.modalities}
    for m in v.modalities:
        rest = tuple(k for k in v.modalities if k != m)
        value, se = v.joint_mi.value - v.cmi[m].value, float(np.hypot(v.joint_mi.se, v.cmi[m].se))
        estimates.setdefault(frozenset(rest), v.subsets.get(rest, Estimate.around(value, se)))
    known = {frozenset(s): term for s, term in v.terms.items()}
    return {
        s: replace(known[s], source=source)
        if s in known
        else SubsetEstimate(np.empty(0), correction=e.value, selection=e.se, source=source)
        for s, e in estimates.items()
    }


def capped(lattice: Lattice, problem: EstimatorInput) -> Lattice:
    """Return the lattice without differences below the noise floor of real targets, which do not count as
    information.
    """
    if problem.task.has_discrete_entropy:
        return lattice
    cap = problem.largest_information
    result = {}
    for s, term in lattice.items():
        points = np.minimum(term.pointwise, cap)
        correction = min(term.value, cap) - (float(points.mean()) if len(points) else 0.0)
        result[s] = replace(term, pointwise=points, correction=correction)
    return result


def best_of(lattices: Sequence[Lattice], group: np.ndarray | None = None) -> Lattice:
    """Return the source with the largest estimate for every subset; of two equal sources, the one with the smaller
    error.

    A larger subset carries at least the information of each of its parts.

    Args:
        lattices: One of each source.
        group: ``(N,)`` groups of samples that depend on each other.
    """
    best: Lattice = {}
    for lattice in lattices:
        for subset, term in lattice.items():
            if subset not in best or _better(term, best[subset], group) or _sharper(term, best[subset], group):
                best[subset] = term
    return _monotone(best, group)


def at_least(available: Estimate, used: Estimate | None) -> Estimate:
    r"""Return available information that is not below the information that predictions demonstrably use.

    Predictions are a function of the inputs, so :math:`I(X; Y) \ge I(f(X); Y)`. Two estimates of these can differ by
    noise in the other direction. A significant lower bound of the used information is one of the available information.

    Args:
        available: Estimate of I(X; Y).
        used: Estimate of I(f(X); Y), or None where it was not measured.

    Example:
        >>> print(at_least(Estimate(0.30, 0.05, 0.20, 0.40), Estimate(0.33, 0.02, 0.29, 0.37)))
        0.330 [0.290, 0.400]
        >>> print(at_least(Estimate(0.00, 0.01, 0.00, 0.02), Estimate(0.02, 0.02, 0.00, 0.06)))  # noise
        0.000 [0.000, 0.020]
    """
    if used is None or used.low <= 0:
        return available
    value = max(available.value, used.value)
    return replace(available, value=value, low=max(available.low, used.low), high=max(available.high, value))


def raised(v: Valuation, used: Mapping[Subset, Estimate]) -> Valuation:
    """Return a valuation whose estimates of single modalities and of all are not below what predictions use.

    Args:
        v: The valuation.
        used: Used information by subset.
    """
    joint = at_least(v.joint_mi, used.get(frozenset(v.modalities)))
    mi = {m: at_least(e, used.get(frozenset([m]))) for m, e in v.mi.items()}
    floors = {frozenset([m]): e for m, e in mi.items()} | {frozenset(v.modalities): joint}
    subsets = {names: floors.get(frozenset(names), e) for names, e in v.subsets.items()}
    return replace(v, joint_mi=joint, mi=mi, subsets=subsets)


def _monotone(lattice: Lattice, group: np.ndarray | None) -> Lattice:
    """Return a lattice in which no subset carries significantly less than a part of it."""
    best = dict(lattice)
    for subset in sorted(best, key=len):
        for smaller in [s for s in best if s < subset]:
            if _better(best[smaller], best[subset], group, 2.0):
                best[subset] = best[smaller]
    return best


def _better(new: SubsetEstimate, old: SubsetEstimate, group: np.ndarray | None, errors: float = 1.0) -> bool:
    if new is old:
        return False
    gain = combine([(1.0, new), (-1.0, old)], group)
    return gain.value > max(MARGIN / max(len(new.pointwise), MARGIN), errors * gain.se)


def _sharper(new: SubsetEstimate, old: SubsetEstimate, group: np.ndarray | None) -> bool:
    """Return whether a source equals another one within the error and has a smaller error.

    A model's own predictions are left out here: their error is small, but they are only a lower bound.
    """
    if PREDICTIONS in (new.source, old.source):
        return False
    gain = combine([(1.0, new), (-1.0, old)], group)
    if abs(gain.value) > min(gain.se, LEVEL * old.value):
        return False
    return combine([(1.0, new)], group).se <= SHARPER * combine([(1.0, old)], group).se


def shapley_share(lattice: Lattice, m: str, modalities: Sequence[str]) -> list[tuple[float, SubsetEstimate]]:
    """Return the terms of the Shapley value of ``m``; if subsets are missing, the mean of the unimodal and the
    conditional information.

    Example:
        >>> values = (("a", 0.5), ("b", 0.25), ("ab", 1.0))
        >>> q = {frozenset(s): SubsetEstimate(np.empty(0), correction=v) for s, v in values}
        >>> sum(weight * term.value for weight, term in shapley_share(q, "a", ("a", "b")))
        0.625
    """
    names = tuple(modalities)
    whole = frozenset(names)
    if any(s not in lattice for s in _subsets(names)):
        return [(0.5, lattice[frozenset([m])]), (0.5, lattice[whole]), (-0.5, lattice[whole - {m}])]
    terms: list[tuple[float, SubsetEstimate]] = []
    for s in [frozenset(), *_subsets([k for k in names if k != m])]:
        weight = coalitions.shapley_weight(len(s), len(names))
        terms.append((weight, lattice[s | {m}]))
        if s:
            terms.append((-weight, lattice[s]))
    return terms


def _subsets(names: Sequence[str]) -> list[Subset]:
    """Return all subsets but the empty one, the smallest first."""
    return [frozenset(s) for size in range(1, len(names) + 1) for s in combinations(names, size)]


def merged(v: Valuation, lattice: Lattice, problem: EstimatorInput, flags: Collection[Flag]) -> Valuation:
    """Return a valuation in which the estimates of a lattice replace smaller ones.

    Args:
        v: The valuation.
        lattice: What `best_of` returned.
        problem: Labels and groups.
        flags: Source and name of the quantities for which a source has too few samples, see `flags_of`.
    """
    own = from_valuation(v, "")
    changed = {s for s in own if lattice[s].value != own[s].value}
    v = replace(v, too_few_samples=_too_few(v.modalities, lattice, problem, flags))
    return _replaced(v, lattice, problem, changed) if changed else v


def _replaced(v: Valuation, lattice: Lattice, problem: EstimatorInput, changed: Collection[Subset]) -> Valuation:
    """Return a valuation with the numbers that depend on some subsets taken from the lattice."""
    most, bound = problem.largest_information, v.joint_mi.bound

    def estimate(terms: Sequence[tuple[float, Subset]], least: float = 0.0) -> Estimate:
        kind = bound if len(terms) == 1 else "estimate"
        parts = [(w, lattice[s]) for w, s in terms]
        return combine(parts, problem.group, v.confidence, bound=kind, least=least, most=most)

    names = {name: t for name, t in _terms(v.modalities).items() if any(s in changed for _, s in t)}
    estimates = {name: estimate(t) for name, t in names.items()}
    per_sample = {**v.per_sample, **{name: _points(t, lattice) for name, t in names.items()}}
    ordered = {tuple(sorted(s, key=v.modalities.index)): s for s in changed}
    signs = _co_information_terms(v, lattice)
    return replace(
        v,
        joint_mi=estimates.get("mi", v.joint_mi),
        mi=_updated(v.mi, estimates, "mi"),
        cmi=_updated(v.cmi, estimates, "cmi"),
        co_information=estimate(signs, -most) if signs else v.co_information,
        subsets={**v.subsets, **{names: estimate([(1.0, s)]) for names, s in ordered.items()}},
        per_sample=_known(per_sample),
        per_class=_per_class(v, per_sample, problem),
        terms={**v.terms, **{names: lattice[s] for names, s in ordered.items()}},
    )


def flags_of(v: Valuation, source: str) -> set[Flag]:
    """Return the quantities of a valuation for which there are too few samples, with their source."""
    return {(source, name) for name in v.too_few_samples}


def _too_few(
    modalities: Sequence[str], lattice: Lattice, problem: EstimatorInput, flags: Collection[Flag]
) -> tuple[str, ...]:
    """Return the quantities that come from a source that has too few samples for them."""
    terms = _terms(modalities)
    if too_few_groups(problem.group):
        return tuple(terms)
    sources = {name: {lattice[s].source for _, s in parts} for name, parts in terms.items()}
    return tuple(name for name in terms if any((source, name) in flags for source in sources[name]))


def _terms(modalities: Sequence[str]) -> dict[str, list[tuple[float, Subset]]]:
    """Return what each quantity consists of, by its name."""
    whole = frozenset(modalities)
    terms = {"mi": [(1.0, whole)]}
    terms |= {f"mi:{m}": [(1.0, frozenset([m]))] for m in modalities}
    return terms | {f"cmi:{m}": [(1.0, whole), (-1.0, whole - {m})] for m in modalities}


def _points(terms: Iterable[tuple[float, Subset]], lattice: Lattice) -> np.ndarray:
    """Return the contributions of the samples to a sum; empty where they are unknown."""
    parts = [weight * lattice[s].pointwise for weight, s in terms]
    return np.sum(parts, axis=0) if all(len(part) for part in parts) else np.empty(0)


def _co_information_terms(v: Valuation, lattice: Lattice) -> list[tuple[float, Subset]]:
    """Return the terms of the co-information; none where it is unknown or a subset is missing."""
    every = _subsets(v.modalities)
    if v.co_information is None or any(s not in lattice for s in every):
        return []
    return [(1.0 if len(s) % 2 else -1.0, s) for s in every]


def _updated(old: Mapping[str, Estimate], new: Mapping[str, Estimate], name: str) -> dict[str, Estimate]:
    return {m: new.get(f"{name}:{m}", e) for m, e in old.items()}


def _known(per_sample: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: points for name, points in per_sample.items() if len(points)}


def _per_class(v: Valuation, per_sample: Mapping[str, np.ndarray], problem: EstimatorInput) -> dict[str, np.ndarray]:
    if not problem.task.has_classes:
        return v.per_class
    counts = np.bincount(problem.labels, minlength=problem.task.num_outputs)
    means = dict(v.per_class)
    for name in means:
        if len(per_sample.get(name, ())) == problem.n:
            sums = np.bincount(problem.labels, per_sample[name], minlength=problem.task.num_outputs)
            means[name] = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
    return means
