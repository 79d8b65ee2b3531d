"""Small encoders.

Any ``nn.Module`` that maps one modality's input to ``(B, D)`` can be used; these are defaults for data without one.
"""

from counterpoise.encoders._small import MLP, ConvNet, TemporalConv, TokenBag
from counterpoise.encoders._transformers import BERT, ResNet18, SequenceTransformer, ViT
from counterpoise.encoders.catalogue import DEFAULT_ENCODER, ENCODERS

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
