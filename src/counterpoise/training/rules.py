"""When and on what a rule of inference is fitted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import torch

from counterpoise.corruptions import corrupt_one
from counterpoise.evaluation.metrics import collect
from counterpoise.inference import Rule
from counterpoise.model import MultimodalClassifier
from counterpoise.records import Batch
from counterpoise.training.datamodule import MultimodalDataModule

__all__ = ["fit_rule", "refresh_rule"]

DAMAGED: Final = 4096
"""A rule practises on about so many damaged samples at most: more cost an epoch's share and teach it little."""


def fit_rule(rule: Rule, model: MultimodalClassifier, data: MultimodalDataModule, seed: int) -> None:
    """Fit a rule on what was held out, and on damaged copies of it if the rule wants them.

    Args:
        rule: to be fitted, on the CPU afterwards.
        model: as it stands before it trains on what was held out.
        data: says what is held out.
        seed: of the damage.
    """
    refresh_rule(rule, model, data)
    generator = torch.Generator().manual_seed(seed)

    def damaged() -> Iterator[Batch]:
        for batch in data.held_out_pass():
            yield Batch(corrupt_one(batch.inputs, generator=generator), batch.target, batch.index)

    count = min(rule.copies, -(-DAMAGED // max(len(data.held), 1)))
    copies = [collect(model, damaged())[0] for _ in range(count)]
    rule.to("cpu").fit(*collect(model, data.held_out_pass()), copies)


def refresh_rule(rule: Rule, model: MultimodalClassifier, data: MultimodalDataModule) -> None:
    """Show a rule training samples under the encoders as they are now, if it wants that."""
    if rule.needs_training_samples:
        rule.to("cpu").refresh(*collect(model, data.train_sample()))
