"""Synthetic benchmarks with known information as data sets of the catalogue."""

from __future__ import annotations

from counterpoise.data import worlds
from counterpoise.data._core import MultimodalData

__all__ = ["synthetic"]


def synthetic(world: str) -> MultimodalData:
    """Draw 2,000 training samples (500 validation, 2,000 test) of a world with its default numbers.

    Args:
        world: Name of a class in `counterpoise.data.worlds`.
    """
    make = {
        "Redundant": lambda: worlds.Redundant(2, classes=4, flip=0.15, noise_dims=8),
        "Unique": lambda: worlds.Unique((2, 2), flip=0.1, noise_dims=8),
        "XOR": lambda: worlds.XOR(2, flip=0.05, noise_dims=8),
        "Dominant": lambda: worlds.Dominant(2),
    }
    return make[world]().data(2000, seed=0)
