"""Linear fusions: their logits are sums over modalities, so each modality has a slice."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from counterpoise.fusion._base import Fusion, only_present
from counterpoise.records import Presence

__all__ = ["Concat", "Sum"]


class Concat(Fusion):
    r"""Late fusion by concatenation: :math:`z = W [h_1; \ldots; h_M] + b = \sum_m W_m h_m + b`.

    A modality that a sample lacks is replaced by a learned token, or by zeros.

    Example:
        >>> fusion = Concat({"a": 2, "b": 3}, num_outputs=4)
        >>> features = {"a": torch.ones(5, 2), "b": torch.ones(5, 3)}
        >>> fusion(features).shape
        torch.Size([5, 4])
        >>> torch.allclose(fusion(features), sum(fusion.slice_logits(features).values()), atol=1e-6)
        True
    """

    def __init__(self, feature_dims: Mapping[str, int], num_outputs: int) -> None:
        super().__init__(feature_dims, num_outputs)
        self.head = nn.Linear(sum(feature_dims.values()), num_outputs)

    def forward(self, features: Mapping[str, Tensor]) -> Tensor:
        """See `Fusion.forward`."""
        return self.head(torch.cat([features[m] for m in self.feature_dims], dim=-1))

    def slice_logits(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return :math:`z_m = W_m h_m + b / M`."""
        weights = self.head.weight.split(list(self.feature_dims.values()), dim=1)
        bias = self.head.bias / len(self.feature_dims)
        return {m: features[m] @ w.T + bias for m, w in zip(self.feature_dims, weights, strict=True)}


class Sum(Fusion):
    r"""Late fusion by a sum of logits: :math:`z = \sum_m (W_m h_m + b_m)`, over the modalities that a sample has.

    It represents the same functions as `Concat`; only the initialisation differs (each modality's layer is scaled by
    its own fan-in).

    Example:
        >>> Sum({"a": 2, "b": 3}, num_outputs=4)({"a": torch.ones(5, 2), "b": torch.ones(5, 3)}).shape
        torch.Size([5, 4])
    """

    absent = "skip"

    def __init__(self, feature_dims: Mapping[str, int], num_outputs: int) -> None:
        super().__init__(feature_dims, num_outputs)
        self.heads = nn.ModuleDict({m: nn.Linear(d, num_outputs) for m, d in feature_dims.items()})

    def forward(self, features: Mapping[str, Tensor], present: Presence | None = None) -> Tensor:
        """See `Fusion.forward`."""
        return torch.stack(list(self.slice_logits(features, present).values())).sum(0)

    def slice_logits(self, features: Mapping[str, Tensor], present: Presence | None = None) -> dict[str, Tensor]:
        """Return :math:`z_m = W_m h_m + b_m`, and 0 for absent modalities."""
        return {m: only_present(self.heads[m](features[m]), m, present) for m in self.feature_dims}
