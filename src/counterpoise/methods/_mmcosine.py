"""MMCosine: a cosine head over modalities (Xu et al., ICASSP 2023)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
import torch.nn.functional as F  # noqa: N812 - the common name
from torch import Tensor, nn

from counterpoise.errors import ModelError
from counterpoise.fusion import Concat, Fusion, SharedHead, Sum, only_present
from counterpoise.methods._joint import Joint
from counterpoise.methods.base import Hyperparameter, Interval, require_multiclass
from counterpoise.model import MultimodalClassifier
from counterpoise.records import Presence

__all__ = ["CosineHead", "MMCosine"]


class CosineHead(Fusion):
    r"""Sum of cosines: :math:`z_c = s \sum_m \cos(W_{m,c}, h_m)`, without bias, in training and at inference.

    Args:
        weights: :math:`W_m`, ``(C, D_m)`` by modality.
        scale: Factor s.

    Example:
        >>> head = CosineHead({"a": torch.eye(2), "b": torch.eye(2)}, scale=10.0)
        >>> head({"a": torch.tensor([[9.0, 0.0]]), "b": torch.tensor([[0.0, 2.0]])})
        tensor([[10., 10.]], grad_fn=<SumBackward1>)
    """

    absent = "skip"

    def __init__(self, weights: Mapping[str, Tensor], scale: float = 10.0) -> None:
        super().__init__({m: w.shape[1] for m, w in weights.items()}, len(next(iter(weights.values()))))
        self.scale = scale
        self.weights = nn.ParameterDict({f"weight_{m}": w.detach().clone() for m, w in weights.items()})

    def forward(self, features: Mapping[str, Tensor], present: Presence | None = None) -> Tensor:
        """See `Fusion.forward`."""
        return torch.stack(list(self.slice_logits(features, present).values())).sum(0)

    def slice_logits(self, features: Mapping[str, Tensor], present: Presence | None = None) -> dict[str, Tensor]:
        r"""Return :math:`z_m = s \cos(W_m, h_m)`, and 0 for absent modalities."""
        slices = {
            m: self.scale * F.normalize(features[m], dim=-1, eps=1e-6) @ F.normalize(w, dim=-1, eps=1e-6).T
            for m, w in ((m, self.weights[f"weight_{m}"]) for m in self.feature_dims)
        }
        return {m: only_present(z, m, present) for m, z in slices.items()}


def head_weights(fusion: Fusion) -> dict[str, Tensor]:
    """Return :math:`W_m` of a linear fusion.

    Raises:
        ModelError: If the fusion is not linear.
    """
    if isinstance(fusion, Concat):
        parts = fusion.head.weight.split(list(fusion.feature_dims.values()), dim=1)
        return dict(zip(fusion.feature_dims, parts, strict=True))
    if isinstance(fusion, Sum):
        return {m: fusion.heads[m].get_parameter("weight") for m in fusion.feature_dims}
    if isinstance(fusion, SharedHead):
        return dict.fromkeys(fusion.feature_dims, fusion.head.weight)
    raise ModelError(
        f"`MMCosine` replaces a linear fused head by a cosine one. Found `{type(fusion).__name__}`. Use concat, sum or "
        "shared-head."
    )


class MMCosine(Joint):
    r"""Joint training with a cosine head, so that neither the norm of features nor that of weights can make a modality
    dominant.

    Xu, Feng, Zhang, Hu, "MMCosine: Multi-Modal Cosine Loss Towards Balanced Audio-Visual Fine-Grained Learning", ICASSP
    2023: :math:`L = CE(s \sum_m \cos(W_{m,c}, h_m), y)`. The model to train has `CosineHead` in place of the fused
    head, with its weights.

    Differs from the authors' code and a published toolkit, which both predict with a head that is not normalised: here
    inference uses the head that was trained. There is no strength, because the head is replaced.

    Args:
        scale: Factor s, in (0, inf); the authors use 10.

    Raises:
        ModelError: (by `prepare`) if the fused head is not linear, or for a task without classes.

    Example:
        >>> MMCosine(scale=15.0)
        MMCosine(scale=15.0)
    """

    scale = Hyperparameter(10.0, Interval(0, ends="()"))
    head_type: ClassVar[type[CosineHead]] = CosineHead

    def setup(self, model: MultimodalClassifier, target: Tensor) -> MultimodalClassifier:
        """Replace the fused head."""
        require_multiclass(self, model, "cosines are the logits of classes")
        if isinstance(model.fusion, CosineHead):
            return model
        return model.with_fusion(self.head_type(head_weights(model.fusion), self.scale))
