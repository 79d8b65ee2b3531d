"""What a gallery is, and reading one from JSON that anybody may have written: what is malformed is left out."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from counterpoise.errors import DataError

__all__ = ["Card", "Gallery", "Said", "View"]

IMAGE: Final = re.compile(r"data:image/(?:png|webp|jpeg);base64,[A-Za-z0-9+/]+={0,2}")
AUDIO: Final = re.compile(r"data:audio/wav;base64,[A-Za-z0-9+/]+={0,2}")
LARGEST: Final = 100_000
"""Bytes of one picture or sound."""
MOST: Final = 24
"""Cards of one gallery."""


@dataclass(frozen=True)
class View:
    """One modality of one sample.

    Attributes:
        modality: its name.
        kind: image, spectrogram, sound, video, text, trace or bars.
        note: what a reader should know.
        src: data URI of the picture.
        width: of the picture, pixels.
        height: of the picture, pixels.
        audio: data URI of the sound.
        words: of a text.
        lines: of a trace, points from 0 to 99 between ``low`` and ``high``.
        low: lower end.
        high: upper end of a trace; of bars the height that 99 stands for.
        span: how long a trace is, in words.
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
class Said:
    """What the model, or one modality alone, says of a sample.

    Attributes:
        who: the modality; empty for the model.
        answer: the class (or classes, or number).
        sure: its probability; NaN where there is none.
        right: whether it is the truth; None where that is no yes or no.
        alone: what the modality says alone about the true label, nats.
        added: what it adds to the others, nats.
    """

    who: str
    answer: str
    sure: float = math.nan
    right: bool | None = None
    alone: float = math.nan
    added: float = math.nan


@dataclass(frozen=True)
class Card:
    """One sample.

    Attributes:
        index: its position in the test set.
        group: why it is here: ``hang_on:<modality>``, ``need_several`` or ``conflict``.
        truth: its label.
        views: what went in, by modality.
        said: the model first, then every modality.
    """

    index: int
    group: str
    truth: str
    views: tuple[View, ...]
    said: tuple[Said, ...]


@dataclass(frozen=True)
class Gallery:
    """Samples to inspect.

    Attributes:
        n: samples that were looked at.
        counts: how many of them are of each group.
        cards: a few of each.
        source: whose answers of single modalities these are, in words.
    """

    n: int
    counts: dict[str, int] = field(default_factory=dict)
    cards: tuple[Card, ...] = ()
    source: str = ""

    @classmethod
    def read(cls, fields: Any) -> Gallery:
        """Read JSON; cards that are malformed are left out.

        Raises:
            DataError: if it is no gallery at all.
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
            {str(k): int(v) for k, v in known if isinstance(v, int)},
            tuple(cards),
            str(fields.get("source", "")),
        )


def _card(one: Mapping[str, Any]) -> Card:
    views = tuple(_view(str(m), view) for m, view in one["views"].items())
    said = [_said("", one["model"]), *(_said(str(m), s) for m, s in one["said"].items())]
    return Card(int(one["index"]), str(one["group"]), str(one["truth"]), views, tuple(said))


def _said(who: str, one: Mapping[str, Any]) -> Said:
    right = one.get("right")
    return Said(
        who,
        str(one["answer"]),
        _number(one.get("sure")),
        right if isinstance(right, bool) else None,
        _number(one.get("alone")),
        _number(one.get("added")),
    )


def _view(m: str, one: Mapping[str, Any]) -> View:
    kind, note = str(one["kind"]), str(one.get("note", ""))
    if kind in ("image", "spectrogram", "sound", "video"):
        audio = _uri(AUDIO, one["audio"]) if kind == "sound" else ""
        width, height = (min(max(int(one[k]), 1), 4096) for k in ("width", "height"))
        return View(m, kind, note, src=_uri(IMAGE, one["src"]), width=width, height=height, audio=audio)
    if kind == "text":
        return View(m, kind, note, words=tuple(str(word) for word in one["words"]))
    if kind == "trace":
        lines = tuple(tuple(_finite(v) for v in line) for line in one["lines"])
        low, high = _finite(one["low"]), _finite(one["high"])
        return View(m, kind, note, lines=lines, low=low, high=high, span=str(one.get("span", "")))
    if kind == "bars":
        return View(m, kind, note, lines=(tuple(_finite(v) for v in one["values"]),), high=_finite(one["top"]))
    raise ValueError(kind)


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
