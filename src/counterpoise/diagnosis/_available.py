"""Available information: for every subset of modalities the most that anything found, the model itself included."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
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


def best_of(lattices: Sequence[Lattice], modalities: Sequence[str]) -> Lattice:
    """Return for every subset the source that found most; of two that are level, the first.

    What a smaller subset is known to carry, the larger one carries as well.
    """
    best: Lattice = {}
    for subset in dict.fromkeys(s for lattice in lattices for s in lattice):
        for lattice in lattices:
            if subset in lattice and (subset not in best or _better(lattice[subset], best[subset])):
                best[subset] = lattice[subset]
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
    rest = tuple(k for k in names if k != m)
    without = [frozenset(s) for size in range(len(rest) + 1) for s in combinations(rest, size)]
    complete = all((s | {m}) in lattice and (not s or s in lattice) for s in without)
    terms: list[tuple[float, Quantity]] = []
    if not complete:
        whole = frozenset(names)
        return [(0.5, lattice[frozenset([m])]), (0.5, lattice[whole]), (-0.5, lattice[whole - {m}])]
    for s in without:
        weight = coalitions.shapley_weight(len(s), len(names))
        terms.append((weight, lattice[s | {m}]))
        if s:
            terms.append((-weight, lattice[s]))
    return terms


def merged(v: Valuation, lattice: Lattice, problem: EstimatorInput) -> Valuation:
    """Return a valuation with the information of a lattice in place of its own, where another source found more."""
    names = v.modalities
    whole = frozenset(names)

    def estimate(terms: Iterable[tuple[float, Quantity]], bound: str = "estimate") -> tuple[Estimate, np.ndarray]:
        e, points = contrast(list(terms), group=problem.group, confidence=v.confidence)
        return replace(e, bound=bound), points

    own = from_valuation(v, "")
    changed = {s for s in own if lattice[s].value != own[s].value}
    if not changed:
        return v
    per_sample = dict(v.per_sample)
    mi, cmi = dict(v.mi), dict(v.cmi)
    joint = v.joint_mi
    if whole in changed:
        joint, per_sample["mi"] = estimate([(1.0, lattice[whole])])
    for m in names:
        if frozenset([m]) in changed:
            mi[m], per_sample[f"mi:{m}"] = estimate([(1.0, lattice[frozenset([m])])])
        if whole in changed or whole - {m} in changed:
            cmi[m], per_sample[f"cmi:{m}"] = estimate([(1.0, lattice[whole]), (-1.0, lattice[whole - {m}])])
    subsets = dict(v.subsets)
    for s in changed:
        subsets[tuple(k for k in names if k in s)] = estimate([(1.0, lattice[s])])[0]
    co = v.co_information
    every = [frozenset(s) for size in range(1, len(names) + 1) for s in combinations(names, size)]
    if co is not None and all(s in lattice for s in every):
        co = estimate([(1.0 if len(s) % 2 else -1.0, lattice[s]) for s in every])[0]
    return replace(
        v,
        joint_mi=joint,
        mi=mi,
        cmi=cmi,
        co_information=co,
        subsets=subsets,
        per_sample={k: x for k, x in per_sample.items() if len(x)},
        per_class=_per_class(v, per_sample, problem),
    )


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
