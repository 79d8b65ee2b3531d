"""One sample, read from its sources."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from counterpoise.data.preparation._findings import Finding, UnreadableError
from counterpoise.data.preparation._index import Item
from counterpoise.data.preparation._reader import Reader, absence, is_empty, without_any
from counterpoise.data.preparation._result import checksum
from counterpoise.data.preparation._shards import Sample
from counterpoise.errors import ConfigError, NotFoundError, OutputError


def read_item(
    item: Item, stamp: str, readers: Mapping[str, Reader], optional: Collection[str]
) -> tuple[Sample | None, list[Finding]]:
    """Return a sample, or None and what cost it; what was found besides is part of either.

    A modality whose source cannot be read for one of the reasons in ``optional`` is absent.
    """
    arrays: dict[str, np.ndarray] = {}
    findings: list[Finding] = []
    content = []
    for m, reader in readers.items():
        array, remarks = _read_source(item, m, reader, optional)
        findings += remarks
        if array is not None:
            arrays[m] = array
            content.append("" if any(f.kind == "absent" for f in remarks) else _content(item.sources.get(m), array))
    if sum(f.kind == "absent" for f in findings) == len(readers):
        return None, without_any(item.id, findings)
    whole = len(arrays) == len(readers)
    return (Sample(stamp, content, findings, arrays) if whole else None), findings


def _read_source(
    item: Item, m: str, reader: Reader, optional: Collection[str]
) -> tuple[np.ndarray | None, list[Finding]]:
    """Return the array of one modality, or None if that costs the sample, and what was found."""
    source = item.sources.get(m)
    findings: list[Finding] = []
    try:
        if is_empty(source):
            raise UnreadableError("missing", f"{item.id}: no {m}")
        return reader.read(
            source, lambda kind, detail: findings.append(Finding(kind, item.id, m, detail, False))
        ), findings
    except UnreadableError as error:
        fault = error
    except (ConfigError, NotFoundError, OutputError):
        raise  # about the settings or the installation, not about this sample
    except Exception as error:
        detail = f"{_named(item, source)}: {type(error).__name__}: {error}"
        fault = UnreadableError("undecodable", " ".join(detail.split()))
    if absent := absence(m, item.id, source, fault, optional):
        return reader.blank(), [*findings, *absent]
    return None, [*findings, Finding(fault.kind, item.id, m, fault.detail, True)]


def _named(item: Item, source: Any) -> str:
    return str(source) if isinstance(source, Path) else item.id


def _content(source: Any, array: np.ndarray) -> str:
    """Return a hash of a file (of a folder: of what was read), or nothing for texts and numbers.

    Texts and numbers of different samples may be equal by chance.
    """
    if isinstance(source, Path) and source.is_file():
        return checksum(source)
    if isinstance(source, (Path, tuple)):
        return hashlib.blake2b(array.tobytes(), digest_size=16).hexdigest()
    return ""
