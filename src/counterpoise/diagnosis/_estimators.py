"""Fitted scikit-learn estimators as models: modalities are groups of columns of one table."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from counterpoise._arrays import as_labels, guess_task
from counterpoise.diagnosis._frames import encoded_texts, filled, is_frame
from counterpoise.diagnosis._options import DiagnosisOptions
from counterpoise.errors import DataError, ModelError, NotFoundError
from counterpoise.tasks import Task

__all__ = ["as_loader", "is_estimator"]

BATCH: Final = 4096
CATEGORIES: Final = 20
"""A text column with at most this number of distinct values (or the square root of N, if more) is a category."""


def is_estimator(model: Any) -> bool:
    """Tell whether a model is used through ``predict`` rather than called."""
    return hasattr(model, "predict") and hasattr(model, "fit") and not isinstance(model, torch.nn.Module)


Converted = tuple[Callable[..., Any], Iterable[Any], tuple[str, ...], "str | Task", DiagnosisOptions, list[str]]


def as_loader(
    estimator: Any,
    table: Any,
    y: Any,
    modalities: Mapping[str, Sequence[Any]] | Sequence[str] | None,
    task: str | Task | None,
    options: DiagnosisOptions,
) -> Converted:
    """Return a function over row numbers, a loader of them, names, task, options and notes.

    The estimator receives rows of ``table`` with the same columns, dtypes and index; a modality is replaced by taking
    its columns from other rows.

    Args:
        estimator: Fitted, with ``predict_proba``, else ``decision_function``, else ``predict`` (regression).
        table: DataFrame, or array ``(N, D)``.
        y: Labels, or the name of a column.
        modalities: ``{name: [columns]}``, positions for an array.
        task: See `counterpoise.diagnose`.
        options: Settings.

    Raises:
        DataError: For columns in two modalities, or indexes that differ.
        NotFoundError: For an unknown column.
    """
    if not isinstance(modalities, Mapping):
        raise DataError("A table needs modalities={'name': ['column', ...], ...}: which columns make up each modality.")
    frame = is_frame(table)
    table = table if frame else np.asarray(table)
    if isinstance(y, str):
        y, table = table[y], (table.drop(columns=[y]) if _lacks(estimator, y) else table)
    groups = _groups(table, modalities, frame)
    labels = _labels(table, y)
    classes = getattr(estimator, "classes_", None)
    notes: list[str] = []
    kind = task
    if kind is None:
        guess = guess_task(labels)
        kind, notes = ("multiclass", []) if classes is not None else (guess.task, list(guess.notes))
    target: Any = labels
    names = list(options.class_names)
    if classes is not None and np.ndim(classes) == 1:
        place = {value: k for k, value in enumerate(np.asarray(classes).tolist())}
        unknown = [value for value in labels.tolist() if value not in place]
        if unknown:
            raise DataError(f"The label {unknown[0]!r} is not among the classes of the estimator.")
        target = np.array([place[value] for value in labels.tolist()])
        names = names or [str(value) for value in classes]
    features, more = _reference(table, groups, frame)
    left = [str(c) for c in table.columns if not any(c in g for g in groups.values())] if frame else []
    notes += more + ([f"columns in no modality stay as they are: {', '.join(left)}"] if left else [])
    rows = np.arange(len(labels))
    # Row numbers as texts: nothing can be added to them, and none can be set to zero.
    loader = [
        ({m: [str(i) for i in rows[k : k + BATCH]] for m in groups}, target[k : k + BATCH])
        for k in range(0, len(rows), BATCH)
    ]
    changed = replace(
        options,
        class_names=names,
        batch_size=BATCH,
        reference_features={**features, **options.reference_features},
    )
    return _Columns(estimator, table, groups), loader, tuple(groups), kind, changed, notes


class _Columns:
    """A function of one list of row numbers per modality."""

    def __init__(self, estimator: Any, table: Any, groups: Mapping[str, Sequence[Any]]) -> None:
        self.estimator, self.table, self.groups = estimator, table, groups

    def __call__(self, inputs: Mapping[str, Sequence[int]]) -> Any:
        """Return probabilities, decision values or predictions for rows that are put together by modality."""
        first = np.asarray(next(iter(inputs.values())), dtype=int)
        if is_frame(self.table):
            rows = self.table.iloc[first].copy()
            for m, names in self.groups.items():
                taken = np.asarray(inputs[m], dtype=int)
                if not np.array_equal(taken, first):
                    for name in names:
                        rows[name] = self.table[name].iloc[taken].set_axis(rows.index)
        else:
            rows = self.table[first].copy()
            for m, names in self.groups.items():
                rows[:, list(names)] = self.table[np.asarray(inputs[m], dtype=int)][:, list(names)]
        return _predicted(self.estimator, rows)


def _predicted(estimator: Any, rows: Any) -> Tensor:
    for name in ("predict_proba", "decision_function", "predict"):
        if not hasattr(estimator, name):
            continue
        values = getattr(estimator, name)(rows)
        if isinstance(values, list):  # one array (N, 2) per label
            values = np.stack([v[:, 1] for v in values], 1)
        values = np.asarray(values, dtype=np.float64)
        return torch.from_numpy(values.reshape(len(values), -1))
    raise ModelError("An estimator should have predict_proba, decision_function or predict.")


def _lacks(estimator: Any, name: str) -> bool:
    known = getattr(estimator, "feature_names_in_", None)
    return known is None or name not in list(known)


def _groups(table: Any, modalities: Mapping[str, Sequence[Any]], frame: bool) -> dict[str, list[Any]]:
    groups = {m: [names] if isinstance(names, str) else list(names) for m, names in modalities.items()}
    known = list(table.columns) if frame else list(range(table.shape[1]))
    seen: set[Any] = set()
    for m, names in groups.items():
        if not names:
            raise DataError(f"Modality `{m}` should have at least one column. Found none.")
        for name in names:
            if name not in known:
                raise NotFoundError(f"The table has no column `{name}`. It has: {', '.join(map(str, known))}.")
            if name in seen:
                raise DataError(f"Column `{name}` should belong to one modality. Found it in several.")
            seen.add(name)
    return groups


def _labels(table: Any, y: Any) -> np.ndarray:
    if y is None:
        raise DataError("A table needs labels: diagnose(estimator, X, y, modalities=...).")
    if is_frame(table) and hasattr(y, "index") and not callable(y.index) and not table.index.equals(y.index):
        if not table.index.is_unique or not y.index.is_unique or len(table.index.difference(y.index)):
            raise DataError("The table and the labels should have the same index. Align them first.")
        y = y.reindex(table.index)
    labels = as_labels(y)
    if len(labels) != len(table):
        raise DataError(f"The table and the labels should have the same length. Found {len(table)} and {len(labels)}.")
    return labels


def _reference(table: Any, groups: Mapping[str, Sequence[Any]], frame: bool) -> tuple[dict[str, Any], list[str]]:
    """Return what the available information is measured on: typed columns, with texts hashed."""
    if not frame:
        return {m: table[:, list(names)] for m, names in groups.items()}, []
    features, notes = {}, []
    few = max(CATEGORIES, len(table) ** 0.5)
    for m, names in groups.items():
        part = table[list(names)]
        texts = [c for c in names if table[c].dtype.kind in "OU" or str(table[c].dtype) in ("string", "str")]
        texts = [c for c in texts if table[c].nunique() > few]
        if texts:
            part = encoded_texts(part, texts)
            notes.append(f"available information in {m} was measured on hashed words of {', '.join(map(str, texts))}")
        features[m], remarks = filled(part)
        notes += remarks
    return features, notes
