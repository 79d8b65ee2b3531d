r"""How the heads of a model are combined into one prediction.

A rule is a product of experts: expert 0 is the fused head, experts 1..M are the unimodal ones, and the result is
:math:`p(y|x) \propto \prod_k p_k(y|x)^{a_k(x)}`. For categorical and Bernoulli likelihoods that is :math:`\sum_k a_k
l_k` of the logits; for Gaussians of equal
variance the weights are those of a mean and sum to one. Rules are pieces of their own so that methods can be compared
under the same one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from counterpoise.errors import ModelError
from counterpoise.records import Outputs
from counterpoise.tasks import Task

__all__ = ["Calibrated", "Ensemble", "Fused", "FusedUnimodal", "Rule", "UnimodalRule"]


class Rule(nn.Module, ABC):
    """From a model's outputs to the logits of one prediction.

    Args:
        modalities: their names, in the model's order.
        task: the likelihood.
    """

    needs_holdout: ClassVar[bool] = False
    """Whether `fit` must be called on samples that the encoders were not trained on."""
    copies: ClassVar[int] = 0
    """How many damaged copies of the held-out samples `fit` wants."""
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

    def fit(self, outputs: Outputs, target: Tensor, damaged: Sequence[Outputs] = ()) -> None:
        """Fit what the rule needs; most need nothing.

        Args:
            outputs: of held-out samples.
            target: theirs.
            damaged: outputs of damaged copies of the same samples, `copies` of them.
        """

    def refresh(self, outputs: Outputs, target: Tensor) -> None:
        """Take in what training samples look like under the encoders as they are now; most need nothing."""

    @torch.no_grad()
    def contributions(self, outputs: Outputs) -> dict[str, Tensor]:
        r"""Return what each modality contributes to each prediction, without labels: ``{m: (B,)}`` in nats.

        :math:`KL(q(\cdot|z) \,\|\, q(\cdot|z_{-m}))`, where q is the rule's prediction and :math:`q_{-m}` the product of the unimodal
        experts of the other modalities with the same total weight. For M = 2 that is the other modality's head. Its mean over
        samples estimates :math:`I(Z_m; Y | Z_{-m})` as far as both are calibrated.

        Example:
            >>> from counterpoise.tasks import MultiClass
            >>> sure, unsure = torch.tensor([[5.0, 0.0]]), torch.tensor([[0.0, 0.0]])
            >>> found = Ensemble(("a", "b"), MultiClass(2)).contributions(Outputs({}, unsure, {"a": sure, "b": unsure}))
            >>> bool(found["a"] > found["b"])
            True
        """
        experts, whole = outputs.experts(), self(outputs)
        weights = self.expert_weights(outputs).to(experts.dtype)
        weights = weights[:, None].expand(-1, len(whole)) if weights.ndim == 1 else weights
        found = {}
        for k, m in enumerate(self.modalities, 1):
            rest = weights.clone()
            rest[0], rest[k] = 0, 0
            total = rest.sum(0)
            equal = torch.ones_like(rest)
            equal[0], equal[k] = 0, 0
            rest = torch.where(total > 0, rest, equal)
            rest = rest * (weights.sum(0) / rest.sum(0))
            found[m] = self.task.kl(whole, self._product(experts, rest))
        return found

    def _product(self, experts: Tensor, weights: Tensor) -> Tensor:
        """Return the product of experts ``(K, B, C)`` with weights ``(K,)`` or ``(K, B)``."""
        return self._combine(self._normalised(experts), weights)

    def _normalised(self, experts: Tensor) -> Tensor:
        """Return what is added up: log-probabilities, logits of single labels, or means."""
        return experts.log_softmax(-1) if self.task.name == "multiclass" else experts

    def _combine(self, experts: Tensor, weights: Tensor) -> Tensor:
        """Return the weighted sum of `_normalised` experts."""
        weights = weights / weights.sum(0) if self.task.name == "regression" else weights
        weights = weights[:, None] if weights.ndim == 1 else weights
        return (weights.to(experts.dtype)[..., None] * experts).sum(0)


def _one_hot(k: int, outputs: Outputs) -> Tensor:
    weights = outputs.logits.new_zeros(len(outputs.unimodal_logits) + 1)
    weights[k] = 1
    return weights


class Fused(Rule):
    """The fused head alone, as it is."""

    def expert_weights(self, outputs: Outputs) -> Tensor:
        """Return 1 for the fused head."""
        return _one_hot(0, outputs)

    def forward(self, outputs: Outputs) -> Tensor:
        """Return the fused logits."""
        return outputs.logits


class UnimodalRule(Rule):
    """One modality's head alone.

    Args:
        modalities: their names.
        task: the likelihood.
        modality: which one.
    """

    def __init__(self, modalities: tuple[str, ...], task: Task, modality: str) -> None:
        super().__init__(modalities, task)
        if modality not in modalities:
            raise ModelError(f"The model has no modality `{modality}`. It has {', '.join(modalities)}.")
        self.modality = modality

    def expert_weights(self, outputs: Outputs) -> Tensor:
        """Return 1 for that head."""
        return _one_hot(1 + self.modalities.index(self.modality), outputs)

    def forward(self, outputs: Outputs) -> Tensor:
        """Return that head's logits."""
        return outputs.unimodal_logits[self.modality]


