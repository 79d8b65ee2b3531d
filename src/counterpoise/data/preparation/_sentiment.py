"""Feature files of sentiment and emotion corpora: CMU-MOSEI, CMU-MOSI, IEMOCAP."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from counterpoise._extras import load
from counterpoise._validation import Options
from counterpoise.data.preparation._index import Index, Item, Settings
from counterpoise.data.preparation._numbers import Padded
from counterpoise.data.preparation._pickle import read_pickle
from counterpoise.errors import DataError, NotFoundError

__all__ = ["CONVENTIONS", "sentiment"]

CONVENTIONS: Final = {
    "non-negative": "two classes, neutral counts as positive (BalanceBenchmark)",
    "signed": "two classes, neutral samples are left out",
    "three": "negative, neutral, positive",
    "score": "the score itself, -3 to 3: regression",
}
"""Rules by which the sentiment score becomes a label."""
CLASSES: Final = {
    "non-negative": ("negative", "non-negative"),
    "signed": ("negative", "positive"),
    "three": ("negative", "neutral", "positive"),
}
PARTS: Final = {"train": "train", "valid": "val", "val": "val", "dev": "val", "test": "test"}
ALIASES: Final = {
    "text": ("text", "glove", "language"),
    "audio": ("audio", "covarep"),
    "vision": ("vision", "visual", "video"),
}


def sentiment(
    source: Path, settings: Settings, *, corpus: str, files: tuple[str, ...], expected: Mapping[str, int] | None = None
) -> Index:
    """Return a corpus of features.

    It is a pickle ``{train, valid, test} -> {text, audio, vision, labels, id}``, or one HDF5 file of that layout.
    Sequences of unequal length are cut to ``length`` steps (default 50) or padded with zeros in front. The score of
    MOSEI and MOSI becomes classes by a named convention (``--label``), which the notes name: 'non-negative' and
    'signed' differ in a fifth of the samples. IEMOCAP's four emotions are four labels.

    Args:
        source: The file, or the folder that holds it.
        settings: Settings of the user; ``label`` is the convention of the labels.
        corpus: Name of the corpus.
        files: Names under which the file circulates.
        expected: Published numbers of samples.
    """
    content = _content(source, files)
    convention = settings.label or "non-negative"
    Options(tuple(CONVENTIONS)).check(corpus, "label", convention)
    parts = {part: _part(content[key], corpus) for key, part in PARTS.items() if key in content}
    emotions = any(part.emotions for part in parts.values())
    items, neutral = _labelled(parts, convention)
    length = 50 if settings.length is None else settings.length
    task, classes, about = _task(emotions, convention)
    left_out = (f"{neutral} neutral samples are not part of it",) if neutral else ()
    return Index(
        items,
        _readers(items, length),
        classes,
        task=task,
        group=_group(items),
        expected={} if neutral else expected or {},
        notes=(about, f"the last {length} steps", *left_out),
        origin=corpus,
    )


def _labelled(parts: Mapping[str, _Part], convention: str) -> tuple[list[Item], int]:
    """Return the samples that have a label, and the number of those that the convention leaves out."""
    listed = [item for name, part in parts.items() for item in part.items(name, convention)]
    items = [item for item in listed if item.label is not None]
    return items, len(listed) - len(items)


def _group(items: Sequence[Item]) -> str:
    return "video" if any(item.group for item in items) else ""


def _readers(items: Sequence[Item], length: int) -> dict[str, Padded]:
    return {m: Padded(array.shape[-1], length) for m, array in items[0].sources.items()} if items else {}


def _task(emotions: bool, convention: str) -> tuple[str, tuple[str, ...], str]:
    """Return the task, its classes, and a note on both."""
    if emotions:
        return "multilabel", (), "four emotions, each present or not"
    task = "regression" if convention == "score" else "multiclass"
    return task, CLASSES.get(convention, ()), f"labels: {CONVENTIONS[convention]}"


@dataclass(frozen=True)
class _Part:
    """One split of a corpus: features by modality, labels, and ids where they are known."""

    arrays: Mapping[str, Any]
    labels: np.ndarray
    ids: Any

    @property
    def emotions(self) -> bool:
        """Whether the labels are four emotions, ``(N, 4)`` or ``(N, 4, 2)``."""
        labels = self.labels
        return (labels.ndim == 3 and labels.shape[1] > 1) or (labels.ndim == 2 and labels.shape[1] == 4)

    def items(self, split: str, convention: str) -> Iterator[Item]:
        """Yield the samples; those that the convention leaves out have no label."""
        for k, row in enumerate(self.labels):
            name = _name(self.ids, k) or f"{split}{k}"
            label = _emotions(row) if self.emotions else _label(float(np.ravel(row)[0]), convention)
            group = "" if self.ids is None else re.split(r"\[|\$_\$", name)[0]
            sources = {m: np.asarray(array[k], np.float32) for m, array in self.arrays.items()}
            yield Item(f"{split}/{name}#{k}", split, label, group, sources)


def _part(fields: Mapping[str, Any], corpus: str) -> _Part:
    arrays = {m: _named(fields, ALIASES[m], corpus) for m in tuple(ALIASES)}
    labels = np.asarray(_named(fields, ("labels", "label", "regression_labels"), corpus))
    return _Part(arrays, labels, fields.get("id", fields.get("ids")))


def _content(source: Path, files: tuple[str, ...]) -> Mapping[str, Any]:
    path = source if source.is_file() else next((p for name in files for p in sorted(source.rglob(name))), None)
    if path is None:
        raise NotFoundError(f"`{source}` should hold {' or '.join(files)}. Give the file, or its folder, as --source.")
    if path.suffix in (".h5", ".hdf5"):
        with load("h5py", "prepare").File(path) as file:
            return {part: {k: v[()] for k, v in file[part].items()} for part in file}
    content = read_pickle(path)
    if not isinstance(content, dict) or not set(PARTS) & set(content):
        raise DataError(
            f"`{path}` should be a mapping from train, valid and test. Found {', '.join(map(str, content))[:80]}."
        )
    return content


def _named(fields: Mapping[str, Any], names: tuple[str, ...], corpus: str) -> Any:
    for name in names:
        if name in fields:
            return fields[name]
    raise DataError(f"{corpus}: each split should hold `{names[0]}`. Found {', '.join(fields)}.")


def _name(ids: Any, k: int) -> str:
    if ids is None:
        return ""
    value = np.ravel(np.asarray(ids[k], dtype=object))[0]
    return value.decode() if isinstance(value, bytes) else str(value)


def _label(score: float, convention: str) -> Any:
    if convention == "score":
        return score
    if convention == "three":
        return "negative" if score < 0 else "positive" if score > 0 else "neutral"
    if convention == "signed":
        return None if score == 0 else "positive" if score > 0 else "negative"
    return "non-negative" if score >= 0 else "negative"


def _emotions(labels: np.ndarray) -> np.ndarray:
    """Return four zeros or ones: the second column of ``(4, 2)`` one-hot pairs, or ``(4,)`` as they are."""
    return (labels[:, 1] if labels.ndim == 2 else labels).astype(np.int64)
