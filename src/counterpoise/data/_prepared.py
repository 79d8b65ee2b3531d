"""Prepared data: a Hugging Face ``DatasetDict`` on disk, and a JSON file with its description."""

from __future__ import annotations

import json
import math
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import numpy as np

from counterpoise._extras import extra
from counterpoise.data._arrow import write_dataset, write_splits
from counterpoise.data._augmentation import ClipAugmentation
from counterpoise.data._core import SPLITS, DataInfo, MultimodalData, Split
from counterpoise.data._info import PRESENT
from counterpoise.data._mapped import IN_MEMORY, as_rows
from counterpoise.data._schema import read_info
from counterpoise.errors import DataError, NotFoundError, OutputError

__all__ = ["META", "load_prepared", "load_presence", "save_prepared", "write_info"]

META: Final = "counterpoise.json"
CAPTION: Final = "caption:"
"""Prefix of the columns that hold captions."""


def save_prepared(data: MultimodalData, out: Path) -> None:
    """Write a data set as a Hugging Face ``DatasetDict`` with one fixed-size list per modality, and its description as
    JSON.

    The files are written into a temporary folder, which is renamed at the end, so that no partial data set is left.

    Raises:
        OutputError: If ``out`` exists and is not a prepared data set, or cannot be written.
    """
    if out.is_file() or (out.is_dir() and any(out.iterdir()) and not (out / META).is_file()):
        raise OutputError(f"`{out}` exists and is not a prepared data set. Choose an empty --out.")
    with _replacing(out) as temporary:
        fingerprint = data.fingerprint()
        for part in SPLITS:
            _write_split(temporary / part, data.info, data.split(part), f"{fingerprint}-{part}")
        write_splits(temporary, SPLITS)
        write_info(data.info, temporary)


@contextmanager
def _replacing(out: Path) -> Iterator[Path]:
    """Yield a temporary folder that replaces ``out`` once it is complete, and is removed after an error."""
    temporary: Path | None = None
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))  # its own: runs may prepare at once
        yield temporary
        temporary.chmod(0o755)
        old = temporary.with_name(f"{temporary.name}.old")
        if out.exists():
            out.replace(old)  # a process that reads it keeps its files
        temporary.replace(out)
        shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        raise OutputError(
            f"Could not write `{out}`: {error.strerror or error}. No partial data set was left."
        ) from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def write_info(info: DataInfo, folder: Path) -> None:
    """Write the description of a data set next to its arrays."""
    (folder / META).write_text(json.dumps(asdict(info), indent=1, default=list))


def _write_split(folder: Path, info: DataInfo, split: Split, fingerprint: str) -> None:
    row_bytes = sum(array.dtype.itemsize * math.prod(array.shape[1:]) for array in split.arrays.values())

    def columns(start: int, stop: int) -> dict[str, Any]:
        rows = slice(start, stop)
        parts: dict[str, Any] = {m: _two_axes(split.arrays[m][rows]) for m in info.names}
        parts["label"] = split.target[rows]
        if split.group is not None:
            group = split.group[rows]
            parts["group"] = group.tolist() if group.dtype.kind == "U" else group
        parts |= {f"{PRESENT}{m}": mask[rows] for m, mask in (split.present or {}).items()}
        return parts | {f"{CAPTION}{m}": texts[rows].tolist() for m, texts in split.captions.items()}

    write_dataset(folder, len(split), row_bytes, columns, fingerprint=fingerprint)


def _two_axes(array: np.ndarray) -> np.ndarray:
    return array.reshape(len(array), -1)


