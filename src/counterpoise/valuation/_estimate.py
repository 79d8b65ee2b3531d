"""`estimate`: the entry point for all estimators."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from torch import Tensor

from counterpoise._validation import Interval
from counterpoise.catalogue import user_name
from counterpoise.errors import ConfigError
from counterpoise.tasks import Task
from counterpoise.valuation._valuation import Valuation
from counterpoise.valuation.catalogue import VALUATIONS
from counterpoise.valuation.inputs import Features, prepare

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from counterpoise.valuation.incomplete import Absence

__all__ = ["estimate"]


def estimate(
    features: Features,
    target: ArrayLike | Tensor,
    *,
    task: str | Task = "auto",
    num_outputs: int | None = None,
    estimator: str = "variational",
    folds: int = 5,
    group: ArrayLike | None = None,
    seed: int = 0,
    confidence: float = 0.95,
    predictions: Mapping[tuple[str, ...], ArrayLike | Tensor] | None = None,
    present: Mapping[str, ArrayLike | Tensor] | None = None,
    absence: Absence = "auto",
) -> Valuation:
    """Estimate the information of each modality about a label, in nats.

    Args:
        features: ``{m: (N, D_m)}`` arrays or tensors (``(N,)`` for a single column; text becomes indicator columns),
            at least two modalities.
        target: ``(N,)`` labels; ``(N, C)`` zeros and ones (multi-label) or reals (regression).
        task: ``multiclass``, ``multilabel``, ``regression``, a `Task`, or ``auto``: strings and few whole numbers are
            classes, fractions and many whole numbers are reals, zeros and ones ``(N, C)`` are labels.
        num_outputs: C; inferred from the labels by default.
        estimator: A name of `VALUATIONS`.
        folds: Number of folds: heads are fitted on all folds but one and evaluated on that one.
        group: ``(N,)`` groups of samples that belong together (subject, speaker). Groups stay in one fold, and standard
            errors are computed over groups.
        seed: Seed of the folds and of all random numbers; the same seed gives the same result.
        confidence: Level of the intervals.
        predictions: Logits ``(N, C)`` of a model by the subset of modalities that it saw, such as ``{("image", "text"):
            logits}``. Because a model is a function of its inputs, its predictions give another lower bound of the
            information of its subset and of every larger one, in addition to the fitted heads. Only the estimators
            ``variational`` and ``variational-linear`` use them.
        present: ``{m: (N,) bool}``, which samples have which modality; modalities that are not named are complete. A
            row of NaN counts as absent, too, so that ``present={}`` is enough for data that mark absence by NaN. See
            `counterpoise.valuation.incomplete`.
        absence: Assumption about absence: ``completely-random``, ``random`` (on what is observed), or ``auto``, which
            tests it.

    Returns:
        A `Valuation`.

    Raises:
        DataError: For input that would silently produce incorrect results (see the message).
        ConfigError: For settings out of range.
        NotFoundError: For an unknown estimator.

    Example:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> y = rng.integers(2, size=2000)
        >>> valuation = estimate({"copy": y, "noise": rng.normal(size=2000)}, y)
        >>> f"{valuation.mi['copy'].value:.2f} {abs(valuation.cmi['noise'].value):.2f}"       # log 2 and 0
        '0.69 0.00'
    """
    Interval(0, 1, "()").check("estimate", "confidence", confidence)
    run = VALUATIONS.resolve(user_name(estimator))
    if present is not None:
        from counterpoise.valuation.incomplete import estimate_incomplete

        if predictions is not None:
            raise ConfigError("`predictions` of a model cannot be combined with `present`. Leave one of them out.")
        return estimate_incomplete(
            features,
            target,
            present,
            absence=absence,
            task=task,
            num_outputs=num_outputs,
            estimator=estimator,
            folds=folds,
            group=group,
            seed=seed,
            confidence=confidence,
        )
    problem = prepare(features, target, task=task, num_outputs=num_outputs, folds=folds, group=group, seed=seed)
    options = {} if predictions is None else {"predictions": predictions}
    if estimator.startswith("variational") or problem.copies is None:
        valuation: Valuation = run(problem, confidence=confidence, **options)
        return valuation
    # Without folds, copies cannot be kept apart, so that only distinct samples are used.
    valuation = run(problem.without_copies(), confidence=confidence, **options)
    return replace(valuation, per_sample={key: value[problem.copies] for key, value in valuation.per_sample.items()})