class Ensemble(Rule):
    """The mean of the unimodal log-probabilities (of the means, for regression); the fused head is not used."""

    def expert_weights(self, outputs: Outputs) -> Tensor:
        """Return 1 / M for every unimodal head."""
        count = len(self.modalities)
        weights = outputs.logits.new_full((count + 1,), 1 / count)
        weights[0] = 0
        return weights


class FusedUnimodal(Rule):
    """The mean over the fused head's and the M unimodal heads' log-probabilities."""

    def expert_weights(self, outputs: Outputs) -> Tensor:
        """Return 1 / (M + 1) for every head."""
        count = len(self.modalities) + 1
        return outputs.logits.new_full((count,), 1 / count)


class Calibrated(Rule):
    r"""Held-out calibrated product of experts.

    :math:`a_k = \exp(t + \theta_k)`, fitted once on held-out samples by minimising the cross-entropy of the product
    plus :math:`\frac{2}{n}|\theta|^2`.
    Before it is fitted all weights are :math:`1/(M+1)`.

    Example:
        >>> from counterpoise.tasks import MultiClass
        >>> rule = Calibrated(("a", "b"), MultiClass(2))
        >>> y = torch.tensor([0, 1] * 50)
        >>> good, bad = 2.0 * torch.nn.functional.one_hot(y, 2) - 1, torch.zeros(100, 2)
        >>> rule.fit(Outputs({}, bad, {"a": good, "b": bad}), y)
        >>> bool(rule.weights[1] > rule.weights[0])
        True
    """

    needs_holdout = True
    theta: Tensor
    temperature: Tensor
    fitted: Tensor

    def __init__(self, modalities: tuple[str, ...], task: Task) -> None:
        super().__init__(modalities, task)
        experts = len(modalities) + 1
        self.register_buffer("theta", torch.zeros(experts, dtype=torch.float64))
        self.register_buffer("temperature", torch.tensor(-float(torch.tensor(experts).log()), dtype=torch.float64))
        self.register_buffer("fitted", torch.tensor(False))

    @property
    def weights(self) -> Tensor:
        """The experts' exponents ``(M + 1,)``: the fused head's first."""
        return (self.temperature + self.theta).exp()

    def expert_weights(self, outputs: Outputs) -> Tensor:
        """Return the fitted weights."""
        return self.weights

    @torch.enable_grad()
    def fit(self, outputs: Outputs, target: Tensor, damaged: Sequence[Outputs] = ()) -> None:
        """Fit the weights on held-out outputs (150 Adam steps in float64, well under a second)."""
        experts = self._normalised(outputs.experts().detach().double())
        theta = torch.zeros_like(self.theta, requires_grad=True)
        temperature = self.temperature.clone().requires_grad_()
        optimizer = torch.optim.Adam([theta, temperature], lr=0.05)
        for _ in range(150):
            optimizer.zero_grad()
            logits = self._combine(experts, (temperature + theta).exp())
            (self.task.loss(logits, target) + 2 / len(target) * theta.square().sum()).backward()
            optimizer.step()
        self.theta.copy_(theta.detach())
        self.temperature.copy_(temperature.detach())
        self.fitted.fill_(True)
