"""Scores of a trained model when the input of one modality is corrupted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor

from counterpoise._corruption import Corruption
from counterpoise._tree import leaves, take
from counterpoise.data import Split
from counterpoise.diagnosis._probe import changed
from counterpoise.evaluation.metrics import scores
from counterpoise.inference import Rule
from counterpoise.model import MultimodalClassifier
from counterpoise.records import Outputs

__all__ = ["CHANGES", "CorruptionScore", "corrupted_outputs", "corruption_score", "robustness"]

CHANGES: Final = {
    "noise 0.5": Corruption("noise", 0.5),
    "noise 1": Corruption("noise", 1.0),
    "noise 2": Corruption("noise", 2.0),
    "zeros": Corruption("zeros"),
    "permuted": Corruption("permute"),
}
BATCH: Final = 512


@dataclass(frozen=True)
class CorruptionScore:
    """Scores of a model with the input of one modality corrupted.

    Attributes:
        modality: The modality.
        corruption: The corruption of its input.
        scores: Scores by name, as in `counterpoise.evaluation.metrics.scores`.
    """

    modality: str
    corruption: Corruption
    scores: Mapping[str, float]


@torch.no_grad()
def corrupted_outputs(
    model: MultimodalClassifier, split: Split, clean: Outputs, modalities: Sequence[str], *, seed: int = 0
) -> Iterator[tuple[str, Corruption, Outputs]]:
    """Yield modality, corruption and the model's outputs on a split in which that modality is so corrupted.

    Only the corrupted modality is encoded again. Token ids take no noise, and such entries are absent.

    Args:
        model: The model, in evaluation mode, on the CPU.
        split: The samples.
        clean: The model's outputs on them.
        modalities: Modalities to corrupt, one at a time.
        seed: Seed of the noise and of the permutation; the same corruption for every run.
    """
    for m in modalities:
        whole = {m: split.batch(torch.arange(len(split))).inputs[m]}
        for change, corruption in CHANGES.items():
            corrupted = changed(whole, m, change, seed=seed)
            if corrupted is not None:
                with torch.no_grad():
                    yield m, corruption, model.decode({**clean.features, m: _encode(model, m, corrupted[m])})


@torch.no_grad()
def robustness(
    model: MultimodalClassifier, rule: Rule, split: Split, clean: Outputs, modalities: Sequence[str], *, seed: int = 0
) -> list[CorruptionScore]:
    """Score a rule on a split in which one modality is corrupted, for every modality and corruption.

    Args:
        model: The model, in evaluation mode, on the CPU.
        rule: The fitted decision rule.
        split: The samples.
        clean: The model's outputs on them.
        modalities: Modalities to corrupt, one at a time.
        seed: Seed of the corruptions.
    """
    target = torch.from_numpy(split.target)
    return [
        corruption_score(rule, outputs, target, m, corruption)
        for m, corruption, outputs in corrupted_outputs(model, split, clean, modalities, seed=seed)
    ]


@torch.no_grad()
def corruption_score(
    rule: Rule, outputs: Outputs, target: Tensor, modality: str, corruption: Corruption
) -> CorruptionScore:
    """Return the scores of a rule for outputs under one corruption."""
    return CorruptionScore(modality, corruption, scores(rule.task, rule(outputs), target))


def _encode(model: MultimodalClassifier, m: str, value: Any) -> torch.Tensor:
    size = len(next(iter(leaves(value).values())))
    parts = [model.encoder(m)(take(value, slice(i, i + BATCH))) for i in range(0, size, BATCH)]
    return torch.cat(parts).float()
