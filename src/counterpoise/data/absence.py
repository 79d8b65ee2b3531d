"""Which samples lack which modality: patterns, and whether absence is informative about the label."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from counterpoise._statistics import holm

__all__ = ["Association", "absence_notes", "association", "pattern_lines", "patterns"]

LEVEL: Final = 0.01
"""Largest p-value, after correction, of an association that is reported."""
MIN_EXPECTED: Final = 5
"""Smallest expected count for which the chi-squared approximation is used; below it, random tables are drawn."""
PERMUTATIONS: Final = 2000
"""Number of random tables, which are those of permuted labels."""
MAX_PATTERNS: Final = 6
"""Maximum number of patterns that a line lists."""
MAX_CLASSES: Final = 12
"""Maximum number of classes whose patterns are listed."""


@dataclass(frozen=True)
class Association:
    """Dependence of the label on the absence of a modality.

    Attributes:
        p: p-value of the test of independence.
        nats: Mutual information of presence and label in nats, corrected for chance and at least 0.
        gain: Accuracy of the best guess from presence less that of the best constant guess, in [0, 1]; 0 for real
            targets.
    """

    p: float
    nats: float
    gain: float


def patterns(present: Mapping[str, np.ndarray]) -> list[str]:
    """Return the names of the modalities that each sample has, joined by ``+``.

    Example:
        >>> patterns({"image": np.array([True, True]), "text": np.array([True, False])})
        ['image+text', 'image']
    """
    rows = zip(*present.values(), strict=True)
    return ["+".join(m for m, has in zip(present, row, strict=True) if has) for row in rows]


def association(
    pattern: np.ndarray,
    target: np.ndarray,
    task: str,
    seed: int = 0,
    *,
    design_effect: Callable[[np.ndarray], float] | None = None,
) -> Association:
    r"""Test whether the presence of a modality, or the pattern of several, and the label are independent.

    Classes are compared by the likelihood-ratio statistic :math:`G = 2 N \hat I`, by its chi-squared limit or, where
    expected counts are small, by random tables with the same margins. With several labels each is tested, and the
    smallest p-value is multiplied by their number. Real targets are compared by the test of Kruskal and Wallis, where
    the information is :math:`-\frac12 \log(1 - \epsilon^2)` of its rank effect size. Samples that depend on each other
    divide the statistic by the design effect of their contributions.

    Args:
        pattern: ``(N,)`` bool, whether a modality is present; or the number of the pattern of several modalities.
        target: ``(N,)`` class ids, ``(N, C)`` zeros and ones, or ``(N, C)`` reals.
        task: "multiclass", "multilabel" or "regression"; other tasks are treated like regression.
        seed: Seed of the random tables.
        design_effect: Function from the contributions ``(N,)`` of the samples to their design effect; None for
            independent samples.

    Example:
        >>> label = np.arange(200) % 2
        >>> result = association(label == 0, label, "multiclass")
        >>> result.p < 1e-10, round(result.nats, 1), result.gain
        (True, 0.7, 0.5)
    """
    codes = np.unique(pattern, return_inverse=True)[1].reshape(-1)
    if codes.max() == 0:
        return Association(1.0, 0.0, 0.0)
    if task == "multiclass":
        return _of_classes(codes, target, seed, design_effect)
    each = [
        _of_classes(codes, y.astype(np.int64), seed, design_effect)
        if task == "multilabel"
        else _of_numbers(codes, y, design_effect)
        for y in target.reshape(len(target), -1).T
    ]
    strongest = min(each, key=lambda one: one.p)
    return Association(min(1.0, strongest.p * len(each)), strongest.nats, strongest.gain)


def _of_classes(
    codes: np.ndarray, target: np.ndarray, seed: int, design_effect: Callable[[np.ndarray], float] | None
) -> Association:
    from scipy.stats import chi2, random_table

    n, labels = len(target), np.unique(target, return_inverse=True)[1].reshape(-1)
    classes, patterns = int(labels.max()) + 1, int(codes.max()) + 1
    if classes < 2:
        return Association(1.0, 0.0, 0.0)
    table = np.bincount(codes * classes + labels, minlength=patterns * classes).reshape(patterns, classes)
    rows, counts = table.sum(1), table.sum(0)
    expected = np.outer(rows, counts) / n
    statistic, freedom = float(_g(table, expected)), (classes - 1) * (patterns - 1)
    if design_effect is not None:
        contributions = np.log(table[codes, labels] / expected[codes, labels])
        p = float(chi2.sf(statistic / design_effect(contributions), freedom))
    elif expected.min() >= MIN_EXPECTED:
        p = float(chi2.sf(statistic, freedom))
    else:
        tables = random_table(rows, counts).rvs(PERMUTATIONS, random_state=np.random.default_rng(seed))
        p = float((1 + (_g(tables, expected) >= statistic - 1e-9).sum()) / (1 + PERMUTATIONS))
    gain = (table.max(1).sum() - counts.max()) / n
    return Association(p, max(0.0, (statistic - freedom) / (2 * n)), float(gain))


def _g(tables: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Return the likelihood-ratio statistic of tables ``(..., R, C)``."""
    ratio = np.where(tables > 0, tables, 1) / np.where(tables > 0, expected, 1)
    statistic: np.ndarray = 2 * (tables * np.log(ratio)).sum((-1, -2))
    return statistic


