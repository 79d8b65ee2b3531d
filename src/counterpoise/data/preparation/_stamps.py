"""Stamps: hashes of what samples are made of."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from counterpoise.data.preparation._index import Item
from counterpoise.data.preparation._reader import Reader

FORMAT: Final = 3
"""Version of the readers. It is increased when a reader returns other arrays for the same file, so that older results
are not reused."""


def key_of(readers: Mapping[str, Reader], optional: Collection[str]) -> str:
    """Return a hash of the parameters of the readers and of the reasons for which a modality may be absent."""
    content = json.dumps({m: r.parameters for m, r in readers.items()}, sort_keys=True, default=str)
    content += ",".join(sorted(optional))
    return hashlib.blake2b(f"{FORMAT}{content}".encode(), digest_size=8).hexdigest()


def stamp_of(item: Item, key: str) -> str:
    """Return a hash of what a sample is made of: its sources as they are now (path, size, time), and the parameters."""
    digest = hashlib.blake2b(f"{key}{item.id}".encode(), digest_size=12)
    for m, source in item.sources.items():
        for part in source if isinstance(source, tuple) else (source,):
            digest.update(m.encode())
            digest.update(_state(part))
    return digest.hexdigest()


def _state(source: Any) -> bytes:
    """Return what changes when a source does: of files path, size and time; of a folder those of the files in it."""
    if isinstance(source, Path):
        try:
            stat = source.stat()
            inside = sorted(source.iterdir()) if source.is_dir() else []
            return f"{source}{stat.st_size}{stat.st_mtime_ns}".encode() + b"".join(map(_state, inside))
        except OSError:
            return b"missing"
    return source.encode() if isinstance(source, str) else np.asarray(source).tobytes()
