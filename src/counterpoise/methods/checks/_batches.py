"""Synthetic batches of the checks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import torch
from torch import nn

from counterpoise._tree import map_leaves
from counterpoise.records import Batch

NAMES: Final = ("a", "b", "c", "d")
CLASSES, WIDTH = 3, 6


def synthetic_batches(modalities: int, count: int, seed: int, size: int = 32) -> list[Batch]:
    """Return batches in which the first columns of each input carry the class, in unit noise."""
    generator = torch.Generator().manual_seed(seed)
    target = torch.randint(CLASSES, (count * size,), generator=generator)
    inputs = {}
    for m in NAMES[:modalities]:
        x = torch.randn(len(target), WIDTH, generator=generator)
        x[:, :CLASSES] += (3.0 if m == "a" else 1.0) * nn.functional.one_hot(target, CLASSES)
        inputs[m] = x
    index = torch.arange(len(target))
    return [Batch({m: x[r] for m, x in inputs.items()}, target[r], r) for r in index.split(size)]


def incomplete(batches: Sequence[Batch], value: float) -> list[Batch]:
    """Return batches whose samples lack modalities, with ``value`` instead of the absent inputs.

    Nearly half of the inputs are absent. In the second batch no sample has the last modality, and in the third one
    sample has it.
    """
    generator = torch.Generator().manual_seed(2)
    result = []
    for number, batch in enumerate(batches):
        names = batch.modalities
        masks = torch.rand(len(names), len(batch), generator=generator) > 0.45
        if number in (1, 2):
            masks[-1] = torch.arange(len(batch)) < number - 1
        masks[0] |= ~masks.any(0)
        inputs = {
            m: map_leaves(lambda z, x=x: torch.where(x.unsqueeze(1), z, value), batch.inputs[m])
            for m, x in zip(names, masks, strict=True)
        }
        result.append(replace(batch, inputs=inputs, present=dict(zip(names, masks, strict=True))))
    return result
