"""The encoders by name, and the default encoder of each kind of modality."""

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
        Entry("resnet18", "counterpoise.encoders:ResNet18", "ResNet-18 for images and videos", "He et al., CVPR 2016"),
        Entry("vit", "counterpoise.encoders:ViT", "Vision Transformer for images", "Dosovitskiy et al., ICLR 2021"),
        Entry("bert", "counterpoise.encoders:BERT", "BERT for token ids, padding masked", "Devlin et al., NAACL 2019"),
        Entry(
            "transformer",
            "counterpoise.encoders:SequenceTransformer",
            "Transformer for feature sequences, padding masked",
            "Vaswani et al., NeurIPS 2017",
        ),
    ],
    base="torch.nn:Module",
)

DEFAULT_ENCODER: Final = {
    "vector": "mlp",
    "sequence": "temporal-conv",
    "image": "conv",
    "video": "conv",
    "tokens": "token-bag",
}
