"""Reading raw files, with errors that name a broken file."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import numpy as np

from counterpoise.errors import DataError

__all__ = ["read_idx"]

IDX_UINT8 = 8


def read_idx(path: Path) -> np.ndarray:
    """Return the array of a gzipped idx file of bytes, as MNIST is published.

    The header is two zero bytes, the element type, the number of dimensions, and one big-endian 32-bit size each.

    Raises:
        DataError: If the file is not an idx file of bytes, or is truncated.
    """
    try:
        content = gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"`{path}` is broken ({error}). Download it again.") from error
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] != IDX_UINT8:
        raise DataError(f"`{path}` is not an idx file of bytes. Download it again.")
    start = 4 + 4 * content[3]
    shape = tuple(int(n) for n in np.frombuffer(content[4:start], ">u4"))
    if len(content) - start != int(np.prod(shape)):
        raise DataError(
            f"`{path}` should hold {shape} bytes. Found {len(content) - start}: it is cut off. Download it again."
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)
