"""Files opened and judged: images, folders and HDF5 files of frames, arrays; what is wrong with one is named."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeAlias

import numpy as np

from counterpoise.data.preparation._findings import UnreadableError
from counterpoise.data.preparation._media import extra
from counterpoise.data.preparation._pickle import read_pickle
from counterpoise.errors import DataError

__all__ = [
    "IMAGE_SUFFIXES",
    "SEQUENCE_SUFFIXES",
    "Remark",
    "fitted",
    "frames_of",
    "open_image",
    "open_npy",
    "open_pickle",
    "open_sequence",
    "read_npy",
    "spread",
]

IMAGE_SUFFIXES: Final = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
SEQUENCE_SUFFIXES: Final = (".h5", ".hdf5")
"""A clip's encoded frames in one file."""
Remark: TypeAlias = Callable[[str, str], None]
"""Called with a kind of finding and a detail for what does not cost the sample."""


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


def open_image(
    path: Path, size: tuple[int, int], mode: str = "RGB", content: bytes | None = None, what: str = ""
) -> np.ndarray:
    """Return ``(H, W, 3)`` or ``(H, W)`` uint8.

    Args:
        path: the file.
        size: width and height.
        mode: ``RGB`` or ``L``.
        content: the image's bytes, where the file holds several.
        what: which of them.

    Raises:
        UnreadableError: missing, truncated or undecodable.
    """
    from PIL import Image as Pillow
    from PIL import UnidentifiedImageError

    try:
        if content is None and not path.stat().st_size:
            raise UnreadableError("truncated", f"{path}: empty file")
        with Pillow.open(path if content is None else io.BytesIO(content)) as file:
            return np.asarray(file.convert(mode).resize(size))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UnreadableError("missing", str(path)) from error
    except UnidentifiedImageError as error:
        raise UnreadableError("undecodable", f"{path}{what}: no image") from error
    except (OSError, SyntaxError, ValueError) as error:
        raise UnreadableError("truncated", f"{path}{what}: {error}") from error


def open_sequence(path: Path, size: int, keep: int) -> list[np.ndarray]:
    """Return ``keep`` frames ``(size, size, 3)`` of an HDF5 file whose data set ``video`` (or its only one) is a clip's encoded images, in order.

    Raises:
        UnreadableError: missing, truncated or undecodable.
    """
    h5py = extra("h5py", "h5py", "hdf5")
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
    return [open_image(path, (size, size), content=content, what=f", frame {k}") for k, content in encoded]


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
    """Return an array on disk, mapped: its header is read, and whether all of it is there.

    Raises:
        UnreadableError: missing, truncated or undecodable.
    """
    _require(path)
    try:
        array: np.ndarray = np.load(path, allow_pickle=False, mmap_mode="r")
    except (OSError, ValueError, EOFError) as error:
        kind = "truncated" if "mmap length" in str(error) else "undecodable"
        raise UnreadableError(kind, f"{path}: {error}") from error
    return array


def open_pickle(path: Path) -> np.ndarray:
    """Return the array that a pickle holds.

    Raises:
        UnreadableError: missing, truncated or undecodable.
    """
    _require(path)
    try:
        array = np.asarray(read_pickle(path), np.float32)
    except (DataError, ValueError, TypeError) as error:
        raise UnreadableError("undecodable", str(error)) from error
    return _finite(array, path)


def read_npy(path: Path) -> np.ndarray:
    """Return an array on disk, read.

    Raises:
        UnreadableError: missing, truncated, undecodable or not finite.
    """
    return _finite(np.array(open_npy(path)), path)


def _finite(array: np.ndarray, path: Path) -> np.ndarray:
    if not np.isfinite(array).all():
        raise UnreadableError("not finite", f"{path}: {int((~np.isfinite(array)).sum())} of {array.size} numbers")
    return array


def fitted(array: np.ndarray, shape: tuple[int, ...], path: Path) -> np.ndarray:
    """Return the array in the shape that is expected: axes of length one may be more or fewer, others may not change places."""
    if [n for n in array.shape if n > 1] != [n for n in shape if n > 1]:
        raise UnreadableError("undecodable", f"{path}: shape {array.shape}, expected {shape}")
    return array.reshape(shape)
