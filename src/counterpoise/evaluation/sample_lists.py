"""Lists of samples and classes by the modalities that they depend on, computed from the samples' contributions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

__all__ = ["TELLING", "ClassShare", "SampleLists", "by_class", "sample_lists"]

TELLING: Final = math.log(1.5)
"""A modality is informative on a sample if it makes the label one and a half times as probable (or improbable).

With two balanced classes, the largest possible factor is 2."""


@dataclass(frozen=True)
class SampleLists:
    """Positions of the samples to inspect, the clearest first.

    Attributes:
        relies_on: Samples by the only modality without which the label loses at least a third of its probability.
        need_several: Without one modality, and without another, the label loses at least a third of its probability.
        conflict: One modality alone makes the label one and a half times as probable, another as improbable.
    """

    relies_on: dict[str, np.ndarray]
    need_several: np.ndarray
    conflict: np.ndarray

    def to_dict(self) -> dict[str, object]:
        """Return plain lists."""
        return {
            "relies_on": {m: rows.tolist() for m, rows in self.relies_on.items()},
            "need_several": self.need_several.tolist(),
            "conflict": self.conflict.tolist(),
        }


def sample_lists(
    alone: Mapping[str, np.ndarray], drop: Mapping[str, np.ndarray], index: np.ndarray, telling: float = TELLING
) -> SampleLists:
    """Return the samples that rely on one modality, need several, or have conflicting modalities.

    Args:
        alone: ``{m: (N,)}``, log q(y | m alone) - log p(y) in nats.
        drop: ``{m: (N,)}``, log q(y | all) - log q(y | all but m).
        index: ``(N,)`` the positions to report.
        telling: Minimum number of nats that counts.

    Example:
        >>> alone = {"a": np.array([1.0, 1.0, 0.0]), "b": np.array([0.0, -1.0, 0.0])}
        >>> drop = {"a": np.array([1.0, 1.0, 2.0]), "b": np.array([0.0, 0.0, 2.0])}
        >>> lists = sample_lists(alone, drop, np.arange(3))
        >>> lists.relies_on["a"].tolist(), lists.need_several.tolist(), lists.conflict.tolist()
        ([0, 1], [2], [1])
    """
    names = list(drop)
    drops = np.stack([drop[m] for m in names])
    count = (drops >= telling).sum(0)

    def ranked(chosen: np.ndarray, strength: np.ndarray) -> np.ndarray:
        rows = np.flatnonzero(chosen)
        return index[rows[np.argsort(-strength[rows], kind="stable")]]

    singles = np.stack([alone[m] for m in names])
    conflict = (singles.max(0) >= telling) & (singles.min(0) <= -telling)
    second = np.sort(drops, 0)[-2]
    return SampleLists(
        {m: ranked((drops[k] >= telling) & (count == 1), drops[k]) for k, m in enumerate(names)},
        ranked(count > 1, second),
        ranked(conflict, singles.max(0) - singles.min(0)),
    )


@dataclass(frozen=True)
class ClassShare:
    """Information of the modalities on the samples of one class (or of one label).

    Attributes:
        name: The class.
        n: Number of its samples.
        mi: Mean of log q(y | m) - log p(y) by modality, in nats.
        dominant: Modality with the most information.
        sure: Whether it leads the next by more than two standard errors.
    """

    name: str
    n: int
    mi: dict[str, float]
    dominant: str
    sure: bool


def by_class(alone: Mapping[str, np.ndarray], labels: np.ndarray, names: Sequence[str]) -> tuple[ClassShare, ...]:
    """Return the information of the modalities by class; classes with fewer than two samples are left out.

    Args:
        alone: ``{m: (N,)}`` contributions of the samples.
        labels: ``(N,)`` class ids.
        names: Names of the classes.

    Example:
        >>> phi = {"a": np.array([1.0, 0.9, 0.1, 0.0]), "b": np.zeros(4)}
        >>> rows = by_class(phi, np.array([0, 0, 1, 1]), ["no", "yes"])
        >>> [(row.name, row.dominant, row.sure) for row in rows]
        [('no', 'a', True), ('yes', 'a', False)]
    """
    rows = []
    for k, name in enumerate(names):
        own = {m: value[labels == k] for m, value in alone.items()}
        n = int((labels == k).sum())
        if n < 2:
            continue
        means = {m: float(value.mean()) for m, value in own.items()}
        first, second = sorted(means, key=lambda m: -means[m])[:2]
        lead = own[first] - own[second]
        sure = bool(lead.mean() > 2 * lead.std(ddof=1) / n**0.5)
        rows.append(ClassShare(str(name), n, means, first, sure))
    return tuple(rows)
