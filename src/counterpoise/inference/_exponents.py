"""Exponents of a product of experts, fitted on held-out samples."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from counterpoise.tasks import Task


def equal_exponents(modalities: int) -> Tensor:
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
        theta, temperature = fit_exponents(task, experts[others], target)
        result[k - 1, others] = (temperature + theta).exp()
    return result


@torch.enable_grad()
def fit_exponents(task: Task, experts: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
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
