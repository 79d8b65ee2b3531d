"""Fit a decision rule: when, and on which samples."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

import torch

from counterpoise.corruptions import corrupt_one
from counterpoise.evaluation.collect import collect
from counterpoise.inference import Rule
from counterpoise.model import MultimodalClassifier
from counterpoise.records import Batch
from counterpoise.training.datamodule import MultimodalDataModule

__all__ = ["fit_rule", "refresh_rule"]

MAX_CORRUPTED: Final = 4096
"""Maximum number of corrupted samples used to fit a decision rule. More cost time and barely improve the fit."""


def fit_rule(rule: Rule, model: MultimodalClassifier, data: MultimodalDataModule, seed: int) -> None:
    """Fit a rule on the held-out samples, and on corrupted copies of them if the rule uses copies.

    Args:
        rule: The rule; it is moved to the CPU.
        model: The model before it trains on the held-out samples.
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
    rule.to("cpu").fit(*collect(model, data.held_out_pass()), copies)


def refresh_rule(rule: Rule, model: MultimodalClassifier, data: MultimodalDataModule) -> None:
    """Update the statistics of training samples under the current encoders, if the rule uses them."""
    if rule.needs_training_samples:
        rule.to("cpu").refresh(*collect(model, data.train_sample()))
