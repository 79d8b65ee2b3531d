r"""Measures of a model rather than of information: the loss of its predictions without a modality.

Each takes a function from inputs ``{m: tensor or nested mapping of tensors}`` to logits ``(B, C)``; any model over
several inputs will do. A modality is taken away by putting a *baseline* in its place: ``zeros``, ``mean`` (over the
samples given; integers become 0) or ``permute`` (another sample's value). What the model makes of inputs that it
never met is part of what is measured: compare baselines before trusting one.
"""

from counterpoise.valuation.model_based._drops import ablation, conditional_utilisation, perceptual_score
from counterpoise.valuation.model_based._emap import Emap, emap
from counterpoise.valuation.model_based._gradients import discrepancy_ratio, gradient_share
from counterpoise.valuation.model_based._scores import Predict, subset_scores
from counterpoise.valuation.model_based._shapley import Shapley, shapley

__all__ = [
    "Emap",
    "Predict",
    "Shapley",
    "ablation",
    "conditional_utilisation",
    "discrepancy_ratio",
    "emap",
    "gradient_share",
    "perceptual_score",
    "shapley",
    "subset_scores",
]
