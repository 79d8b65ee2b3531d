"""Outputs of a model over a split, in evaluation mode."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from counterpoise import distributed
from counterpoise.errors import DataError
from counterpoise.model import MultimodalClassifier, evaluation_mode
from counterpoise.records import Batch, Outputs, concat_presence

__all__ = ["collect", "concat_outputs", "gather_outputs", "to_cpu"]


def concat_outputs(parts: Sequence[Outputs]) -> Outputs:
    """Concatenate the outputs of several batches."""
    first = parts[0]
    return Outputs(
        {m: torch.cat([p.features[m] for p in parts]) for m in first.features},
        torch.cat([p.logits for p in parts]),
        {m: torch.cat([p.unimodal_logits[m] for p in parts]) for m in first.unimodal_logits},
        concat_presence([(p.present, p.logits) for p in parts]),
    )


def to_cpu(outputs: Outputs) -> Outputs:
    """Return detached float32 outputs on the CPU."""
    return Outputs(
        {m: z.detach().float().cpu() for m, z in outputs.features.items()},
        outputs.logits.detach().float().cpu(),
        {m: z.detach().float().cpu() for m, z in outputs.unimodal_logits.items()},
        None if outputs.present is None else {m: mask.cpu() for m, mask in outputs.present.items()},
    )


def gather_outputs(outputs: Outputs, target: Tensor, device: torch.device) -> tuple[Outputs, Tensor]:
    """Return the outputs and targets of all processes on the CPU, in the order of the processes.

    Args:
        outputs: Outputs for the samples of this process.
        target: Targets of the samples.
        device: Device that the processes communicate with.
    """
    counts, lacking = zip(*distributed.exchange([len(target), outputs.present is not None], device), strict=True)

    def rows(x: Tensor) -> Tensor:
        return distributed.gather_rows(x.to(device), counts).cpu()

    masks = None
    if any(lacking):
        masks = distributed.gather_masks(outputs.modalities, outputs.present, target.to(device), counts)
    whole = Outputs(
        {m: rows(z) for m, z in outputs.features.items()},
        rows(outputs.logits),
        {m: rows(z) for m, z in outputs.unimodal_logits.items()},
        None if masks is None else {m: mask.cpu() for m, mask in masks.items()},
    )
    return whole, rows(target)


@torch.no_grad()
def collect(model: MultimodalClassifier, batches: Iterable[Batch]) -> tuple[Outputs, Tensor]:
    """Run a model in evaluation mode over batches.

    Args:
        model: The model, on any device.
        batches: Batches, on any device.

    Returns:
        The outputs for all samples, and their targets, on the CPU.

    Raises:
        DataError: If there is no batch.
    """
    device = next(model.parameters()).device
    parts, targets = [], []
    with evaluation_mode(model):
        for batch in batches:
            moved = batch.to(device)
            parts.append(to_cpu(model(moved.inputs, present=moved.present)))
            targets.append(batch.target.cpu())
    if not parts:
        raise DataError("There should be at least one batch. Found none.")
    return concat_outputs(parts), torch.cat(targets)
