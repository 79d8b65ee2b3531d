"""Fusions in which modalities interact: attention among tokens, and products of linear maps."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from counterpoise._validation import Interval
from counterpoise.fusion._base import Fusion
from counterpoise.records import Presence

__all__ = ["Attention", "LowRankTensor"]


class Attention(Fusion):
    r"""A small Transformer over one token per modality and a class token, followed by a linear head on the class token.

    Token m is :math:`P_m h_m + e_m` with a learned vector :math:`e_m`. The layers normalise first and have no dropout
    (Vaswani et al., "Attention Is All You Need", NeurIPS 2017; the class token as in Devlin et al., "BERT", NAACL
    2019). The fusion is not additive, and it is symmetric in the modalities. A modality that is missing from
    ``features`` has no token, and nothing attends to the token of a modality that a sample lacks.

    Args:
        feature_dims: D_m by modality, in order.
        num_outputs: C.
        layers: Number of layers.
        heads: Number of attention heads per layer.

    Example:
        >>> fusion = Attention({"a": 2, "b": 3}, num_outputs=4, layers=2, heads=2)
        >>> fusion({"a": torch.ones(5, 2), "b": torch.ones(5, 3)}).shape
        torch.Size([5, 4])
    """

    absent = "skip"

    def __init__(self, feature_dims: Mapping[str, int], num_outputs: int, *, layers: int = 1, heads: int = 4) -> None:
        super().__init__(feature_dims, num_outputs)
        for name, value in (("layers", layers), ("heads", heads)):
            Interval(1, integer=True).check("attention", name, value)
        width = -(-max(feature_dims.values()) // heads) * heads  # the next multiple of the number of heads
        self.projections = nn.ModuleDict({f"token_{m}": nn.Linear(d, width) for m, d in feature_dims.items()})
        self.vectors = nn.ParameterDict({f"vector_{m}": 0.02 * torch.randn(width) for m in feature_dims})
        self.class_token = nn.Parameter(0.02 * torch.randn(width))
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(width, heads, 2 * width, dropout=0.0, batch_first=True, norm_first=True)
            for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, num_outputs)

    def forward(self, features: Mapping[str, Tensor], present: Presence | None = None) -> Tensor:
        """See `Fusion.forward`."""
        names = [m for m in self.feature_dims if m in features]
        tokens = [self.projections[f"token_{m}"](features[m]) + self.vectors[f"vector_{m}"] for m in names]
        sequence = torch.stack([self.class_token.expand_as(tokens[0]).to(tokens[0].dtype), *tokens], dim=1)
        ignored = None
        if present is not None:  # the class token is always present
            ignored = torch.stack([torch.zeros_like(present[names[0]]), *(~present[m] for m in names)], dim=1)
        for layer in self.layers:
            sequence = layer(sequence, src_key_padding_mask=ignored)
        return self.head(self.norm(sequence[:, 0]))


class LowRankTensor(Fusion):
    r"""Low-rank tensor fusion: :math:`z = \sum_{r \le R} w_r \prod_m W_m^{(r)} [h_m; 1] + b`, a product per output.

    Liu et al., "Efficient Low-rank Multimodal Fusion with Modality-Specific Factors", ACL 2018. It equals tensor fusion
    (Zadeh et al., "Tensor Fusion Network for Multimodal Sentiment Analysis", EMNLP 2017), which reads the outer product
    of all :math:`[h_m; 1]`, with a weight of rank R, at the cost of :math:`R \sum_m D_m` instead of :math:`\prod_m
    D_m`. The fusion is not additive, and it is symmetric in the modalities. The factors are initialised so that their
    product has the scale of one of them. The product is over the modalities that a sample has.

    Args:
        feature_dims: D_m by modality, in order.
        num_outputs: C.
        rank: R.

    Example:
        >>> fusion = LowRankTensor({"a": 2, "b": 3}, num_outputs=4, rank=2)
        >>> fusion({"a": torch.ones(5, 2), "b": torch.ones(5, 3)}).shape
        torch.Size([5, 4])
    """

    absent = "skip"

    def __init__(self, feature_dims: Mapping[str, int], num_outputs: int, *, rank: int = 4) -> None:
        super().__init__(feature_dims, num_outputs)
        Interval(1, integer=True).check("low-rank-tensor", "rank", rank)
        self.factors = nn.ParameterDict(
            {f"factor_{m}": torch.randn(rank, num_outputs, d + 1) * (d + 1) ** -0.5 for m, d in feature_dims.items()}
        )
        self.mixture = nn.Parameter(torch.full((rank,), rank**-0.5))
        self.bias = nn.Parameter(torch.zeros(num_outputs))

    def forward(self, features: Mapping[str, Tensor], present: Presence | None = None) -> Tensor:
        """See `Fusion.forward`."""
        product: Tensor | None = None
        for m in self.feature_dims:
            weight, bias = self.factors[f"factor_{m}"].split([self.feature_dims[m], 1], dim=-1)
            mapped = torch.einsum("bd,rcd->brc", features[m], weight) + bias.squeeze(-1)
            if present is not None:
                mapped = mapped.masked_fill(~present[m].view(-1, 1, 1), 1)
            product = mapped if product is None else product * mapped
        assert product is not None  # a model has at least one modality
        return torch.einsum("brc,r->bc", product, self.mixture) + self.bias
