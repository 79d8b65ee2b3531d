"""A diagnosis as a table, plain or with rich."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Final

from counterpoise._html import html_paragraph, html_table
from counterpoise.diagnosis._answer import action, finding, title
from counterpoise.diagnosis._evidence import ORDER
from counterpoise.diagnosis._verdicts import in_nats
from counterpoise.valuation import TOO_FEW, Estimate

if TYPE_CHECKING:
    from rich.console import RenderableType

    from counterpoise.diagnosis._diagnosis import Diagnosis

__all__ = [
    "COLOURS",
    "as_html",
    "as_rich",
    "as_text",
    "class_rows",
    "corruption_rows",
    "headline",
    "lead",
    "modality_rows",
    "sample_rows",
    "sentences",
]

COLOURS: Final = {
    "balanced": "green",
    "under-trained": "yellow",
    "overfitting": "magenta",
    "uninformative": "cyan",
    "undecided": "white",
}

Rows = list[list[str]]


def first_line(d: Diagnosis) -> str:
    """Return the verdict with the modalities that it is about."""
    text = title(d)
    return f"Diagnosis: {text[0].lower() + text[1:] if d.verdict == 'balanced' else text}"


def lead(d: Diagnosis) -> str:
    """Return two sentences: how much of the information is used, and the advice."""
    return f"{finding(d)} {action(d)}"


def sentences(d: Diagnosis) -> list[str]:
    """Return one sentence per modality, the most serious verdict first."""
    return [f.sentence for f in sorted(d.findings.values(), key=lambda f: ORDER.index(f.verdict))]


def headline(d: Diagnosis) -> str:
    """Return one or two sentences on the measurement: samples, entropy, estimator, and total information."""
    v = d.valuation
    about = f"{v.n} samples, {v.entropy_name} = {v.entropy:.3f} nats, estimator {v.estimator}."
    if "mi" in v.too_few_samples:
        return f"There are too few samples to measure what all modalities carry together. {about}"
    text = f"All modalities together carry {_amount(d, d.joint_available)}"
    if d.joint_realised is not None:
        text += f", and the predictions use {_amount(d, d.joint_realised, of='')}"
    return f"{text}. {about}"


def _amount(d: Diagnosis, e: Estimate, of: str = " of what can be known about the label") -> str:
    """Return "90 % of what can be known about the label (0.993 nats [0.964, 1.022])"."""
    if d.valuation.differential or not d.valuation.entropy > 0:
        return in_nats(e)
    share = min(max(e.value / d.valuation.entropy, 0.0), 1.0)
    return f"{100 * share:.0f} %{of} ({in_nats(e)})"


def modality_rows(d: Diagnosis) -> Rows:
    """Return header and rows: one per modality."""
    columns = {"available": "mi", "given the others": "cmi"}
    optional = {"in its features": "encoder", "used": "realised", "in training": "shown"}
    evidence = d.evidence
    has_model = any(e.realised is not None for e in evidence.values())
    if not has_model:
        optional = {}
    columns |= {k: v for k, v in optional.items() if any(getattr(e, v) is not None for e in evidence.values())}
    rows = [["modality", "verdict", "role", *columns]]
    for m in d.modalities:
        finding = d.findings[m]
        cells = [
            TOO_FEW if d.unmeasured(name, m) else _cell(d, getattr(evidence[m], name)) for name in columns.values()
        ]
        rows.append([m, finding.verdict, finding.role, *cells])
    return rows


def corruption_rows(d: Diagnosis) -> Rows:
    """Return header and rows: scores of the model on clean inputs, and with one modality corrupted."""
    if not d.corrupted:
        return []
    names = list(d.clean)
    rows = [["modality", "corruption", *names], ["", "none", *(f"{d.clean[k]:.3f}" for k in names)]]
    return rows + [[x.modality, str(x.corruption), *(f"{x.scores[k]:.3f}" for k in names)] for x in d.corrupted]


def class_rows(d: Diagnosis, limit: int = 20) -> Rows:
    """Return header and rows: information of each modality on the samples of a class."""
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
    kinds = {f"rely on {m}": rows for m, rows in d.samples.relies_on.items()}
    kinds |= {"need several modalities": d.samples.need_several, "modalities in conflict": d.samples.conflict}
    rows = [["samples that", "n", "first"]]
    for name, positions in kinds.items():
        first = ", ".join(map(str, positions[:limit])) + (", ..." if len(positions) > limit else "")
        rows.append([name, str(len(positions)), first])
    return rows


def as_text(d: Diagnosis) -> str:
    """Return plain text of at most 120 columns, not counting long names and numbers."""
    parts = [
        first_line(d),
        *textwrap.wrap(lead(d), 110),
        *textwrap.wrap(d.summary, 110),
        "",
        *textwrap.wrap(headline(d), 110),
    ]
    parts += _align(modality_rows(d))
    for rows in (corruption_rows(d), class_rows(d), sample_rows(d)):
        if rows:
            parts += ["", *_align(rows)]
    return "\n".join([*parts, *(f"note: {note}" for note in d.notes)])


def as_html(d: Diagnosis) -> str:
    """Return the same for a notebook."""
    parts = [
        html_paragraph(first_line(d), strong=True),
        html_paragraph(lead(d)),
        *map(html_paragraph, sentences(d)),
        html_paragraph(headline(d)),
    ]
    tables = (modality_rows(d), corruption_rows(d), class_rows(d), sample_rows(d))
    parts += [html_table(rows) for rows in tables if rows]
    return "".join([*parts, *(html_paragraph(f"note: {note}") for note in d.notes)])


def as_rich(d: Diagnosis) -> RenderableType:
    """Return the same for a terminal."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    def table(rows: Rows) -> Table:
        made = Table(box=None, pad_edge=False)
        for name in rows[0]:
            made.add_column(Text(name), overflow="fold", no_wrap=name in ("verdict", "role"))
        for row in rows[1:]:
            made.add_row(*(Text(cell, style=COLOURS.get(cell, "")) for cell in row))
        return made

    parts: list[RenderableType] = [
        Text("Diagnosis: ", style="bold")
        + Text(first_line(d).removeprefix("Diagnosis: "), style=f"bold {COLOURS[d.verdict]}"),
        Text(lead(d)),
        Text(d.summary),
        Text(""),
        Text(headline(d), style="dim"),
        table(modality_rows(d)),
    ]
    for rows in (corruption_rows(d), class_rows(d), sample_rows(d)):
        if rows:
            parts += [Text(""), table(rows)]
    return Group(*parts, *(Text(f"note: {note}", style="dim") for note in d.notes))


def _cell(d: Diagnosis, e: Estimate | None) -> str:
    """Return per cent of what can be known, then nats with their interval."""
    if e is None:
        return ""
    if d.valuation.differential or not d.valuation.entropy > 0:
        return e.shown()
    return f"{100 * min(max(e.value / d.valuation.entropy, 0.0), 1.0):.0f} %  {e.shown()}"


def _align(rows: Rows) -> list[str]:
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
