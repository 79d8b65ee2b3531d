"""Reading in several processes, shard by shard."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from counterpoise._extras import extra
from counterpoise._files import write_atomic
from counterpoise.data.preparation._findings import Finding, by_stamp
from counterpoise.data.preparation._index import Item
from counterpoise.data.preparation._reader import Reader
from counterpoise.data.preparation._samples import read_item
from counterpoise.data.preparation._shards import Sample, write_shard
from counterpoise.errors import DataError

CHUNK: Final = 32
"""Samples per shard; after a power failure, each process loses at most one shard."""


def _chunk(
    items: Sequence[Item], stamps: Sequence[str], readers: Mapping[str, Reader], work: str, optional: Collection[str]
) -> tuple[int, str | None, dict[str, list[dict[str, Any]]]]:
    """Read some items and write them as one shard; return their number, the shard, and what cannot be read."""
    if multiprocessing.parent_process() is not None:
        _one_thread()
    samples: list[Sample] = []
    unreadable: dict[str, list[dict[str, Any]]] = {}
    for item, stamp in zip(items, stamps, strict=True):
        sample, findings = read_item(item, stamp, readers, optional)
        if sample is None:
            unreadable[stamp] = [asdict(f) for f in findings]
        else:
            samples.append(sample)
    folder = Path(work)
    path = None
    if unreadable:
        write_atomic(folder / f"{stamps[0]}.json", json.dumps(unreadable))
    if samples:
        path = folder / f"{stamps[0]}.arrow"
        write_shard(path, samples)
    return len(items), str(path) if path else None, unreadable


def _one_thread() -> None:
    """Keep OpenCV, where it is loaded, from starting a thread per core in every process."""
    import sys

    if "cv2" in sys.modules:
        sys.modules["cv2"].setNumThreads(1)


def in_parallel(
    items: Sequence[Item],
    stamps: Mapping[str, str],
    readers: Mapping[str, Reader],
    work: Path,
    jobs: int | None,
    optional: Collection[str],
) -> Iterator[tuple[int, Path | None, dict[str, list[Finding]]]]:
    """Yield the number of samples, the file and what cannot be read of every shard, in any order."""
    with extra("data", "Preparing data"):
        import joblib
        from joblib.externals.loky.process_executor import TerminatedWorkerError

    chunks = [items[k : k + CHUNK] for k in range(0, len(items), CHUNK)]
    calls = ((chunk, [stamps[item.id] for item in chunk], readers, str(work), optional) for chunk in chunks)
    processes = min(jobs or joblib.cpu_count(), len(chunks))
    if processes < 2:
        results: Iterable[Any] = (_chunk(*call) for call in calls)
    else:
        parallel = joblib.Parallel(n_jobs=processes, return_as="generator_unordered")
        results = parallel(joblib.delayed(_chunk)(*call) for call in calls)
    try:
        for count, path, unreadable in results:
            yield count, Path(path) if path else None, by_stamp(unreadable)
    except TerminatedWorkerError as error:
        raise DataError(
            "A process that was reading files died: memory ran out, or a file crashes the decoder. Samples that were "
            "read are kept. Run the same command again with --jobs 1."
        ) from error
