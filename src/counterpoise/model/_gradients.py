"""Gradients that are scaled on their way back."""

from __future__ import annotations

from typing import TypeAlias

import torch
from torch import Tensor

Scale: TypeAlias = "float | Tensor"


class _ScaleGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, x: Tensor, scale: Tensor) -> Tensor:
        ctx.save_for_backward(scale)
        return x.view_as(x)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, *grads: Tensor) -> tuple[Tensor, None]:
        (scale,) = ctx.saved_tensors  # type: ignore[attr-defined]
        return grads[0] * scale.to(grads[0].dtype), None


def scale_gradient(x: Tensor, scale: Scale) -> Tensor:
    """Return ``x`` unchanged, whose gradient is multiplied by ``scale`` on its way back; 0 detaches.

    Example:
        >>> x = torch.ones(2, requires_grad=True)
        >>> scale_gradient(x, torch.tensor(0.5)).sum().backward()
        >>> x.grad
        tensor([0.5000, 0.5000])
    """
    if isinstance(scale, Tensor):
        return _ScaleGradient.apply(x, scale)
    if scale == 0:
        return x.detach()
    return x if scale == 1 else _ScaleGradient.apply(x, torch.tensor(scale, device=x.device))
