"""Inference of the content of the columns of a manifest from all of their cells: files, numbers, lists or texts."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PureWindowsPath
from typing import Any, Final

import numpy as np

from counterpoise.data import tables
from counterpoise.data._precision import keep_digits
from counterpoise.data.preparation._images import IMAGE_SUFFIXES
from counterpoise.data.preparation._index import Settings
from counterpoise.data.preparation._media import AUDIO_SUFFIXES, VIDEO_SUFFIXES
from counterpoise.data.preparation._numbers import ArrayFile, Numbers
from counterpoise.data.preparation._reader import Reader
from counterpoise.data.preparation._readers import Frames, Image, Sound
from counterpoise.data.preparation._texts import Text
from counterpoise.data.tables import Table
from counterpoise.errors import DataError

__all__ = ["Source", "read_columns"]

SOUND_NAMES: Final = ("audio", "sound", "speech", "voice", "wav")
SUFFIX: Final = re.compile(r"\.[a-z][a-z0-9]{0,5}")
URL: Final = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)
MAGIC: Final = {
    b"RIFF": ".wav",
    b"ID3": ".mp3",
    b"OggS": ".ogg",
    b"fLaC": ".flac",
    b"FLV": ".flv",
    b"\x1a\x45\xdf\xa3": ".mkv",
    b"\x93NUMPY": ".npy",
    b"\xff\xd8\xff": ".jpg",
    b"\x89PNG": ".png",
    b"GIF8": ".gif",
    b"II*\0": ".tif",
    b"MM\0*": ".tif",
}
"""First bytes of file formats, for files without a known suffix."""


@dataclass(frozen=True)
class Source:
    """The reader of a modality and its sources.

    Attributes:
        reader: Reader of the cells.
        cells: One source per row; None where there is none.
        odd: Faults of the cells that cannot be read, by row.
        notes: Assumptions that were made.
    """

    reader: Reader
    cells: Sequence[Any]
    odd: dict[int, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def read_columns(m: str, table: Table, names: Sequence[str], folder: Path, settings: Settings) -> Source:
    """Infer the content of the columns of a modality.

    Args:
        m: Name of the modality.
        table: The manifest.
        names: Columns of the modality; several columns must be numbers.
        folder: Folder that paths start from.
        settings: Settings of the user.

    Raises:
        DataError: If columns are mixed, or hold files that cannot be read.
    """
    columns = {name: table.numbers(name) for name in names}
    numeric = {name: column for name, column in columns.items() if column is not None}
    if len(numeric) == len(names):
        return _numbers(m, numeric)
    if len(names) > 1:
        raise _mixed(m, [name for name in names if name not in numeric])
    cells = table.cells(names[0])
    if _mostly_lists(cells):
        return _lists(m, cells, settings)
    texts = [None if cell is None else str(cell) for cell in cells]
    return _files(m, names[0], texts, folder, settings) or Source(_text(settings), texts)


def _mixed(m: str, other: Sequence[str]) -> DataError:
    return DataError(
        f"Modality `{m}` mixes numbers with other columns: {', '.join(other)}. Give texts and files one column each."
    )


def _mostly_lists(cells: Sequence[Any]) -> bool:
    lists = sum(isinstance(cell, (list, np.ndarray)) for cell in cells)
    return 2 * lists > sum(cell is not None for cell in cells)


def _numbers(m: str, columns: Mapping[str, tables.Numbers]) -> Source:
    exact, note = keep_digits(m, np.stack([column.values for column in columns.values()], 1))
    odd = {
        row: f"`{cell[:40]}` in column `{name}` is not a number"
        for name, column in columns.items()
        for row, cell in column.odd.items()
    }
    cells = [None if empty else row for row, empty in zip(exact, np.isnan(exact).all(1), strict=True)]
    cells = [row if k in odd else cell for k, (row, cell) in enumerate(zip(exact, cells, strict=True))]
    return Source(Numbers((len(columns),)), cells, odd, (note,) if note else ())


def _text(settings: Settings) -> Text:
    return Text(settings.tokenizer or "words", 40 if settings.length is None else settings.length)


def _lists(m: str, cells: Sequence[Any], settings: Settings) -> Source:
    """Return the source of a column of lists: lists of numbers are vectors, lists of lists are sequences, lists of
    texts are one text.
    """
    if any(isinstance(part, str) for cell in cells for part in _parts(cell)):
        return Source(_text(settings), [_joined(cell) for cell in cells])
    arrays = [_array(cell) for cell in cells]
    failed = [row for row, array in enumerate(arrays) if array is None and cells[row] is not None]
    odd = {row: f"`{str(cells[row])[:40]}` is not an array of numbers" for row in failed}
    return Source(Numbers(_commonest_shape(m, arrays)), arrays, odd)


def _commonest_shape(m: str, arrays: Sequence[np.ndarray | None]) -> tuple[int, ...]:
    shapes = Counter(array.shape for array in arrays if array is not None).most_common(1)
    if not shapes or len(shapes[0][0]) not in (1, 2):
        contents = f"shape {shapes[0][0]}" if shapes else "lists of something else"
        raise DataError(f"Column `{m}` should hold lists of numbers, (D,) or (T, D). Found {contents}.")
    return shapes[0][0]


def _parts(cell: Any) -> list[Any]:
    return list(cell) if isinstance(cell, (list, np.ndarray)) else []


def _joined(cell: Any) -> str | None:
    if cell is None:
        return None
    return " ".join(map(str, cell)) if isinstance(cell, (list, np.ndarray)) else str(cell)


def _array(cell: Any) -> np.ndarray | None:
    if cell is None:
        return None
    try:
        rows = list(cell) if isinstance(cell, np.ndarray) and cell.dtype == object else cell
        return np.asarray(rows, np.float64)
    except (TypeError, ValueError):
        return None


# -- files -------------------------------------------------------------------------------------------------------------


def _files(m: str, column: str, texts: Sequence[str | None], folder: Path, settings: Settings) -> Source | None:
    """Return how a column of paths is read, or None if it holds texts."""
    filled = [text for text in texts if text]
    paths = [_path(text, folder) if text else None for text in texts]
    suffixes = Counter(_suffix(text) for text in filled)
    reader = _most(_file_readers(m, settings), suffixes, len(filled))
    if reader is None:
        there = [path for path in paths if path is not None and _exists(path)]
        reader = _reader_of_content(m, there, len(filled), settings)
        if reader is None:
            _check_no_files(column, filled, suffixes, len(there))
            return None
    if not settings.allow_outside:
        _check_inside(column, texts, folder)
    return Source(reader, paths, _addresses(texts))


def _addresses(texts: Sequence[str | None]) -> dict[int, str]:
    return {
        row: f"`{text[:80]}` is an address on the network; download the file first"
        for row, text in enumerate(texts)
        if text and URL.match(text)
    }


def _check_no_files(column: str, filled: Sequence[str], suffixes: Counter[str], there: int) -> None:
    if 2 * there > len(filled) or _one_suffix(filled, suffixes):
        commonest = suffixes.most_common(1)[0][0] or "no suffix"
        raise DataError(
            f"Column `{column}` holds files with {commonest}, which cannot be read. Convert them to .png, .wav, "
            ".mp4 or .npy, or leave the column out."
        )


def _reader_of_content(m: str, there: Sequence[Path], total: int, settings: Settings) -> Reader | None:
    """Return the reader of folders of frames, or of files that are known by how they begin, if they are most."""
    if 2 * sum(path.is_dir() for path in there) > total:
        return _frames(settings)
    if 2 * len(there) > total:
        return _most(_file_readers(m, settings), Counter(map(_suffix_of_content, there)), len(there))
    return None


def _suffix(text: str) -> str:
    suffix = PureWindowsPath(text).suffix.lower()  # knows slashes of both kinds
    return suffix if SUFFIX.fullmatch(suffix) else ""


def _one_suffix(filled: Sequence[str], kinds: Counter[str]) -> bool:
    """Tell whether most cells are words without spaces that end in one suffix, as the names of files are."""
    (suffix, count), *_ = kinds.most_common(1) or [("", 0)]
    names = sum(_suffix(text) == suffix and not re.search(r"\s", text.strip()) for text in filled)
    return bool(suffix) and min(count, names) * 2 > len(filled)


def _most(readers: dict[tuple[str, ...], Reader], kinds: Counter[str], total: int) -> Reader | None:
    """Return the reader of most of the files."""
    for group, reader in readers.items():
        if 2 * sum(count for suffix, count in kinds.items() if suffix in group) > total:
            return reader
    return None


def _path(text: str, folder: Path) -> Path:
    path = folder / text
    if "\\" in text and not _exists(path):
        return folder / text.replace("\\", "/")
    return path


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # a name that is too long, or holds a null character
        return False


def _suffix_of_content(path: Path) -> str:
    """Return the usual suffix of files that begin as this one does, or nothing."""
    try:
        with path.open("rb") as file:
            start = file.read(12)
    except OSError:
        return ""
    if start[4:8] == b"ftyp":
        return ".mp4"
    if start[:4] == b"RIFF":
        return {b"AVI ": ".avi", b"WEBP": ".webp"}.get(start[8:12], ".wav")
    return next((suffix for magic, suffix in MAGIC.items() if start.startswith(magic)), "")


def _check_inside(column: str, texts: Sequence[str | None], folder: Path) -> None:
    root = os.path.abspath(folder)  # noqa: PTH100 - links are followed by the user's own choice, `..` is not
    for row, text in enumerate(texts, 1):
        if text and not URL.match(text):
            path = os.path.abspath(_path(text, folder))  # noqa: PTH100
            if os.path.commonpath([root, path]) != root:
                raise DataError(
                    f"Column `{column}` names files outside the folder of the manifest, the first in row {row}: "
                    f"`{text[:80]}`. If this is intended, allow it with --allow_outside true."
                )


def _frames(settings: Settings) -> Frames:
    return Frames(**settings.clip(fps=1.0, keep=10, frames=3, size=112))


def _file_readers(m: str, settings: Settings) -> dict[tuple[str, ...], Reader]:
    sound = Sound(settings.audio or "fbank-small")
    is_sound = any(word in m.lower() for word in SOUND_NAMES)
    return {
        VIDEO_SUFFIXES: sound if is_sound else _frames(settings),
        AUDIO_SUFFIXES: sound,
        IMAGE_SUFFIXES: Image(settings.size or 112),
        (".npy",): ArrayFile(),
    }