def _of_numbers(
    codes: np.ndarray, target: np.ndarray, design_effect: Callable[[np.ndarray], float] | None
) -> Association:
    from scipy.stats import chi2, kruskal

    if np.ptp(target) == 0:
        return Association(1.0, 0.0, 0.0)
    patterns = int(codes.max()) + 1
    statistic, p = kruskal(*(target[codes == k] for k in range(patterns)))
    if design_effect is not None:
        p = chi2.sf(statistic / design_effect(_rank_contributions(codes, target)), patterns - 1)
    # Epsilon squared, corrected for chance.
    share = np.clip((statistic - (patterns - 1)) / max(len(target) - patterns, 1), 0, 1 - 1e-12)
    return Association(float(p), float(-0.5 * np.log1p(-share)), 0.0)


def _rank_contributions(codes: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return ``(N,)``: the gain of log-density of a sample's rank by the pattern, for Gaussian ranks."""
    from scipy.stats import rankdata

    rank = rankdata(target)
    rank = (rank - rank.mean()) / rank.std()
    residual = rank - (np.bincount(codes, rank) / np.bincount(codes))[codes]
    within = max(float(np.square(residual).mean()), 1e-12)
    contributions: np.ndarray = 0.5 * (rank**2 - residual**2 / within - np.log(within))
    return contributions


def absence_notes(present: Mapping[str, np.ndarray] | None, target: np.ndarray, task: Any) -> list[str]:
    """Return notes on how often each modality is present, and warnings where absence is informative about the label.

    P-values are corrected for the number of modalities (Holm).

    Args:
        present: ``{m: (N,) bool}``; None if nothing is missing.
        target: Targets of the N samples.
        task: Task, or its name.
    """
    lacking = {m: np.asarray(mask) for m, mask in (present or {}).items() if not np.all(mask)}
    if not lacking:
        return []
    shares = ", ".join(f"{m} {mask.mean():.1%}" for m, mask in lacking.items())
    kind = task if isinstance(task, str) else getattr(task, "name", "regression")
    tested = {m: association(mask, np.asarray(target), kind) for m, mask in lacking.items()}
    corrected = zip(tested, holm([result.p for result in tested.values()]), strict=True)
    informative = {m: p for m, p in corrected if p <= LEVEL and tested[m].nats > 0}
    warnings = [_warning(m, tested[m], p, len(tested)) for m, p in informative.items()]
    return [f"samples that have a modality: {shares}", *warnings]


def _warning(m: str, result: Association, p: float, modalities: int) -> str:
    points = f", {100 * result.gain:.1f} points of accuracy" if result.gain > 0 else ""
    level = "< 0.001" if p < 0.001 else f"= {p:.3f}"
    return (
        f"warning: the absence of {m} is informative about the label ({result.nats:.3f} nats{points}; p {level}, "
        f"corrected for {modalities} modalities); a model may use the absence instead of the inputs"
    )


def pattern_lines(
    present: Mapping[str, np.ndarray], target: np.ndarray, split: Sequence[str], class_names: Sequence[str] = ()
) -> list[str]:
    """Return lines with the counts of the patterns of absence by split and by class.

    The classes shown are those whose patterns differ most from those of all samples.

    Args:
        present: ``{m: (N,) bool}``.
        target: ``(N,)`` class ids or names; other targets have no classes.
        split: Split of each sample.
        class_names: Names of the classes, for ids.

    Example:
        >>> present = {"image": np.array([True, True]), "text": np.array([True, False])}
        >>> pattern_lines(present, np.array([0, 1]), ["train", "train"], ["cat", "dog"])[0]
        'patterns, train: 1 image+text, 1 image'
    """
    names = patterns(present)
    lines = [f"patterns, {part}: {_counted(counts)}" for part, counts in _grouped(names, split).items()]
    if np.ndim(target) != 1 or np.asarray(target).dtype.kind == "f":
        return lines
    labels = [class_names[y] if class_names and not isinstance(y, str) else str(y) for y in np.asarray(target).tolist()]
    by_class, total = _grouped(names, labels), Counter(names)
    ranked = sorted(by_class, key=lambda c: _distance(by_class[c], total), reverse=True)
    lines += [f"patterns, class {c}: {_counted(by_class[c])}" for c in ranked[:MAX_CLASSES]]
    if len(ranked) > MAX_CLASSES:
        lines.append(f"patterns of {len(ranked) - MAX_CLASSES} other classes: closer to those of all samples")
    return lines


def _grouped(names: Sequence[str], groups: Sequence[str]) -> dict[str, Counter[str]]:
    """Return the counts of the names in each group, in the order in which the groups occur."""
    counts: dict[str, Counter[str]] = {}
    for name, group in zip(names, groups, strict=True):
        counts.setdefault(group, Counter())[name] += 1
    return counts


def _counted(patterns: Counter[str]) -> str:
    counts = patterns.most_common()
    shown = [f"{count:,} {name or 'nothing'}" for name, count in counts[:MAX_PATTERNS]]
    rest = sum(count for _, count in counts[MAX_PATTERNS:])
    return ", ".join([*shown, f"{rest:,} others"] if rest else shown)


def _distance(one: Counter[str], whole: Counter[str]) -> float:
    """Return the total variation between the patterns of a class and those of all samples."""
    n, total = sum(one.values()), sum(whole.values())
    return 0.5 * sum(abs(one[name] / n - count / total) for name, count in whole.items())
