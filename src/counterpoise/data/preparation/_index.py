"""The index of a raw folder, made before any file is decoded: items, splits, groups, and findings about them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from counterpoise._validation import Interval, Options
from counterpoise.config import MAX_SEED
from counterpoise.data._info import SPLITS
from counterpoise.data.preparation._findings import Finding
from counterpoise.data.preparation._reader import Reader
from counterpoise.errors import DataError

__all__ = [
    "FileTable",
    "Index",
    "Item",
    "Settings",
    "check_index",
    "draw_split",
    "files_below",
    "presence_of",
    "targets_of",
]


@dataclass(frozen=True)
class Settings:
    """Settings of the preparation that a user may choose; None uses the data set's own.

    Attributes:
        fps: Frames per second that are read from a video.
        keep: Frames stored per clip.
        frames: Frames per sample when it is used.
        size: Height and width of images and frames.
        audio: Name of a sound recipe.
        flow: ``dis`` or ``tvl1``.
        tokenizer: ``words``, a folder, or a name on the Hugging Face hub.
        length: Token ids per text, or steps of a feature sequence.
        label: Column of the label, for the user's own data; or the convention of a sentiment corpus.
        modality: ``NAME=COLUMN,COLUMN``, for the user's own data.
        task: ``multiclass``, ``multilabel`` or ``regression``, None to infer it from the labels of the table.
        allow_outside: Whether a manifest may name files outside its own folder.
        strict: Whether rows of a manifest whose file does not exist or cannot be read are left out.
        seed: Seed of splits that are drawn.
    """

    fps: float | None = None
    keep: int | None = None
    frames: int | None = None
    size: int | None = None
    audio: str | None = None
    flow: str | None = None
    tokenizer: str | None = None
    length: int | None = None
    label: str | None = None
    modality: tuple[str, ...] = ()
    task: str | None = None
    allow_outside: bool = False
    strict: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        limits: dict[str, Interval | Options] = {
            "fps": Interval(0, 1000, "(]"),
            "keep": Interval(1, 10_000, "[]", integer=True),
            "frames": Interval(0, 10_000, "[]", integer=True),
            "size": Interval(8, 4096, "[]", integer=True),
            "flow": Options(("dis", "tvl1")),
            "length": Interval(1, 1_000_000, "[]", integer=True),
            "seed": Interval(0, MAX_SEED, "[]", integer=True),
        }
        for name, limit in limits.items():
            value = getattr(self, name)
            if value is not None:
                limit.check("prepare", name, value)

    def given(self) -> list[str]:
        """Return the names of the fields that differ from their defaults."""
        return [field.name for field in fields(self) if getattr(self, field.name) != field.default]

    def clip(self, **own: Any) -> dict[str, Any]:
        """Return the parameters of `Frames`: the data set's ``own``, then what was given.

        At least as many frames are kept as are used.
        """
        names = ("fps", "keep", "frames", "size")
        parameters = {**own, **{k: getattr(self, k) for k in names if getattr(self, k) is not None}}
        if self.frames is None:
            parameters["frames"] = min(parameters["frames"], parameters["keep"])
        elif self.keep is None:
            parameters["keep"] = max(parameters["frames"], parameters["keep"])
        return parameters


@dataclass(frozen=True)
class Item:
    """One sample: its id, split, label, group, and the source of each modality (a path, two paths, a text, numbers)."""

    id: str
    split: str
    label: Any
    group: str
    sources: Mapping[str, Any]


@dataclass(frozen=True)
class Index:
    """Index of a raw data set on disk.

    Attributes:
        items: The samples, in the published order.
        readers: One per modality, in order.
        classes: Names of the classes, or empty.
        task: Multiclass, multilabel or regression.
        group: Kind of the groups (``actor``), or empty.
        expected: Published numbers of samples by split (``train+val`` where validation is cut from training) or by
            split and class (``test SAD``), and of ``classes``.
        findings: Faults of the lists.
        notes: Choices that were made.
        origin: Source of the data.
        augment: Augmentation of the inputs in training (see `DataInfo.augment`).
        target_offset: See `DataInfo.target_offset`.
        target_unit: See `DataInfo.target_unit`.
        optional: Kinds of findings about a file that make a modality absent instead of excluding the sample
            (``silent``: no sound track; ``missing``: no such file; ``truncated``). If it is not empty, samples without
            a source of a modality lack it as well; by default, samples need every modality.
    """

    items: Sequence[Item]
    readers: Mapping[str, Reader]
    classes: tuple[str, ...] = ()
    task: str = "multiclass"
    group: str = ""
    expected: Mapping[str, int] = field(default_factory=dict)
    findings: Sequence[Finding] = ()
    notes: tuple[str, ...] = ()
    origin: str = ""
    augment: Mapping[str, Any] = field(default_factory=dict)
    target_offset: tuple[float, ...] = ()
    target_unit: tuple[float, ...] = ()
    optional: Collection[str] = ()


def files_below(folder: Path) -> list[Path]:
    """Return all files below a folder, in order."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


