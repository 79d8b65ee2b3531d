"""Check a folder of raw files without decoding them: counts, leakage, missing, empty, silent and unreadable files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from counterpoise.data._info import SPLITS
from counterpoise.data.absence import absence_notes, pattern_lines
from counterpoise.data.preparation._files import frames_of, open_npy
from counterpoise.data.preparation._findings import Finding, UnreadableError, summary
from counterpoise.data.preparation._index import Index, Item, Settings, check_index, presence_of, targets_of
from counterpoise.data.preparation._media import AUDIO_SUFFIXES, VIDEO_SUFFIXES, has_track
from counterpoise.data.preparation._reader import Reader, absence, is_empty, without_any
from counterpoise.data.preparation._readers import Sound
from counterpoise.data.preparation._result import MANIFEST, check_prepared
from counterpoise.errors import DataError, NotFoundError

if TYPE_CHECKING:
    from counterpoise.data._core import MultimodalData
    from counterpoise.data.datasets.catalogue import DataEntry

__all__ = ["check_folder"]


def check_folder(
    folder: Path, name: str | None = None, settings: Settings | None = None
) -> tuple[list[str], list[Finding], bool]:
    """Describe a folder of prepared or raw data and list its faults.

    Prepared data are compared with their manifest and checksums. Of raw files the lists are read, every file's header
    is opened and every folder of frames is counted; only ``prepare`` decodes them to the end.

    Args:
        folder: The folder, or a manifest of the user.
        name: Name of the raw data set; every one that recognises the folder is tried if None.
        settings: Settings, as for ``prepare``.

    Returns:
        Lines for the screen, the findings (of raw files), and whether nothing is missing.

    Raises:
        NotFoundError: If the folder does not exist, or no data set has this layout.
    """
    if not folder.exists():
        raise NotFoundError(f"There is no `{folder}`.")
    if (folder / MANIFEST).is_file():
        report, well = check_prepared(folder)
        damaged = any(line.startswith("damaged:") for line in report)
        return report if damaged else [*report, *_prepared_absence(folder)], [], well
    if folder.suffix.lower() == ".npz":
        return _described_arrays(folder), [], True
    lines: list[str] = []
    broken: list[str] = []
    findings: list[Finding] = []
    for row in _candidates(folder, name):
        try:
            described, problems = _described(row, folder, settings or Settings())
        except (DataError, NotFoundError) as error:
            if name:
                raise
            broken += [] if isinstance(error, NotFoundError) else [f"{row.name}: {error}"]
        else:
            lines += described
            findings += problems
    if not lines:
        raise _unknown_folder(folder, broken)
    return lines, findings, not any(f.left_out for f in findings)


def _described(row: DataEntry, folder: Path, settings: Settings) -> tuple[list[str], list[Finding]]:
    """Return lines about a folder as one raw data set, and the findings."""
    index: Index = row.load()(folder, settings, **row.options)
    looked = [_look(item, index.readers, index.optional) for item in index.items]
    findings = [*check_index(index), *(f for part in looked for f in part)]
    return [*_description(row.name, index, findings), *_absence(index, looked)], findings


def _absence(index: Index, looked: Sequence[Sequence[Finding]]) -> list[str]:
    """Return lines about the modalities that samples lack; nothing if none is missing."""
    kept = [k for k, part in enumerate(looked) if not any(f.left_out for f in part)]
    lacking = [{f.modality for f in looked[k] if f.kind == "absent"} for k in kept]
    if not any(lacking):
        return []
    items = [index.items[k] for k in kept]
    present = presence_of(lacking, index.readers)
    target = targets_of(items, index.task)
    shown = np.array([str(item.label) for item in items]) if index.task == "multiclass" else target
    lines = [*absence_notes(present, target, index.task), *pattern_lines(present, shown, [i.split for i in items])]
    return [f"  {line}" for line in lines]


def _described_arrays(path: Path) -> list[str]:
    """Return lines about one's own arrays in an ``.npz``."""
    from counterpoise.data._npz import load_npz

    data = load_npz(path)
    counts = ", ".join(f"{len(data.split(part)):,} {part}" for part in SPLITS)
    return [f"{data.info.name}: {counts}", *(f"  {note}" for note in data.info.notes), *_patterns(data)]


