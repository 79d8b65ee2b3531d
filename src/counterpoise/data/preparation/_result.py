"""The result of preparing raw files: Hugging Face ``datasets`` on disk, a manifest, and checks of both."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from counterpoise.data._arrow import write_dataset
from counterpoise.data._info import PRESENT, DataInfo
from counterpoise.data.preparation._index import Index, Item
from counterpoise.data.preparation._shards import Shards
from counterpoise.errors import DataError

__all__ = ["FINDINGS", "MANIFEST", "check_prepared", "checksum", "read_manifest", "undamaged", "write_split"]

MANIFEST: Final = "manifest.json"
FINDINGS: Final = "findings.csv"


def write_split(
    folder: Path, info: DataInfo, index: Index, items: Sequence[Item], stamps: Mapping[str, str], shards: Shards
) -> None:
    """Write one split as a Hugging Face ``Dataset``, in the order of the items."""
    number = {name: k for k, name in enumerate(index.classes)}
    row_bytes = sum(shards.cell(stamps[items[0].id], m.name).nbytes for m in info.modalities)
    lacking = sorted({m for item in items for m in shards.absent(stamps[item.id])})
    listed = hashlib.blake2b(json.dumps([stamps[item.id] for item in items]).encode(), digest_size=8).hexdigest()
    write_dataset(
        folder,
        len(items),
        row_bytes,
        lambda start, stop: _columns(info, items[start:stop], stamps, shards, number, lacking),
        fingerprint=listed,
    )


def _columns(
    info: DataInfo,
    items: Sequence[Item],
    stamps: Mapping[str, str],
    shards: Shards,
    number: Mapping[str, int],
    lacking: Sequence[str],
) -> dict[str, Any]:
    columns: dict[str, Any] = {}
    for m in lacking:
        columns[f"{PRESENT}{m}"] = np.array([m not in shards.absent(stamps[item.id]) for item in items])
    for modality in info.modalities:
        columns[modality.name] = np.stack([shards.cell(stamps[item.id], modality.name) for item in items])
    columns["label"] = _labels(info, items, number)
    if info.group:
        columns["group"] = [item.group for item in items]
    columns["item"] = [item.id for item in items]
    return columns | dict(shards.columns([stamps[item.id] for item in items]))


def _labels(info: DataInfo, items: Sequence[Item], number: Mapping[str, int]) -> np.ndarray:
    if info.task == "multiclass":
        return np.array([number[str(item.label)] for item in items], np.int64)
    kind = np.float32 if info.task == "regression" else np.int64
    return np.array([np.atleast_1d(item.label) for item in items], kind)


def checksum(path: Path) -> str:
    """Return a hash of a file's content."""
    digest = hashlib.blake2b(digest_size=16)
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return the manifest of prepared data.

    Raises:
        DataError: If it is damaged.
    """
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text())
        for name in ("findings", "files", "samples", "listed", "published", "unreadable"):
            dict(manifest[name])
        Counter(manifest["findings"])
        manifest["format"], manifest["name"], manifest["left_out"]
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise DataError(
            f"`{folder / MANIFEST}` is damaged ({type(error).__name__}: {error}). Prepare the data again."
        ) from error
    return manifest


def undamaged(folder: Path, manifest: Mapping[str, Any]) -> list[Path]:
    """Return the files of the manifest whose content is unchanged."""
    paths = ((folder / name, known) for name, known in manifest["files"].items())
    inside = ((path, known) for path, known in paths if path.resolve().is_relative_to(folder.resolve()))
    return [path for path, known in inside if path.is_file() and checksum(path) == known]


def check_prepared(folder: Path) -> tuple[list[str], bool]:
    """Return lines that describe prepared data, and whether nothing is damaged or missing.

    Counts are compared with the lists and with the published ones, files with their checksums.

    Raises:
        DataError: If the manifest is damaged.
    """
    manifest = read_manifest(folder)
    lines = [f"{manifest['name']}: prepared data of format {manifest['format']}"]
    for part, count in manifest["samples"].items():
        lines.append(f"{part}: {count:,} samples of {manifest['listed'].get(part, 0):,} listed")
    if manifest["published"]:
        lines.append("published: " + ", ".join(f"{n:,} {part}" for part, n in manifest["published"].items()))
    whole = set(undamaged(folder, manifest))
    damaged = [name for name in manifest["files"] if folder / name not in whole]
    lines += [f"damaged: {name}" for name in damaged]
    lines += [f"{count} x {kind}" for kind, count in manifest["findings"].items()]
    left_out = manifest["left_out"]
    lines.append(f"left out: {left_out} samples" + (f" (see {folder / FINDINGS})" if left_out else ""))
    return lines, not damaged and not left_out
