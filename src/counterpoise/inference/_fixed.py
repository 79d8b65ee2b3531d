"""Rules with fixed exponents."""

from __future__ import annotations

from torch import Tensor

from counterpoise.errors import ModelError
from counterpoise.inference._patterns import expert_mask
from counterpoise.inference._rule import Rule
from counterpoise.records import Outputs
from counterpoise.tasks import Task


def _only(k: int, outputs: Outputs) -> Tensor:
    weights = outputs.logits.new_zeros(len(outputs.unimodal_logits) + 1)
    weights[k] = 1
    return weights


class Fused(Rule):
    """The fused head alone."""

    def expert_weights(self, outputs: Outputs) -> Tensor:
        """Return 1 for the fused head."""
        return _only(0, outputs)

    def forward(self, outputs: Outputs) -> Tensor:
        """Return the fused logits."""
        return outputs.logits


class UnimodalRule(Rule):
    """The rule that uses the head of one modality alone. Samples that lack it get zeros, which for classes is the
    uniform distribution.

    Args:
        modalities: Names of the modalities, in the model's order.
        task: The likelihood.
        modality: Modality whose head predicts.
    """

    def __init__(self, modalities: tuple[str, ...], task: Task, modality: str) -> None:
        super().__init__(modalities, task)
        if modality not in modalities:
            raise ModelError(f"The model has no modality `{modality}`. It has {', '.join(modalities)}.")
        self.modality = modality

    def expert_weights(self, outputs: Outputs) -> Tensor:
        """Return 1 for that head."""
        return _only(1 + self.modalities.index(self.modality), outputs)

    def forward(self, outputs: Outputs) -> Tensor:
        """Return that head's logits."""
        return outputs.unimodal_logits[self.modality]


class Ensemble(Rule):
    """The mean of the unimodal log-probabilities (of the means, for regression); the fused head is not used.

    For a sample that lacks modalities, it is the mean over those that it has.
    """

    def expert_weights(self, outputs: Outputs) -> Tensor:
        """Return 1 / M for every unimodal head, where M counts the modalities that a sample has."""
        if outputs.present is not None:
            mask = expert_mask(outputs).to(outputs.logits.dtype)
            mask[0] = 0
            return mask / mask.sum(0)
        count = len(self.modalities)
        weights = outputs.logits.new_full((count + 1,), 1 / count)
        weights[0] = 0
        return weights


class FusedUnimodal(Rule):
    """The mean over the fused head's and the unimodal heads' log-probabilities of the modalities that a sample has."""

    def expert_weights(self, outputs: Outputs) -> Tensor:
        """Return 1 / (M + 1) for every head, where M counts the modalities that a sample has."""
        if outputs.present is not None:
            mask = expert_mask(outputs).to(outputs.logits.dtype)
            return mask / mask.sum(0)
        count = len(self.modalities) + 1
        return outputs.logits.new_full((count,), 1 / count)
