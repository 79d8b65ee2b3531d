"""Samples of images and questions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from counterpoise._validation import check_keys
from counterpoise.errors import DataError

FIELDS = ("image", "question", "answer", "answers", "conflict", "text_answer", "conflict_answer")
FEWEST = 10
"""Smallest number of samples."""


@dataclass(frozen=True)
class Samples:
    """Images and questions, and the answers where they are known."""

    images: list[Any]
    questions: list[str]
    target: np.ndarray | None
    candidates: list[list[str]]
    rows: Sequence[Mapping[str, Any]]

    @property
    def fixed(self) -> bool:
        """Whether all samples have the same candidates."""
        return bool(self.candidates) and all(c == self.candidates[0] for c in self.candidates)

    def keys(self) -> list[tuple[str, tuple[str, ...]]]:
        """Return question and candidates of every sample."""
        return [(q, tuple(c)) for q, c in zip(self.questions, self.candidates, strict=True)]


def read_samples(
    samples: Iterable[Mapping[str, Any]] | None, answers: Sequence[str] | None, fields: Mapping[str, str]
) -> Samples:
    """Return the samples, checked."""
    if samples is None:
        raise DataError("There should be samples: diagnose_vlm(..., samples=[{'image': ..., 'question': ...}, ...]).")
    check_keys("fields", fields, FIELDS)
    rows = _rows(samples, {f: fields.get(f, f) for f in FIELDS})
    labelled = _are_labelled(rows)
    candidates = _candidates(rows, answers, labelled)
    target = _targets(rows, candidates) if labelled else None
    return Samples([r["image"] for r in rows], [str(r["question"]) for r in rows], target, candidates, rows)


def _candidates(rows: Sequence[Mapping[str, Any]], answers: Sequence[str] | None, labelled: bool) -> list[list[str]]:
    """Return the candidates of every sample, by default all answers; none if a sample has none."""
    known = [list(map(str, row.get("answers") or answers or [])) for row in rows]
    if labelled and not all(known):
        everything = sorted({str(row["answer"]) for row in rows})
        known = [own or everything for own in known]
    return known if all(known) else []


def _rows(samples: Iterable[Mapping[str, Any]], name: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return the known fields of every sample; ``name`` holds the names of the fields in the samples."""
    rows = [{f: row[k] for f, k in name.items() if row.get(k) is not None} for row in samples]
    for k, row in enumerate(rows):
        missing = [name[f] for f in ("image", "question") if f not in row]
        if missing:
            raise DataError(
                f"Sample {k} should have the field `{missing[0]}`. Set fields={{...}} if it has another name."
            )
    if len(rows) < FEWEST:
        raise DataError(f"A diagnosis needs at least {FEWEST} samples. Found {len(rows)}.")
    return rows


def _are_labelled(rows: Sequence[Mapping[str, Any]]) -> bool:
    labelled = ["answer" in row for row in rows]
    if any(labelled) and not all(labelled):
        raise DataError(f"Either all samples have an answer or none has. Sample {labelled.index(False)} has none.")
    return all(labelled)


def _targets(rows: Sequence[Mapping[str, Any]], candidates: Sequence[Sequence[str]]) -> np.ndarray:
    """Return the position of every sample's answer among its candidates."""
    target = np.array([_place(k, row, own) for k, (row, own) in enumerate(zip(rows, candidates, strict=True))])
    if len({own[t] for own, t in zip(candidates, target, strict=True)}) < 2:
        raise DataError("The samples should have at least two different answers. Found one.")
    return target


def _place(k: int, row: Mapping[str, Any], candidates: Sequence[str]) -> int:
    if str(row["answer"]) not in candidates:
        raise DataError(f"The answer {row['answer']!r} of sample {k} should be among its candidates {candidates}.")
    return candidates.index(str(row["answer"]))
