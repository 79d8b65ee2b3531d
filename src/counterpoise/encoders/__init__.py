"""Encoders: thin.

Any ``nn.Module`` that maps one modality's input to ``(B, D)`` will do; these are for data without one.
"""

from counterpoise.encoders._small import MLP, ConvNet, TemporalConv, TokenBag
from counterpoise.encoders._transformers import ResNet18
from counterpoise.encoders.catalogue import DEFAULT_ENCODER, ENCODERS

__all__ = ["DEFAULT_ENCODER", "ENCODERS", "MLP", "ConvNet", "ResNet18", "TemporalConv", "TokenBag"]
