"""Data of the user: a table with one row per sample, and files, texts or numbers in its columns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from counterpoise._validation import nearest
from counterpoise.data._info import SPLIT_ALIASES, SPLITS
from counterpoise.data._targets import TASKS, Targets, standardise_targets
from counterpoise.data.preparation._columns import Source, read_columns
from counterpoise.data.preparation._findings import Finding
from counterpoise.data.preparation._index import Index, Item, Settings, draw_split
from counterpoise.data.preparation._labels import Labels, read_labels
from counterpoise.data.tables import INDEX_NAMES, Table, counts_rows, read_table
from counterpoise.errors import DataError

__all__ = ["own"]

RESERVED: Final = ("id", "split", "group")
ABSENT: Final = ("silent", "missing", "truncated", "undecodable", "too short", "not finite")
"""Faults of a picture, video or sound (of other files: ``missing``) that cost a sample its modality, not more."""


def own(source: Path, settings: Settings) -> Index:
    """Return the index of a user's data set from a manifest: CSV, TSV, JSON lines, JSON or Parquet.

    One column is the label (``label``, or the one that ``--label`` names); ``split`` (train, val, test), ``group`` (who
    must not be in two splits) and ``id`` are optional; every other column is a modality: paths to videos, sounds,
    images or ``.npy`` arrays (from the manifest's folder), inline text, or numbers. Columns ``sensor.x``, ``sensor.y``
    are one modality ``sensor``, or use ``--modality sensor=x,y``; a column of videos with a name for sound (``audio``,
    ``sound``, ``speech``, ``voice``) is their sound track. A column that counts the rows is left out.

    A row whose cells of a modality are all empty lacks that modality, as does one whose video has no sound track, or
    whose file does not exist or is a broken picture, video or sound (findings such as ``missing`` and ``truncated``,
    which are counted). Such rows are kept, unless they lack everything. With ``--strict true``, rows whose file does
    not exist or cannot be read are left out.

    Args:
        source: The manifest.
        settings: Settings of the user.

    Raises:
        NotFoundError: If the file does not exist.
        DataError: If it cannot be read, has no label column, fewer than two modalities, or columns whose cells are
            of different kinds.
    """
    label = settings.label or "label"
    if settings.task is not None:
        TASKS.check("own", "task", settings.task)
    table = read_table(source, text=(label, *RESERVED))
    columns, notes = _checked_modalities(source.name, table, label, settings.modality)
    sources = {m: read_columns(m, table, names, source.parent, settings) for m, names in columns.items()}
    labels = read_labels(table, label, settings.task)
    items, findings = _items(table, labels, sources)
    items, drawn = _split(items, "split" in table.columns, settings.seed)
    targets = _standardised(items, labels.task)
    if targets.unit:
        items = [replace(item, label=label) for item, label in zip(items, targets.values, strict=True)]
    return Index(
        items,
        {m: s.reader for m, s in sources.items()},
        labels.classes,
        task=labels.task,
        group="group" if any(item.group for item in items) else "",
        findings=findings,
        notes=(_kinds(sources), *table.notes, *notes, *labels.notes, *_assumed(sources), *drawn, *targets.notes),
        origin=source.name,
        target_offset=targets.offset,
        target_unit=targets.unit,
        optional=("silent",) if settings.strict else ABSENT,
    )


def _kinds(sources: Mapping[str, Source]) -> str:
    return "; ".join(f"{m}: {type(s.reader).__name__.lower()}" for m, s in sources.items())


def _assumed(sources: Mapping[str, Source]) -> list[str]:
    return [note for s in sources.values() for note in s.notes]


def _checked_modalities(
    name: str, table: Table, label: str, given: Sequence[str]
) -> tuple[dict[str, list[str]], list[str]]:
    """Return `_modalities` of a table that has a label column and at least two modalities."""
    if label not in table.columns:
        raise DataError(
            f"`{name}` has no column `{label}`.{nearest(label, table.columns)} Found: {', '.join(table.columns)}. Name "
            "it with --label; cells should be separated by commas, semicolons or tabs."
        )
    columns, notes = _modalities(table, label, given)
    if len(columns) < 2:
        raise DataError(
            f"`{name}` should have at least two modalities besides `{label}`. Found: {', '.join(columns) or 'none'}."
        )
    return columns, notes


def _modalities(table: Table, label: str, given: Sequence[str]) -> tuple[dict[str, list[str]], list[str]]:
    """Return the columns of each modality, and notes on columns that were renamed or left out."""
    if given:
        return _given_modalities(table, given), []
    columns: dict[str, list[str]] = {}
    notes: list[str] = []
    for name in table.columns:
        if name == label or name in RESERVED:
            continue
        values = table.frame[name]
        numeric = table.numbers(name)
        if values.isna().all():
            notes.append(f"the column `{name}` is empty and was left out")
        elif INDEX_NAMES.fullmatch(name) or (numeric is not None and counts_rows(numeric.values)):
            notes.append(f"the column `{name}` counts the rows and was left out; --modality NAME={name} takes it")
        else:
            group = name.partition(".")[0] or name if numeric is not None else name
            columns.setdefault(group, []).append(name)
    return _renamed(columns, notes), notes


def _renamed(columns: Mapping[str, list[str]], notes: list[str]) -> dict[str, list[str]]:
    """Return the modalities under names without dots, which models cannot have."""
    renamed: dict[str, list[str]] = {}
    for name, own_columns in columns.items():
        plain = name.replace(".", "_").strip() or "column"
        if plain in renamed:
            raise DataError(f"Columns `{name}` and `{renamed[plain][0]}` would be one modality `{plain}`. Rename one.")
        if plain != name:
            notes.append(f"the column `{name}` is the modality `{plain}`")
        renamed[plain] = own_columns
    return renamed


def _given_modalities(table: Table, given: Sequence[str]) -> dict[str, list[str]]:
    """Parse ``NAME=COLUMN,COLUMN``."""
    columns: dict[str, list[str]] = {}
    for text in given:
        m, wanted = _parse_modality(table, text)
        if "." in m:
            raise DataError(f"`--modality {text}`: the name of a modality should not contain dots.")
        if m in columns:
            raise DataError(
                f"`--modality {m}` is given twice. Name all of its columns at once: "
                f"--modality {m}={','.join([*columns[m], *wanted])}."
            )
        columns[m] = list(dict.fromkeys(wanted))
    return columns


def _parse_modality(table: Table, text: str) -> tuple[str, list[str]]:
    """Return the name and the columns of one ``NAME=COLUMN,COLUMN``."""
    m, equals, names = (part.strip() for part in text.partition("="))
    wanted = [names] if names in table.columns else [n.strip() for n in names.split(",")]
    missing = [n for n in wanted if n not in table.columns]
    if not equals or not m or missing:
        what = f"no column `{missing[0]}`.{nearest(missing[0], table.columns)}" if missing else "no `=`."
        raise DataError(f"`--modality {text}` should be NAME=COLUMN,COLUMN: {what}")
    return m, wanted


def _items(table: Table, labels: Labels, sources: Mapping[str, Source]) -> tuple[list[Item], list[Finding]]:
    """Return the rows that can be read, and a finding for every other one."""
    ids = _ids(table)
    groups, splits = _groups(table), _splits(table)
    items, findings = [], []
    for k, name in enumerate(ids):
        odd = {m: s.odd[k] for m, s in sources.items() if k in s.odd}
        where = f"{table.name}: row {k + 1}"
        if k in labels.odd or labels.values[k] is None:
            detail = f"{where}: {labels.odd[k]}" if k in labels.odd else f"{where} has no label"
            findings.append(Finding("label", name, "", detail, True))
        elif odd:
            findings += [Finding("undecodable", name, m, f"{where}: {text}", True) for m, text in odd.items()]
        else:
            items.append(
                Item(name, splits[k], labels.values[k], groups[k], {m: s.cells[k] for m, s in sources.items()})
            )
    return items, findings


def _ids(table: Table) -> list[str]:
    if "id" not in table.columns:
        return [f"row{k + 1}" for k in range(len(table))]
    ids = [f"row{k + 1}" if v is None else str(v) for k, v in enumerate(table.cells("id"))]
    again = next((name for name, n in Counter(ids).items() if n > 1), None)
    if again is not None:
        raise DataError(f"`id` of `{table.name}` should name each row once. Found `{again}` {ids.count(again)} times.")
    return ids


def _groups(table: Table) -> list[str]:
    if "group" not in table.columns:
        return [""] * len(table)
    return ["" if v is None else str(v) for v in table.cells("group")]


def _splits(table: Table) -> list[str]:
    if "split" not in table.columns:
        return ["train"] * len(table)
    words = [SPLIT_ALIASES.get(str(v), str(v)) for v in table.cells("split")]
    strange = sorted(set(words) - set(SPLITS))
    if strange:
        raise DataError(
            f"`split` of `{table.name}` should be train, val or test for each sample. Found `{strange[0]}`."
            f"{nearest(strange[0], SPLITS)}"
        )
    return words


def _split(items: list[Item], given: bool, seed: int) -> tuple[list[Item], list[str]]:
    """Return the items with the splits that the table does not give, and notes on how they were drawn."""
    if not items:
        return items, []
    if not given:
        items = draw_split(draw_split(items, "test", 0.2, seed), "val", 0.125, seed)
        by = "by group" if any(item.group for item in items) else "by sample, stratified"
        return items, [f"split 70/10/20 drawn {by}, seed {seed}"]
    if not any(item.split == "val" for item in items):
        return draw_split(items, "val", 0.125, seed), [
            f"validation: an eighth of the training rows, drawn with seed {seed}"
        ]
    return items, []


def _standardised(items: Sequence[Item], task: str) -> Targets:
    """Return the targets of a regression, of a size that networks can learn."""
    if task != "regression" or not items:
        return Targets(np.empty(0), task, 0)
    values = np.stack([np.atleast_1d(item.label).astype(np.float64) for item in items])
    train = np.array([k for k, item in enumerate(items) if item.split == "train"], dtype=np.int64)
    return standardise_targets(Targets(values, task, values.shape[1]), train)