def load_prepared(folder: Path) -> MultimodalData:
    """Read a prepared data set. Small arrays are copied once, large ones stay memory-mapped (see `as_rows`).

    Raises:
        NotFoundError: If the folder does not exist or holds no prepared data.
        DataError: If the data are damaged, or their description is not acceptable.
    """
    with extra("data"):
        import datasets

    if not (folder / META).is_file():
        raise NotFoundError(
            f"There is no prepared data set in `{folder}`. `counterpoise prepare NAME --out {folder}` makes one."
        )
    try:
        info = read_info(json.loads((folder / META).read_text()))
        parts = datasets.load_from_disk(str(folder))
        large = sum(_bytes(info, parts[part]) for part in SPLITS) > IN_MEMORY
        splits = {part: _from_arrow(info, parts[part], large=large) for part in SPLITS}
    except DataError as error:
        raise DataError(f"The prepared data set in `{folder}` cannot be used. {error}") from error
    except Exception as error:  # whatever Arrow and `datasets` raise for files of somebody else
        raise DataError(
            f"The prepared data set in `{folder}` is damaged ({type(error).__name__}: {error}). "
            "Delete the folder and prepare it again."
        ) from error
    return MultimodalData(info, **splits)


def load_presence(folder: Path) -> tuple[DataInfo, dict[str, np.ndarray] | None, np.ndarray, list[str]]:
    """Read which modalities are absent in a prepared data set, without reading its arrays.

    Returns:
        The description, ``{m: (N,) bool}`` over all splits (None if nothing is missing), the targets, and the split of
        each sample.
    """
    with extra("data"):
        import datasets

    info = read_info(json.loads((folder / META).read_text()))
    parts = datasets.load_from_disk(str(folder))
    target = np.concatenate([_target(info, parts[part]) for part in SPLITS])
    split = [part for part in SPLITS for _ in range(len(parts[part]))]
    masks = {part: _present(info, parts[part]) for part in SPLITS}
    if all(mask is None for mask in masks.values()):
        return info, None, target, split
    ones = {part: {m: np.ones(len(parts[part]), bool) for m in info.names} for part in SPLITS}
    return info, {m: np.concatenate([(masks[p] or ones[p])[m] for p in SPLITS]) for m in info.names}, target, split


def _target(info: DataInfo, part: Any) -> np.ndarray:
    return _column(part, "label", () if info.task == "multiclass" else (info.num_outputs,))


def _bytes(info: DataInfo, part: Any) -> int:
    return sum(part.data.table.column(name).nbytes for name in info.names)


def _from_arrow(info: DataInfo, part: Any, *, large: bool) -> Split:
    arrays = {m.name: as_rows(_pieces(part, m.name, m.stored or m.shape), large=large) for m in info.modalities}
    target = _target(info, part)
    known = {m.name for m in info.modalities} & {name.removeprefix(CAPTION) for name in part.column_names}
    captions = {m: _column(part, f"{CAPTION}{m}").astype(str) for m in known if f"{CAPTION}{m}" in part.column_names}
    return Split(arrays, target, _group(part), ClipAugmentation.of(info), captions, _present(info, part))


def _present(info: DataInfo, part: Any) -> dict[str, np.ndarray] | None:
    """Return which samples have which modality; a modality without such a column is present in all samples."""
    given = {m: _column(part, f"{PRESENT}{m}") for m in info.names if f"{PRESENT}{m}" in part.column_names}
    return {m: given.get(m, np.ones(len(part), bool)) for m in info.names} if given else None


def _pieces(part: Any, name: str, shape: tuple[int, ...]) -> list[np.ndarray]:
    """Return the chunks of a column as arrays ``(n, *shape)``, without copies where Arrow allows it."""
    chunks = [chunk.flatten() if shape else chunk for chunk in part.data.table.column(name).chunks]
    return [chunk.to_numpy(zero_copy_only=False).reshape(-1, *shape) for chunk in chunks]


def _column(part: Any, name: str, shape: tuple[int, ...] = ()) -> np.ndarray:
    return np.concatenate(_pieces(part, name, shape))


def _group(part: Any) -> np.ndarray | None:
    if "group" not in part.column_names:
        return None
    group = _column(part, "group")
    return group.astype(str) if group.dtype == object else group
