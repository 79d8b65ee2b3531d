"""Metrics and curves: the numbers of a run."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

from counterpoise._corruption import Corruption

CurveKind: TypeAlias = Literal["loss", "score", "contribution", "coefficient", "gradient"]


class MetricId(NamedTuple):
    """Identity of a metric: its name, its modality, and the corruption of that modality's input."""

    name: str
    modality: str | None = None
    corruption: Corruption | None = None

    def __str__(self) -> str:
        text = self.name if self.modality is None else f"{self.name}:{self.modality}"
        return text if self.corruption is None else f"{text} ({self.corruption})"


class CurveId(NamedTuple):
    """Identity of a curve: its kind, its name, and its modality."""

    kind: CurveKind
    name: str
    modality: str | None = None

    def __str__(self) -> str:
        return "/".join(part for part in self if part is not None)


@dataclass(frozen=True)
class Metric:
    """One number measured on the test (or validation) set.

    Attributes:
        name: Name of the quantity: a score of the task (``accuracy``, ``macro_f1``, ``nll``, ``ece``, ``r2``,
            ``rmse``), ``probe``, ``phi_mi``, ``phi_cmi``, ``phi_shared``, ``phi_synergy``, ``entropy``, ``step_ms``,
            ...
        value: The number; NaN if it is not finite.
        modality: Modality of the number (score of its own head, probe of its encoder, or its contribution); None for
            the whole model.
        corruption: The corruption of the input of ``modality`` under which the whole model was scored; None for clean
            inputs.
    """

    name: str
    value: float
    modality: str | None = None
    corruption: Corruption | None = None

    @property
    def id(self) -> MetricId:
        """Everything but the value."""
        return MetricId(self.name, self.modality, self.corruption)


@dataclass(frozen=True)
class Curve:
    """One number per epoch.

    Attributes:
        kind: ``loss`` (a term of the training loss; ``total`` is their sum), ``score`` (on the validation set),
            ``contribution`` (on the validation set, nats), ``coefficient`` (chosen by the method) or ``gradient`` (of
            the fused loss by the features of validation samples: ``energy``, ``balance`` and ``non-conflict``).
        name: Name of the quantity.
        modality: Modality of the curve; None for the whole model.
        values: The numbers, epoch by epoch; NaN where an epoch has none.
    """

    kind: CurveKind
    name: str
    modality: str | None = None
    values: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", tuple(self.values))

    @property
    def id(self) -> CurveId:
        """Everything but the values."""
        return CurveId(self.kind, self.name, self.modality)


def split_key(key: str, modalities: Sequence[str], *, alone: str = "unimodal") -> tuple[str, str | None]:
    """Return the name and the modality of a quantity that a method calls ``name:modality``.

    The modality is found among the given names and not by splitting, because names of modalities may hold any
    character.

    Args:
        key: The method's own key.
        modalities: Names of the modalities.
        alone: Name of a quantity whose key is only the name of a modality.

    Example:
        >>> split_key("kappa:audio", ["audio"]), split_key("audio", ["audio"]), split_key("fused", ["audio"])
        (('kappa', 'audio'), ('unimodal', 'audio'), ('fused', None))
    """
    for m in sorted(modalities, key=len, reverse=True):
        if key == m:
            return alone, m
        if key.endswith(f":{m}"):
            return key[: -len(m) - 1], m
    return key, None


def corrupted_means(metrics: Iterable[Metric], score: str) -> tuple[Metric, ...]:
    """Return the mean score over all corruptions, and over the corruptions of each modality.

    Args:
        metrics: Metrics of a run; those of clean inputs and of other names are ignored.
        score: Name of the score.

    Example:
        >>> zeros = Corruption("zeros")
        >>> rows = [Metric("accuracy", 0.5, "a", zeros), Metric("accuracy", 0.7, "b", zeros)]
        >>> [(m.name, m.modality, round(m.value, 2)) for m in corrupted_means(rows, "accuracy")]
        [('accuracy_corrupted', None, 0.6), ('accuracy_corrupted', 'a', 0.5), ('accuracy_corrupted', 'b', 0.7)]
    """
    values: dict[str | None, list[float]] = {}
    for metric in metrics:
        if metric.corruption is not None and metric.name == score:
            for m in (None, metric.modality):
                values.setdefault(m, []).append(metric.value)
    return tuple(Metric(f"{score}_corrupted", math.fsum(v) / len(v), m) for m, v in values.items())