def _prepared_absence(folder: Path) -> list[str]:
    """Return lines about the modalities that prepared samples lack; only masks and labels are read."""
    from counterpoise.data._prepared import load_presence

    info, masks, target, split = load_presence(folder)
    if masks is None:
        return []
    return [*absence_notes(masks, target, info.task), *pattern_lines(masks, target, split, info.class_names)]


def _patterns(data: MultimodalData) -> list[str]:
    if data.is_complete:
        return []
    parts = [data.split(part) for part in SPLITS]
    masks = {
        m: np.concatenate([np.ones(len(s), bool) if s.present is None else s.present[m] for s in parts])
        for m in data.info.names
    }
    split = [part for part, s in zip(SPLITS, parts, strict=True) for _ in range(len(s))]
    return pattern_lines(masks, np.concatenate([s.target for s in parts]), split, data.info.class_names)


def _description(name: str, index: Index, findings: Sequence[Finding]) -> list[str]:
    counts = Counter(item.split for item in index.items)
    listed = ", ".join(f"{n:,} {part}" for part, n in counts.items())
    return [
        f"{name}: {listed} listed; {len(index.classes)} classes",
        *(f"  {note}" for note in index.notes),
        *(f"  {line}" for line in summary(findings)),
    ]


def _unknown_folder(folder: Path, broken: Sequence[str]) -> DataError | NotFoundError:
    if broken:
        return DataError(f"`{folder}` may hold {broken[0]}")
    return NotFoundError(
        f"`{folder}` holds neither prepared data nor the lists of a known raw data set. Name it (--name) to see "
        "what is missing; see: counterpoise list datasets."
    )


def _candidates(folder: Path, name: str | None) -> list[DataEntry]:
    """Return the data sets that a folder may be: the named one, or all; of feature files those of that name."""
    from counterpoise.data.datasets.catalogue import DATASETS

    if name is None:
        rows = [row for row in DATASETS.values() if row.raw]
        return [row for row in rows if folder.is_dir() or folder.name in row.options.get("files", (folder.name,))]
    if not DATASETS[name].raw:
        raise DataError(f"`{name}` is not prepared from a folder of raw files of yours.")
    return [DATASETS[name]]


def _look(item: Item, readers: Mapping[str, Reader], optional: Collection[str]) -> Sequence[Finding]:
    """Return findings from listings and headers of a sample's files."""
    findings: list[Finding] = []
    for m, reader in readers.items():
        source = item.sources.get(m)
        for path in source if isinstance(source, tuple) else (source,):
            findings += _look_at_source(item, m, path, "audio" if isinstance(reader, Sound) else "video", optional)
    if sum(f.kind == "absent" for f in findings) == len(readers):
        return without_any(item.id, findings)
    return findings


def _look_at_source(item: Item, m: str, source: Any, track: str, optional: Collection[str]) -> list[Finding]:
    """Return findings about one source of a modality."""
    findings: list[Finding] = []
    try:
        if is_empty(source):
            raise UnreadableError("missing", f"{item.id}: no {m}")
        if isinstance(source, Path):
            _look_at(source, track, lambda kind, detail: findings.append(Finding(kind, item.id, m, detail, False)))
    except UnreadableError as error:
        absent = absence(m, item.id, source, error, optional)
        findings += absent or [Finding(error.kind, item.id, m, error.detail, True)]
    return findings


def _look_at(path: Path, track: str, remark: Callable[[str, str], None]) -> None:
    """Raise `UnreadableError` for what a listing or a header shows to be unreadable."""
    suffix = path.suffix.lower()
    if path.is_dir():
        frames_of(path, remark)
    elif not path.is_file():
        raise UnreadableError("missing", str(path))
    elif not path.stat().st_size:
        raise UnreadableError("truncated", f"{path}: empty file")
    elif suffix == ".npy":
        open_npy(path)
    elif _is_media(suffix, track) and not has_track(path, track):
        raise UnreadableError("silent" if track == "audio" else "undecodable", f"{path}: no {track} track")


def _is_media(suffix: str, track: str) -> bool:
    return suffix in VIDEO_SUFFIXES or (track == "audio" and suffix in AUDIO_SUFFIXES)
