"""Synthetic joint distributions of modalities and a target whose information is known.

Nothing here uses the library: truths come from enumeration, determinants, quadrature or 100,000 draws, and posteriors
from Bayes' rule. All information is in nats.
"""

from world import Draw, Weights, World, channel
from world_classes import Classes
from world_reals import Heteroscedastic, Linear
from world_symbols import Discrete, Multilabel, common_copy, noisy_copies, parity, parts

__all__ = [
    "Classes",
    "Discrete",
    "Draw",
    "Heteroscedastic",
    "Linear",
    "Multilabel",
    "Weights",
    "World",
    "channel",
    "common_copy",
    "noisy_copies",
    "parity",
    "parts",
]
