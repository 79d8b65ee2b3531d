"""Fashion products: a photograph (JPEG bytes) and a title."""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from counterpoise.data._core import SPLITS, DataInfo, Modality, MultimodalData, Split
from counterpoise.errors import DataError

__all__ = ["Vocabulary", "decode_jpeg", "fashion"]

HEIGHT: Final = 80
WIDTH: Final = 60
POOL: Final = 2
LENGTH: Final = 16
RARE: Final = 2
WORD: Final = re.compile(r"[a-z0-9]+")


class Vocabulary:
    """Word ids: 0 is padding, 1 any word that the texts it was made of do not hold often enough.

    Args:
        texts: the *training* texts.
        least: how often a word must occur.

    Example:
        >>> words = Vocabulary(["Blue shirt", "blue shoes", "Blue shirt"], least=2)
        >>> len(words), words.encode(["BLUE shirt, red"], length=5)
        (4, array([[2, 3, 1, 0, 0]], dtype=int32))
    """

    def __init__(self, texts: Iterable[str], least: int = 1) -> None:
        counts = Counter(word for text in texts for word in WORD.findall(text.lower()))
        known = sorted((word for word, n in counts.items() if n >= least), key=lambda word: (-counts[word], word))
        self.ids = {word: k for k, word in enumerate(known, 2)}

    def __len__(self) -> int:
        return len(self.ids) + 2

    @property
    def words(self) -> tuple[str, ...]:
        """What each id stands for: ``words[id]``."""
        return "", "?", *self.ids

    def encode(self, texts: Sequence[str], length: int) -> np.ndarray:
        """Return ``(N, length)`` int32, cut or padded; a text without words gets one unknown."""
        rows = np.zeros((len(texts), length), dtype=np.int32)
        for row, text in zip(rows, texts, strict=True):
            ids = [self.ids.get(word, 1) for word in WORD.findall(text.lower())][:length] or [1]
            row[: len(ids)] = ids
        return rows


def decode_jpeg(content: bytes) -> np.ndarray:
    """Return ``(3, 40, 30)`` uint8: RGB, brought to 80 x 60 and averaged over blocks of 2 x 2.

    Raises:
        DataError: if the bytes are no image.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(content)) as file:
            image = file.convert("RGB")
    except (UnidentifiedImageError, OSError) as error:
        raise DataError(f"no readable image ({error})") from error
    if image.size != (WIDTH, HEIGHT):
        image = image.resize((WIDTH, HEIGHT))
    return np.asarray(image.reduce(POOL)).transpose(2, 0, 1)


def fashion(source: Path, *, masked: bool = True) -> MultimodalData:
    """Build the set: article type from photograph and title; split of the file (random 70/10/20).

    Args:
        source: raw data folder.
        masked: take the titles without the words of the article type.

    Raises:
        DataError: if the file is not laid out as published.
    """
    import pandas as pd

    path = source / "fashion_small" / "fashion_small.parquet"
    text = "title_masked" if masked else "title"
    try:
        table = pd.read_parquet(path, columns=["image_jpeg", text, "articleType", "split"])
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"`{path}` is broken or not laid out as published ({error}). Download it again.") from error
    images, notes = _decode(table["image_jpeg"].tolist())
    table = table.iloc[sorted(images)]
    pixels = np.stack([images[k] for k in sorted(images)])
    class_names, target = np.unique(table["articleType"].to_numpy(str), return_inverse=True)
    part_of = table["split"].to_numpy(str)
    titles = table[text].fillna("").tolist()
    words = Vocabulary((title for title, part in zip(titles, part_of, strict=True) if part == "train"), RARE)
    whole = Split({"image": pixels, "title": words.encode(titles, LENGTH)}, target.astype(np.int64))
    info = DataInfo(
        name="fashion" if masked else "fashion-titles",
        modalities=(
            Modality("image", "image", pixels.shape[1:]),
            Modality("title", "tokens", (LENGTH,), vocabulary=len(words), words=words.words),
        ),
        task="multiclass",
        num_outputs=len(class_names),
        class_names=tuple(map(str, class_names)),
        source="Fashion Product Images (Small), P. Aggarwal; photographs by Myntra",
        notes=(
            f"{text}: {len(words)} ids (0 padding, 1 unknown) of the words that occur {RARE} times or more in the training titles",
            f"images averaged over {POOL}x{POOL} pixels",
            *notes,
        ),
    )
    return MultimodalData(info, **{part: whole.subset(np.flatnonzero(part_of == part)) for part in SPLITS})


def _decode(contents: Sequence[bytes]) -> tuple[dict[int, np.ndarray], list[str]]:
    images: dict[int, np.ndarray] = {}
    broken: list[str] = []
    for k, content in enumerate(contents):
        try:
            images[k] = decode_jpeg(content)
        except DataError as error:
            broken.append(f"left out: image {k}, {error}")
    if not images:
        raise DataError("None of the images can be read. Download the file again.")
    return images, broken
