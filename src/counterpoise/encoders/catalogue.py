"""The encoders by name, and which kind of modality gets which when nobody says."""

from typing import Final

from counterpoise.catalogue import Catalogue, Entry

__all__ = ["DEFAULT_ENCODER", "ENCODERS"]

ENCODERS = Catalogue(
    "encoder",
    [
        Entry("mlp", "counterpoise.encoders:MLP", "two-layer perceptron for vectors (N, D)"),
        Entry(
            "temporal-conv",
            "counterpoise.encoders:TemporalConv",
            "three 1-d convolutions for sequences (N, T, D)",
        ),
        Entry("conv", "counterpoise.encoders:ConvNet", "three 2-d convolutions for images and videos"),
        Entry("token-bag", "counterpoise.encoders:TokenBag", "mean of word embeddings for token ids (N, L)"),
        Entry("resnet18", "counterpoise.encoders:ResNet18", "ResNet-18 from scratch for images and videos"),
    ],
)

DEFAULT_ENCODER: Final = {
    "vector": "mlp",
    "sequence": "temporal-conv",
    "image": "conv",
    "video": "conv",
    "tokens": "token-bag",
}
