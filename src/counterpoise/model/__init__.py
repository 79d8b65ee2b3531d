"""The model: one encoder per modality, a fusion, and a linear head per modality. It has no access to targets."""

from counterpoise.model._build import build_model
from counterpoise.model._classifier import MultimodalClassifier, check_names
from counterpoise.model._gradients import Scale, scale_gradient
from counterpoise.model._modes import evaluation_mode, norms_at_rest

__all__ = [
    "MultimodalClassifier",
    "Scale",
    "build_model",
    "check_names",
    "evaluation_mode",
    "norms_at_rest",
    "scale_gradient",
]
