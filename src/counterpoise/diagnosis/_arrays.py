"""Diagnosis of arrays and tables without a model: only features and labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from counterpoise._arrays import guess_task, named_arrays
from counterpoise.diagnosis._available import best_of, flags_of, from_valuation, merged
from counterpoise.diagnosis._diagnosis import Diagnosis
from counterpoise.diagnosis._evidence import Evidence, Finding, Thresholds
from counterpoise.diagnosis._frames import readable
from counterpoise.diagnosis._options import options_of
from counterpoise.diagnosis._roles import roles, shapley
from counterpoise.diagnosis._verdicts import decide, overall, unmeasured
from counterpoise.errors import DataError
from counterpoise.evaluation.sample_lists import ClassShare, by_class, sample_lists
from counterpoise.tasks import Task
from counterpoise.valuation import Valuation, estimate
from counterpoise.valuation.assembly import combine
from counterpoise.valuation.groups import too_few_groups
from counterpoise.valuation.inputs import EstimatorInput, prepare

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = ["check_class_names", "class_shares", "conclude", "diagnose_arrays", "diagnose_features"]


def diagnose_arrays(
    features: Mapping[str, ArrayLike | Tensor],
    labels: ArrayLike | Tensor | str,
    *,
    modalities: Mapping[str, Sequence[str]] | None = None,
    task: str | Task | None = None,
    **settings: Any,
) -> Diagnosis:
    """Measure how much information each modality carries about the labels, without a model.

    Verdicts are balanced, uninformative and undecided. The verdicts under-trained and overfitting need a model.

    Texts become counts of the words that recur, or times if all are ISO 8601 times. Columns without such words
    (identifiers, file names) are left out with a note.

    Args:
        features: ``{m: (N, D)}`` or ``(N,)`` numbers, text or columns of a DataFrame, at least two modalities; or one
            DataFrame with all columns.
        labels: ``(N,)`` classes, ``(N, C)`` zeros and ones, or reals; or the name of a column of the DataFrame.
        modalities: ``{name: [columns]}``, if ``features`` is a DataFrame.
        task: multiclass, multilabel or regression; by default decided from the labels, with a note where they are
            ambiguous.
        settings: ``options=DiagnosisOptions(...)`` or fields of it by name: ``estimator``, ``folds``, ``group``,
            ``class_names``, ``thresholds``, ``confidence``, ``seed``.

    Raises:
        DataError: For fewer than two modalities, no samples, one class, NaN, unequal lengths, more classes than half of
            the samples, or a modality that has only columns without recurring words.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> y = rng.integers(2, size=400)
        >>> arrays = {"good": y + rng.normal(size=400), "noise": rng.normal(size=400)}
        >>> diagnosis = diagnose_arrays(arrays, y)
        >>> diagnosis.verdict, diagnosis.findings["good"].verdict, diagnosis.findings["noise"].verdict
        ('uninformative', 'balanced', 'uninformative')
    """
    if modalities is not None:
        from counterpoise.diagnosis._tables import columns_of

        features, labels = columns_of(features, labels, modalities)
    elif hasattr(features, "columns"):
        raise DataError(
            "A DataFrame holds all columns at once. Assign them with modalities={'name': ['column', ...], ...}."
        )
    return diagnose_features(features, labels, task, settings)


def diagnose_features(
    features: Mapping[str, Any], labels: Any, task: str | Task | None, settings: Mapping[str, Any]
) -> Diagnosis:
    """Diagnose one array or data frame per modality; see `diagnose_arrays`."""
    options, call = options_of(settings, "diagnose_arrays")
    if call:
        raise DataError(f"`diagnose_arrays` has no model, so `{next(iter(call))}` has no effect. Leave it out.")
    guess = guess_task(labels) if task in (None, "auto") else None
    known = {m: _measurable(m, value) for m, value in named_arrays(features, "The features").items()}
    features, remarks = {m: x for m, (x, _) in known.items()}, [note for _, notes in known.values() for note in notes]
    chosen: str | Task = guess.task if guess is not None else task  # type: ignore[assignment]
    common: dict[str, Any] = {"folds": options.folds, "group": options.group, "seed": options.seed, "task": chosen}
    problem = prepare(features, labels, **common)
    check_class_names(problem, options.class_names)
    valuation = estimate(features, labels, estimator=options.estimator, confidence=options.confidence, **common)
    # A larger subset carries at least what a smaller one does.
    best = best_of([from_valuation(valuation, "inputs")], problem.group)
    valuation = merged(valuation, best, problem, flags_of(valuation, "inputs"))
    evidence = {m: Evidence(valuation.mi[m], valuation.cmi[m]) for m in problem.modalities}
    scale = problem.task.information_scale(problem.target)
    findings = conclude(problem.modalities, evidence, valuation, scale, options.thresholds, problem)
    verdict, summary = overall(findings, evidence)
    points = valuation.per_sample
    alone, drop = (_by_modality(points, kind, problem.modalities) for kind in ("mi", "cmi"))
    complete = len(drop) == len(alone) == len(problem.modalities)
    lists = sample_lists(alone, drop, np.arange(problem.n)) if complete else None
    notes = (*valuation.notes, *remarks, *(guess.notes if guess is not None else ()))
    return Diagnosis(
        problem.modalities,
        verdict,
        summary,
        findings,
        valuation,
        "inputs",
        evidence,
        classes=class_shares(problem, alone, options.class_names),
        samples=lists,
        thresholds=options.thresholds,
        notes=tuple(dict.fromkeys(notes)),
    )


def _measurable(m: str, value: Any) -> tuple[Any, list[str]]:
    """Return the features of a modality and notes, see `readable`.

    Raises:
        DataError: If all columns were left out.
    """
    features, notes = readable(m, value)
    if notes and not features.shape[-1]:
        raise DataError(
            f"Modality `{m}` should hold numbers, categories or texts whose words recur. Found only texts without "
            "words that recur often enough to be measured, as identifiers and file names. Leave the modality out, or "
            "turn it into numbers (for example with an embedding)."
        )
    return features, notes


def _by_modality(points: Mapping[str, np.ndarray], kind: str, modalities: Sequence[str]) -> dict[str, np.ndarray]:
    return {m: points[f"{kind}:{m}"] for m in modalities if f"{kind}:{m}" in points}


def conclude(
    modalities: tuple[str, ...],
    evidence: Mapping[str, Evidence],
    valuation: Valuation,
    scale: float,
    t: Thresholds,
    problem: EstimatorInput,
) -> dict[str, Finding]:
    """Return verdict and role of every modality."""
    share = shapley(valuation.subsets, valuation.mi, valuation.cmi)
    lattice = from_valuation(valuation, "")
    lead = {}
    for m in modalities:
        rest = max((k for k in modalities if k != m), key=lambda k: valuation.mi[k].value)
        lead[m] = combine(
            [(1.0, lattice[frozenset([m])]), (-1.0, lattice[frozenset([rest])])], problem.group, valuation.confidence
        )
    played = roles(share, lead, {m: (e.mi, e.cmi) for m, e in evidence.items()}, scale, t)
    findings = {}
    for m in modalities:
        numbers = (e.value for e in (evidence[m].mi, evidence[m].cmi))
        if {f"mi:{m}", f"cmi:{m}"} & set(valuation.too_few_samples) or not np.isfinite([*numbers]).all():
            findings[m] = unmeasured(m, grouped=too_few_groups(problem.group))
            continue
        f = decide(m, evidence[m], scale, t, nats_only=not problem.task.has_discrete_entropy)
        findings[m] = Finding(f.verdict, f.number, f.sentence, played[m])
    return findings


def class_shares(
    problem: EstimatorInput, alone: Mapping[str, np.ndarray], names: Sequence[str]
) -> tuple[ClassShare, ...]:
    """Return the information of the modalities by class (tasks with classes only)."""
    if not problem.task.has_classes or len(alone) < len(problem.modalities):
        return ()
    return by_class(alone, problem.labels, _class_names(problem, names))


def check_class_names(problem: EstimatorInput, names: Sequence[str]) -> None:
    """Raise `DataError` if there are class names, but not one for each class."""
    if problem.task.has_classes and len(known := _class_names(problem, names)) != problem.task.num_outputs:
        raise DataError(f"There should be {problem.task.num_outputs} class names. Found {len(known)}.")


def _class_names(problem: EstimatorInput, names: Sequence[str]) -> list[str]:
    return list(names) or [str(c) for c in problem.classes] or [str(k) for k in range(problem.task.num_outputs)]
