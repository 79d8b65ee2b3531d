"""A look at a folder of raw files without decoding them: counts, leakage, what is missing, empty, silent or cannot be opened."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from counterpoise.data.raw._findings import Finding, UnreadableError, summary
from counterpoise.data.raw._index import Index, Item, Settings, check_index
from counterpoise.data.raw._media import AUDIO_SUFFIXES, VIDEO_SUFFIXES, has_track
from counterpoise.data.raw._readers import Sound
from counterpoise.data.raw._result import MANIFEST, check_prepared
from counterpoise.errors import DataError, NotFoundError

__all__ = ["check_folder"]


def check_folder(
    folder: Path, name: str | None = None, settings: Settings | None = None
) -> tuple[list[str], list[Finding], bool]:
    """Say what a folder holds, prepared or raw, and what is wrong with it.

    Prepared data are compared with their manifest and checksums. Of raw files the lists are read and every file's header is opened; only ``prepare`` decodes them to the end.

    Args:
        folder: the folder, or a manifest of one's own.
        name: which raw data set it is; every one that recognises the folder is tried if None.
        settings: as for ``prepare``.

    Returns:
        Lines for the screen, the findings (of raw files), and whether nothing is missing.

    Raises:
        NotFoundError: if it is not there, or no data set recognises it.
    """
    from counterpoise.data._rows import DATASETS

    if not folder.exists():
        raise NotFoundError(f"There is no `{folder}`.")
    if (folder / MANIFEST).is_file():
        lines, well = check_prepared(folder)
        return lines, [], well
    said: list[str] = []
    rows = [DATASETS[name]] if name else [row for row in DATASETS.values() if row.raw]
    findings: list[Finding] = []
    for row in rows:
        if not row.raw:
            raise DataError(f"`{row.name}` is not prepared from a folder of raw files of yours.")
        try:
            index: Index = row.load()(folder, settings or Settings(), **row.options)
            found = check_index(index)
        except (NotFoundError, DataError):
            if name:
                raise
            continue
        found += [f for item in index.items for f in _look(item, index.readers)]
        counts = Counter(item.split for item in index.items)
        said += [
            f"{row.name}: {', '.join(f'{n:,} {part}' for part, n in counts.items())} listed; {len(index.classes)} classes"
        ]
        said += [*(f"  {note}" for note in index.notes), *(f"  {line}" for line in summary(found))]
        findings += found
    if not said:
        raise NotFoundError(
            f"`{folder}` holds neither prepared data nor the lists of a raw data set that is known. See: counterpoise list datasets."
        )
    return said, findings, not any(f.left_out for f in findings)


def _look(item: Item, readers: Any) -> Sequence[Finding]:
    """Return what the headers of a sample's files say."""
    found = []
    for m, reader in readers.items():
        source = item.sources.get(m)
        for path in source if isinstance(source, tuple) else (source,):
            try:
                if path is None:
                    raise UnreadableError("missing", f"{item.id}: no {m}")
                if isinstance(path, Path):
                    _look_at(path, reader)
            except UnreadableError as error:
                found.append(Finding(error.kind, item.id, m, error.detail, True))
    return found


def _look_at(path: Path, reader: Any) -> None:
    if path.is_dir():
        return
    if not path.is_file():
        raise UnreadableError("missing", str(path))
    if not path.stat().st_size:
        raise UnreadableError("truncated", f"{path}: empty file")
    sound = isinstance(reader, Sound)
    if path.suffix.lower() in (*VIDEO_SUFFIXES, *(AUDIO_SUFFIXES if sound else ())) and not has_track(
        path, "audio" if sound else "video"
    ):
        raise UnreadableError("silent" if sound else "undecodable", f"{path}: no {'audio' if sound else 'video'} track")
