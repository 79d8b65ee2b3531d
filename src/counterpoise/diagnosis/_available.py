"""Available information: for every subset of modalities the largest estimate, that of the model included."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Final, TypeAlias

import numpy as np

from counterpoise import coalitions
from counterpoise.diagnosis._information import Quantity, contrast
from counterpoise.valuation import Estimate, Valuation
from counterpoise.valuation.inputs import EstimatorInput

__all__ = ["Lattice", "best_of", "capped", "from_valuation", "merged", "shapley_share"]

Subset: TypeAlias = frozenset[str]
Lattice: TypeAlias = dict[Subset, Quantity]
"""Information by subset of modalities: at least all, each one, and all but each one."""

MARGIN: Final = 2.0
"""Nats in total by which another source has to be better to be preferred."""


def from_valuation(v: Valuation, source: str) -> Lattice:
    """Return the information of the subsets of a valuation."""
    points = v.per_sample
    joint = points.get("mi", np.empty(0))
    whole = frozenset(v.modalities)
    lattice: Lattice = {whole: Quantity(v.joint_mi.value, joint, v.joint_mi.se, source)}
    for m in v.modalities:
        mi, cmi = v.mi[m], v.cmi[m]
        lattice[frozenset([m])] = Quantity(mi.value, points.get(f"mi:{m}", np.empty(0)), mi.se, source)
        rest = whole - {m}
        if len(rest) == 1:
            continue
        known = v.subsets.get(tuple(k for k in v.modalities if k != m))
        own = joint - points[f"cmi:{m}"] if len(joint) and f"cmi:{m}" in points else np.empty(0)
        se = known.se if known is not None else float(np.hypot(v.joint_mi.se, cmi.se))
        lattice[rest] = Quantity(v.joint_mi.value - cmi.value, own, se, source)
    return lattice


def capped(lattice: Lattice, cap: float) -> Lattice:
    """Return the lattice with differences beyond the noise floor of real targets removed."""
    if not np.isfinite(cap):
        return lattice
    return {
        s: replace(q, value=min(q.value, cap), points=np.minimum(q.points, cap) if len(q.points) else q.points)
        for s, q in lattice.items()
    }


def best_of(lattices: Sequence[Lattice]) -> Lattice:
    """Return for every subset the source that found most; of two that are level, the first.

    What a smaller subset is known to carry, the larger one carries as well.
    """
    best: Lattice = {}
    for lattice in lattices:
        for subset, quantity in lattice.items():
            if subset not in best or _better(quantity, best[subset]):
                best[subset] = quantity
    return _monotone(best)


def _monotone(lattice: Lattice) -> Lattice:
    """Return a lattice in which no subset carries significantly less than a part of it."""
    best = dict(lattice)
    for subset in sorted(best, key=len):
        for smaller in [s for s in best if s < subset]:
            if _better(best[smaller], best[subset], 2.0):
                best[subset] = best[smaller]
    return best


def _better(new: Quantity, old: Quantity, errors: float = 1.0) -> bool:
    if new is old:
        return False
    gain, _ = contrast([(1.0, new), (-1.0, old)])
    n = max(len(new.points), 1)
    return gain.value > max(MARGIN / n if len(new.points) else 0.0, errors * gain.se)


def shapley_share(lattice: Lattice, m: str, modalities: Sequence[str]) -> list[tuple[float, Quantity]]:
    """Return the terms of the Shapley value of ``m``; the mean of alone and given the rest where subsets are missing.

    Example:
        >>> q = {frozenset(s): Quantity(v, np.empty(0), 0.0) for s, v in (("a", 0.5), ("b", 0.25), ("ab", 1.0))}
        >>> sum(w * quantity.value for w, quantity in shapley_share(q, "a", ("a", "b")))
        0.625
    """
    names = tuple(modalities)
    whole = frozenset(names)
    if any(s not in lattice for s in _subsets(names)):
        return [(0.5, lattice[frozenset([m])]), (0.5, lattice[whole]), (-0.5, lattice[whole - {m}])]
    terms: list[tuple[float, Quantity]] = []
    for s in [frozenset(), *_subsets([k for k in names if k != m])]:
        weight = coalitions.shapley_weight(len(s), len(names))
        terms.append((weight, lattice[s | {m}]))
        if s:
            terms.append((-weight, lattice[s]))
    return terms


def _subsets(names: Sequence[str]) -> list[Subset]:
    """Return all subsets but the empty one, the smallest first."""
    return [frozenset(s) for size in range(1, len(names) + 1) for s in combinations(names, size)]


def merged(v: Valuation, lattice: Lattice, problem: EstimatorInput) -> Valuation:
    """Return a valuation with the information of a lattice in place of its own, where another source found more."""
    own = from_valuation(v, "")
    changed = {s for s in own if lattice[s].value != own[s].value}
    if not changed:
        return v

    def estimate(terms: Iterable[tuple[float, Subset]]) -> tuple[Estimate, np.ndarray]:
        return contrast([(w, lattice[s]) for w, s in terms], group=problem.group, confidence=v.confidence)

    measured = {name: estimate(terms) for name, terms in _changed_terms(v.modalities, changed).items()}
    estimates = {name: e for name, (e, _) in measured.items()}
    per_sample = {**v.per_sample, **{name: points for name, (_, points) in measured.items()}}
    subsets = {tuple(sorted(s, key=v.modalities.index)): estimate([(1.0, s)])[0] for s in changed}
    signs = _co_information_terms(v, lattice)
    return replace(
        v,
        joint_mi=estimates.get("mi", v.joint_mi),
        mi=_updated(v.mi, estimates, "mi"),
        cmi=_updated(v.cmi, estimates, "cmi"),
        co_information=estimate(signs)[0] if signs else v.co_information,
        subsets={**v.subsets, **subsets},
        per_sample=_known(per_sample),
        per_class=_per_class(v, per_sample, problem),
    )


def _changed_terms(modalities: Sequence[str], changed: Collection[Subset]) -> dict[str, list[tuple[float, Subset]]]:
    """Return the terms of the quantities that depend on changed subsets, by the name of the quantity."""
    whole = frozenset(modalities)
    terms = {"mi": [(1.0, whole)]}
    for m in modalities:
        terms[f"mi:{m}"] = [(1.0, frozenset([m]))]
        terms[f"cmi:{m}"] = [(1.0, whole), (-1.0, whole - {m})]
    return {name: parts for name, parts in terms.items() if any(s in changed for _, s in parts)}


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
