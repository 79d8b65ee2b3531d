"""A diagnosis as a table, plain or with rich."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Final

from counterpoise.valuation import Estimate

if TYPE_CHECKING:
    from rich.console import RenderableType

    from counterpoise.diagnosis._diagnosis import Diagnosis

__all__ = ["COLOURS", "as_rich", "as_text", "class_rows", "damage_rows", "headline", "modality_rows", "sample_rows"]

COLOURS: Final = {
    "balanced": "green",
    "under-trained": "yellow",
    "overfitting": "magenta",
    "uninformative": "cyan",
    "undecided": "white",
}

Rows = list[list[str]]


def headline(d: Diagnosis) -> str:
    """Return what was measured, in one line."""
    v = d.valuation
    used = "" if d.joint_realised is None else f"; predictions say {d.joint_realised}"
    return f"n = {v.n}, H(Y) = {v.entropy:.3f} nats; all {d.source} say {v.joint_mi}{used} ({v.estimator})"


def modality_rows(d: Diagnosis) -> Rows:
    """Return header and rows: one per modality."""
    head = ["modality", "verdict", "role", "I(m; Y)", "I(m; Y | rest)"]
    extra = {"realised": "used", "shown": "in training"}
    present = [k for k in extra if any(getattr(e, k) is not None for e in d.evidence.values())]
    potential = bool(present) and d.source == "features"
    rows = [head + ["in the inputs"] * potential + [extra[k] for k in present]]
    for m in d.modalities:
        finding, evidence = d.findings[m], d.evidence[m]
        row = [m, finding.verdict, finding.role, _cell(d.valuation.mi[m]), _cell(d.valuation.cmi[m])]
        row += [_cell(evidence.mi)] * potential
        rows.append(row + [_cell(getattr(evidence, k)) for k in present])
    return rows


def damage_rows(d: Diagnosis) -> Rows:
    """Return header and rows: scores of the model as it is, and with a modality missing or noisy."""
    if not d.damage:
        return []
    names = list(d.clean)
    rows = [["modality", "change", *names], ["", "as it is", *(f"{d.clean[k]:.3f}" for k in names)]]
    return rows + [[x.modality, x.change, *(f"{x.scores[k]:.3f}" for k in names)] for x in d.damage]


def class_rows(d: Diagnosis, limit: int = 20) -> Rows:
    """Return header and rows: what each modality says on the samples of a class."""
    if not d.classes:
        return []
    rows = [["class", "n", *d.modalities, "dominant"]]
    for row in d.classes[:limit]:
        dominant = row.dominant if row.sure else f"({row.dominant})"
        rows.append([row.name, str(row.n), *(f"{row.mi[m]:.3f}" for m in d.modalities), dominant])
    left = len(d.classes) - limit
    return rows + ([[f"... {left} more", *[""] * (len(rows[0]) - 1)]] if left > 0 else [])


def sample_rows(d: Diagnosis, limit: int = 6) -> Rows:
    """Return header and rows: how many samples of each kind, and the first of them."""
    if d.samples is None:
        return []
    kinds = {f"hang on {m}": rows for m, rows in d.samples.hang_on.items()}
    kinds |= {"need several modalities": d.samples.need_several, "modalities in conflict": d.samples.conflict}
    rows = [["samples that", "n", "first"]]
    for name, found in kinds.items():
        first = ", ".join(map(str, found[:limit])) + (", ..." if len(found) > limit else "")
        rows.append([name, str(len(found)), first])
    return rows


def as_text(d: Diagnosis) -> str:
    """Return plain text of at most 120 columns, names and numbers apart."""
    parts = [f"Diagnosis: {d.verdict}", *textwrap.wrap(d.summary, 110), "", headline(d), *_align(modality_rows(d))]
    for rows in (damage_rows(d), class_rows(d), sample_rows(d)):
        if rows:
            parts += ["", *_align(rows)]
    return "\n".join([*parts, *(f"note: {note}" for note in d.notes)])


def as_rich(d: Diagnosis) -> RenderableType:
    """Return the same for a terminal."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    def table(rows: Rows) -> Table:
        made = Table(box=None, pad_edge=False)
        for name in rows[0]:
            made.add_column(Text(name), overflow="fold")
        for row in rows[1:]:
            made.add_row(*(Text(cell, style=COLOURS.get(cell, "")) for cell in row))
        return made

    parts: list[RenderableType] = [
        Text("Diagnosis: ", style="bold") + Text(d.verdict, style=f"bold {COLOURS[d.verdict]}"),
        Text(d.summary),
        Text(""),
        Text(headline(d), style="dim"),
        table(modality_rows(d)),
    ]
    for rows in (damage_rows(d), class_rows(d), sample_rows(d)):
        if rows:
            parts += [Text(""), table(rows)]
    return Group(*parts, *(Text(f"note: {note}", style="dim") for note in d.notes))


def _cell(e: Estimate | None) -> str:
    return "" if e is None else f"{e:.3f}"


def _align(rows: Rows) -> list[str]:
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
