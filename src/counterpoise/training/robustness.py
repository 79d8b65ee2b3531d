"""What becomes of a run's predictions when one modality of the test set is noisy, missing or another sample's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import torch

from counterpoise.data import Split
from counterpoise.diagnosis._nested import leaves, take
from counterpoise.diagnosis._probe import changed
from counterpoise.inference import Rule
from counterpoise.model import MultimodalClassifier
from counterpoise.records import Outputs
from counterpoise.training.evaluation import scores

__all__ = ["CHANGES", "robustness", "shift_metrics"]

CHANGES: Final = {
    "noise 0.5": ("noise", 0.5),
    "noise 1": ("noise", 1.0),
    "noise 2": ("noise", 2.0),
    "zeros": ("missing", 1.0),
    "permuted": ("swap", 1.0),
}
BATCH: Final = 512


@torch.no_grad()
def robustness(
    model: MultimodalClassifier, rule: Rule, split: Split, clean: Outputs, modalities: Sequence[str], *, seed: int = 0
) -> list[dict[str, Any]]:
    """Score a rule on a split in which one modality is damaged, for every modality and every damage.

    Only the damaged modality is encoded again. Noise is in standard deviations of the input; token ids take none, and such rows
    are absent.

    Args:
        model: in evaluation mode, on the CPU.
        rule: fitted.
        split: the samples.
        clean: the model's outputs on them.
        modalities: which to damage.
        seed: of the noise and of who is swapped with whom; the same damage for every run.

    Returns:
        Rows of modality, corruption (noise, missing, swap), strength and the scores of `counterpoise.training.scores`.
    """
    target = torch.from_numpy(split.target)
    rows: list[dict[str, Any]] = []
    for m in modalities:
        whole = {m: split.batch(torch.arange(len(split))).inputs[m]}
        for change, (kind, strength) in CHANGES.items():
            damaged = changed(whole, m, change, seed=seed)
            if damaged is None:
                continue
            features = _encode(model, m, damaged[m])
            outputs = model.decode({**clean.features, m: features})
            found = scores(model.task, rule(outputs), target)
            rows.append({"modality": m, "corruption": kind, "strength": strength, **found})
    return rows


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
