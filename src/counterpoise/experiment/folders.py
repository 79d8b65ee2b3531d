"""Folders of runs: their names, and which runs are finished. Importing it loads no training engine."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path

from counterpoise.config import RunConfig
from counterpoise.data import MultimodalData, open_data, split_of_seed
from counterpoise.runs import RunRecord, read_records

__all__ = ["finished", "finished_runs", "open_cached", "run_folder"]


@lru_cache(maxsize=2)
def _open_split(name: str, split: int | None) -> MultimodalData:
    return open_data(name, split=split)


def open_cached(name: str, seed: int = 0) -> MultimodalData:
    """Open the data of a run once per process: of a set with several seeded splits, the one of the seed."""
    return _open_split(name, split_of_seed(name, seed))


def run_folder(config: RunConfig, data: MultimodalData, out: Path) -> Path:
    """Return a run's folder below ``out``: data set, method, seed, and a hash of everything that determines the run."""
    name = f"{data.info.name}-{config.method}"
    plain = re.sub(r"[^A-Za-z0-9_]+", "-", name).strip("-")[:60]
    return out / "runs" / f"{plain}-seed{config.seed}-{config.key(data.fingerprint())[:10]}"


def finished(folder: Path) -> RunRecord | None:
    """Return the record of a run that is finished, else None. A damaged record counts as none."""
    if not (folder / "record.json").is_file():
        return None
    records, _ = read_records([folder])
    return records[0] if records else None


def finished_runs(out: Path) -> list[RunRecord]:
    """Return every finished run of a folder of runs: those of its run folders, and others from ``runs.jsonl``."""
    paths = [path for path in (out / "runs", out / "runs.jsonl") if path.exists()]
    records, _ = read_records(paths) if paths else ([], [])
    return records
