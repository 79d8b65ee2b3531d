"""Data sets on which recommendations are checked: those of the catalogue, and small ones from other packages.

- ``digits-halves``: the left and the right half of scikit-learn's 8 x 8 digits, and 40 columns of noise;
- ``cells``: scikit-learn's breast-cancer set; the mean, the error and the worst value of ten measurements of cell
  nuclei are three modalities;
- ``digits-new-speakers``: test speakers that no other split has (``benchmarks/arm/speakers.py``).
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
from sklearn.datasets import load_breast_cancer, load_digits

from counterpoise.data import MultimodalData, from_arrays

sys.path.append(str(Path(__file__).parents[1] / "arm"))
from speakers import NAME, open_set


def digits_halves() -> MultimodalData:
    """Return the halves of digits."""
    found = load_digits()
    pixels = (found.images / 16).astype(np.float32)
    noise = np.random.default_rng(0).normal(size=(len(pixels), 40)).astype(np.float32)
    arrays = {
        "left": pixels[:, :, :4].reshape(-1, 32),
        "right": pixels[:, :, 4:].reshape(-1, 32),
        "noise": noise,
    }
    return from_arrays(arrays, found.target, name="digits-halves")


def cells() -> MultimodalData:
    """Return the measurements of cell nuclei, standardised."""
    found = load_breast_cancer()
    columns = ((found.data - found.data.mean(0)) / found.data.std(0)).astype(np.float32)
    arrays = {name: columns[:, 10 * k : 10 * (k + 1)] for k, name in enumerate(("mean", "error", "worst"))}
    return from_arrays(arrays, found.target, name="cells")


OTHERS: Final[dict[str, Callable[[], MultimodalData]]] = {"digits-halves": digits_halves, "cells": cells}
EPOCHS: Final = {
    "digits-halves": 12,
    "cells": 15,
    NAME: 12,
    "world-dominant": 10,
    "scene15": 12,
    "smartwatch": 6,
    "utd-mhad": 10,
    "kanji": 10,
    "wikipedia": 15,
    "handwritten": 10,
    "leaves100": 10,
}
USED: Final = ("handwritten", "leaves100", "wikipedia", "kanji")
"""Data sets that had been looked at when the candidates of `recommend` were chosen."""


def open_data_set(name: str) -> MultimodalData:
    """Return a data set by name."""
    return OTHERS[name]() if name in OTHERS else open_set(name, 0)
