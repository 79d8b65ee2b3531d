"""Fusions: from one feature vector per modality to the fused logits. They never see a target."""

from counterpoise.fusion._base import Absent, Fusion, count_present, feature_dims_of, only_present
from counterpoise.fusion._interaction import Attention, LowRankTensor
from counterpoise.fusion._linear import Concat, Sum
from counterpoise.fusion._nonlinear import FiLM, Gated, SharedHead, same_dimension
from counterpoise.fusion.catalogue import FUSIONS

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
