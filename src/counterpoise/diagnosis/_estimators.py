"""Fitted scikit-learn estimators as models: modalities are groups of columns of one table."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from counterpoise._arrays import as_labels, guess_task
from counterpoise._columns import column_groups
from counterpoise.diagnosis._frames import encoded_texts, filled, is_frame
from counterpoise.diagnosis._options import DiagnosisOptions
from counterpoise.errors import DataError, ModelError
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
    if isinstance(estimator, torch.nn.Module):
        raise DataError(
            "A table is diagnosed with a fitted estimator that has predict_proba. Found a torch module. Pass a loader: "
            "diagnose(model, [({'image': x1, 'text': x2}, y)])."
        )
    if not is_frame(table) and not _is_matrix(table):
        raise DataError(
            "An estimator is diagnosed on a DataFrame or an array (N, D), not on a loader: diagnose(estimator, X, y, "
            "modalities=...)."
        )
    if not isinstance(modalities, Mapping):
        raise DataError("A table needs modalities={'name': ['column', ...], ...}: which columns make up each modality.")
    frame = is_frame(table)
    table = table if frame else np.asarray(table)
    if isinstance(y, str):
        y, table = table[y], (table.drop(columns=[y]) if _lacks(estimator, y) else table)
    groups = column_groups(modalities, list(table.columns) if frame else list(range(table.shape[1])))
    labels = _labels(table, y)
    kind, notes = _task_of(estimator, labels) if task is None else (task, [])
    target, names = _class_numbers(estimator, labels)
    features, remarks = _reference(table, groups, frame)
    changed = replace(
        options,
        class_names=list(options.class_names) or names,
        batch_size=BATCH,
        reference_features={**features, **options.reference_features},
    )
    notes += [*remarks, *_unused(table, groups)]
    return _Columns(estimator, table, groups), _row_batches(groups, target), tuple(groups), kind, changed, notes


def _is_matrix(table: Any) -> bool:
    try:
        return bool(np.ndim(table) == 2)
    except ValueError:  # rows of unequal lengths: batches, say
        return False


def _task_of(estimator: Any, labels: np.ndarray) -> tuple[str, list[str]]:
    """Return the task of an estimator, which a classifier knows, and what was assumed."""
    if getattr(estimator, "classes_", None) is not None:
        return "multiclass", []
    guess = guess_task(labels)
    return guess.task, list(guess.notes)


def _class_numbers(estimator: Any, labels: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Return labels as positions among the classes of a classifier, and the names of these; others as they are."""
    classes = getattr(estimator, "classes_", None)
    if classes is None or np.ndim(classes) != 1:
        return labels, []
    place = {value: k for k, value in enumerate(np.asarray(classes).tolist())}
    unknown = [value for value in labels.tolist() if value not in place]
    if unknown:
        raise DataError(f"The label {unknown[0]!r} is not among the classes of the estimator.")
    return np.array([place[value] for value in labels.tolist()]), [str(value) for value in classes]


def _unused(table: Any, groups: Mapping[str, Sequence[Any]]) -> list[str]:
    """Say which columns of a table belong to no modality."""
    taken = {name for names in groups.values() for name in names}
    left = [str(c) for c in table.columns if c not in taken] if is_frame(table) else []
    return [f"columns in no modality stay as they are: {', '.join(left)}"] if left else []


def _row_batches(names: Iterable[str], target: np.ndarray) -> list[tuple[dict[str, list[str]], np.ndarray]]:
    """Return batches of row numbers, as texts: nothing can be added to them, and none can be set to zero."""
    modalities, rows = list(names), [str(i) for i in range(len(target))]
    starts = range(0, len(rows), BATCH)
    return [(dict.fromkeys(modalities, rows[k : k + BATCH]), target[k : k + BATCH]) for k in starts]


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
