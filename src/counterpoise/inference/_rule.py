r"""Decision rules: how the heads of a model are combined into one prediction.

A rule is a product of experts: expert 0 is the fused head, experts 1..M are the unimodal heads, and the result is
:math:`p(y|x) \propto \prod_k p_k(y|x)^{a_k(x)}`. The task defines it for its likelihood (`Task.combine`): a
weighted sum of the logits of classes and labels, and a weighted mean for Gaussians of equal variance. Rules are
separate from methods, so that methods can be compared under the same rule.

The heads of modalities that a sample lacks are not experts of that sample: their exponents are 0.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from counterpoise.errors import ModelError
from counterpoise.inference._patterns import expert_mask
from counterpoise.records import Outputs
from counterpoise.tasks import Task


class Rule(nn.Module, ABC):
    """Base class of decision rules, which map a model's outputs to the logits of one prediction.

    A rule holds buffers, so it has a device: move it with the model. Its buffers are float32.

    Args:
        modalities: Names of the modalities, in the model's order.
        task: The likelihood.
    """

    needs_holdout: ClassVar[bool] = False
    """Whether `fit` must be called on samples that the encoders were not trained on."""
    copies: ClassVar[int] = 0
    """Number of corrupted copies of the held-out samples that `fit` uses."""
    needs_training_samples: ClassVar[bool] = False
    """Whether `refresh` must be called on training samples before the rule is used after the encoders have changed."""

    def __init__(self, modalities: tuple[str, ...], task: Task) -> None:
        super().__init__()
        self.modalities = modalities
        self.task = task

    @abstractmethod
    def expert_weights(self, outputs: Outputs) -> Tensor:
        """Return the exponents ``(M + 1,)``, or ``(M + 1, B)`` where they depend on the sample."""

    def forward(self, outputs: Outputs) -> Tensor:
        """Return logits ``(B, C)``."""
        return self._product(outputs.experts(), self.expert_weights(outputs))

    def fit(self, outputs: Outputs, target: Tensor, corrupted: Sequence[Outputs] = ()) -> None:
        """Fit the parameters of the rule; most rules have none.

        Args:
            outputs: Outputs for held-out samples.
            target: Targets of these samples.
            corrupted: Outputs for corrupted copies of the same samples, `copies` of them.
        """

    def fit_patterns(self, outputs: Outputs, target: Tensor, samples: int | None = None) -> None:
        """Fit the parameters that depend on the pattern of presence, after `fit`; most rules have none.

        Args:
            outputs: Outputs for held-out samples that lack modalities, or for masked copies of held-out samples.
            target: Targets of these samples.
            samples: Number of distinct samples, if several rows are masked copies of one.
        """

    def refresh(self, outputs: Outputs, target: Tensor) -> None:
        """Update statistics of the training samples under the current encoders; most rules have none."""

    @torch.no_grad()
    def contributions(self, outputs: Outputs) -> dict[str, Tensor]:
        r"""Return the contribution of each modality to each prediction, without labels: ``{m: (B,)}`` in nats.

        It is :math:`KL(q(\cdot|z) \,\|\, q(\cdot|z_{-m}))`. Here q is the rule's prediction and :math:`q_{-m}` the
        product of the unimodal experts of the other modalities with the exponents `exponents_without`. The mean over
        samples estimates :math:`I(Z_m; Y | Z_{-m})` as far as both predictions are calibrated. A modality that a sample
        lacks contributes 0; for the only one that it has, :math:`q_{-m}` is `baseline`.

        Example:
            >>> from counterpoise.inference import Ensemble
            >>> from counterpoise.tasks import MultiClass
            >>> sure, unsure = torch.tensor([[5.0, 0.0]]), torch.tensor([[0.0, 0.0]])
            >>> outputs = Outputs({}, unsure, {"a": sure, "b": unsure})
            >>> contributions = Ensemble(("a", "b"), MultiClass(2)).contributions(outputs)
            >>> bool(contributions["a"] > contributions["b"])
            True
        """
        experts, prediction = outputs.experts(), self(outputs)
        without = self.exponents_without(outputs)
        if outputs.present is None:
            return {m: self.task.kl(prediction, self._product(experts, without[m])) for m in self.modalities}
        return {m: self._present_contribution(outputs, prediction, m, without[m]) for m in self.modalities}

    def _present_contribution(self, outputs: Outputs, prediction: Tensor, m: str, weights: Tensor) -> Tensor:
        assert outputs.present is not None
        experts = outputs.experts()
        alone = weights.sum(0) <= 0
        rest = self._product(experts, weights.masked_fill(alone, 1.0 / len(weights)))
        rest = torch.where(alone[:, None], self.baseline(outputs).to(rest.dtype).expand_as(rest), rest)
        return self.task.kl(prediction, rest).masked_fill(~outputs.present[m], 0)

    def baseline(self, outputs: Outputs) -> Tensor:
        """Return the logits ``(C,)`` of a prediction without any modality: zeros, unless the rule has been fitted."""
        return outputs.logits.new_zeros(self.task.num_outputs)

    @torch.no_grad()
    def expected_gains(self, outputs: Outputs) -> dict[str, Tensor]:
        """Return the expected reduction of each prediction's entropy by an absent modality, ``{m: (B,)}`` in nats.

        The gains of modalities that a sample has are 0. Rules that are not fitted on held-out samples cannot compute
        them.

        Raises:
            ModelError: If the rule is not fitted on held-out samples.
        """
        raise ModelError(
            f"The rule `{type(self).__name__}` is not fitted on held-out samples, so it cannot compute the expected "
            f"gain of an absent modality. Use `calibrated` or `dynamic`."
        )

    def exponents_without(self, outputs: Outputs) -> dict[str, Tensor]:
        """Return the exponents of a prediction without each modality, ``{m: (M + 1,)}`` or ``{m: (M + 1, B)}``.

        The fused head, the head of ``m`` and those of modalities that a sample lacks have exponent 0. The others keep
        the proportions that the rule gives them (they are equal if the rule uses none of them) and sum to 1, so that
        with two modalities the prediction without one is that of the other's head. They are all 0 if there are none.
        """
        weights = self.expert_weights(outputs)
        if outputs.present is not None and weights.ndim == 1:
            weights = weights[:, None].expand(-1, len(outputs.logits))
        result = {}
        for k, m in enumerate(self.modalities, 1):
            others = torch.ones_like(weights) if outputs.present is None else expert_mask(outputs).to(weights.dtype)
            others[0], others[k] = 0, 0
            rest = weights * others
            rest = torch.where(rest.sum(0) > 0, rest, others)
            total = rest.sum(0)
            result[m] = rest / (total if outputs.present is None else total.clamp_min(1e-30))
        return result

    def _product(self, experts: Tensor, weights: Tensor) -> Tensor:
        """Return the product of experts ``(K, B, C)`` with exponents ``(K,)`` or ``(K, B)``."""
        return self.task.combine(self.task.normalise(experts), weights)
