"""Phrases: names of rows, scores and differences within a sentence."""

from __future__ import annotations

import math
from collections.abc import Sequence

from counterpoise.report._format import number, plus_minus, unit
from counterpoise.report.analysis.comparison import Comparison, title
from counterpoise.report.analysis.conclusions._significance import is_significant, seeds_needed
from counterpoise.report.analysis.statistics import Paired, Summary
from counterpoise.runs import RowId


def name_of(comparison: Comparison, label: str) -> str:
    """Return the name of a row within a sentence."""
    row = comparison.rows[label]
    if row.modality is not None:
        return f"{row.modality} alone" + label.removeprefix(str(RowId(row.method, modality=row.modality)))
    if label == comparison.reference:
        return f"{title(row.method)} training" + label.removeprefix(row.method)
    return title(row.method) + label.removeprefix(row.method)


def capitalised(text: str) -> str:
    """Return a sentence with a capital letter, unless it starts with a name that has a spelling of its own."""
    first = text.partition(" ")[0]
    return text[:1].upper() + text[1:] if first.isalpha() and first.islower() else text


def score_text(comparison: Comparison, s: Summary) -> str:
    """Return a mean score with its unit."""
    return (
        f"{number(s.mean, comparison.score)} %" if comparison.in_percent else f"R² = {number(s.mean, comparison.score)}"
    )


def score_error(comparison: Comparison, s: Summary) -> str:
    """Return a mean score and its standard error, with the unit."""
    text = plus_minus(s.mean, s.se, comparison.score)
    return f"{text} %" if comparison.in_percent else text


def amount(comparison: Comparison, value: float) -> str:
    """Return the size of a difference with its unit."""
    what = unit(comparison.score, difference=True) or "in R²" * (comparison.score == "r2")
    return f"{number(abs(value), comparison.score)} {what}".strip()


def amount_error(comparison: Comparison, d: Paired, *, sign: bool = True) -> str:
    """Return a difference and its standard error, with the unit."""
    what = unit(comparison.score, difference=True) or "in R²" * (comparison.score == "r2")
    return f"{plus_minus(d.diff if sign else abs(d.diff), d.se, comparison.score, sign=sign)} {what}".strip()


def relation(comparison: Comparison, d: Paired, other: str) -> str:
    """Return the predicate of a sentence about a row: a gain or a loss only if the test supports it."""
    if d.n == 0:
        return f"has no seed in common with {other}"
    if is_significant(d):
        verb, to = ("gains", "over") if d.diff > 0 else ("loses", "against")
        return f"{verb} {amount_error(comparison, d, sign=False)} {to} {other}"
    if math.isfinite(d.p_value):
        needed = seeds_needed(d)
        more = f"; about {needed} seeds would decide" if needed else ""
        return f"does not differ significantly from {other} ({amount_error(comparison, d)}, {d.n} seeds{more})"
    seeds = "one seed" if d.n == 1 else f"the same in {d.n} seeds"
    if not round(d.diff, 6):
        return f"scores the same as {other} ({seeds}, no error estimate)"
    place = "above" if d.diff > 0 else "below"
    return f"is {amount(comparison, d.diff)} {place} {other} ({seeds}, no error estimate)"


def joined(parts: Sequence[str]) -> str:
    """Return an enumeration."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
