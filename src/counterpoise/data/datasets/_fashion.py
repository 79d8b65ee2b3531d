"""Fashion products: a photograph (JPEG bytes) and a title."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from counterpoise._extras import extra
from counterpoise.data._core import SPLITS, DataInfo, Modality, MultimodalData, Split
from counterpoise.data._vocabulary import Vocabulary
from counterpoise.errors import DataError

__all__ = ["decode_jpeg", "fashion"]

HEIGHT: Final = 80
WIDTH: Final = 60
POOL: Final = 2
LENGTH: Final = 16
RARE: Final = 2


def decode_jpeg(content: bytes) -> np.ndarray:
    """Return ``(3, 40, 30)`` uint8: RGB, brought to 80 x 60 and averaged over blocks of 2 x 2.

    Raises:
        DataError: If the bytes are no image.
    """
    with extra("data"):
        from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(content)) as file:
            image = file.convert("RGB")
    except (UnidentifiedImageError, OSError) as error:
        raise DataError(f"the image cannot be read ({error})") from error
    if image.size != (WIDTH, HEIGHT):
        image = image.resize((WIDTH, HEIGHT))
    return np.asarray(image.reduce(POOL)).transpose(2, 0, 1)


def fashion(source: Path, *, masked: bool = True) -> MultimodalData:
    """Build the set: article type from photograph and title; split of the file (random 70/10/20).

    Args:
        source: Raw data folder.
        masked: Whether to remove the words of the article type from the titles.

    Raises:
        DataError: If the file is not laid out as published.
    """
    with extra("data"):
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
            f"{text}: {len(words)} ids (0 padding, 1 unknown) of the words that occur {RARE} times or more in the "
            "training titles",
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
