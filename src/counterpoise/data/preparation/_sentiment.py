"""Feature files of sentiment and emotion corpora: CMU-MOSEI, CMU-MOSI, IEMOCAP."""

from __future__ import annotations

import re
from collections.abc import Mapping
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
"""What becomes of the sentiment score."""
PARTS: Final = {"train": "train", "valid": "val", "val": "val", "dev": "val", "test": "test"}
ALIASES: Final = {
    "vision": ("vision", "visual", "video"),
    "audio": ("audio", "covarep"),
    "text": ("text", "glove", "language"),
}


def sentiment(
    source: Path, settings: Settings, *, corpus: str, files: tuple[str, ...], expected: Mapping[str, int] | None = None
) -> Index:
    """Return a corpus of features from a pickle ``{train, valid, test} -> {text, audio, vision, labels, id}``, or one HDF5 file of that layout.

    Sequences of unequal length are cut to ``length`` steps (default 50) or padded with zeros in front. The score of MOSEI and MOSI becomes classes by a named convention
    (``--label``), and which one is in the notes: 'non-negative' and 'signed' differ in a fifth of the samples. IEMOCAP's four emotions are four labels.

    Args:
        source: the file, or the folder that holds it.
        settings: what the user chose; ``label`` is the convention.
        corpus: name.
        files: names the file circulates under.
        expected: published numbers of samples.
    """
    content = _content(source, files)
    convention = settings.label or "non-negative"
    Options(tuple(CONVENTIONS)).check(corpus, "label", convention)
    items: list[Item] = []
    neutral = 0
    names = ("text", "audio", "vision")
    emotions = False
    for key, part in PARTS.items():
        if key not in content:
            continue
        fields = content[key]
        arrays = {m: _field(fields, m, corpus) for m in names}
        labels = np.asarray(_named(fields, ("labels", "label", "regression_labels"), corpus))
        ids = fields.get("id", fields.get("ids"))
        emotions = (labels.ndim == 3 and labels.shape[1] > 1) or (labels.ndim == 2 and labels.shape[1] == 4)
        for k in range(len(labels)):
            name = _name(ids, k) or f"{part}{k}"
            label = _emotions(labels[k]) if emotions else _label(float(np.ravel(labels[k])[0]), convention)
            if label is None:
                neutral += 1
                continue
            sources = {m: np.asarray(arrays[m][k], np.float32) for m in names}
            items.append(
                Item(
                    f"{part}/{name}#{k}",
                    part,
                    label,
                    re.split(r"\[|\$_\$", name)[0] if ids is not None else "",
                    sources,
                )
            )
    length = settings.length or 50
    classes = {
        "non-negative": ("negative", "non-negative"),
        "signed": ("negative", "positive"),
        "three": ("negative", "neutral", "positive"),
    }
    task = "multilabel" if emotions else "regression" if convention == "score" else "multiclass"
    return Index(
        items,
        {m: Padded(items[0].sources[m].shape[-1], length) for m in names} if items else {},
        () if emotions else classes.get(convention, ()),
        task=task,
        group="video" if any(item.group for item in items) else "",
        expected={} if neutral else expected or {},
        notes=(
            "four emotions, each present or not" if emotions else f"labels: {CONVENTIONS[convention]}",
            f"the last {length} steps",
            *([f"{neutral} neutral samples are not part of it"] if neutral else []),
        ),
        origin=corpus,
    )


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


def _field(fields: Mapping[str, Any], m: str, corpus: str) -> Any:
    return _named(fields, ALIASES[m], corpus)


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
