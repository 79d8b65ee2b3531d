"""Conversion of the columns of a table to inputs of encoders. Everything learned from the training table is plain
JSON.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from counterpoise._columns import column_groups, is_free_text
from counterpoise._extras import extra
from counterpoise.errors import DataError, NotFoundError

__all__ = ["Table", "learn_table"]

WORDS: Final = 2000
IMAGE: Final = 32
FILES: Final = 100
"""Files that are read between two lines of progress."""
SOUND: Final = "fbank-small"
"""Recipe of sounds: three seconds, 64 mel bands."""
SUFFIXES: Final = {
    "image": (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff"),
    "sound": (".wav", ".flac", ".mp3", ".ogg", ".opus", ".m4a", ".aac", ".aif", ".aiff"),
}
"""Endings of paths by the kind of their column."""

Columns = dict[Any, Any]
"""Values by column: arrays, or Series of a DataFrame."""


class Table:
    """Conversion of the columns of each modality to one array; made by `learn_table`.

    Args:
        plan: ``{modality: [column]}``, where a column is a mapping with its name, its kind and the numbers learned from
            the training table.
    """

    def __init__(self, plan: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
        self.plan = {m: [dict(column) for column in columns] for m, columns in plan.items()}

    def arrays(self, columns: Columns, show: Callable[[str], None] = lambda text: None) -> dict[str, np.ndarray]:
        """Return ``{modality: (N, D)}``, or ``(N, C, H, W)`` for pictures and sounds.

        Args:
            columns: Values by column.
            show: Function that is called with a text before each column and every `FILES` files.
        """
        encoded = {}
        for m, plan in self.plan.items():
            parts = [_encoded(column, _column(columns, column["name"]), show) for column in plan]
            encoded[m] = parts[0] if plan[0]["kind"] in SUFFIXES else np.concatenate(parts, 1).astype(np.float32)
        return encoded

    def kinds(self) -> dict[str, str]:
        """Return ``vector`` or ``image`` by modality."""
        return {m: "image" if plan[0]["kind"] in SUFFIXES else "vector" for m, plan in self.plan.items()}


def learn_table(columns: Columns, groups: Mapping[str, Sequence[Any]] | None) -> Table:
    """Learn how to encode the columns of a training table.

    Args:
        columns: Values by column.
        groups: Columns of each modality; by default one modality for numbers and categories, one for texts, and one for
            each column of paths of pictures or sounds.

    Raises:
        DataError: For a column in two modalities, dates, or pictures or sounds and other columns in one modality.
        NotFoundError: For an unknown column.
    """
    chosen = None if groups is None else column_groups(groups, list(columns))
    names = list(columns) if chosen is None else [name for group in chosen.values() for name in group]
    learned = {name: _learn(name, columns[name]) for name in names}
    chosen = chosen if chosen is not None else _by_kind(learned)
    for m, group in chosen.items():
        if len(group) > 1 and any(learned[name]["kind"] in SUFFIXES for name in group):
            raise DataError(f"Modality `{m}` should have one column: pictures and sounds are modalities of their own.")
    return Table({m: [learned[name] for name in group] for m, group in chosen.items()})


def _by_kind(learned: Mapping[Any, Mapping[str, Any]]) -> dict[str, list[Any]]:
    groups: dict[str, list[Any]] = {}
    for name, column in learned.items():
        kind = column["kind"]
        groups.setdefault(str(name) if kind in SUFFIXES else "text" if kind == "text" else "table", []).append(name)
    return groups


def _column(columns: Columns, name: Any) -> np.ndarray:
    # Names are strings after a round trip through JSON.
    value = columns[name] if name in columns else next((v for k, v in columns.items() if str(k) == str(name)), None)
    if value is None:
        raise NotFoundError(f"The table has no column `{name}`. It has: {', '.join(map(str, columns))}.")
    return value


def _encoded(column: Mapping[str, Any], values: Any, show: Callable[[str], None]) -> np.ndarray:
    """Return one column as an array; pictures and sounds are read in parts."""
    encode = _ENCODE[column["kind"]]
    if column["kind"] not in SUFFIXES:
        show(f"reading `{column['name']}`")
        return encode(column, values)
    paths = _words(values)
    parts = []
    for start in range(0, len(paths), FILES):
        show(f"reading `{column['name']}`, {start} of {len(paths)}")
        parts.append(encode(column, paths[start : start + FILES]))
    return np.concatenate(parts) if parts else encode(column, paths)


# -- one column --------------------------------------------------------------------------------------------------------


def _learn(name: Any, column: Any) -> dict[str, Any]:
    kind = str(getattr(column, "dtype", ""))
    if "datetime" in kind or "timedelta" in kind:
        raise DataError(f"Column `{name}` holds dates. Turn them into numbers first (a year, an age, an hour).")
    numbers = None if kind == "category" else _numbers(column)
    if numbers is not None:
        return {"name": name, "kind": "number", **_scale(numbers)}
    words = _words(column)
    distinct = sorted({w for w in words if w is not None})
    media = next((media for media, suffixes in SUFFIXES.items() if _are_files(distinct, suffixes)), None)
    if media is not None:
        return {"name": name, "kind": media}
    if kind == "category" or not is_free_text(len(distinct), len(words)):
        return {"name": name, "kind": "category", "values": distinct}
    return {"name": name, "kind": "text", **_vocabulary(words)}


def _scale(numbers: np.ndarray) -> dict[str, Any]:
    """Return mean and spread of the known numbers, and whether some are missing."""
    known = numbers[np.isfinite(numbers)]
    mean, spread = (float(known.mean()), float(known.std())) if len(known) else (0.0, 1.0)
    return {"mean": mean, "spread": spread or 1.0, "missing": bool(np.isnan(numbers).any())}


def _are_files(words: Sequence[str], suffixes: tuple[str, ...]) -> bool:
    """Return whether all words are paths with one of the suffixes, and the first of these files exists."""
    return bool(words) and all(w.lower().endswith(suffixes) for w in words) and Path(words[0]).is_file()


def _numbers(column: Any) -> np.ndarray | None:
    """Return numbers with NaN where they are missing, or None for a column of words."""
    if hasattr(column, "to_numpy") and str(getattr(column, "dtype", "")) not in ("object", "str", "string"):
        try:
            return np.asarray(column.to_numpy(dtype=np.float64, na_value=np.nan))
        except (TypeError, ValueError):
            return None
    values = np.asarray(column, dtype=object)
    if any(isinstance(v, str) for v in values):
        return None
    try:
        return np.array([np.nan if _absent(v) else float(v) for v in values])
    except (TypeError, ValueError):
        return None


def _absent(value: Any) -> bool:
    return value is None or value is getattr(value, "NA", ...) or type(value).__name__ in ("NAType", "NaTType")


def _words(column: Any) -> list[str | None]:
    values = np.asarray(column, dtype=object)
    return [None if _absent(v) or v != v else str(v) for v in values]


def _tokens(text: str | None) -> list[str]:
    return re.findall(r"\w+", (text or "").lower())


def _vocabulary(words: Sequence[str | None]) -> dict[str, Any]:
    counts = Counter(token for text in words for token in set(_tokens(text)))
    kept = [w for w, k in sorted(counts.items(), key=lambda item: (-item[1], item[0])) if k > 1][:WORDS]
    return {"words": kept, "weights": [float(np.log((1 + len(words)) / (1 + counts[w])) + 1) for w in kept]}


def _encode_number(column: Mapping[str, Any], values: Any) -> np.ndarray:
    numbers = _numbers(values)
    if numbers is None:
        raise DataError(f"Column `{column['name']}` should hold numbers. Found words.")
    missing = np.isnan(numbers)
    scaled = np.where(missing, 0.0, (numbers - column["mean"]) / column["spread"])
    scaled = np.clip(scaled, -1e6, 1e6)
    return np.stack([scaled, missing], 1) if column["missing"] else scaled[:, None]


def _encode_category(column: Mapping[str, Any], values: Any) -> np.ndarray:
    place = {value: k for k, value in enumerate(column["values"])}
    encoded = np.zeros((len(values), len(place) + 1))
    for row, word in enumerate(_words(values)):
        encoded[row, place.get(word, len(place)) if word is not None else len(place)] = 1
    return encoded


def _encode_text(column: Mapping[str, Any], values: Any) -> np.ndarray:
    place = {word: k for k, word in enumerate(column["words"])}
    weights = np.asarray(column["weights"])
    counts = np.zeros((len(values), max(len(place), 1)))
    for row, text in enumerate(_words(values)):
        for token in _tokens(text):
            if token in place:
                counts[row, place[token]] += 1
    encoded = np.log1p(counts) * (weights if len(weights) else 1.0)
    return encoded / np.maximum(np.linalg.norm(encoded, axis=1, keepdims=True), 1e-12) * 3.0


def _encode_image(column: Mapping[str, Any], values: Any) -> np.ndarray:
    with extra("data"):
        from PIL import Image

    pictures = np.zeros((len(values), 3, IMAGE, IMAGE), np.float32)
    for row, path in enumerate(_words(values)):
        if path is None:
            continue
        try:
            with Image.open(path) as picture:
                pixels = np.asarray(picture.convert("RGB").resize((IMAGE, IMAGE)), np.float32)
        except OSError as error:
            raise DataError(f"Picture `{path}` of column `{column['name']}` cannot be read: {error}.") from error
        pictures[row] = pixels.transpose(2, 0, 1) / 127.5 - 1
    return pictures


def _encode_sound(column: Mapping[str, Any], values: Any) -> np.ndarray:
    from counterpoise.data.preparation import Sound, UnreadableError

    reader = Sound(SOUND)
    sounds = np.zeros((len(values), *reader.modality("sound").shape), np.float32)
    for row, path in enumerate(_words(values)):
        if path is None:
            continue
        try:
            sounds[row] = reader.read(Path(path), lambda kind, detail: None)
        except (OSError, UnreadableError) as error:
            raise DataError(f"Sound `{path}` of column `{column['name']}` cannot be read: {error}.") from error
    return sounds


_ENCODE: Final = {
    "number": _encode_number,
    "category": _encode_category,
    "text": _encode_text,
    "image": _encode_image,
    "sound": _encode_sound,
}
