r"""How the heads of a model are combined into one prediction.

A rule is a product of experts: expert 0 is the fused head, experts 1..M are the unimodal ones, and the result is
:math:`p(y|x) \propto \prod_k p_k(y|x)^{a_k}`. For categorical and Bernoulli likelihoods that is :math:`\sum_k a_k
l_k` of the logits; for Gaussians of equal
variance the weights are those of a mean and sum to one. Rules are pieces of their own so that methods can be compared
under the same one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
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

    def __init__(self, modalities: tuple[str, ...], task: Task) -> None:
        super().__init__()
        self.modalities = modalities
        self.task = task

    @abstractmethod
    def forward(self, outputs: Outputs) -> Tensor:
        """Return logits ``(B, C)``."""

    def fit(self, outputs: Outputs, target: Tensor) -> None:
        """Fit what the rule needs on held-out outputs; most need nothing."""

    def _product(self, experts: Tensor, weights: Tensor) -> Tensor:
        """Return the product of experts ``(K, B, C)`` with weights ``(K,)``."""
        if self.task.name == "regression":
            weights = weights / weights.sum()
        else:
            experts = experts.log_softmax(-1) if self.task.name == "multiclass" else experts
        return torch.einsum("k,kbc->bc", weights.to(experts.dtype), experts)


class Fused(Rule):
    """The fused head alone, as it is."""

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

    def forward(self, outputs: Outputs) -> Tensor:
        """Return that head's logits."""
        return outputs.unimodal_logits[self.modality]


class Ensemble(Rule):
    """The mean of the unimodal log-probabilities (of the means, for regression); the fused head is not used."""

    def forward(self, outputs: Outputs) -> Tensor:
        """Return the combined logits."""
        experts = outputs.experts()[1:]
        return self._product(experts, experts.new_full((len(experts),), 1 / len(experts)))


class FusedUnimodal(Rule):
    """The mean over the fused head's and the M unimodal heads' log-probabilities."""

    def forward(self, outputs: Outputs) -> Tensor:
        """Return the combined logits."""
        experts = outputs.experts()
        return self._product(experts, experts.new_full((len(experts),), 1 / len(experts)))


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

    def forward(self, outputs: Outputs) -> Tensor:
        """Return the combined logits."""
        return self._product(outputs.experts(), self.weights)

    @torch.enable_grad()
    def fit(self, outputs: Outputs, target: Tensor) -> None:
        """Fit the weights on held-out outputs (150 Adam steps in float64, well under a second)."""
        experts = outputs.experts().detach().double()
        theta = torch.zeros_like(self.theta, requires_grad=True)
        temperature = self.temperature.clone().requires_grad_()
        optimizer = torch.optim.Adam([theta, temperature], lr=0.05)
        for _ in range(150):
            optimizer.zero_grad()
            logits = self._product(experts, (temperature + theta).exp())
            (self.task.loss(logits, target) + 2 / len(target) * theta.square().sum()).backward()
            optimizer.step()
        self.theta.copy_(theta.detach())
        self.temperature.copy_(temperature.detach())
        self.fitted.fill_(True)
