"""Data sets on which recommendations are checked: those of the catalogue, and small ones from other packages.

- ``digits-halves``: the left and the right half of scikit-learn's 8 x 8 digits, and 40 columns of noise;
- ``cells``: scikit-learn's breast-cancer set; the mean, the error and the worst value of ten measurements of cell
  nuclei are three modalities;
- ``digits-mirrored``: the same digits under strong noise, and their mirror images under stronger noise;
- ``wine``: scikit-learn's wines; acids and minerals, phenols, and colour are three modalities;
- ``iris``: scikit-learn's irises; sepals and petals are two modalities;
- ``digits-new-speakers``: test speakers that no other split has (``benchmarks/arm/speakers.py``).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine

from counterpoise.data import MultimodalData, from_arrays

sys.path.append(str(Path(__file__).parents[1] / "arm"))
from speakers import NAME, open_set


def digits_halves() -> MultimodalData:
    """Return the halves of digits."""
    loaded = load_digits()
    pixels = (loaded.images / 16).astype(np.float32)
    noise = np.random.default_rng(0).normal(size=(len(pixels), 40)).astype(np.float32)
    arrays = {
        "left": pixels[:, :, :4].reshape(-1, 32),
        "right": pixels[:, :, 4:].reshape(-1, 32),
        "noise": noise,
    }
    return from_arrays(arrays, loaded.target, name="digits-halves")


def digits_mirrored() -> MultimodalData:
    """Return noisy digits and their noisier mirror images."""
    loaded, rng = load_digits(), np.random.default_rng(0)
    pixels = loaded.images / 16
    views = {"digit": pixels, "mirrored": pixels[:, :, ::-1]}
    arrays = {
        name: (x + rng.normal(scale=scale, size=x.shape)).reshape(-1, 64).astype(np.float32)
        for (name, x), scale in zip(views.items(), (0.5, 1.0), strict=True)
    }
    return from_arrays(arrays, loaded.target, name="digits-mirrored")


def from_columns(name: str, loaded: Any, columns: Mapping[str, Sequence[int]]) -> MultimodalData:
    """Return standardised columns of a table as modalities."""
    table = ((loaded.data - loaded.data.mean(0)) / loaded.data.std(0)).astype(np.float32)
    return from_arrays({m: table[:, list(c)] for m, c in columns.items()}, loaded.target, name=name)


def cells() -> MultimodalData:
    """Return the measurements of cell nuclei."""
    names = ("mean", "error", "worst")
    return from_columns("cells", load_breast_cancer(), {m: range(10 * k, 10 * k + 10) for k, m in enumerate(names)})


def wine() -> MultimodalData:
    """Return the wines."""
    columns = {"minerals": (0, 1, 2, 3, 4, 12), "phenols": (5, 6, 7, 8), "colour": (9, 10, 11)}
    return from_columns("wine", load_wine(), columns)


def iris() -> MultimodalData:
    """Return the irises."""
    return from_columns("iris", load_iris(), {"sepal": (0, 1), "petal": (2, 3)})


OTHERS: Final[dict[str, Callable[[], MultimodalData]]] = {
    "digits-halves": digits_halves,
    "digits-mirrored": digits_mirrored,
    "cells": cells,
    "wine": wine,
    "iris": iris,
}
EPOCHS: Final = {
    "wikipedia": 15,
    "leaves100": 10,
    "handwritten": 10,
    "cells": 15,
    "wine": 30,
    "iris": 30,
    "digits-halves": 12,
    "digits-mirrored": 12,
    NAME: 12,
    "world-dominant": 10,
    "scene15": 12,
    "smartwatch": 6,
    "kanji": 10,
    "utd-mhad": 10,
}
USED: Final = ("handwritten", "leaves100", "wikipedia", "kanji", "cells", "digits-halves", NAME)
"""Data sets that had been looked at when the candidates and the rule of choice of `recommend` were settled."""


def open_data_set(name: str) -> MultimodalData:
    """Return a data set by name."""
    return OTHERS[name]() if name in OTHERS else open_set(name, 0)
