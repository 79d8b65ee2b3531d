"""Online probes: linear heads on detached features that measure contributions while a model trains."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from counterpoise.model import MultimodalClassifier

__all__ = ["ContributionProbes"]


class ContributionProbes(nn.Module):
    r"""Linear heads :math:`q_\mathrm{all}` and :math:`q_{-m}` for every modality, as one matrix product.

    Their cross-entropies give :math:`\hat\phi_m = CE(q_{-m}) - CE(q_\mathrm{all})`. Their gradients never reach the
    encoders. The weights start at zero, so that no random numbers are drawn.

    Args:
        model: Model whose features are read.

    Example:
        >>> from counterpoise.model import build_model
        >>> model = build_model({"a": ("vector", (4,), 0), "b": ("vector", (6,), 0)}, num_outputs=3, width=8)
        >>> probes = ContributionProbes(model)
        >>> probes(model.encode({"a": torch.zeros(5, 4), "b": torch.zeros(5, 6)})).shape     # all, -a, -b
        torch.Size([3, 5, 3])
    """

    mask: Tensor

    def __init__(self, model: MultimodalClassifier) -> None:
        super().__init__()
        self.modalities = model.modalities
        dims = [model.feature_dims[m] for m in self.modalities]
        outputs = model.task.num_outputs
        mask = torch.ones(len(dims) + 1, 1, sum(dims))
        for row, block in zip(mask[1:], mask.new_tensor(range(sum(dims))).long().split(dims), strict=True):
            row[:, block] = 0
        self.register_buffer("mask", mask, persistent=False)
        self.weight = nn.Parameter(torch.zeros(len(dims) + 1, outputs, sum(dims)))
        self.bias = nn.Parameter(torch.zeros(len(dims) + 1, outputs))

    def forward(self, features: Mapping[str, Tensor]) -> Tensor:
        """Return logits ``(M + 1, B, C)``: all modalities first, then all but each."""
        z = torch.cat([features[m].detach() for m in self.modalities], dim=-1)
        flat = z @ (self.weight * self.mask).flatten(0, 1).T + self.bias.flatten()
        return flat.unflatten(-1, self.bias.shape).transpose(0, 1)
