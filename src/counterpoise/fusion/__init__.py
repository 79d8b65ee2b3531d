"""Fusions, which map one feature vector per modality to the fused logits. They have no access to targets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from counterpoise._lazy import on_first_use
from counterpoise.fusion.catalogue import FUSIONS

if TYPE_CHECKING:
    from counterpoise.fusion._base import Absent, Fusion, count_present, feature_dims_of, only_present
    from counterpoise.fusion._interaction import Attention, LowRankTensor
    from counterpoise.fusion._linear import Concat, Sum
    from counterpoise.fusion._nonlinear import FiLM, Gated, SharedHead, same_dimension

__all__ = [
    "FUSIONS",
    "Absent",
    "Attention",
    "Concat",
    "FiLM",
    "Fusion",
    "Gated",
    "LowRankTensor",
    "SharedHead",
    "Sum",
    "count_present",
    "feature_dims_of",
    "only_present",
    "same_dimension",
]

__getattr__ = on_first_use(
    __name__,
    {
        "_base": ("Absent", "Fusion", "count_present", "feature_dims_of", "only_present"),
        "_interaction": ("Attention", "LowRankTensor"),
        "_linear": ("Concat", "Sum"),
        "_nonlinear": ("FiLM", "Gated", "SharedHead", "same_dimension"),
    },
)
