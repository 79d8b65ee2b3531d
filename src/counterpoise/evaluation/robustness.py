"""Scores of a trained model when the input of one modality is corrupted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor

from counterpoise._tree import take
from counterpoise.corruptions import TEST_CORRUPTIONS, Corruption, applicable, apply, moments
from counterpoise.data import Split
from counterpoise.evaluation.metrics import scores
from counterpoise.inference import Rule
from counterpoise.model import MultimodalClassifier
from counterpoise.records import Outputs

__all__ = ["CorruptionScore", "corrupted_outputs", "corruption_score", "robustness"]

BATCH: Final = 512
"""Number of samples that are encoded at a time."""
SAMPLE: Final = 2048
"""Maximum number of samples from which the moments of data that are read from files are computed."""


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
    """Yield modality, corruption and the model's outputs on a split with this corruption of the modality.

    Only the corrupted modality is encoded again, for the samples that have it. Corruptions that are undefined for an
    input (noise on token ids) are left out.

    Args:
        model: The model, in evaluation mode, on the CPU.
        split: The samples.
        clean: The model's outputs on them.
        modalities: Modalities to corrupt, one at a time.
        seed: Seed of the noise and of the permutation; the same corruption for every run.
    """
    encode = _encode_mapped if split.is_mapped else _encode_whole
    for m in modalities:
        mask = clean.mask(m)
        rows = torch.arange(len(split)) if mask is None else mask.nonzero().flatten()
        for corruption, features in encode(model, m, split, rows, seed) if len(rows) else ():
            with torch.no_grad():
                yield m, corruption, model.decode({**clean.features, m: features}, present=clean.present)


def _encode_whole(
    model: MultimodalClassifier, m: str, split: Split, rows: Tensor, seed: int
) -> Iterator[tuple[Corruption, Tensor]]:
    """Yield the features of the corrupted inputs at ``rows``, which are in memory."""
    value = split.batch(rows).inputs[m]
    for corruption in TEST_CORRUPTIONS:
        if applicable(value, corruption.kind):
            corrupted = apply(value, corruption, generator=torch.Generator().manual_seed(seed))
            with torch.no_grad():
                yield corruption, _encode(model, m, corrupted, rows, len(split))


def _encode_mapped(
    model: MultimodalClassifier, m: str, split: Split, rows: Tensor, seed: int
) -> Iterator[tuple[Corruption, Tensor]]:
    """Yield the same for one batch at a time; the unit of noise is the standard deviation of at most `SAMPLE`
    samples.
    """
    some = torch.linspace(0, len(rows) - 1, min(len(rows), split.batch_size(SAMPLE))).long()
    sample = split.batch(rows[some]).inputs[m]
    statistics = moments(sample)
    for corruption in TEST_CORRUPTIONS:
        if not applicable(sample, corruption.kind):
            continue
        generator = torch.Generator().manual_seed(seed)
        permuted = corruption.kind == "permute"
        sources = rows[torch.randperm(len(rows), generator=generator)] if permuted else rows
        features = torch.zeros(len(split), model.feature_dims[m])
        for part in torch.arange(len(rows)).split(split.batch_size(BATCH)):
            value = split.batch(sources[part]).inputs[m]
            if not permuted:
                value = apply(value, corruption, generator=generator, statistics=statistics)
            with torch.no_grad():
                features[rows[part]] = model.encoder(m)(value).float()
        yield corruption, features


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


def _encode(model: MultimodalClassifier, m: str, value: Any, rows: Tensor, size: int) -> Tensor:
    """Return the features ``(size, D_m)`` of the samples at ``rows``, and zeros for the others."""
    features = torch.zeros(size, model.feature_dims[m])
    for part in torch.arange(len(rows)).split(BATCH):
        features[rows[part]] = model.encoder(m)(take(value, part)).float()
    return features
