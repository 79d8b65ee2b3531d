"""A diagnosis as one HTML page that needs nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from counterpoise._extras import extra
from counterpoise.diagnosis._plot import svg
from counterpoise.diagnosis._text import class_rows, corruption_rows, headline, modality_rows, sample_rows
from counterpoise.gallery import Gallery, css
from counterpoise.gallery import render as render_gallery
from counterpoise.pages import page_css, templates
from counterpoise.pages.colours import INK, modality_slot

if TYPE_CHECKING:
    from counterpoise.diagnosis._diagnosis import Diagnosis

__all__ = ["render"]

STYLE: Final = ".figure svg { max-width: 100%; height: auto; fill: currentColor; }\n"


def render(d: Diagnosis) -> str:
    """Return the page; whatever came from the data is escaped."""
    with extra("report"):
        from markupsafe import Markup

    tables = [
        (
            "Modalities",
            "Per cent of what can be known about the label, and nats with their interval: alone, and given the others.",
            modality_rows(d),
        ),
        ("Robustness", "Scores with one modality corrupted; noise in standard deviations.", corruption_rows(d)),
        (
            "Classes",
            "Information of each modality on samples of a class, in nats; in brackets: the lead is not significant.",
            class_rows(d, 200),
        ),
        (
            "Samples to inspect",
            "Positions in the loader, or rows of the arrays, the clearest first.",
            sample_rows(d, 30),
        ),
    ]
    shown = Gallery.read(d.gallery) if d.gallery else Gallery(0)
    slots = {m: modality_slot(d.modalities, m) for m in d.modalities}
    # The figure is drawn by matplotlib, which escapes the names in it; its ink follows the light or dark theme.
    return (
        templates("counterpoise.diagnosis")
        .get_template("diagnosis.html.j2")
        .render(
            d=d,
            title=f"Diagnosis: {d.verdict}",
            headline=headline(d),
            tables=tables,
            figure=Markup(svg(d).replace(INK.lower(), "currentColor").replace("#ffffff", "none")),
            gallery=render_gallery(shown, slots) if shown.cards else "",
            css=Markup(page_css() + STYLE + css()),
            source=shown.source,
        )
    )
