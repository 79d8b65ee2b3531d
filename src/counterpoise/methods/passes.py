"""Passes over the samples between epochs, in evaluation mode, and short training of a copy of the model."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from counterpoise._tree import concat, take
from counterpoise.errors import DataError
from counterpoise.methods.base import EpochContext, Method, present_loss
from counterpoise.methods.logits import expert_masks
from counterpoise.model import MultimodalClassifier, evaluation_mode
from counterpoise.records import Batch, concat_presence

__all__ = ["batch_rows", "concat_batches", "head_losses", "iterate_batches", "trained_alone"]

INNER_BATCH = 64


def iterate_batches(method: Method, epoch: EpochContext, which: str = "train") -> Iterable[Batch]:
    """Return the training (or held-out) samples that a method reads between epochs.

    Args:
        method: Method that reads them, for the message.
        epoch: Context of the epoch.
        which: "train" or "held_out".

    Raises:
        DataError: If the loop passes none.
    """
    offered = epoch.train if which == "train" else epoch.held_out
    if offered is None:
        raise DataError(
            f"`{type(method).__name__}` reads the {which.replace('_', '-')} samples between epochs, and the loop "
            f"passes none. Pass `EpochContext(number, total, {which}=...)` to `on_epoch_start`."
        )
    return offered()


def batch_rows(batch: Batch, rows: Tensor) -> Batch:
    """Return the given rows of a batch.

    Args:
        batch: Batch.
        rows: Positions within it.
    """
    inputs = {m: take(value, rows) for m, value in batch.inputs.items()}
    rows = rows.to(batch.target.device)
    present = None if batch.present is None else {m: mask[rows] for m, mask in batch.present.items()}
    return Batch(inputs, batch.target[rows], batch.index[rows], present)


def concat_batches(batches: Sequence[Batch]) -> Batch:
    """Return several batches as one."""
    inputs = {m: concat([b.inputs[m] for b in batches]) for m in batches[0].inputs}
    present = concat_presence([(b.present, b.target) for b in batches])
    return Batch(inputs, torch.cat([b.target for b in batches]), torch.cat([b.index for b in batches]), present)


@torch.no_grad()
def head_losses(model: MultimodalClassifier, batches: Iterable[Batch]) -> Tensor:
    """Return the mean loss per sample of the fused head and of each unimodal head, in evaluation mode.

    The mean of a unimodal head is over the samples that have its modality.

    Args:
        model: Model.
        batches: Samples.

    Returns:
        ``(M + 1,)`` float64: the fused head first.
    """
    device = next(model.parameters()).device
    total = torch.zeros(len(model.modalities) + 1, dtype=torch.float64, device=device)
    count = torch.zeros_like(total)
    with evaluation_mode(model):
        for whole in batches:
            batch = whole.to(device)
            outputs = model(batch.inputs, present=batch.present)
            nll = -model.task.log_likelihood(outputs.experts(), batch.target)
            masks = expert_masks(outputs)
            total += (nll if masks is None else nll.masked_fill(~masks, 0)).double().sum(-1)
            count += len(batch) if masks is None else masks.sum(-1)
    return total / count.clamp_min(1)


def trained_alone(
    model: MultimodalClassifier, batches: Iterable[Iterable[Batch]], head: str | None, *, lr: float, seed: int
) -> MultimodalClassifier:
    """Return a copy of the model after AdamW has trained one of its heads alone; the model and the random state are not
    changed.

    Args:
        model: Model.
        batches: Samples, once per epoch of the training; they are shuffled and divided into batches of 64.
        head: Modality whose head and encoder train; None is the fused head.
        lr: Learning rate.
        seed: Seed of the order.
    """
    device = next(model.parameters()).device
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        clone = copy.deepcopy(model)  # in the modes of its layers: frozen layers stay frozen
        optimizer = torch.optim.AdamW([p for p in clone.parameters() if p.requires_grad], lr=lr)
        for once in batches:
            for whole in once:
                for rows in torch.randperm(len(whole)).split(INNER_BATCH):
                    batch = batch_rows(whole, rows).to(device)
                    if head is None:
                        loss = clone.task.loss(clone(batch.inputs, present=batch.present).logits, batch.target)
                    else:
                        logits = clone.unimodal(batch.inputs, head, batch.present)
                        loss = present_loss(clone.task, logits, batch.target, batch.mask(head))
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()
    return clone
