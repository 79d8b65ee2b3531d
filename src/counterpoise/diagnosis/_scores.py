"""Scores on clean and on corrupted inputs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from torch import Tensor

from counterpoise._notes import Notes
from counterpoise.corruptions import Corruption
from counterpoise.diagnosis._calls import PERMUTED
from counterpoise.diagnosis._used import Used
from counterpoise.evaluation.metrics import scores
from counterpoise.evaluation.robustness import CorruptionScore
from counterpoise.valuation.inputs import EstimatorInput

SHOWN_SCORES = ("accuracy", "r2", "nll", "ece")


def scores_of(problem: EstimatorInput, logits: Tensor) -> dict[str, float]:
    """Return the score of the task and those that are always shown, where they are defined."""
    known = scores(problem.task, logits, problem.target)
    return {k: known[k] for k in dict.fromkeys((problem.task.score_name, *SHOWN_SCORES)) if k in known}


def corrupted_scores(
    used: Used, corruptions: Iterable[Corruption], permuted: Mapping[str, Tensor | None], notes: Notes
) -> tuple[CorruptionScore, ...]:
    """Return scores with each modality corrupted; corruptions that the model refuses are left out with a note.

    Args:
        used: The predictions.
        corruptions: The corruptions.
        permuted: Logits with each modality permuted, which are known already.
        notes: Get a note for what is left out.
    """
    rows = []
    for m in used.modalities:
        for corruption in corruptions:
            if corruption == PERMUTED:
                logits = permuted[m]
            else:
                used.predictor.progress(f"{m}: {corruption}")
                logits = notes.optional(f"{m} with {corruption}", used.predictor.corrupted, m, corruption)
            known = None if logits is None else notes.optional("scores", scores_of, used.problem, logits)
            if known is not None:
                rows.append(CorruptionScore(m, corruption, known))
    return tuple(rows)
