"""Fusions whose logits are not a plain linear map of the concatenated features."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from counterpoise.errors import ModelError
from counterpoise.fusion._base import Fusion, count_present, only_present
from counterpoise.records import Presence

__all__ = ["FiLM", "Gated", "SharedHead"]


class FiLM(Fusion):
    r"""Feature-wise linear modulation (Perez et al., AAAI 2018): the others scale and shift the first modality.

    :math:`f_1 = P h_1`, then :math:`f_m = \gamma_m(h_m) \odot f_{m-1} + \beta_m(h_m)` for every further modality in
    order, :math:`z = W f_M + b`. The fusion is not additive, and not symmetric in the modalities. A modality that a
    sample lacks is replaced by a learned token, or by zeros.

    Example:
        >>> FiLM({"a": 2, "b": 3}, num_outputs=4)({"a": torch.ones(5, 2), "b": torch.ones(5, 3)}).shape
        torch.Size([5, 4])
    """

    def __init__(self, feature_dims: Mapping[str, int], num_outputs: int) -> None:
        super().__init__(feature_dims, num_outputs)
        first, *rest = feature_dims
        width = max(feature_dims.values())
        self.base = nn.Linear(feature_dims[first], width)
        self.films = nn.ModuleDict({f"film_{m}": nn.Linear(feature_dims[m], 2 * width) for m in rest})
        self.head = nn.Linear(width, num_outputs)

    def forward(self, features: Mapping[str, Tensor]) -> Tensor:
        """See `Fusion.forward`."""
        first, *rest = self.feature_dims
        fused = self.base(features[first])
        for m in rest:
            gamma, beta = self.films[f"film_{m}"](features[m]).chunk(2, dim=-1)
            fused = gamma * fused + beta
        return self.head(fused)


class Gated(Fusion):
    r"""Gated multimodal unit (Arevalo et al., 2017): :math:`f = \sum_m g_m \odot \tanh(W_m h_m)`, :math:`z = W f + b`.

    The gates :math:`g_m` are a softmax over the modalities, per dimension, of a linear map of all features. The fusion
    is not additive, but symmetric in the modalities. Modalities that a sample lacks have no gate.

    Example:
        >>> Gated({"a": 2, "b": 3}, num_outputs=4)({"a": torch.ones(5, 2), "b": torch.ones(5, 3)}).shape
        torch.Size([5, 4])
    """

    absent = "skip"

    def __init__(self, feature_dims: Mapping[str, int], num_outputs: int) -> None:
        super().__init__(feature_dims, num_outputs)
        self.width = max(feature_dims.values())
        self.values = nn.ModuleDict({f"value_{m}": nn.Linear(d, self.width) for m, d in feature_dims.items()})
        self.gate = nn.Linear(sum(feature_dims.values()), len(feature_dims) * self.width)
        self.head = nn.Linear(self.width, num_outputs)

    def forward(self, features: Mapping[str, Tensor], present: Presence | None = None) -> Tensor:
        """See `Fusion.forward`."""
        features = {m: only_present(features[m], m, present) for m in self.feature_dims}
        values = torch.stack([self.values[f"value_{m}"](features[m]).tanh() for m in self.feature_dims], dim=-2)
        gates = self.gate(torch.cat([features[m] for m in self.feature_dims], dim=-1))
        gates = gates.unflatten(-1, (len(self.feature_dims), self.width))
        if present is not None:
            absent = torch.stack([~present[m] for m in self.feature_dims], dim=-1).unsqueeze(-1)  # (B, M, 1)
            # The most negative number, not minus infinity: a sample without any modality would give 0 / 0.
            gates = gates.masked_fill(absent, torch.finfo(gates.dtype).min)
            values = values.masked_fill(absent, 0)
        gates = gates.softmax(-2)
        return self.head((gates * values).sum(-2))


class SharedHead(Fusion):
    r"""One linear head for all modalities: :math:`z = \frac1M \sum_m (W h_m + b)`, as in MLA.

    The mean is over the modalities that a sample has.

    Raises:
        ModelError: If the modalities' feature dimensions differ.

    Example:
        >>> fusion = SharedHead({"a": 3, "b": 3}, num_outputs=4)
        >>> fusion({"a": torch.ones(5, 3), "b": torch.ones(5, 3)}).shape
        torch.Size([5, 4])
        >>> fusion.head.weight.shape
        torch.Size([4, 3])
    """

    absent = "skip"

    def __init__(self, feature_dims: Mapping[str, int], num_outputs: int) -> None:
        super().__init__(feature_dims, num_outputs)
        self.head = nn.Linear(same_dimension(feature_dims, type(self).__name__), num_outputs)

    def forward(self, features: Mapping[str, Tensor], present: Presence | None = None) -> Tensor:
        """See `Fusion.forward`."""
        return torch.stack(list(self.slice_logits(features, present).values())).sum(0)

    def slice_logits(self, features: Mapping[str, Tensor], present: Presence | None = None) -> dict[str, Tensor]:
        """Return :math:`z_m = (W h_m + b) / M`, where M counts the modalities that a sample has; 0 for the others."""
        count = count_present(self.feature_dims, present)
        return {m: only_present(self.head(features[m]) / count, m, present) for m in self.feature_dims}


def same_dimension(feature_dims: Mapping[str, int], owner: str) -> int:
    """Return the one feature dimension of all modalities.

    Raises:
        ModelError: If they differ.
    """
    if len(set(feature_dims.values())) != 1:
        widths = ", ".join(f"`{m}`: {d}" for m, d in feature_dims.items())
        raise ModelError(
            f"`{owner}` has one head for all modalities, so all features should have the same dimension. Found "
            f"{widths}. Give the encoders the same width."
        )
    return next(iter(feature_dims.values()))
