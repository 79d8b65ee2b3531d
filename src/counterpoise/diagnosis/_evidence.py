"""Evidence on a modality, the thresholds of the verdicts, and findings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from counterpoise._validation import Interval
from counterpoise.valuation import Estimate

Verdict: TypeAlias = Literal["balanced", "under-trained", "uninformative", "overfitting", "undecided"]

BALANCED: Final[Verdict] = "balanced"

ORDER: Final[tuple[Verdict, ...]] = ("overfitting", "under-trained", "uninformative", "undecided", "balanced")
"""The overall verdict is the first of these that applies to a modality."""


@dataclass(frozen=True)
class Thresholds:
    """Cut-offs of the verdicts. All are fractions; the rules are listed in the documentation of diagnosis.

    Attributes:
        negligible: Fraction of H(Y) below which information is ignored.
        room: Fraction of H(Y) beyond which the upper end of an interval makes the verdict undecided.
        unused: Share of a modality's information that predictions may leave unused.
        overfit: Share of the training information that may be missing on held-out samples.
        memorised: Fraction of H(Y) below which a gap between training and held-out samples is not overfitting.
        dominance: Smallest ratio of a modality's share to the next one's for which it dominates.

    Example:
        >>> Thresholds(unused=1.5)
        Traceback (most recent call last):
        ...
        counterpoise.errors.ConfigError: Parameter `unused` of `Thresholds` should be in (0, 1]. Found `unused = 1.5`.
    """

    negligible: float = 0.05
    room: float = 0.25
    unused: float = 0.3
    overfit: float = 0.5
    memorised: float = 0.25
    dominance: float = 2.0

    def __post_init__(self) -> None:
        for name in ("negligible", "room", "unused", "overfit", "memorised"):
            Interval(0, 1, "(]").check("Thresholds", name, getattr(self, name))
        Interval(1).check("Thresholds", "dominance", self.dominance)


@dataclass(frozen=True)
class Evidence:
    """Estimates for one modality, in nats.

    Attributes:
        mi: Available I(X_m; Y): the largest estimate from its inputs, its features, or the model's predictions.
        cmi: Available ``I(X_m; Y | X_-m)``, the same given the other modalities.
        realised: Used information: that of predictions with all other modalities averaged out, or None without a model.
        lost: ``mi - realised``, paired over the samples.
        lost_cmi: ``cmi`` less the conditional information in the predictions, given the other modalities.
        shortfall: Shapley share of the available information less that of the used information.
        joint: Available information of all modalities together; the same for each modality.
        joint_lost: ``joint`` less the information of the predictions from all modalities.
        encoder: I(Z_m; Y) of its features, or None without features.
        shown: Training information: ``realised`` on the training samples, or None where they were not given.
        gap: ``shown`` less the same on held-out samples.
        changed: Share of the predictions that change when the modality is replaced by that of another sample.
        decodable: Information that a new classifier finds in the model's output of this modality alone, whatever its
            effect on the predictions.
    """

    mi: Estimate
    cmi: Estimate
    realised: Estimate | None = None
    lost: Estimate | None = None
    lost_cmi: Estimate | None = None
    shortfall: Estimate | None = None
    joint: Estimate | None = None
    joint_lost: Estimate | None = None
    encoder: Estimate | None = None
    shown: Estimate | None = None
    gap: Estimate | None = None
    changed: float | None = None
    decodable: Estimate | None = None


@dataclass(frozen=True)
class Finding:
    """The verdict on one modality.

    Attributes:
        verdict: Balanced, under-trained, uninformative, overfitting or undecided.
        number: The information in nats on which the verdict rests: unused, overfitted or available information.
        sentence: The verdict in plain words with its numbers.
        role: ``dominant``, ``redundant`` (the others carry its information as well), ``complementary`` or ``silent``.
    """

    verdict: Verdict
    number: float
    sentence: str
    role: str = ""


def is_present(e: Estimate | None, small: float) -> bool:
    """Return whether information is significant and at least ``small`` nats."""
    return e is not None and e.low > 0 and e.value >= small
