"""Kanji: the picture of a Japanese character and its meaning in English; the class is the character's radical."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from counterpoise._files import read_npz
from counterpoise.data._core import SPLITS, DataInfo, Modality, MultimodalData, Split

__all__ = ["FAMILIES", "hash_words", "kanji", "split_rows"]

FILE: Final = Path(__file__).parent / "kanji.npz"
COLUMNS: Final = 1024
SPLIT_SEED: Final = 1000
FAMILIES: Final = (
    "tree",
    "water",
    "grass",
    "mouth",
    "hand",
    "person",
    "heart",
    "metal",
    "thread",
    "speech",
    "earth",
    "insect",
    "bamboo",
    "woman",
    "flesh",
    "fire",
    "jade",
    "walk",
    "sun",
    "bird",
)


def hash_words(words: Sequence[str], columns: int = COLUMNS) -> np.ndarray:
    """Return the hashed counts ``(columns,)`` float32 of words and of their parts.

    Each ``<word>`` counts 1, and each group of 3 and of 4 letters of it (angle brackets included) counts 0.5, in the
    column that CRC-32 assigns, so that the numbers are the same on every machine.

    Example:
        >>> row = hash_words(["cat"])
        >>> float(row.sum())  # <cat>; <ca, cat, at>; <cat, cat>
        3.5
    """
    row = np.zeros(columns, np.float32)
    for word in (f"<{w}>" for w in words):
        parts = [word[i : i + n] for n in (3, 4) for i in range(len(word) - n + 1)]
        for part, weight in ((word, 1.0), *((part, 0.5) for part in parts)):
            row[zlib.crc32(part.encode()) % columns] += weight
    return row


def split_rows(label: np.ndarray, number: int) -> dict[str, np.ndarray]:
    """Return the rows of train, validation and test: 70/10/20 of each class, drawn with the seed of the split.

    Args:
        label: Class of each sample, ``(N,)``.
        number: Number of the split, from 0.
    """
    rng = np.random.default_rng(SPLIT_SEED + number)
    part = np.full(len(label), "train")
    for k in range(int(label.max()) + 1):
        rows = rng.permutation(np.flatnonzero(label == k))
        test, val = round(0.2 * len(rows)), round(0.1 * len(rows))
        part[rows[:test]], part[rows[test : test + val]] = "test", "val"
    return {name: np.flatnonzero(part == name) for name in SPLITS}


def kanji(*, split: int = 0) -> MultimodalData:
    """Build the set: 2,200 characters of the 20 commonest radicals, drawn at 32 x 32, and their meanings in English.

    The picture nearly determines the class, and the words help little: a weak modality that is easy to memorise.

    Args:
        split: Number of the seeded split, 70/10/20 of each class.
    """
    raw = read_npz(FILE, ("picture", "text", "label"))
    label = raw["label"].astype(np.int64)
    lines = [line.split("\t") for line in raw["text"].tobytes().decode().split("\n")]
    whole = Split(
        {
            "picture": raw["picture"][:, None],
            "meaning": np.stack([hash_words(words.split()) for _, words in lines]),
        },
        label,
        captions={"meaning": np.array([words for _, words in lines])},
    )
    info = DataInfo(
        name="kanji",
        modalities=(Modality("picture", "image", (1, 32, 32)), Modality("meaning", "vector", (COLUMNS,))),
        task="multiclass",
        num_outputs=len(FAMILIES),
        class_names=FAMILIES,
        source="KANJIDIC2 of the Electronic Dictionary Research and Development Group, CC BY-SA 4.0; "
        "glyphs drawn with Noto Sans CJK JP",
        notes=("Split: 70/10/20 of each class, drawn with the number of the split",),
    )
    return MultimodalData(info, **{part: whole.subset(rows) for part, rows in split_rows(label, split).items()})
