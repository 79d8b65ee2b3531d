"""Data of one's own: a table with one row per sample, and files, texts or numbers in its columns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from counterpoise._validation import nearest
from counterpoise.data._arrays import ALIASES
from counterpoise.data._core import SPLITS
from counterpoise.data.preparation._files import IMAGE_SUFFIXES
from counterpoise.data.preparation._findings import Finding
from counterpoise.data.preparation._index import Index, Item, Settings, draw_split
from counterpoise.data.preparation._media import AUDIO_SUFFIXES, VIDEO_SUFFIXES
from counterpoise.data.preparation._readers import ArrayFile, Frames, Image, Numbers, Reader, Sound, Text
from counterpoise.errors import DataError, NotFoundError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["own", "read_table"]

TABLES: Final = (".csv", ".tsv", ".jsonl", ".parquet")
RESERVED: Final = ("id", "split", "group")
SOUND_NAMES: Final = ("audio", "sound", "speech", "voice", "wav")
FEW: Final = 20
"""A numeric column of whole numbers with at most so many values is taken as classes when it is the label."""


def own(source: Path, settings: Settings) -> Index:
    """Return a data set of one's own from a manifest: CSV, TSV, JSON lines or Parquet.

    One column is the label (``label``, or the one that ``--label`` names); ``split`` (train, val, test), ``group`` (who must not be in two splits) and ``id`` are
    optional; every other column is a modality: paths to videos, sounds, images or ``.npy`` arrays (from the manifest's folder), inline text, or
    numbers. Columns ``sensor.x``, ``sensor.y`` are one modality ``sensor``, or say ``--modality sensor=x,y``; a column of videos whose name says sound
    (``audio``, ``sound``, ``speech``, ``voice``) is their sound track.

    Args:
        source: the manifest.
        settings: what the user chose.

    Raises:
        NotFoundError: if there is no such file.
        DataError: if it cannot be read, has no label column, or fewer than two modalities.
    """
    table = read_table(source)
    label = settings.label or "label"
    if label not in table.columns:
        raise DataError(
            f"`{source.name}` has no column `{label}`.{nearest(label, table.columns)} Found: {', '.join(table.columns)}. Name it with --label."
        )
    columns = _modalities(table, label, settings.modality)
    if len(columns) < 2:
        raise DataError(
            f"`{source.name}` should have at least two modalities beside `{label}`. Found: {', '.join(columns) or 'none'}."
        )
    readers: dict[str, Reader] = {}
    cells: dict[str, list[Any]] = {}
    for m, names in columns.items():
        readers[m], cells[m] = _reader(m, table[names], source.parent, settings)
    labels, task, classes = _labels(table[label])
    ids = [str(v) for v in table["id"]] if "id" in table else [f"row{k + 1}" for k in range(len(table))]
    if len(set(ids)) < len(ids):
        again = next(name for name, n in Counter(ids).items() if n > 1)
        raise DataError(f"`id` of `{source.name}` should name each row once. Found `{again}` {ids.count(again)} times.")
    groups = [("" if _empty(v) else str(v)) for v in table["group"]] if "group" in table else [""] * len(table)
    splits, notes = _splits(table, source.name)
    findings, items = [], []
    for k, name in enumerate(ids):
        if labels[k] is None:
            findings.append(Finding("label", name, "", f"{source.name}: row {k + 1} has no label", True))
        else:
            items.append(Item(name, splits[k], labels[k], groups[k], {m: cells[m][k] for m in columns}))
    if not splits[0]:
        items = draw_split(
            draw_split([_with(i, "train") for i in items], "test", 0.2, settings.seed), "val", 0.125, settings.seed
        )
        notes.append(
            f"split 70/10/20 drawn {'by group' if any(groups) else 'by sample, stratified'}, seed {settings.seed}"
        )
    elif not any(item.split == "val" for item in items):
        items = draw_split(items, "val", 0.125, settings.seed)
        notes.append(f"validation: an eighth of the training rows, drawn with seed {settings.seed}")
    described = "; ".join(f"{m}: {type(reader).__name__.lower()}" for m, reader in readers.items())
    return Index(
        items,
        readers,
        classes,
        task=task,
        group="group" if any(groups) else "",
        findings=findings,
        notes=(described, *notes),
        origin=source.name,
    )


def read_table(path: Path) -> pd.DataFrame:
    """Return a manifest as a table of columns.

    Raises:
        NotFoundError: if there is no such file.
        DataError: if it is none of CSV, TSV, JSON lines and Parquet, or holds no rows.
    """
    import pandas as pd

    if not path.is_file():
        raise NotFoundError(
            f"There is no manifest `{path}`. Give a table with one row per sample as --source: {', '.join(TABLES)}."
        )
    try:
        if path.suffix == ".parquet":
            table = pd.read_parquet(path)
        elif path.suffix == ".jsonl":
            table = pd.read_json(path, lines=True)
        elif path.suffix in (".csv", ".tsv"):
            table = pd.read_csv(path, sep="\t" if path.suffix == ".tsv" else ",", encoding="utf-8-sig")
        else:
            raise DataError(f"A manifest should be one of {', '.join(TABLES)}. Found `{path.name}`.")
    except (ValueError, OSError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"`{path}` cannot be read as a table ({error}).") from error
    if not len(table):
        raise DataError(f"`{path}` has no rows.")
    return table.rename(columns=str)


def _modalities(table: pd.DataFrame, label: str, given: Sequence[str]) -> dict[str, list[str]]:
    if given:
        found: dict[str, list[str]] = {}
        for text in given:
            m, equals, names = text.partition("=")
            wanted = [n.strip() for n in names.split(",")]
            missing = [n for n in wanted if n not in table.columns]
            if not equals or missing:
                what = f"no column `{missing[0]}`.{nearest(missing[0], table.columns)}" if missing else "no `=`."
                raise DataError(f"`--modality {text}` should be NAME=COLUMN,COLUMN: {what}")
            found[m.strip()] = wanted
        return found
    columns: dict[str, list[str]] = {}
    for name in table.columns:
        if name != label and name not in RESERVED:
            columns.setdefault(name.partition(".")[0] if _numeric(table[name]) else name, []).append(name)
    return columns


def _numeric(column: Any) -> bool:
    return bool(column.dtype.kind in "iufb")


def _empty(value: Any) -> bool:
    return value is None or (isinstance(value, float) and value != value)


def _reader(m: str, table: pd.DataFrame, folder: Path, settings: Settings) -> tuple[Reader, list[Any]]:
    """Return how a modality is read, and its cells: told by what most of its entries are."""
    if all(_numeric(table[name]) for name in table):
        return Numbers(table.shape[1]), list(table.to_numpy(np.float32))
    if table.shape[1] > 1:
        raise DataError(
            f"Modality `{m}` mixes columns that are no numbers: {', '.join(map(str, table))}. Give texts and files one column each."
        )
    values = table.iloc[:, 0].tolist()
    first = next((v for v in values if not _empty(v)), None)
    if isinstance(first, (list, np.ndarray)):
        return Numbers(len(first)), [None if _empty(v) else v for v in values]
    texts = [None if _empty(v) else str(v) for v in values]
    suffixes = [Path(t).suffix.lower() for t in texts if t]
    paths = [None if t is None else folder / t for t in texts]
    for group, make in _file_readers(m, settings).items():
        if sum(s in group for s in suffixes) > len(suffixes) / 2:
            return make, paths
    if suffixes and sum(p is not None and p.is_dir() for p in paths) > len(paths) / 2:
        return _frames(settings), paths
    return Text(settings.tokenizer or "words", settings.length or 40), texts


def _frames(settings: Settings) -> Frames:
    return Frames(**settings.clip(fps=1.0, keep=10, frames=3, size=112))


def _file_readers(m: str, settings: Settings) -> dict[tuple[str, ...], Reader]:
    sound = Sound(settings.audio or "fbank-small")
    is_sound = any(word in m.lower() for word in SOUND_NAMES)
    return {
        VIDEO_SUFFIXES: sound if is_sound else _frames(settings),
        AUDIO_SUFFIXES: sound,
        IMAGE_SUFFIXES: Image(settings.size or 112),
        (".npy",): ArrayFile(),
    }


def _labels(column: Any) -> tuple[list[Any], str, tuple[str, ...]]:
    """Return the labels (None where there is none), the task and the classes."""
    values = column.tolist()
    present = [v for v in values if not _empty(v)]
    if not present:
        raise DataError("The label column is empty.")
    if isinstance(present[0], (list, np.ndarray)):
        return [None if _empty(v) else np.asarray(v) for v in values], "multilabel", ()
    if column.dtype.kind == "f":
        whole = all(float(v).is_integer() for v in present)
        if not (whole and len(set(present)) <= FEW):
            return [None if _empty(v) else float(v) for v in values], "regression", ()
        values = [None if _empty(v) else int(v) for v in values]  # whole numbers become floats where a cell is empty
        present = [v for v in values if v is not None]
    ordered = sorted(set(present), key=lambda v: (isinstance(v, str), v))
    return [None if _empty(v) else str(v) for v in values], "multiclass", tuple(map(str, ordered))


def _splits(table: pd.DataFrame, name: str) -> tuple[list[str], list[str]]:
    if "split" not in table:
        return [""] * len(table), []
    words = [ALIASES.get(str(v), str(v)) for v in table["split"]]
    strange = sorted(set(words) - set(SPLITS))
    if strange:
        raise DataError(
            f"`split` of `{name}` should say train, val or test of each sample. Found `{strange[0]}`.{nearest(strange[0], SPLITS)}"
        )
    return words, []


def _with(item: Item, split: str) -> Item:
    return Item(item.id, split, item.label, item.group, item.sources)
