"""Opening and checking of files: images, folders and HDF5 files of frames, arrays. Faults are described."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import numpy as np

from counterpoise._extras import load
from counterpoise.data.preparation._findings import Remark, UnreadableError
from counterpoise.data.preparation._images import IMAGE_SUFFIXES, open_image
from counterpoise.data.preparation._pickle import read_pickle
from counterpoise.errors import DataError

__all__ = [
    "SEQUENCE_SUFFIXES",
    "fitted",
    "frames_of",
    "open_npy",
    "open_pickle",
    "open_sequence",
    "read_npy",
    "spread",
]

SEQUENCE_SUFFIXES: Final = (".h5", ".hdf5")
"""A clip's encoded frames in one file."""


def frames_of(folder: Path, remark: Remark) -> list[Path]:
    """Return the images of a folder in the order of their numbers, which may start at 0 or 1."""
    numbered = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        digits = re.findall(r"\d+", path.stem)
        if path.suffix.lower() in IMAGE_SUFFIXES and digits:
            numbered[int(digits[-1])] = path
    if not numbered:
        raise UnreadableError("missing", f"{folder}: no frames")
    gaps = set(range(min(numbered), max(numbered) + 1)) - set(numbered)
    if gaps or min(numbered) > 1:
        remark("numbering", f"{folder}: frames {min(numbered)}..{max(numbered)} without {sorted(gaps)[:5] or 0}")
    return [numbered[k] for k in sorted(numbered)]


def open_sequence(path: Path, size: int, keep: int, remark: Remark) -> list[np.ndarray]:
    """Return ``keep`` frames ``(size, size, 3)`` of an HDF5 file of encoded images.

    They are in the data set ``video``, or in the only one.

    Raises:
        UnreadableError: Missing, truncated or undecodable.
    """
    h5py = load("h5py", "prepare")
    _require(path)
    try:
        with h5py.File(path) as file:
            name = "video" if "video" in file else next(iter(file)) if len(file) == 1 else ""
            if not name or not hasattr(file[name], "shape"):
                raise UnreadableError("undecodable", f"{path}: no data set `video`, found {', '.join(file) or 'none'}")
            frames = file[name]
            if not len(frames):
                raise UnreadableError("missing", f"{path}: no frames")
            encoded = [(k, np.asarray(frames[k], np.uint8).tobytes()) for k in spread(len(frames), keep)]
    except (OSError, ValueError, TypeError, KeyError) as error:
        kind = "truncated" if "truncated" in str(error) else "undecodable"
        raise UnreadableError(kind, f"{path}: {error}") from error
    return [open_image(path, (size, size), remark, content=content, what=f", frame {k}") for k, content in encoded]


def spread(count: int, wanted: int) -> np.ndarray:
    """Return the middle of each of ``wanted`` equal segments of ``0..count-1``; with fewer frames some repeat.

    Example:
        >>> spread(9, 3), spread(2, 3)
        (array([1, 4, 7]), array([0, 1, 1]))
    """
    return ((np.arange(wanted) + 0.5) * count / wanted).astype(int)


def _require(path: Path) -> None:
    """Raise `UnreadableError` for a file that is missing or empty."""
    if not path.is_file():
        raise UnreadableError("missing", str(path))
    if not path.stat().st_size:
        raise UnreadableError("truncated", f"{path}: empty file")


def open_npy(path: Path) -> np.ndarray:
    """Return a memory-mapped array, after checking its header and that the file is complete.

    Raises:
        UnreadableError: Missing, truncated or undecodable.
    """
    _require(path)
    try:
        with path.open("rb") as file:  # numpy does not close an archive that it was not asked for
            if file.read(len(np.lib.format.MAGIC_PREFIX)) != np.lib.format.MAGIC_PREFIX:
                raise ValueError("not an .npy file (an archive of several arrays or a pickle, perhaps)")
        array: np.ndarray = np.load(path, allow_pickle=False, mmap_mode="r")
    except (OSError, ValueError, EOFError) as error:
        kind = "truncated" if "mmap length" in str(error) else "undecodable"
        raise UnreadableError(kind, f"{path}: {error}") from error
    return array


def open_pickle(path: Path) -> np.ndarray:
    """Return the array of a pickle file.

    Raises:
        UnreadableError: If it is missing, truncated or undecodable.
    """
    _require(path)
    try:
        array = np.asarray(read_pickle(path), np.float32)
    except (DataError, ValueError, TypeError) as error:
        raise UnreadableError("undecodable", str(error)) from error
    return _finite(array, path)


def read_npy(path: Path) -> np.ndarray:
    """Return an array on disk, read: uint8 as it is, other numbers as float32.

    Raises:
        UnreadableError: If the file is missing, truncated or undecodable, or holds numbers outside the range of
            float32.
    """
    array = open_npy(path)
    if array.dtype.kind not in "uibf":
        raise UnreadableError("undecodable", f"{path}: dtype {array.dtype}, expected real numbers")
    if array.dtype == np.uint8:
        return np.array(array)
    with np.errstate(over="ignore"):  # what does not fit becomes infinite and is reported
        return _finite(array.astype(np.float32), path)


def _finite(array: np.ndarray, path: Path) -> np.ndarray:
    bad = int((~np.isfinite(array)).sum())
    if bad:
        raise UnreadableError("not finite", f"{path}: {bad} of {array.size} numbers are NaN or too large for float32")
    return array


def fitted(array: np.ndarray, shape: tuple[int, ...], path: Path) -> np.ndarray:
    """Return the array in the expected shape; only axes of length one may differ."""
    if [n for n in array.shape if n > 1] != [n for n in shape if n > 1]:
        raise UnreadableError("undecodable", f"{path}: shape {array.shape}, expected {shape}")
    return array.reshape(shape)
