"""A method of your own in twenty lines: encoders of modalities that lag behind get more gradient."""

from counterpoise.methods import ModulatedObjective
from counterpoise.methods.base import Hyperparameter, Interval
from counterpoise.methods.checks import check_method
from counterpoise.methods.logits import modality_means, presence_masks, unimodal_logits


class Margin(ModulatedObjective):
    """Uniform training with more gradient for encoders whose heads are right less often than the best one.

    Args:
        strength: Factor of everything that is added to joint training.
        power: Exponent of the difference in accuracy.
    """

    power = Hyperparameter(1.0, Interval(0))  # default and limits
    head_scale = 1.0  # the gradient of the unimodal heads enters the encoders, times the strength

    def scales(self, model, features, batch):
        """Return the factor of the gradient that enters each encoder."""
        logits = unimodal_logits(model, features, sliced=False, present=batch.present)  # (M, B, C)
        scores = model.task.sample_score(logits, batch.target)
        accuracy = modality_means(scores, presence_masks(model.modalities, batch.present))
        lag = (accuracy.max() - accuracy) ** self.power
        return dict(zip(features, 1 + self.strength * lag, strict=True))


if __name__ == "__main__":
    for result in check_method("__main__:Margin"):
        print(f"{result.status:8} {result.name}  {result.message}")
