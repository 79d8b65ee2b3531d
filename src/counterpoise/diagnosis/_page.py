"""A diagnosis as one self-contained HTML page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from counterpoise._extras import extra
from counterpoise.diagnosis._answer import title
from counterpoise.diagnosis._plot import svgs
from counterpoise.diagnosis._text import class_rows, corruption_rows, lead, modality_rows, sample_rows, sentences
from counterpoise.diagnosis._verdicts import in_nats
from counterpoise.gallery import Gallery, css
from counterpoise.gallery import render as render_gallery
from counterpoise.pages import page_css, templates
from counterpoise.pages.colours import INK, modality_slot
from counterpoise.pages.content import Table, Tile, sentence, text_table
from counterpoise.valuation import TOO_FEW, Estimate

if TYPE_CHECKING:
    from counterpoise.diagnosis._diagnosis import Diagnosis

__all__ = ["render"]

STYLE: Final = ".figure svg { width: 100%; height: auto; fill: currentColor; }\n"


def render(d: Diagnosis) -> str:
    """Return the page; texts from the data are escaped."""
    with extra("report"):
        from markupsafe import Markup

    shown = Gallery.read(d.gallery) if d.gallery else Gallery(0)
    slots = {m: modality_slot(d.modalities, m) for m in d.modalities}
    # The figures are drawn by matplotlib, which escapes the names in them; their ink follows the light or dark theme.
    figures = [
        (name, Markup(svg.replace(INK.lower(), "currentColor").replace("#ffffff", "none"))) for name, svg in svgs(d)
    ]
    return (
        templates("counterpoise.diagnosis")
        .get_template("diagnosis.html.j2")
        .render(
            d=d,
            title=title(d),
            lead=sentence(lead(d)),
            findings=[sentence(one) for one in sentences(d)],
            tiles=_tiles(d),
            legend=list(slots.items()),
            modalities=_modalities(d),
            tables=_tables(d),
            figures=figures,
            gallery=render_gallery(shown, slots) if shown.cards else "",
            css=Markup(page_css() + STYLE + css()),
            source=shown.source,
        )
    )


def _tiles(d: Diagnosis) -> list[Tile]:
    """Return the tiles with the numbers of all modalities together."""
    tiles = [_information_tile(d, "Can be known from all modalities", d.joint_available)]
    if d.joint_realised is not None:
        tiles.append(_information_tile(d, "Used by the predictions", d.joint_realised))
    if d.clean:
        name, value = next(iter(d.clean.items()))
        share = name == "accuracy"
        tiles.append(
            Tile("Accuracy" if share else name, f"{100 * value:.1f} %" if share else f"{value:.3f}", "all inputs")
        )
    v = d.valuation
    return [*tiles, Tile("Samples", f"{v.n:,}", f"{v.entropy_name} = {v.entropy:.3f} nats; estimator: {v.estimator}")]


def _information_tile(d: Diagnosis, name: str, e: Estimate) -> Tile:
    if "mi" in d.valuation.too_few_samples:
        return Tile(name, "–", TOO_FEW)
    value, interval = in_nats(e).split(" nats ")
    if d.valuation.differential or not d.valuation.entropy > 0:
        return Tile(name, f"{value} nats", interval)
    share = min(max(e.value / d.valuation.entropy, 0.0), 1.0)
    return Tile(name, f"{100 * share:.0f} %", f"of what can be known ({in_nats(e)})")


def _modalities(d: Diagnosis) -> Table:
    level = f"{100 * d.valuation.confidence:g} %"
    note = f"Per cent of what can be known about the label, then nats with the {level} interval. Available: by itself."
    return text_table("Modalities", modality_rows(d), note)


def _tables(d: Diagnosis) -> list[tuple[str, Table]]:
    """Return further tables with their titles; tables without rows are left out."""
    tables = [
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
    return [(name, text_table(name, rows, note)) for name, note, rows in tables if rows]
