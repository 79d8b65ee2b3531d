r"""Measures of a model rather than of information: changes of its predictions without a modality.

Each takes a function from inputs ``{m: tensor or nested mapping of tensors}`` to logits ``(B, C)``; any model over
several inputs can be used. A modality is removed by replacing it with a *baseline*: ``zeros``, ``mean`` (over the
samples given; integers become 0) or ``permute`` (another sample's value). The result includes the model's reaction to
inputs unlike its training data, so compare several baselines.
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
