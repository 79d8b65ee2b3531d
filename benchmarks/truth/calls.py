"""The library's public functions as the benchmark calls them. Where a name of the API changes, only this file does."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from counterpoise import diagnose, diagnose_arrays, estimate
from counterpoise.diagnosis import Diagnosis, diagnose_csv, diagnose_file
from counterpoise.valuation import Estimate

__all__ = ["Reading", "of_arrays", "of_csv", "of_estimate", "of_model", "of_npz", "read"]


@dataclass(frozen=True)
class Reading:
    """What was reported, under the benchmark's own names.

    Attributes:
        modalities: their names.
        verdicts: by modality; empty for a bare estimate.
        entropy: H(Y) in nats.
        joint: I(X; Y).
        mi: I(X_m; Y), by modality.
        cmi: I(X_m; Y | the others), by modality.
        joint_used: information in the model's predictions, or None.
        used: the same with all other modalities averaged out, by modality; empty without a model.
        accuracy: accuracy (R² for real targets) of the model, or None.
        permuted: accuracy with a modality permuted, by modality.
        text: everything that is printed.
        notes: the notes.
    """

    modalities: tuple[str, ...]
    verdicts: Mapping[str, str]
    entropy: float
    joint: Estimate
    mi: Mapping[str, Estimate]
    cmi: Mapping[str, Estimate]
    joint_used: Estimate | None
    used: Mapping[str, Estimate]
    accuracy: float | None
    permuted: Mapping[str, float]
    text: str
    notes: tuple[str, ...]


def of_model(
    model: Callable[..., Any],
    loader: Iterable[Any],
    *,
    train: Iterable[Any] | None,
    task: str,
    group: np.ndarray | None,
    seed: int,
) -> Reading:
    """Diagnose a model."""
    return read(diagnose(model, loader, train=train, task=task, group=group, seed=seed, damage=False))


def of_arrays(features: Mapping[str, Any], target: Any, *, task: str, group: np.ndarray | None, seed: int) -> Reading:
    """Diagnose arrays."""
    return read(diagnose_arrays(features, target, task=task, group=group, seed=seed))


def of_csv(path: Path, modalities: Mapping[str, Sequence[str]], *, group: str | None, seed: int) -> Reading:
    """Diagnose a CSV file whose label is in the column ``label``."""
    return read(diagnose_csv(path, label="label", modalities=modalities, group=group, seed=seed))


def of_npz(path: Path, *, seed: int) -> Reading:
    """Diagnose an ``.npz`` file."""
    return read(diagnose_file(path, seed=seed))


def of_estimate(features: Mapping[str, Any], target: Any, *, task: str, group: np.ndarray | None, seed: int) -> Reading:
    """Estimate contributions; there are no verdicts."""
    v = estimate(features, target, task=task, group=group, seed=seed)
    return Reading(v.modalities, {}, v.entropy, v.joint_mi, v.mi, v.cmi, None, {}, None, {}, str(v), v.notes)


def read(d: Diagnosis) -> Reading:
    """Return the benchmark's view of a diagnosis."""
    used = {m: e.realised for m, e in d.evidence.items() if e.realised is not None}
    return Reading(
        modalities=d.modalities,
        verdicts={m: f.verdict for m, f in d.findings.items()},
        entropy=d.valuation.entropy,
        joint=d.valuation.joint_mi,
        mi={m: e.mi for m, e in d.evidence.items()},
        cmi={m: e.cmi for m, e in d.evidence.items()},
        joint_used=d.joint_realised,
        used=used,
        accuracy=d.clean.get("accuracy", d.clean.get("r2")),
        permuted={
            row.modality: row.scores.get("accuracy", row.scores.get("r2", np.nan))
            for row in d.corrupted
            if row.corruption.kind == "permute"
        },
        text="\n".join([repr(d), d.summary, *(f.sentence for f in d.findings.values())]),
        notes=d.notes,
    )
