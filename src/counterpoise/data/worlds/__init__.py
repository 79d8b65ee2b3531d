"""Synthetic benchmarks whose information is known, so that estimates can be compared with it."""

from counterpoise.data.worlds._base import World
from counterpoise.data.worlds._discrete import XOR, DiscreteWorld, Redundant, Unique
from counterpoise.data.worlds._dominant import Dominant
from counterpoise.data.worlds._gaussian import Gaussian, GaussianClasses
from counterpoise.data.worlds._labels import ManyLabels

__all__ = [
    "XOR",
    "DiscreteWorld",
    "Dominant",
    "Gaussian",
    "GaussianClasses",
    "ManyLabels",
    "Redundant",
    "Unique",
    "World",
]