class FileTable:
    """Files with one of some suffixes, by stem, in any folder; the first in order where several have one name."""

    def __init__(self, files: Iterable[Path], suffixes: Sequence[str]) -> None:
        self.found: dict[str, Path] = {}
        self.others: dict[str, Path] = {}
        for path in files:
            if path.suffix.lower() in suffixes and self.found.setdefault(path.stem, path) != path:
                self.others.setdefault(path.stem, path)

    def __len__(self) -> int:
        return len(self.found)

    def get(self, stem: str, default: Path) -> Path:
        """Return the file, or the path where it was expected."""
        return self.found.get(stem, default)

    def ambiguous(self, stems: Iterable[str], modality: str) -> list[Finding]:
        """Return a finding for each of the names that several files have."""
        return [
            Finding("ambiguous", s, modality, f"{self.found[s]} is taken, not {self.others[s]}", False)
            for s in stems
            if s in self.others
        ]


def presence_of(lacking: Sequence[Collection[str]], modalities: Iterable[str]) -> dict[str, np.ndarray]:
    """Return which samples have which modality, ``{m: (N,) bool}``, from the modalities that each one lacks."""
    return {m: np.array([m not in absent for absent in lacking], bool) for m in modalities}


def targets_of(items: Sequence[Item], task: str) -> np.ndarray:
    """Return the labels of items as numbers: ``(N,)`` for classes, in the order of their names, else ``(N, C)``."""
    if task == "multiclass":
        return np.unique([str(item.label) for item in items], return_inverse=True)[1]
    return np.array([np.atleast_1d(item.label) for item in items], np.float64)


def draw_split(
    items: Sequence[Item], part: str, share: float, seed: int, *, source: str = "train", by_group: bool = True
) -> list[Item]:
    """Return the items, a share of those in ``source`` moved to ``part``: by whole groups, or stratified by class."""
    from counterpoise.data._sampling import holdout_split

    rows = [k for k, item in enumerate(items) if item.split == source]
    if not rows:
        return list(items)
    labels = _strata([items[k].label for k in rows])
    groups = np.array([items[k].group for k in rows])
    _, held = holdout_split(labels, groups if by_group and groups.any() else None, share, seed)
    moved = {rows[k] for k in held}
    return [replace(item, split=part) if k in moved else item for k, item in enumerate(items)]


def _strata(labels: Sequence[Any]) -> np.ndarray:
    if all(isinstance(label, str) for label in labels):
        return np.unique(labels, return_inverse=True)[1]
    return np.zeros((len(labels), 1), dtype=np.int64)  # numbers and several labels have no strata


def check_index(index: Index) -> list[Finding]:
    """Return findings on the lists alone: counts, samples in two splits, groups in two splits.

    Raises:
        DataError: If there are no items, or a split has an unknown name.
    """
    if not index.items:
        raise DataError("No samples were found. Is --source the folder that holds the lists and the files?")
    strange = {item.split for item in index.items} - set(SPLITS)
    if strange:
        raise DataError(f"Splits should be train, val and test. Found `{min(strange)}`.")
    return [*index.findings, *_wrong_counts(index), *_items_in_two_splits(index), *_groups_in_two_splits(index)]


def _wrong_counts(index: Index) -> list[Finding]:
    """Return a finding for every published number from which the lists differ."""
    counts: Counter[str] = Counter({"classes": len(index.classes)})
    for item in index.items:
        counts.update((item.split, f"{item.split} {item.label}"))
    findings = []
    for part, number in index.expected.items():
        summed, _, label = part.partition(" ")
        listed = sum(counts[f"{p} {label}".strip()] for p in summed.split("+"))
        if listed != number:
            findings.append(Finding("count", "", "", f"{part}: {listed:,} listed, {number:,} published", False))
    return findings


def _items_in_two_splits(index: Index) -> list[Finding]:
    splits: dict[str, set[str]] = {}
    for item in index.items:
        splits.setdefault(item.id, set()).add(item.split)
    return [
        Finding("duplicate", name, "", f"{name} is in {' and '.join(sorted(parts))}", False)
        for name, parts in splits.items()
        if len(parts) > 1
    ]


def _groups_in_two_splits(index: Index) -> list[Finding]:
    groups: dict[str, set[str]] = {}
    for item in index.items:
        if item.group:
            groups.setdefault(item.group, set()).add(item.split)
    findings = []
    for a, b in combinations(SPLITS, 2):
        shared = [name for name, parts in groups.items() if {a, b} <= parts]
        if shared:
            some = ", ".join(shared[:3]) + (", ..." if len(shared) > 3 else "")
            detail = f"{len(shared)} of {len(groups)} {index.group or 'group'}s are in {a} and {b} ({some})"
            findings.append(Finding("leakage", "", "", detail, False))
    return findings
