"""Diagnosis of arrays: no model, only features and labels; from memory, ``.npz`` or CSV."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from counterpoise._extras import extra
from counterpoise._files import RESERVED, read_npz
from counterpoise._validation import nearest
from counterpoise.diagnosis._diagnosis import Diagnosis
from counterpoise.diagnosis._information import difference, independent, linear_information
from counterpoise.diagnosis._verdicts import Evidence, Finding, Thresholds, decide, overall, roles, shapley
from counterpoise.errors import DataError, NotFoundError
from counterpoise.evaluation._sample_lists import SampleLists, by_class, sample_lists
from counterpoise.tasks import Task
from counterpoise.valuation import Estimate, Valuation, estimate
from counterpoise.valuation.inputs import EstimatorInput, prepare

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = ["diagnose_arrays", "diagnose_csv", "diagnose_file"]


def diagnose_arrays(
    features: Mapping[str, ArrayLike | Tensor],
    labels: ArrayLike | Tensor,
    *,
    task: str | Task = "auto",
    estimator: str = "variational",
    folds: int = 5,
    group: ArrayLike | None = None,
    class_names: Sequence[str] = (),
    thresholds: Thresholds | None = None,
    confidence: float = 0.95,
    seed: int = 0,
) -> Diagnosis:
    """Say what each modality of some arrays contributes to the labels; no model is needed.

    Verdicts are balanced, uninformative, overfitting (a plain head fitted to the modality does much better on its own
    samples than any head does on others) and undecided. Under-trained is for models.

    Args:
        features: ``{m: (N, D)}`` or ``(N,)`` numbers or text, at least two modalities.
        labels: ``(N,)`` classes, ``(N, C)`` zeros and ones, or reals.
        task: multiclass, multilabel, regression; ``auto`` takes fractions as regression, and columns of whole numbers
            as multilabel.
        estimator: a name of `counterpoise.valuation.VALUATIONS`.
        folds: of the cross-fitting.
        group: ``(N,)`` which samples belong together.
        class_names: names of the classes, in sorted order of the labels.
        thresholds: where the verdicts part.
        confidence: level of the intervals.
        seed: of the folds.

    Raises:
        DataError: for fewer than two modalities, no samples, one class, NaN, unequal lengths, or more classes than
            half of the samples.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> y = rng.integers(2, size=400)
        >>> found = diagnose_arrays({"good": y + rng.normal(size=400), "noise": rng.normal(size=400)}, y)
        >>> found.verdict, found.findings["good"].verdict, found.findings["noise"].verdict
        ('uninformative', 'balanced', 'uninformative')
    """
    t = thresholds or Thresholds()
    task = guess_task(labels) if task == "auto" else task
    common: dict[str, Any] = {"task": task, "folds": folds, "group": group, "seed": seed}
    problem = prepare(features, labels, **common)
    valuation = estimate(features, labels, estimator=estimator, confidence=confidence, **common)
    evidence = {}
    for m in problem.modalities:
        mi, cmi = valuation.mi[m], valuation.cmi[m]
        plain = linear_information(problem, torch.from_numpy(problem.features[m]), confidence=confidence)
        shown = Estimate(plain.inside, 0.0, plain.inside, plain.inside)
        evidence[m] = Evidence(mi, cmi, shown=shown, gap=independent(shown, mi, confidence))
    scale = problem.task.information_scale(problem.target)
    findings = conclude(problem.modalities, evidence, valuation, scale, t)
    verdict, summary = overall(findings)
    alone = {m: valuation.per_sample[f"mi:{m}"] for m in problem.modalities if f"mi:{m}" in valuation.per_sample}
    drop = {m: valuation.per_sample[f"cmi:{m}"] for m in problem.modalities if f"cmi:{m}" in valuation.per_sample}
    lists: SampleLists | None = None
    if len(drop) == len(alone) == len(problem.modalities):
        lists = sample_lists(alone, drop, np.arange(problem.n))
    return Diagnosis(
        problem.modalities,
        verdict,
        summary,
        findings,
        valuation,
        "inputs",
        evidence,
        classes=class_shares(problem, alone, class_names),
        samples=lists,
        thresholds=t,
        notes=valuation.notes,
    )


def guess_task(labels: ArrayLike | Tensor) -> str:
    """Return the task that labels look like.

    Example:
        >>> guess_task([0, 1, 2]), guess_task([0.5, 1.0]), guess_task([[0, 1], [1, 1]])
        ('multiclass', 'regression', 'multilabel')
    """
    y = labels.detach().cpu().numpy() if isinstance(labels, Tensor) else np.asarray(labels)
    if y.dtype.kind == "f" and np.isfinite(y).all() and (y != np.round(y)).any():
        return "regression"
    wide = y.ndim == 2 and y.shape[1] > 1
    return "multilabel" if wide and y.dtype.kind in "fiub" else "multiclass"


def conclude(
    modalities: tuple[str, ...],
    evidence: Mapping[str, Evidence],
    valuation: Valuation,
    scale: float,
    t: Thresholds,
) -> dict[str, Finding]:
    """Return verdict and role of every modality."""
    share = shapley(valuation.subsets, valuation.mi, valuation.cmi)
    lead = {}
    for m in modalities:
        rest = max((k for k in modalities if k != m), key=lambda k: valuation.mi[k].value)
        points = [valuation.per_sample.get(f"mi:{k}", np.empty(0)) for k in (m, rest)]
        lead[m] = difference(valuation.mi[m], points[0], valuation.mi[rest], points[1], valuation.confidence)
    played = roles(share, lead, {m: (valuation.mi[m], valuation.cmi[m]) for m in modalities}, scale, t)
    found = {}
    for m in modalities:
        f = decide(m, evidence[m], scale, t)
        found[m] = Finding(f.verdict, f.number, f.sentence, played[m])
    return found


def class_shares(problem: EstimatorInput, alone: Mapping[str, np.ndarray], names: Sequence[str]) -> Any:
    """Return what the modalities say by class (multi-class only)."""
    if problem.task.name != "multiclass" or len(alone) < len(problem.modalities):
        return ()
    known = list(names) or [str(c) for c in problem.classes] or [str(k) for k in range(problem.task.num_outputs)]
    if len(known) != problem.task.num_outputs:
        raise DataError(f"There should be {problem.task.num_outputs} class names. Found {len(known)}.")
    return by_class(alone, problem.labels, known)


def diagnose_file(
    path: Path | str,
    *,
    estimator: str = "variational",
    folds: int = 5,
    seed: int = 0,
    thresholds: Thresholds | None = None,
) -> Diagnosis:
    """Diagnose an ``.npz``: one array ``(N, ...)`` per modality under its name, ``label``, and if wanted ``group`` and ``class_names``.

    Args:
        path: the file.
        estimator: see `diagnose_arrays`.
        folds: of the cross-fitting.
        seed: of the folds.
        thresholds: where the verdicts part.

    Raises:
        NotFoundError: if there is no such file.
        DataError: if it is no ``.npz``, has no ``label``, or holds what `diagnose_arrays` refuses.
    """
    entries = read_npz(path)
    if "label" not in entries:
        hint = nearest("label", entries)
        raise DataError(
            f"`{Path(path).name}` should hold an array `label` beside its modalities. Found: {', '.join(entries) or 'nothing'}.{hint} "
            "Save it again: np.savez(path, a=..., b=..., label=...)."
        )
    names = entries.get("class_names")
    return diagnose_arrays(
        {m: array for m, array in entries.items() if m not in RESERVED},
        entries["label"],
        estimator=estimator,
        folds=folds,
        seed=seed,
        group=entries.get("group"),
        class_names=() if names is None else [str(name) for name in names],
        thresholds=thresholds,
    )


def diagnose_csv(
    path: Path | str,
    *,
    label: str,
    modalities: Mapping[str, Sequence[str]],
    group: str | None = None,
    estimator: str = "variational",
    folds: int = 5,
    seed: int = 0,
    thresholds: Thresholds | None = None,
) -> Diagnosis:
    """Diagnose a CSV file with a header line.

    Args:
        path: the file.
        label: the column of the labels.
        modalities: ``{name: [columns]}``; columns of text become indicators, one per value.
        group: a column that says which rows belong together.
        estimator: see `diagnose_arrays`.
        folds: of the cross-fitting.
        seed: of the folds.
        thresholds: where the verdicts part.

    Raises:
        NotFoundError: if there is no such file or column.
        DataError: if it cannot be read, has empty cells, or holds what `diagnose_arrays` refuses.
    """
    with extra("data"):
        import pandas as pd

    path = Path(path)
    if not path.is_file():
        raise NotFoundError(f"There is no file `{path}`. Give a CSV file whose first line names the columns.")
    try:
        table = pd.read_csv(path)
    except (OSError, ValueError) as error:  # pandas' parser errors and undecodable text are ValueErrors
        raise DataError(f"`{path.name}` is no readable CSV: {error}. Save it as UTF-8 with a header line.") from error
    columns = [str(c) for c in table.columns]
    chosen = {m: list(names) for m, names in modalities.items()}
    for name in [label, *([group] if group else []), *(c for names in chosen.values() for c in names)]:
        if name not in columns:
            raise NotFoundError(
                f"`{path.name}` has no column `{name}`.{nearest(name, columns)} It has: {', '.join(columns)}."
            )
    _check_columns(path.name, label, chosen)
    used = [label, *(c for names in chosen.values() for c in names)]
    holes = {c: int(table[c].isna().sum()) for c in used if table[c].isna().any()}
    if holes:
        shown = ", ".join(f"`{c}`: {k}" for c, k in holes.items())
        first = int(np.flatnonzero(table[used].isna().any(axis=1))[0]) + 2
        raise DataError(
            f"`{path.name}` has empty cells or NaN in {shown} of {len(table)} rows, the first in line {first}. Fill or drop them."
        )
    return diagnose_arrays(
        {m: _columns(table[names]) for m, names in chosen.items()},
        table[label].to_numpy(),
        group=None if group is None else table[group].to_numpy(),
        estimator=estimator,
        folds=folds,
        seed=seed,
        thresholds=thresholds,
    )


def _check_columns(file: str, label: str, chosen: Mapping[str, Sequence[str]]) -> None:
    empty = [m for m, names in chosen.items() if not names]
    if empty:
        raise DataError(f"Modality `{empty[0]}` should have at least one column of `{file}`. Found none.")
    leaking = [m for m, names in chosen.items() if label in names]
    if leaking:
        raise DataError(
            f"Modality `{leaking[0]}` holds the label column `{label}`: it would explain itself. Leave it out."
        )


def _columns(table: Any) -> np.ndarray:
    """Return ``(N, D)``: numbers as they are, text and booleans as indicator columns."""
    parts = []
    for name in table.columns:
        column = table[name]
        if column.dtype.kind in "fiub":
            parts.append(column.to_numpy(dtype=np.float64)[:, None])
        else:
            values, codes = np.unique(column.astype(str).to_numpy(dtype=str), return_inverse=True)
            if 2 * len(values) > len(column):
                raise DataError(
                    f"Column `{name}` holds {len(values)} different texts in {len(column)} rows: names rather than kinds. "
                    "Leave it out, or turn it into numbers."
                )
            parts.append(np.eye(len(values))[codes.reshape(-1)])
    return np.concatenate(parts, 1)
