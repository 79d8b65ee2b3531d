"""Checks of mixed precision."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from counterpoise.methods.checks._loop import optimizer_of, start_epoch, weights_of
from counterpoise.methods.checks._result import expect
from counterpoise.methods.checks._subject import Subject


def check_mixed_precision(subject: Subject) -> None:
    """Check that a step under bfloat16 autocast is finite."""
    batches = subject.batches()
    method, model = subject.prepared(subject.model(), batches)
    optimizer = optimizer_of(method, model)
    start_epoch(method, model, 0, batches)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        for record in method.steps(model, batches[0]):
            expect(bool(record.loss.isfinite()), f"The loss should be finite. Found {record.loss.item()}.")
            optimizer.step()
            optimizer.zero_grad()
    broken = [name for name, p in weights_of(model).items() if not bool(p.isfinite().all())]
    expect(not broken, f"Weights should be finite. Found values that are not in the {', '.join(broken[:3])}.")


def check_loss_scaling(subject: Subject) -> None:
    """Check that scaled losses (``16-mixed``) give the same coefficients and gradients, and that an overflowing step
    has no effect.
    """
    runs = []
    for scale in (1.0, 2.0**14):
        batches = subject.batches()
        method, model = subject.prepared(subject.model(), batches)
        start_epoch(method, model, 0, batches)
        record = next(iter(method.steps(model, batches[0], backward=_scaled(scale))))
        gradients = {name: p.grad / scale for name, p in model.named_parameters() if p.grad is not None}
        runs.append((dict(record.coefficients), gradients, method, model, batches))
    (plain, expected, *_), (scaled, gradients, method, model, batches) = runs
    for name, value in plain.items():
        expect(
            torch.allclose(value, scaled[name], rtol=1e-3, atol=1e-6),
            f"Coefficient `{name}` should not depend on the loss scale. Found {value.item():.4g} and "
            f"{scaled[name].item():.4g}. Use `measured_backward` to read gradients.",
        )
    for name, g in expected.items():
        close = torch.allclose(g, gradients[name], rtol=1e-3, atol=1e-6)
        expect(close, f"Gradients should be proportional to the loss scale. Found another one for {name}.")
    model.zero_grad()
    for _ in method.steps(model, batches[1], backward=_scaled(float("inf"))):
        model.zero_grad()
    broken = [name for name, value in method.state_dict().items() if bool(value.isnan().any())]
    expect(
        not broken,
        "A step whose gradients overflow should have no effect. Found values that are not numbers in "
        f"{', '.join(broken[:3])}. Use `keep_finite`.",
    )


def _scaled(scale: float) -> Callable[[Tensor], None]:
    def backward(loss: Tensor) -> None:
        (scale * loss).backward()

    return backward
