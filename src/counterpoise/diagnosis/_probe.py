"""Corrupted inputs of one modality."""

from __future__ import annotations

import torch
from torch import Tensor

from counterpoise._tree import leaves, map_named, take
from counterpoise.records import Inputs, Nested

__all__ = ["changed"]


def changed(inputs: Inputs, m: str, change: str, *, seed: int = 0) -> dict[str, Nested] | None:
    """Return the inputs with modality ``m`` damaged, or None where that makes no sense (the mean of token ids).

    Args:
        inputs: of all samples.
        m: which modality.
        change: zeros, mean, permuted, or noise and its strength. Noise is in standard deviations of each column for ``(N, D)``, of the whole modality
            for more axes. Leaves called ``*mask*`` are left as they are.
        seed: of the permutation and the noise.

    Example:
        >>> changed({"a": torch.tensor([[1.0], [3.0]]), "b": torch.zeros(2, 1)}, "a", "mean")["a"].flatten()
        tensor([2., 2.])
    """
    generator = torch.Generator().manual_seed(seed)
    everything = leaves(inputs[m])
    real = {k: x.is_floating_point() for k, x in everything.items() if "mask" not in k}
    if change == "permuted":
        order = torch.randperm(len(next(iter(everything.values()))), generator=generator)
        return {**inputs, m: take(inputs[m], order)}
    if change != "zeros" and not all(real.values()):
        return None

    def edit(name: str, x: Tensor) -> Tensor:
        if "mask" in name:
            return x
        if change == "zeros":
            return torch.zeros_like(x)
        if change == "mean":
            return x.mean(0, keepdim=True).expand_as(x).clone()
        spread = x.std(0, correction=0) if x.ndim <= 2 else x.std(correction=0)
        noise = torch.randn(x.shape, generator=generator, dtype=torch.float32).to(x.dtype)
        return x + float(change.split()[1]) * spread * noise

    return {**inputs, m: map_named(edit, inputs[m])}
