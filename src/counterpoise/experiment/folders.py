"""Names and states of the folders of runs. Importing it loads no training engine."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from typing import Literal

from counterpoise.config import RunConfig
from counterpoise.data import MultimodalData, open_data, split_of_seed
from counterpoise.runs import RunRecord, read_records

__all__ = ["finished", "finished_runs", "open_cached", "run_data", "run_folder"]


@lru_cache(maxsize=2)
def _open_split(name: str, split: int | None) -> MultimodalData:
    return open_data(name, split=split)


def open_cached(name: str, seed: int = 0) -> MultimodalData:
    """Open the data of a run once per process: of a set with several seeded splits, the one of the seed."""
    return _open_split(name, split_of_seed(name, seed))


@lru_cache(maxsize=2)
def _open_incomplete(
    name: str, split: int | None, rates: tuple[tuple[str, float], ...], where: Literal["both", "train", "test"]
) -> MultimodalData:
    return _open_split(name, split).with_missing(dict(rates), where=where)


def run_data(config: RunConfig) -> MultimodalData:
    """Open the data of a run once per process, without the modalities that the run takes away.

    Which samples lose a modality depends on the data, the modality and its rate alone: it is the same for all methods
    and seeds.
    """
    if not config.missing:
        return open_cached(config.data, config.seed)
    split = split_of_seed(config.data, config.seed)
    return _open_incomplete(config.data, split, tuple(config.missing.items()), config.missing_in)


def run_folder(config: RunConfig, data: MultimodalData, out: Path) -> Path:
    """Return a run's folder below ``out``: data set, method, rule (if it is not the method's own), what is missing,
    seed, and a hash of all that determines the run.
    """
    name = f"{data.info.name}-{config.method}" + ("" if config.rule == "default" else f"-{config.rule}")
    plain = re.sub(r"[^A-Za-z0-9_]+", "-", name).strip("-")[:60]
    if config.missing:
        rates = "-".join(f"{m}{round(100 * rate)}" for m, rate in config.missing.items())
        where = "" if config.missing_in == "both" else f"-in-{config.missing_in}"
        plain += "-missing-" + re.sub(r"[^A-Za-z0-9_]+", "-", rates).strip("-")[:40] + where
    return out / "runs" / f"{plain}-seed{config.seed}-{config.key(data.fingerprint())[:10]}"


def finished(folder: Path) -> RunRecord | None:
    """Return the record of a run, or None if the run is not finished or its record is damaged."""
    if not (folder / "record.json").is_file():
        return None
    records, _ = read_records([folder])
    return records[0] if records else None


def finished_runs(out: Path) -> list[RunRecord]:
    """Return every finished run of a folder of runs: those of its run folders, and others from ``runs.jsonl``."""
    paths = [path for path in (out / "runs", out / "runs.jsonl") if path.exists()]
    records, _ = read_records(paths) if paths else ([], [])
    return records
