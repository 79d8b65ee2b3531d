"""RunRecord: everything a report may know about a run, as plain numbers. JSON in and out; no torch."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from counterpoise._files import json_safe, write_atomic
from counterpoise.errors import DataError

__all__ = ["RunRecord", "read_records", "write_records"]

SCHEMA: Final = 2

SAMPLES: Final = "samples.json"
"""File beside ``record.json`` with the samples of a run."""


@dataclass(frozen=True)
class RunRecord:
    """One finished run = data set x method x seed x configuration.

    Attributes:
        key: hash of what determines the run.
        data: the data set's name.
        method: the row's label: the method's name, with what distinguishes it (``unimodal:audio``).
        rule: how the heads were combined at inference.
        seed: the seed.
        task: multiclass, multilabel or regression.
        modalities: their names in order.
        config: the resolved configuration.
        metrics: by name, on the test set, with the weights that validation selected: ``accuracy``, ``macro_f1``,
            ``nll`` (nats), ``ece``,
            ``accuracy:<m>`` of each unimodal head, ``probe:<m>`` of a linear probe on each encoder, ``mi`` (joint),
            ``mi:<m>``, ``phi_cmi:<m>`` (nats),
            ``entropy`` (H(Y), nats), ``phi_mi`` (joint), ``phi_mi:<m>``, ``phi_shared:<m>`` and ``phi_synergy:<m>`` (what m
            shares with the others, what only both together say: ``phi_mi`` is shared + unique, ``phi_cmi`` unique +
            synergy), ``step_ms``.
        validation: the same kind of names on the validation set, at the selected epoch.
        curves: one number per epoch, by name.
        valuation: the held-out valuation on the test set, as `Valuation.to_dict` gives it, with ``parts`` beside it: by
            modality the ``redundant``, ``unique`` and ``synergistic`` information of `counterpoise.valuation.decompose`.
        robustness: scores on the test set with one modality damaged: rows of ``modality``, ``corruption`` (noise, missing,
            swap), ``strength`` and the scores. Their means are the metrics ``accuracy@shift`` and ``accuracy@shift:<m>``.
        best_epoch: which epoch validation selected, from 0.
        seconds: wall time of the whole run.
        environment: versions, threads, device.
        command: what was typed.
        notes: what a reader should know (a modality that was skipped, say).
        label: the row that the run belongs to in a comparison: the method, and the rule if it is not the method's own.
        class_names: the names of the classes, where they have any.
        samples: some test samples with pictures and what was said of them, as `counterpoise.gallery.Gallery` reads it. They
            are in a file of their own, ``samples.json`` beside ``record.json``, and not in `to_json`.
        schema: version of this layout.

    Example:
        >>> record = RunRecord("k", "smartwatch", "joint", "fused", 0, "multiclass", ("a", "b"))
        >>> RunRecord.from_json(record.to_json()) == record
        True
    """

    key: str
    data: str
    method: str
    rule: str
    seed: int
    task: str
    modalities: tuple[str, ...]
    config: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    validation: dict[str, float] = field(default_factory=dict)
    curves: dict[str, list[float]] = field(default_factory=dict)
    valuation: dict[str, Any] = field(default_factory=dict)
    robustness: list[dict[str, Any]] = field(default_factory=list)
    best_epoch: int = -1
    seconds: float = 0.0
    environment: dict[str, str] = field(default_factory=dict)
    command: str = ""
    notes: list[str] = field(default_factory=list)
    label: str = ""
    class_names: tuple[str, ...] = ()
    samples: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)
    schema: int = SCHEMA

    def __post_init__(self) -> None:
        object.__setattr__(self, "modalities", tuple(self.modalities))
        object.__setattr__(self, "class_names", tuple(self.class_names))
        object.__setattr__(self, "label", self.label or self.method)

    def to_json(self) -> str:
        """Return one line of JSON (non-finite numbers as null)."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "samples"}
        return json.dumps(json_safe(fields), ensure_ascii=False)

    @classmethod
    def from_json(cls, line: str) -> RunRecord:
        """Read what `to_json` wrote.

        Raises:
            DataError: if it is no RunRecord, or of a layout that this version does not know.
        """
        try:
            fields = json.loads(line)
        except json.JSONDecodeError as error:
            raise DataError(f"A RunRecord should be one line of JSON. {error}.") from error
        known = {f.name for f in dataclasses.fields(cls)}
        if not isinstance(fields, dict) or not {"key", "data", "method", "seed"} <= set(fields):
            raise DataError("A RunRecord should have at least key, data, method and seed.")
        if fields.get("schema", 0) > SCHEMA or not set(fields) <= known:
            raise DataError(f"This RunRecord has layout {fields.get('schema')}; this version reads up to {SCHEMA}.")
        for name in ("metrics", "validation"):
            fields[name] = {k: float("nan") if v is None else v for k, v in fields.get(name, {}).items()}
        fields["curves"] = {
            k: [float("nan") if v is None else v for v in values] for k, values in fields.get("curves", {}).items()
        }
        if fields.get("seconds") is None:
            fields["seconds"] = float("nan")
        return cls(**fields)


def write_records(path: Path, records: Iterable[RunRecord]) -> None:
    """Write JSON lines."""
    write_atomic(path, "".join(record.to_json() + "\n" for record in records))


def _record_files(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
    elif (path / "record.json").is_file():
        yield path / "record.json"
    elif (path / "runs.jsonl").is_file():
        yield path / "runs.jsonl"
    else:
        yield from sorted(path.rglob("record.json"))


def read_records(paths: Iterable[Path | str]) -> tuple[list[RunRecord], list[str]]:
    """Read every RunRecord below ``paths`` (files, run folders, or folders of runs).

    Returns:
        The records (each key once), and one line for every file that is broken or foreign.

    Raises:
        DataError: if a path does not exist.
    """
    records: dict[str, RunRecord] = {}
    skipped: list[str] = []
    for path in map(Path, paths):
        if not path.exists():
            raise DataError(f"There is no `{path}`. Give a run folder, a folder of runs, or a runs.jsonl.")
        files = list(_record_files(path))
        if not files:
            skipped.append(f"{path}: no record.json or runs.jsonl in it")
        for file in files:
            broken: list[str] = []
            for number, line in enumerate(file.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
                if not line.strip():
                    continue
                try:
                    record = RunRecord.from_json(line)
                except (DataError, TypeError) as error:
                    broken.append(f"{file}:{number}: {error}")
                else:
                    records[record.key] = _with_samples(record, file, skipped)
            if broken:
                more = f" And {len(broken) - 1} more lines of it." if len(broken) > 1 else ""
                skipped.append(broken[0] + more)
    return list(records.values()), skipped


def _with_samples(record: RunRecord, file: Path, skipped: list[str]) -> RunRecord:
    """Return the record with the samples that lie beside it, if there are any."""
    folder = file.parent if file.name == "record.json" else file.parent / "runs" / record.key
    path = folder / SAMPLES
    if "/" in record.key or not path.is_file():
        return record
    try:
        samples = json.loads(path.read_text(encoding="utf-8", errors="replace"))
    except (OSError, json.JSONDecodeError) as error:
        skipped.append(f"{path}: the samples of this run cannot be read ({error}); its numbers are shown")
        return record
    return dataclasses.replace(record, samples=samples) if isinstance(samples, dict) else record
