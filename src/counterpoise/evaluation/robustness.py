"""What becomes of a run's predictions when one modality of the test set is noisy, missing or another sample's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import torch
from torch import Tensor

from counterpoise._tree import leaves, take
from counterpoise.data import Split
from counterpoise.diagnosis._probe import changed
from counterpoise.evaluation.metrics import scores
from counterpoise.inference import Rule
from counterpoise.model import MultimodalClassifier
from counterpoise.records import Outputs

__all__ = ["CHANGES", "damage_row", "damaged_outputs", "robustness", "shift_metrics"]

CHANGES: Final = {
    "noise 0.5": ("noise", 0.5),
    "noise 1": ("noise", 1.0),
    "noise 2": ("noise", 2.0),
    "zeros": ("missing", 1.0),
    "permuted": ("swap", 1.0),
}
BATCH: Final = 512


@torch.no_grad()
def damaged_outputs(
    model: MultimodalClassifier, split: Split, clean: Outputs, modalities: Sequence[str], *, seed: int = 0
) -> Iterator[tuple[str, str, float, Outputs]]:
    """Yield modality, corruption, strength and the model's outputs on a split in which that modality is so damaged.

    Only the damaged modality is encoded again. Noise is in standard deviations of the input; token ids take none, and such rows
    are absent.

    Args:
        model: in evaluation mode, on the CPU.
        split: the samples.
        clean: the model's outputs on them.
        modalities: which to damage.
        seed: of the noise and of who is swapped with whom; the same damage for every run.
    """
    for m in modalities:
        whole = {m: split.batch(torch.arange(len(split))).inputs[m]}
        for change, (kind, strength) in CHANGES.items():
            damaged = changed(whole, m, change, seed=seed)
            if damaged is not None:
                with torch.no_grad():
                    yield m, kind, strength, model.decode({**clean.features, m: _encode(model, m, damaged[m])})


@torch.no_grad()
def robustness(
    model: MultimodalClassifier, rule: Rule, split: Split, clean: Outputs, modalities: Sequence[str], *, seed: int = 0
) -> list[dict[str, Any]]:
    """Score a rule on a split in which one modality is damaged, for every modality and every damage (`damaged_outputs`).

    Args:
        model: in evaluation mode, on the CPU.
        rule: fitted.
        split: the samples.
        clean: the model's outputs on them.
        modalities: which to damage.
        seed: of the damage.

    Returns:
        Rows of modality, corruption (noise, missing, swap), strength and the scores of `counterpoise.training.scores`.
    """
    target = torch.from_numpy(split.target)
    return [
        damage_row(rule, outputs, target, m, kind, strength)
        for m, kind, strength, outputs in damaged_outputs(model, split, clean, modalities, seed=seed)
    ]


@torch.no_grad()
def damage_row(rule: Rule, outputs: Outputs, target: Tensor, m: str, kind: str, strength: float) -> dict[str, Any]:
    """Return one row of `robustness`."""
    return {"modality": m, "corruption": kind, "strength": strength, **scores(rule.task, rule(outputs), target)}


def _encode(model: MultimodalClassifier, m: str, value: Any) -> torch.Tensor:
    size = len(next(iter(leaves(value).values())))
    parts = [model.encoder(m)(take(value, slice(i, i + BATCH))) for i in range(0, size, BATCH)]
    return torch.cat(parts).float()


def shift_metrics(rows: Sequence[dict[str, Any]], score: str) -> dict[str, float]:
    """Return the mean score over all damage (``accuracy@shift``), and over the damage to each modality.

    Example:
        >>> rows = [{"modality": "a", "accuracy": 0.5}, {"modality": "b", "accuracy": 0.7}]
        >>> {k: round(v, 2) for k, v in shift_metrics(rows, "accuracy").items()}
        {'accuracy@shift': 0.6, 'accuracy@shift:a': 0.5, 'accuracy@shift:b': 0.7}
    """
    if not rows:
        return {}
    found = {f"{score}@shift": sum(r[score] for r in rows) / len(rows)}
    for m in dict.fromkeys(r["modality"] for r in rows):
        own = [r[score] for r in rows if r["modality"] == m]
        found[f"{score}@shift:{m}"] = sum(own) / len(own)
    return found
