"""Fitting of decision rules during training."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

import torch
from torch import Tensor

from counterpoise.corruptions import corrupt_one
from counterpoise.evaluation.collect import collect, concat_outputs, to_cpu
from counterpoise.inference import Rule, masked_copies
from counterpoise.model import MultimodalClassifier, evaluation_mode
from counterpoise.records import Batch, Outputs
from counterpoise.training.datamodule import MultimodalDataModule

__all__ = ["fit_rule", "refresh_rule"]

MAX_CORRUPTED: Final = 4096
"""Maximum number of corrupted samples used to fit a decision rule. More cost time and barely improve the fit."""


def fit_rule(rule: Rule, model: MultimodalClassifier, data: MultimodalDataModule, seed: int) -> None:
    """Fit a rule on the held-out samples, and on corrupted copies of them if the rule uses copies.

    Args:
        rule: The rule; it is moved to the CPU.
        model: The model before it is trained on the held-out samples.
        data: The data, with its held-out samples.
        seed: Seed of the corruptions.
    """
    refresh_rule(rule, model, data)
    generator = torch.Generator().manual_seed(seed)

    def corrupted() -> Iterator[Batch]:
        for batch in data.held_out_pass():
            yield replace(batch, inputs=corrupt_one(batch.inputs, generator=generator))

    count = min(rule.copies, -(-MAX_CORRUPTED // max(len(data.held), 1)))
    copies = [collect(model, corrupted())[0] for _ in range(count)]
    outputs, target = collect(model, data.held_out_pass())
    rule.to("cpu").fit(outputs, target, copies)
    if not data.data.is_complete:
        rule.fit_patterns(*_with_patterns(model, outputs, target, seed), len(target))


@torch.no_grad()
def _with_patterns(model: MultimodalClassifier, outputs: Outputs, target: Tensor, seed: int) -> tuple[Outputs, Tensor]:
    """Return outputs of held-out samples and of masked copies, in which the model uses only the modalities that the
    masks leave.

    Only the heads run again; for a model whose heads need more than feature vectors, no masked copies are made.
    """
    if not model.separable:
        return outputs, target
    masked, rows = masked_copies(outputs, seed)
    assert masked.present is not None
    device = next(model.parameters()).device
    present = {m: mask.to(device) for m, mask in masked.present.items()}
    features = {m: z[rows].to(device) for m, z in outputs.features.items()}
    with evaluation_mode(model):
        copies = to_cpu(model.decode(features, present=present))
    return concat_outputs([outputs, copies]), torch.cat([target, target[rows]])


def refresh_rule(rule: Rule, model: MultimodalClassifier, data: MultimodalDataModule) -> None:
    """Update the statistics of training samples under the current encoders, if the rule uses them."""
    if rule.needs_training_samples:
        rule.to("cpu").refresh(*collect(model, data.train_sample()))
