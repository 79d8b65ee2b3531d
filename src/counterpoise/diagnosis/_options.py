"""Settings of a diagnosis."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, TypedDict

import torch
from torch import Tensor

from counterpoise._validation import Interval, check_keys
from counterpoise.data import Modality
from counterpoise.diagnosis._adapter import Features
from counterpoise.diagnosis._evidence import Thresholds

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = ["DiagnosisOptions", "Settings", "options_of"]


@dataclass(frozen=True)
class DiagnosisOptions:
    """Settings of `counterpoise.diagnose` and `counterpoise.diagnose_arrays`.

    Attributes:
        label: Key of the target, if batches are mappings; by default label, labels, target, targets or y.
        class_names: C names. Labels that are words become classes in this order, else in sorted order.
        display: Appearance of the modalities (`counterpoise.data.Modality`: words of token ids, rate of a sensor), for
            the samples on the page; by default guessed from their shapes.
        group: ``(N,)``, in the loader's order: samples that belong together (one speaker, one patient). Whole groups
            stay in one fold, and intervals come from the spread between groups.
        reference_features: ``{m: (N, D)}``, in the loader's order: features of a better encoder of m (one trained on m
            alone, say). The available information is then measured on them rather than on the raw inputs.
        estimator: A name of `counterpoise.valuation.VALUATIONS`.
        folds: Number of folds of the cross-fitting.
        thresholds: Cut-offs of the verdicts.
        background_size: Number of background samples over which modalities are averaged out.
        limit: Maximum number of samples; of more samples, a random subset is used. None uses all.
        batch_size: Samples in a forward pass. The loader's batches are joined only if that changes no prediction.
        confidence: Level of the intervals.
        seed: Seed of folds, background samples, noise and the subset.
        damage: Whether to measure scores with each modality corrupted.
        progress: Whether to show progress; None shows it in a terminal.
        autocast: Precision of `torch.autocast` for the model's passes, such as ``torch.bfloat16``; None uses the
            model's own.

    Example:
        >>> DiagnosisOptions(limit=1000).limit
        1000
    """

    label: str | None = None
    class_names: Sequence[str] = ()
    display: Sequence[Modality] = ()
    group: ArrayLike | None = None
    reference_features: Mapping[str, ArrayLike | Tensor] = field(default_factory=dict)
    estimator: str = "variational"
    folds: int = 5
    thresholds: Thresholds = field(default_factory=Thresholds)
    background_size: int = 8
    limit: int | None = 5000
    batch_size: int = 256
    confidence: float = 0.95
    seed: int = 0
    damage: bool = True
    progress: bool | None = None
    autocast: torch.dtype | None = None

    def __post_init__(self) -> None:
        for name in ("background_size", "batch_size", "limit"):
            value = getattr(self, name)
            if value is not None:
                Interval(1, integer=True).check("diagnose", name, value)
        Interval(0, 1, "()").check("diagnose", "confidence", self.confidence)


class Settings(TypedDict, total=False):
    """Keywords of `counterpoise.diagnose`: ``options``, or fields of it by name, and parameters of `adapt`."""

    options: DiagnosisOptions
    call: str
    features: Features | None
    output: Callable[[Any], Any] | None
    label: str | None
    class_names: Sequence[str]
    display: Sequence[Modality]
    group: ArrayLike | None
    reference_features: Mapping[str, ArrayLike | Tensor]
    estimator: str
    folds: int
    thresholds: Thresholds
    background_size: int
    limit: int | None
    batch_size: int
    confidence: float
    seed: int
    damage: bool
    progress: bool | None
    autocast: torch.dtype | None


_ADAPT = ("call", "features", "output")


def options_of(settings: Mapping[str, Any], name: str = "diagnose") -> tuple[DiagnosisOptions, dict[str, Any]]:
    """Return the options and the keywords of `adapt` that are among the settings.

    Raises:
        ConfigError: For an unknown setting.

    Example:
        >>> options, call = options_of({"limit": 10, "call": "dict"})
        >>> options.limit, call
        (10, {'call': 'dict'})
    """
    known = [f.name for f in fields(DiagnosisOptions)]
    check_keys(f"`{name}`", settings, ["options", *known, *_ADAPT])
    chosen = {k: v for k, v in settings.items() if k in known and (v is not None or k != "thresholds")}
    options = replace(settings.get("options") or DiagnosisOptions(), **chosen)
    return options, {k: v for k, v in settings.items() if k in _ADAPT}
