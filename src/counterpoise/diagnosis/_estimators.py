"""Fitted scikit-learn estimators as models: modalities are groups of columns of one table."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from counterpoise._arrays import as_labels, guess_task
from counterpoise._columns import check_columns, column_groups
from counterpoise.diagnosis._frames import is_frame, readable
from counterpoise.diagnosis._options import DiagnosisOptions
from counterpoise.errors import DataError, ModelError
from counterpoise.tasks import Task

__all__ = ["Converted", "aligned_labels", "as_loader", "is_estimator", "is_matrix", "names_of", "training_table"]

BATCH: Final = 4096


def is_estimator(model: Any) -> bool:
    """Return whether a model is used through ``predict`` rather than called."""
    return hasattr(model, "predict") and hasattr(model, "fit") and not isinstance(model, torch.nn.Module)


Batches = list[tuple[dict[str, list[str]], np.ndarray]]


@dataclass(frozen=True)
class Converted:
    """A function over row numbers, with the other data that a diagnosis needs from an estimator and its table.

    Attributes:
        model: Function that takes row numbers by modality.
        loader: Batches of row numbers and labels.
        train: The same for the training samples, if they are given.
        modalities: Names.
        task: Task.
        options: Settings.
        notes: Assumptions that were made.
    """

    model: Callable[..., Any]
    loader: Batches
    train: Batches | None
    modalities: tuple[str, ...]
    task: str | Task
    options: DiagnosisOptions
    notes: list[str]


def as_loader(
    estimator: Any,
    table: Any,
    y: Any,
    modalities: Mapping[str, Sequence[Any]] | Sequence[str] | None,
    task: str | Task | None,
    options: DiagnosisOptions,
    train: Any = None,
) -> Converted:
    """Return a fitted estimator on a table as a function over row numbers.

    The estimator receives rows of ``table`` with the same columns, dtypes and index; a modality is replaced by taking
    its columns from other rows.

    Args:
        estimator: Fitted, with ``predict_proba``, else ``decision_function``, else ``predict`` (regression).
        table: DataFrame, or array ``(N, D)``.
        y: Labels, or the name of a column.
        modalities: ``{name: [columns]}``, positions for an array.
        task: See `counterpoise.diagnose`.
        options: Settings.
        train: ``(table, labels)`` of training samples; or a table, if ``y`` is the name of a column.

    Raises:
        DataError: For columns in two modalities, indexes that differ, or training samples of another form.
        NotFoundError: For an unknown column.
    """
    if not is_frame(table) and not is_matrix(table):
        raise DataError(
            "An estimator is diagnosed on a DataFrame or an array (N, D), not on a loader: diagnose(estimator, X, y, "
            "modalities=...)."
        )
    if not isinstance(modalities, Mapping):
        raise DataError("A table needs modalities={'name': ['column', ...], ...}: which columns make up each modality.")
    frame = is_frame(table)
    table = table if frame else np.asarray(table)
    named = y if isinstance(y, str) else None
    if isinstance(y, str):
        check_columns([y], list(table.columns) if frame else [], "The table")
        y, table = table[y], (table.drop(columns=[y]) if _lacks(estimator, y) else table)
    groups = column_groups(modalities, names_of(table))
    labels = aligned_labels(table, y)
    _check_predicts(estimator, table)
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
    tables, seen = [table], None
    if train is not None:
        part, given = training_table(train, named, table)
        seen = _row_batches(groups, _class_numbers(estimator, aligned_labels(part, given))[0], start=len(table))
        tables.append(part)
    model = _Columns(estimator, tables, groups)
    return Converted(model, _row_batches(groups, target), seen, tuple(groups), kind, changed, notes)


def training_table(train: Any, label: str | None, table: Any) -> tuple[Any, Any]:
    """Return the table and the labels of training samples, with the columns of ``table``."""
    if label is not None and is_frame(train):
        part, y = train, train[label]
    elif isinstance(train, tuple) and len(train) == 2:
        part, y = train
    else:
        raise DataError(
            "The training samples of an estimator should be a table and its labels: train=(X_train, y_train). "
            f"Found {type(train).__name__}."
        )
    if is_frame(table) != is_frame(part):
        raise DataError("The training samples should be a table like the other one: a DataFrame, or an array (N, D).")
    if not is_frame(table):
        return np.asarray(part), y
    check_columns(table.columns, list(part.columns), "The training table")
    return part[list(table.columns)], y


def names_of(table: Any) -> list[Any]:
    """Return the names of the columns of a DataFrame, or the positions of those of an array ``(N, D)``."""
    return list(table.columns) if is_frame(table) else list(range(table.shape[1]))


def is_matrix(table: Any) -> bool:
    """Return whether a value is an array ``(N, D)``."""
    try:
        return bool(np.ndim(table) == 2)
    except ValueError:  # rows of unequal lengths: batches, say
        return False


def _task_of(estimator: Any, labels: np.ndarray) -> tuple[str, list[str]]:
    """Return the task of an estimator and the assumptions that were made."""
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
    """Return a note on the columns of a table that belong to no modality."""
    taken = {name for names in groups.values() for name in names}
    left = [str(c) for c in table.columns if c not in taken] if is_frame(table) else []
    return [f"columns in no modality stay as they are: {', '.join(left)}"] if left else []


def _row_batches(names: Iterable[str], target: np.ndarray, start: int = 0) -> Batches:
    """Return batches of row numbers, stored as texts, so that no noise can be added and none can be set to zero."""
    modalities, rows = list(names), [str(start + i) for i in range(len(target))]
    starts = range(0, len(rows), BATCH)
    return [(dict.fromkeys(modalities, rows[k : k + BATCH]), target[k : k + BATCH]) for k in starts]


class _Columns:
    """A function of one list of row numbers per modality. The numbers continue from one table to the next."""

    def __init__(self, estimator: Any, tables: Sequence[Any], groups: Mapping[str, Sequence[Any]]) -> None:
        self.estimator, self.tables, self.groups = estimator, tables, groups

    def _place(self, row: int) -> tuple[Any, int]:
        """Return the table that holds a row, and the number of its first row."""
        start = 0
        for table in self.tables[:-1]:
            if row < start + len(table):
                return table, start
            start += len(table)
        return self.tables[-1], start

    def __call__(self, inputs: Mapping[str, Sequence[int]]) -> Any:
        """Return probabilities, decision values or predictions for rows that are put together by modality."""
        given = {m: np.asarray(inputs[m], dtype=int) for m in self.groups}
        first = next(iter(given.values()))
        table, start = self._place(int(first[0]) if len(first) else 0)
        given = {m: rows - start for m, rows in given.items()}
        first = first - start
        if is_frame(table):
            rows = table.iloc[first].copy()
            for m, names in self.groups.items():
                if not np.array_equal(given[m], first):
                    for name in names:
                        rows[name] = table[name].iloc[given[m]].set_axis(rows.index)
        else:
            rows = table[first].copy()
            for m, names in self.groups.items():
                rows[:, list(names)] = table[given[m]][:, list(names)]
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


def _check_predicts(estimator: Any, table: Any) -> None:
    """Check that an estimator predicts for the first rows of a table.

    Raises:
        ModelError: If it fails.
    """
    try:
        _predicted(estimator, table.iloc[:2] if is_frame(table) else table[:2])
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(
            f"`{type(estimator).__name__}` cannot predict for the first rows of the table: {type(error).__name__}: "
            f"{str(error).strip().rstrip(chr(46))}. Fit it, and pass the columns that it was fitted on."
        ) from error


def _lacks(estimator: Any, name: str) -> bool:
    known = getattr(estimator, "feature_names_in_", None)
    return known is None or name not in list(known)


def aligned_labels(table: Any, y: Any) -> np.ndarray:
    """Return labels ``(N,)`` in the order of the rows of a table; a Series is aligned by its index.

    Raises:
        DataError: For missing labels, an index that cannot be aligned, or another length.
    """
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
    """Return the features on which the available information is measured: typed columns, with texts hashed."""
    if not frame:
        return {m: table[:, list(names)] for m, names in groups.items()}, []
    features, notes = {}, []
    for m, names in groups.items():
        features[m], remarks = readable(m, table[list(names)])
        if not features[m].shape[1]:  # only columns in which no information can be measured
            features[m] = np.zeros((len(table), 1))
        notes += remarks
    return features, notes
