"""Damage to inputs, row by row: what methods train against, and what a rule of inference practises on."""

from __future__ import annotations

import torch
from torch import Tensor

from counterpoise._tree import where
from counterpoise.records import Inputs, Nested, batch_size

__all__ = ["KINDS", "corrupt", "corrupt_one"]

KINDS = ("noise", "zeros", "dropout", "swap", "mix")
SHARES = (0.3, 0.45, 0.6, 0.75)
"""Cumulative shares of the kinds in `corrupt_one`: noise .3, zeros, dropout and swap .15 each, mix .25."""


def corrupt(
    value: Nested, kind: Tensor, level: Tensor, partner: Tensor, generator: torch.Generator | None = None
) -> Nested:
    """Return a damaged copy of one modality's input.

    Args:
        value: ``(B, ...)``. Integers (tokens) take no noise, nor can they be added, and are swapped instead.
        kind: ``(B,)``, 0: normal noise of 0.3 to 3 standard deviations of the input (log-uniform in ``level``), 1: zeros,
            2: a share ``level`` of the entries zeroed, 3: another sample's, 4: itself plus 0.3 to 3 times another sample's
            (log-uniform in ``level``), as when two speak at once.
        level: ``(B,)`` in [0, 1).
        partner: ``(B,)`` which other sample.
        generator: of the noise; None takes torch's own.
    """
    if not isinstance(value, Tensor):
        return {key: corrupt(part, kind, level, partner, generator) for key, part in value.items()}
    shape = (-1, *[1] * (value.ndim - 1))
    kind, level = kind.view(shape), level.view(shape)
    swapped = value[partner]
    noisy = mixed = swapped
    kept = torch.rand(value.shape, device=value.device, generator=generator) >= level
    if value.is_floating_point():
        amount = 0.3 * 10**level
        noise = torch.randn(value.shape, device=value.device, generator=generator, dtype=value.dtype)
        noisy = value + (amount * value.std(correction=0) * noise).to(value.dtype)
        mixed = value + (amount * swapped).to(value.dtype)
    damaged = swapped
    for k, found in enumerate((noisy, torch.zeros_like(value), value * kept, swapped, mixed)):
        damaged = torch.where(kind == k, found, damaged)
    return damaged


def corrupt_one(inputs: Inputs, rate: float = 1.0, generator: torch.Generator | None = None) -> dict[str, Nested]:
    """Return inputs in which one random modality of a share ``rate`` of the samples is damaged (see `corrupt`).

    Kinds are drawn with probability .3 (noise), .25 (mix) and .15 (zeros, dropout, another sample's).

    Args:
        inputs: one tensor or nested mapping per modality.
        rate: share of the samples, in [0, 1].
        generator: of all draws, on the inputs' device; None takes torch's own.

    Example:
        >>> inputs = {"a": torch.ones(4, 2), "b": torch.ones(4, 2)}
        >>> damaged = corrupt_one(inputs, generator=torch.Generator().manual_seed(0))
        >>> sum(int((damaged[m] != inputs[m]).any(-1).sum()) for m in inputs) <= 4      # one modality of each sample
        True
    """
    size, device = batch_size(inputs), _device(next(iter(inputs.values())))
    hit = torch.rand(size, device=device, generator=generator) < rate
    which = torch.randint(len(inputs), (size,), device=device, generator=generator)
    kind = torch.bucketize(torch.rand(size, device=device, generator=generator), torch.tensor(SHARES, device=device))
    level = torch.rand(size, device=device, generator=generator)
    partner = torch.randperm(size, device=device, generator=generator)
    found = dict(inputs)
    for k, m in enumerate(inputs):
        found[m] = where(hit & (which == k), corrupt(inputs[m], kind, level, partner, generator), inputs[m])
    return found


def _device(value: Nested) -> torch.device:
    return value.device if isinstance(value, Tensor) else _device(next(iter(value.values())))
