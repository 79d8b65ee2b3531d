"""A small set of cached features whose test speakers are heard nowhere in training.

Written and spoken digits of ``av-mnist-speakers-weak-image``: images averaged over 2 x 2 pixels, log-mel spectrograms
over 2 x 2 cells. 1,200 training pairs of four speakers, 400 validation pairs of the same speakers, and 1,000 test pairs
of two other speakers.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import numpy as np

from counterpoise.data import MultimodalData, from_arrays, open_data
from counterpoise.experiment.folders import open_cached

__all__ = ["NAME", "open_set"]

NAME: Final = "digits-new-speakers"
SIZES: Final = {"train": 1200, "val": 400, "test": 1000}


def open_set(name: str, seed: int = 0) -> MultimodalData:
    """Return a data set of the benchmarks; of a set with several seeded splits, the one of the seed."""
    return open_speakers() if name == NAME else open_cached(name, seed)


@lru_cache(maxsize=1)
def open_speakers() -> MultimodalData:
    """Return the small set."""
    data = open_data("av-mnist-speakers-weak-image")
    parts: dict[str, list[np.ndarray]] = {"image": [], "audio": [], "label": [], "group": [], "split": []}
    for name, size in SIZES.items():
        split = data.split(name)
        rows = np.sort(np.random.default_rng(0).permutation(len(split))[:size])
        for m in ("image", "audio"):
            parts[m].append(pooled(np.asarray(split.arrays[m][rows], np.float32)))
        parts["label"].append(split.target[rows])
        parts["group"].append(split.group[rows])  # type: ignore[index]
        parts["split"].append(np.full(size, name))
    joined = {name: np.concatenate(values) for name, values in parts.items()}
    arrays = {m: joined[m] for m in ("image", "audio")}
    return from_arrays(arrays, joined["label"], name=NAME, split=joined["split"], group=joined["group"])


def pooled(images: np.ndarray) -> np.ndarray:
    """Return the means over 2 x 2 cells of 8-bit images ``(N, 1, H, W)``, in [0, 1], as rows ``(N, H W / 4)``."""
    n, _, height, width = images.shape
    means = images.reshape(n, height // 2, 2, width // 2, 2).mean((2, 4))
    return (means.reshape(n, -1) / 255).astype(np.float32)
