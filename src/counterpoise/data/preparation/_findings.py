"""Faults of raw files: one line per finding, nothing is skipped silently."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Mapping
from dataclasses import astuple, dataclass, fields
from typing import Any, Final, TypeAlias

from counterpoise._files import csv_text
from counterpoise.errors import DataError

__all__ = ["KINDS", "Finding", "Remark", "UnreadableError", "by_stamp", "summary", "to_csv"]

KINDS: Final = {
    "missing": "the file does not exist",
    "absent": "the sample lacks the modality and is kept",
    "empty": "the sample has none of the modalities",
    "truncated": "the file is shorter than its header announces",
    "silent": "there is no audio track, or nothing but zeros in it",
    "too short": "there is less of it than one sample needs",
    "undecodable": "it cannot be read as what it should be",
    "not finite": "NaN or infinite numbers",
    "label": "the label is missing or none of the classes",
    "line": "a line of a list that cannot be read",
    "ambiguous": "several files of that name; the first is taken",
    "duplicate": "the same file in two splits",
    "leakage": "a speaker, subject, group or source clip in two splits",
    "count": "another number of samples than published",
    "numbering": "frames are missing between others",
    "transparent": "transparent pictures, put on white",
    "range": "numbers outside the usual range, scaled",
}
"""The kinds of findings, and what each means."""
Remark: TypeAlias = Callable[[str, str], None]
"""Function that is called with a kind of finding and a detail, for faults that do not exclude the sample."""


class UnreadableError(DataError):
    """Raised for a file from which no sample can be read. ``kind`` is one of `KINDS`."""

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail

    def __reduce__(self) -> tuple[type[UnreadableError], tuple[str, str]]:
        return type(self), (self.kind, self.detail)


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes:
        kind: One of `KINDS`.
        item: Id of the sample, or empty if the finding concerns the whole set.
        modality: Name of the modality, or empty.
        detail: Description of the fault, with the path.
        left_out: Whether the sample is missing from the prepared data because of it.
    """

    kind: str
    item: str
    modality: str
    detail: str
    left_out: bool


def to_csv(findings: Iterable[Finding]) -> str:
    """Return the findings as CSV, header first; no cell is read as a formula.

    Example:
        >>> print(to_csv([Finding("silent", "clip1", "audio", "clip1.mp4", True)]).strip())
        kind,item,modality,detail,left_out
        silent,clip1,audio,clip1.mp4,True
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([f.name for f in fields(Finding)])
    for finding in findings:
        writer.writerow([csv_text(value) if isinstance(value, str) else value for value in astuple(finding)])
    return text.getvalue()


def summary(findings: Iterable[Finding], shown: int = 3) -> list[str]:
    """Return one line per kind of finding: number of samples, meaning, and the first few details.

    Example:
        >>> summary([Finding("silent", "a", "audio", "a.mp4", True), Finding("silent", "b", "audio", "b.mp4", True)])
        ['left out: 2 x silent (there is no audio track, or nothing but zeros in it): a.mp4; b.mp4']
    """
    kinds: dict[tuple[bool, str], list[Finding]] = {}
    for finding in findings:
        kinds.setdefault((not finding.left_out, finding.kind), []).append(finding)
    lines = []
    for (stays, kind), group in sorted(kinds.items()):
        count = len({f.item for f in group if f.item}) + sum(not f.item for f in group)
        details = list(dict.fromkeys(f.detail for f in group))
        more = "; ..." if len(details) > shown else ""
        word = "reported" if stays else "left out"
        lines.append(f"{word}: {count:,} x {kind} ({KINDS[kind]}): {'; '.join(details[:shown])}{more}")
    return lines


def by_stamp(record: Mapping[str, Iterable[Mapping[str, Any]]]) -> dict[str, list[Finding]]:
    """Return the findings of a file, by the stamp of their sample."""
    return {stamp: [Finding(**fields) for fields in rows] for stamp, rows in record.items()}
