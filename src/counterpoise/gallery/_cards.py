"""Galleries of samples, and reading them from untrusted JSON; malformed cards are left out."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from counterpoise.errors import DataError

__all__ = ["Gallery", "ModalityPrediction", "ModalityView", "SampleCard"]

IMAGE: Final = re.compile(r"data:image/(?:png|webp|jpeg);base64,[A-Za-z0-9+/]+={0,2}")
AUDIO: Final = re.compile(r"data:audio/wav;base64,[A-Za-z0-9+/]+={0,2}")
LARGEST: Final = 100_000
"""Maximum size of one picture or sound in bytes."""
MOST: Final = 24
"""Maximum number of cards of one gallery."""


@dataclass(frozen=True)
class ModalityView:
    """One modality of one sample.

    Attributes:
        modality: Name of the modality.
        kind: Image, spectrogram, sound, video, text, trace or bars.
        note: Note for the reader.
        src: Data URI of the picture.
        width: Width of the picture, in pixels.
        height: Height of the picture, in pixels.
        audio: Data URI of the sound.
        words: Words of a text.
        lines: Lines of a trace: points from 0 to 99 between ``low`` and ``high``.
        low: Lower end of a trace.
        high: Upper end of a trace; of bars the height that 99 stands for.
        span: Length of a trace, in words.
    """

    modality: str
    kind: str
    note: str = ""
    src: str = ""
    width: int = 0
    height: int = 0
    audio: str = ""
    words: tuple[str, ...] = ()
    lines: tuple[tuple[float, ...], ...] = ()
    low: float = 0.0
    high: float = 1.0
    span: str = ""


@dataclass(frozen=True)
class ModalityPrediction:
    """Prediction of the model, or of one modality alone, for a sample.

    Attributes:
        modality: The modality; empty for the model.
        prediction: The class (or classes, or number).
        probability: Probability of the prediction; NaN if there is none.
        correct: Whether the prediction is the label; None for numbers.
        alone: Information of the modality alone about the true label, in nats.
        added: Information that it adds to the other modalities, in nats.
    """

    modality: str
    prediction: str
    probability: float = math.nan
    correct: bool | None = None
    alone: float = math.nan
    added: float = math.nan


@dataclass(frozen=True)
class SampleCard:
    """One sample.

    Attributes:
        index: Position in the test set.
        group: Reason why the sample is shown: ``relies_on:<modality>``, ``need_several`` or ``conflict``.
        truth: Label of the sample.
        views: Inputs, by modality.
        predictions: The model's first, then that of every modality.
    """

    index: int
    group: str
    truth: str
    views: tuple[ModalityView, ...]
    predictions: tuple[ModalityPrediction, ...]


@dataclass(frozen=True)
class Gallery:
    """Samples to inspect.

    Attributes:
        n: Number of samples that were considered.
        counts: Number of samples of each group.
        cards: A few samples of each group.
        source: Source of the predictions of single modalities, in words.
    """

    n: int
    counts: dict[str, int] = field(default_factory=dict)
    cards: tuple[SampleCard, ...] = ()
    source: str = ""

    @classmethod
    def read(cls, fields: Any) -> Gallery:
        """Read JSON; cards that are malformed are left out.

        Raises:
            DataError: If the data are not a gallery.
        """
        if not isinstance(fields, Mapping) or not isinstance(fields.get("cards"), list):
            raise DataError("A gallery should be a mapping with n, counts and cards.")
        cards = []
        for one in fields["cards"][:MOST]:
            try:
                cards.append(_card(one))
            except (KeyError, TypeError, ValueError, AttributeError):
                continue
        counts = fields.get("counts")
        known = counts.items() if isinstance(counts, Mapping) else ()
        return cls(
            int(_number(fields.get("n"), 0)),
            {_group(k): int(v) for k, v in known if isinstance(v, int)},
            tuple(cards),
            str(fields.get("source", "")),
        )


def _group(name: Any) -> str:
    """Return the name of a group of samples; files of earlier versions call the first kind ``hang_on``."""
    return re.sub("^hang_on:", "relies_on:", str(name))


def _card(one: Mapping[str, Any]) -> SampleCard:
    views = tuple(_view(str(m), view) for m, view in one["views"].items())
    alone = one["predictions"] if "predictions" in one else one["said"]  # the name in files of earlier versions
    predictions = (_prediction("", one["model"]), *(_prediction(str(m), p) for m, p in alone.items()))
    return SampleCard(int(one["index"]), _group(one["group"]), str(one["truth"]), views, predictions)


def _prediction(modality: str, one: Mapping[str, Any]) -> ModalityPrediction:
    correct = one.get("right")
    return ModalityPrediction(
        modality,
        str(one["answer"]),
        _number(one.get("sure")),
        correct if isinstance(correct, bool) else None,
        _number(one.get("alone")),
        _number(one.get("added")),
    )


def _view(m: str, one: Mapping[str, Any]) -> ModalityView:
    kind, note = str(one["kind"]), str(one.get("note", ""))
    if kind in ("image", "spectrogram", "sound", "video"):
        audio = _uri(AUDIO, one["audio"]) if kind == "sound" else ""
        width, height = (min(max(int(one[k]), 1), 4096) for k in ("width", "height"))
        return ModalityView(m, kind, note, src=_uri(IMAGE, one["src"]), width=width, height=height, audio=audio)
    if kind == "text":
        return ModalityView(m, kind, note, words=tuple(map(str, one["words"])))
    if kind == "trace":
        low, high = _finite(one["low"]), _finite(one["high"])
        span = str(one.get("span", ""))
        return ModalityView(m, kind, note, lines=_lines(one["lines"]), low=low, high=high, span=span)
    if kind == "bars":
        return ModalityView(m, kind, note, lines=_lines([one["values"]]), high=_finite(one["top"]))
    raise ValueError(kind)


def _lines(lines: Any) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(_finite(v) for v in line) for line in lines)


def _uri(pattern: re.Pattern[str], value: Any) -> str:
    if not isinstance(value, str) or len(value) > LARGEST or not pattern.fullmatch(value):
        raise ValueError("no data URI")
    return value


def _number(value: Any, default: float = math.nan) -> float:
    return float(value) if isinstance(value, (int, float)) and math.isfinite(value) else default


def _finite(value: Any) -> float:
    number = _number(value)
    if math.isnan(number):
        raise ValueError("not a number")
    return number
