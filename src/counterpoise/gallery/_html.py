"""A gallery as HTML: text from data is escaped, and pictures and sounds are data URIs that were checked."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from counterpoise._extras import extra
from counterpoise.gallery._cards import Gallery, ModalityPrediction, ModalityView, SampleCard
from counterpoise.pages import templates

if TYPE_CHECKING:
    from markupsafe import Markup

__all__ = ["css", "render"]

WIDTH, HEIGHT = 240.0, 72.0

RELIES_ON: Final = "relies_on:"
"""Start of the name of a group of cards that rely on one modality; the name of the modality follows."""


def css() -> str:
    """Return the style sheet.

    It needs the custom properties ``--m0`` to ``--m7``, ``--ink``, ``--muted``, ``--rule`` and ``--surface``.
    """
    return (Path(__file__).parent / "templates" / "gallery.css").read_text(encoding="utf-8")


def render(gallery: Gallery, colours: Mapping[str, int], *, level: int = 3) -> Markup:
    """Return the cards, group by group, as markup.

    Args:
        gallery: Gallery to show.
        colours: Place of each modality's colour (``--m0`` is the first).
        level: Level of the groups' headings.

    Example:
        >>> card = SampleCard(7, "conflict", "<i>", (), (ModalityPrediction("", "cat", 0.9, False),))
        >>> text = render(Gallery(10, {"conflict": 1}, (card,)), {})
        >>> "&lt;i&gt;" in text, "<i>" in text
        (True, False)
    """
    with extra("report"):
        from markupsafe import Markup

    text = _template().render(groups=_groups(gallery), colours=colours, level=level, gallery=gallery)
    return Markup(text)  # the template escapes


def _groups(gallery: Gallery) -> list[dict[str, Any]]:
    """Return the groups in order of appearance, each with its heading in words."""
    groups: dict[str, list[SampleCard]] = {}
    for card in gallery.cards:
        groups.setdefault(card.group, []).append(card)
    return [
        {
            "title": _title(group),
            "explained": _explained(group),
            "count": gallery.counts.get(group),
            "cards": [_shown(c) for c in cards],
        }
        for group, cards in groups.items()
    ]


def _title(group: str) -> str:
    words = {"need_several": "Need several modalities", "conflict": "Modalities in conflict"}
    m = _relied_on(group)
    return f"Relies on {m}" if m else words.get(group, group)


def _relied_on(group: str) -> str:
    """Return the modality of a group of samples whose prediction relies on one, else an empty text."""
    return group.removeprefix(RELIES_ON) if group.startswith(RELIES_ON) else ""


def _explained(group: str) -> str:
    if m := _relied_on(group):
        return (
            f"Without {m} the probability of the true label falls by at least a third; without any other modality it "
            "does not. Samples that the model predicts correctly come first."
        )
    return {
        "need_several": "The probability of the true label falls by at least a third without one modality, and also "
        "without another.",
        "conflict": "One modality by itself makes the true label at least 1.5 times as probable, another one at least "
        "1.5 times as improbable.",
    }.get(group, "")


def _shown(card: SampleCard) -> dict[str, Any]:
    return {
        "index": card.index,
        "truth": card.truth,
        "views": [{"view": v, "svg": _svg(v), "note": _note(v)} for v in card.views],
        "predictions": [_row(p) for p in card.predictions],
    }


def _row(p: ModalityPrediction) -> dict[str, Any]:
    return {
        "modality": p.modality,
        "prediction": p.prediction,
        "probability": f"{100 * p.probability:.0f}\u00a0%" if math.isfinite(p.probability) else "",
        "mark": {True: "right", False: "wrong", None: ""}[p.correct],
        "alone": _nats(p.alone),
        "added": _nats(p.added),
    }


def _nats(value: float) -> str:
    if not math.isfinite(value):
        return ""
    text = f"{value:+.2f}"
    return ("0.00" if float(text) == 0 else text).replace("-", "−")


def _note(view: ModalityView) -> str:
    """Return the caption of a picture, with the scale of its axis."""
    low, high = (f"{v:g}".replace("-", "−") for v in (view.low, view.high))
    scale = {"trace": f"from {low} to {high}", "bars": f"axis ±{high}"}.get(view.kind, "")
    return "; ".join(part for part in (view.note, scale) if part)


def _svg(view: ModalityView) -> dict[str, Any] | None:
    """Return the path of a trace, or the rectangles of bars, within 240 x 72, for the template."""
    if view.kind == "trace":
        paths = []
        for line in view.lines:
            step = WIDTH / max(len(line) - 1, 1)
            points = (f"{i * step:.1f},{HEIGHT - 4 - v / 99 * (HEIGHT - 8):.1f}" for i, v in enumerate(line))
            paths.append(" ".join(points))
        return {"paths": paths}
    if view.kind == "bars" and view.lines and view.lines[0]:
        values = view.lines[0]
        step, middle = WIDTH / len(values), HEIGHT / 2
        bars = []
        for i, v in enumerate(values):
            reach = max(abs(v) / 99 * (middle - 2), 0.5)
            bars.append(
                (f"{i * step:.1f}", f"{middle - reach if v > 0 else middle:.1f}", f"{step * 0.8:.1f}", f"{reach:.1f}")
            )
        return {"bars": bars}
    return None


@lru_cache(maxsize=1)
def _template() -> Any:
    return templates("counterpoise.gallery").get_template("gallery.html.j2")
