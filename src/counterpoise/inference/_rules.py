r"""Decision rules: how the heads of a model are combined into one prediction.

A rule is a product of experts: expert 0 is the fused head, experts 1..M are the unimodal heads, and the result is
:math:`p(y|x) \propto \prod_k p_k(y|x)^{a_k(x)}`. The task says what that means for its likelihood (`Task.combine`): a
weighted sum of the logits of classes and labels, and a weighted mean for Gaussians of equal variance. Rules are
separate from methods, so that methods can be compared under the same rule.
"""

from __future__ import annotations

import math
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
    """A decision rule: from a model's outputs to the logits of one prediction.

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

    def refresh(self, outputs: Outputs, target: Tensor) -> None:
        """Update statistics of the training samples under the current encoders; most rules have none."""

    @torch.no_grad()
    def contributions(self, outputs: Outputs) -> dict[str, Tensor]:
        r"""Return the contribution of each modality to each prediction, without labels: ``{m: (B,)}`` in nats.

        It is :math:`KL(q(\cdot|z) \,\|\, q(\cdot|z_{-m}))`. Here q is the rule's prediction and :math:`q_{-m}` the
        product of the unimodal experts of the other modalities with the exponents `exponents_without`. The mean over
        samples estimates :math:`I(Z_m; Y | Z_{-m})` as far as both predictions are calibrated.

        Example:
            >>> from counterpoise.tasks import MultiClass
            >>> sure, unsure = torch.tensor([[5.0, 0.0]]), torch.tensor([[0.0, 0.0]])
            >>> outputs = Outputs({}, unsure, {"a": sure, "b": unsure})
            >>> contributions = Ensemble(("a", "b"), MultiClass(2)).contributions(outputs)
            >>> bool(contributions["a"] > contributions["b"])
            True
        """
        experts, prediction = outputs.experts(), self(outputs)
        without = self.exponents_without(outputs)
        return {m: self.task.kl(prediction, self._product(experts, without[m])) for m in self.modalities}

    def exponents_without(self, outputs: Outputs) -> dict[str, Tensor]:
        """Return the exponents of a prediction without each modality, ``{m: (M + 1,)}`` or ``{m: (M + 1, B)}``.

        The fused head and the head of ``m`` have exponent 0. The others keep the proportions that the rule gives them
        (they are equal if the rule uses none of them) and sum to 1, so that with two modalities the prediction without
        one is that of the other's head.
        """
        weights = self.expert_weights(outputs)
        result = {}
        for k, m in enumerate(self.modalities, 1):
            others = torch.ones_like(weights)
            others[0], others[k] = 0, 0
            rest = weights * others
            rest = torch.where(rest.sum(0) > 0, rest, others)
            result[m] = rest / rest.sum(0)
        return result

    def _product(self, experts: Tensor, weights: Tensor) -> Tensor:
        """Return the product of experts ``(K, B, C)`` with exponents ``(K,)`` or ``(K, B)``."""
        return self.task.combine(self.task.normalise(experts), weights)


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
    """The head of one modality alone.

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
    plus :math:`\frac{2}{n}|\theta|^2`. The exponents of the predictions without one modality, from which
    `contributions` follow, are fitted in the same way, on the unimodal heads of the other modalities.
    Before the fit all exponents are :math:`1/(M+1)`.

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
    without: Tensor
    fitted: Tensor

    def __init__(self, modalities: tuple[str, ...], task: Task) -> None:
        super().__init__(modalities, task)
        experts = len(modalities) + 1
        self.register_buffer("theta", torch.zeros(experts))
        self.register_buffer("temperature", torch.tensor(-math.log(experts)))
        self.register_buffer("without", _equal_exponents(len(modalities)))
        self.register_buffer("fitted", torch.tensor(False))

    @property
    def weights(self) -> Tensor:
        """The experts' exponents ``(M + 1,)``; that of the fused head is the first."""
        return (self.temperature + self.theta).exp()

    def expert_weights(self, outputs: Outputs) -> Tensor:
        """Return the fitted exponents."""
        return self.weights

    def exponents_without(self, outputs: Outputs) -> dict[str, Tensor]:
        """Return the exponents that were fitted without each modality."""
        return dict(zip(self.modalities, self.without, strict=True))

    def fit(self, outputs: Outputs, target: Tensor, corrupted: Sequence[Outputs] = ()) -> None:
        """Fit the exponents on held-out outputs (150 Adam steps in float64 on the CPU, well under a second)."""
        experts, target = outputs.experts().detach().cpu().double(), target.cpu()
        theta, temperature = _fit_exponents(self.task, experts, target)
        self.theta.copy_(theta)
        self.temperature.copy_(temperature)
        self.without.copy_(fit_without(self.task, experts, target))
        self.fitted.fill_(True)


def _equal_exponents(modalities: int) -> Tensor:
    """Return ``(M, M + 1)``: equal exponents of the other modalities' heads, 0 for the fused head and the own one."""
    others = 1 - torch.eye(modalities)
    return torch.cat([torch.zeros(modalities, 1), others / (modalities - 1)], 1)


def fit_without(task: Task, experts: Tensor, target: Tensor) -> Tensor:
    """Return ``(M, M + 1)``: the calibrated exponents of a prediction without each modality.

    Args:
        task: The likelihood.
        experts: ``(M + 1, N, C)`` logits of held-out samples in float64, the fused head's first.
        target: Targets of these samples.
    """
    result = experts.new_zeros(len(experts) - 1, len(experts))
    for k in range(1, len(experts)):
        others = [j for j in range(1, len(experts)) if j != k]
        theta, temperature = _fit_exponents(task, experts[others], target)
        result[k - 1, others] = (temperature + theta).exp()
    return result


@torch.enable_grad()
def _fit_exponents(task: Task, experts: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Return theta ``(K,)`` and t of a calibrated product of experts ``(K, N, C)``; see `Calibrated`."""
    experts = task.normalise(experts)
    theta = experts.new_zeros(len(experts), requires_grad=True)
    temperature = experts.new_tensor(-math.log(len(experts)), requires_grad=True)
    optimizer = torch.optim.Adam([theta, temperature], lr=0.05)
    for _ in range(150):
        optimizer.zero_grad()
        logits = task.combine(experts, (temperature + theta).exp())
        (task.loss(logits, target) + 2 / len(target) * theta.square().sum()).backward()
        optimizer.step()
    return theta.detach(), temperature.detach()
