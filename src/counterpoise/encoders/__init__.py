"""Small encoders.

Any ``nn.Module`` that maps one modality's input to ``(B, D)`` can be used; these are the defaults.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from counterpoise._lazy import on_first_use
from counterpoise.encoders.catalogue import DEFAULT_ENCODER, ENCODERS

if TYPE_CHECKING:
    from counterpoise.encoders._small import MLP, ConvNet, TemporalConv, TokenBag
    from counterpoise.encoders._transformers import BERT, ResNet18, SequenceTransformer, ViT

__all__ = [
    "BERT",
    "DEFAULT_ENCODER",
    "ENCODERS",
    "MLP",
    "ConvNet",
    "ResNet18",
    "SequenceTransformer",
    "TemporalConv",
    "TokenBag",
    "ViT",
]

__getattr__ = on_first_use(
    __name__,
    {
        "_small": ("MLP", "ConvNet", "TemporalConv", "TokenBag"),
        "_transformers": ("BERT", "ResNet18", "SequenceTransformer", "ViT"),
    },
)
