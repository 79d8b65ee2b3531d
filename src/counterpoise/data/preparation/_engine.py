"""Parallel preparation of raw files in shards that survive an interruption; every sample that is left out is
reported.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from counterpoise._files import write_atomic
from counterpoise.data._info import SPLITS, DataInfo
from counterpoise.data.absence import absence_notes
from counterpoise.data.preparation._findings import Finding, summary, to_csv
from counterpoise.data.preparation._index import Index, Item, check_index, presence_of, targets_of
from counterpoise.data.preparation._parallel import in_parallel
from counterpoise.data.preparation._reader import Reader
from counterpoise.data.preparation._result import FINDINGS
from counterpoise.data.preparation._shards import Shards
from counterpoise.data.preparation._stamps import key_of, stamp_of
from counterpoise.data.preparation._store import count_left_out, from_before, write_result, writing
from counterpoise.errors import DataError

__all__ = ["Report", "prepare_index"]


@dataclass(frozen=True)
class Report:
    """Result of preparing raw files.

    Attributes:
        samples: Number of samples by split.
        findings: All faults.
        read: Number of samples read by this call; the others were read earlier.
        info: Description of the prepared data.
    """

    samples: Mapping[str, int]
    findings: Sequence[Finding]
    read: int
    info: DataInfo

    @property
    def left_out(self) -> int:
        """Number of samples that are missing from the prepared data."""
        return count_left_out(self.findings)

    def lines(self) -> list[str]:
        """Return the report for the screen."""
        return summary(self.findings)


def prepare_index(
    index: Index,
    out: Path,
    *,
    name: str,
    recipe: Mapping[str, Any],
    jobs: int | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Read every item and write the prepared data, a manifest and the findings.

    Work is done in shards of 32 samples in ``.NAME.partial`` beside ``out``. A second run, also after a kill, reads
    only the samples that are missing, and those that were changed or damaged since ``out`` was written. The result does
    not depend on the number of processes.

    Args:
        index: Content of the raw folder.
        out: Folder to write.
        name: Name of the data set.
        recipe: Settings of `RunConfig` that suit it.
        jobs: Number of processes; None uses one per core.
        on_progress: Function that is called with the numbers of finished samples and of all samples.

    Raises:
        DataError: If a split has no readable sample.
        OutputError: If ``out`` cannot be written to.
    """
    findings = check_index(index)
    readers = dict(index.readers)
    _fit(readers, index)
    key = key_of(readers, index.optional)
    unique = list({item.id: item for item in index.items}.values())
    stamps = {item.id: stamp_of(item, key) for item in unique}
    work = out.parent / f".{out.name}.partial"
    with writing(out):
        work.mkdir(parents=True, exist_ok=True)
        shards, unreadable = from_before(work, out)
        todo = [item for item in unique if stamps[item.id] not in shards and stamps[item.id] not in unreadable]
        progress = _Progress(len(unique) - len(todo), len(unique), on_progress)
        for count, path, new in in_parallel(todo, stamps, readers, work, jobs, index.optional):
            unreadable |= new
            if path is not None:
                shards.add(path)
            progress.add(count)
        for item in unique:
            findings += [*unreadable.get(stamps[item.id], []), *shards.findings.get(stamps[item.id], [])]
        readable = [item for item in index.items if stamps[item.id] in shards]
        findings += _same_content(readable, tuple(readers), stamps, shards)
        kept = _by_split(readable)
        _check_not_empty(kept, name, work, findings)
        _check_present(kept["train"], readers, stamps, shards, work, findings)
        notes = [*summary(findings), *_absence(index, readable, stamps, shards)]
        info = _info(index, readers, name, recipe, notes)
        write_result(work, out, info, index, kept, stamps, shards, unreadable, findings)
    return Report({part: len(items) for part, items in kept.items()}, findings, len(todo), info)


def _absence(index: Index, items: Sequence[Item], stamps: Mapping[str, str], shards: Shards) -> list[str]:
    """Return notes on how often each modality is present, and on whether its absence is informative about the label."""
    present = presence_of([shards.absent(stamps[item.id]) for item in items], index.readers)
    return absence_notes(present, targets_of(items, index.task), index.task)


def _fit(readers: Mapping[str, Reader], index: Index) -> None:
    train = [item for item in index.items if item.split == "train"]
    for m, reader in readers.items():
        reader.fit(item.sources[m] for item in train if item.sources.get(m) is not None)


class _Progress:
    """The number of samples that are done."""

    def __init__(self, done: int, total: int, on_progress: Callable[[int, int], None] | None) -> None:
        self._done, self._total, self._call = done, total, on_progress

    def add(self, count: int) -> None:
        self._done += count
        if self._call is not None:
            self._call(self._done, self._total)


def _by_split(items: Sequence[Item]) -> dict[str, list[Item]]:
    return {part: [item for item in items if item.split == part] for part in SPLITS}


def _check_not_empty(kept: Mapping[str, Sequence[Item]], name: str, work: Path, findings: Sequence[Finding]) -> None:
    empty = next((part for part, items in kept.items() if not items), None)
    if empty is not None:
        write_atomic(work / FINDINGS, to_csv(findings))
        raise DataError(
            f"No sample of the split `{empty}` of `{name}` could be read. "
            f"{' '.join(summary(findings)) or 'None is listed.'} The whole list: {work / FINDINGS}."
        )


def _check_present(
    train: Sequence[Item],
    modalities: Iterable[str],
    stamps: Mapping[str, str],
    shards: Shards,
    work: Path,
    findings: Sequence[Finding],
) -> None:
    """Raise `DataError` if no training sample has some modality, which means a wrong folder rather than absent data."""
    never = set(modalities).intersection(*(shards.absent(stamps[item.id]) for item in train))
    if never:
        write_atomic(work / FINDINGS, to_csv(findings))
        raise DataError(
            f"No training sample has the modality `{min(never)}`. {' '.join(summary(findings))} Correct its column, or "
            f"leave it out. The whole list: {work / FINDINGS}."
        )


def _info(
    index: Index, readers: Mapping[str, Reader], name: str, recipe: Mapping[str, Any], notes: Sequence[str]
) -> DataInfo:
    return DataInfo(
        name=name,
        modalities=tuple(reader.modality(m) for m, reader in readers.items()),
        task=index.task,
        num_outputs=len(index.classes) if index.classes else int(np.size(index.items[0].label)),
        class_names=index.classes,
        group=index.group,
        source=index.origin,
        notes=(*index.notes, *notes),
        recipe=recipe,
        augment=index.augment,
        target_offset=index.target_offset,
        target_unit=index.target_unit,
    )


def _same_content(
    items: Sequence[Item], modalities: Sequence[str], stamps: Mapping[str, str], shards: Shards
) -> list[Finding]:
    """Return a finding for every file that stands under another name in another split."""
    first: dict[tuple[str, str], Item] = {}
    findings = []
    for item in items:
        for m, content in zip(modalities, shards.content[stamps[item.id]], strict=True):
            other = first.setdefault((m, content), item) if content else item
            if other.id != item.id and other.split != item.split:
                detail = f"{m} of {item.id} ({item.split}) is the same as of {other.id} ({other.split})"
                findings.append(Finding("duplicate", item.id, m, detail, False))
    return findings
