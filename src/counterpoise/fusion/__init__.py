"""Fusions: from one feature vector per modality to the fused logits. They never see a target."""

from counterpoise.fusion._base import Fusion, feature_dims_of
from counterpoise.fusion._linear import Concat, Sum
from counterpoise.fusion._nonlinear import FiLM, Gated, SharedHead
from counterpoise.fusion.catalogue import FUSIONS

__all__ = ["FUSIONS", "Concat", "FiLM", "Fusion", "Gated", "SharedHead", "Sum", "feature_dims_of"]
