"""Labels as targets: classes as ids, several labels as zeros and ones, reals as float32."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from counterpoise._arrays import TaskGuess, as_labels, guess_task
from counterpoise._validation import Options
from counterpoise.errors import DataError

__all__ = ["TASKS", "Targets", "make_targets", "standardise_targets"]

TASKS: Final = Options(("multiclass", "multilabel", "regression"))
LARGE_MEAN: Final = 3.0
LARGE_SPREAD: Final = 10.0


@dataclass(frozen=True)
class Targets:
    """Targets of a task.

    Attributes:
        values: ``(N,)`` int64 class ids, ``(N, C)`` int64 zeros and ones, or ``(N, C)`` float64.
        task: Name of the task.
        num_outputs: C.
        class_names: C names, or empty.
        notes: Assumptions that were made.
        offset: Numbers that were subtracted from the regression targets; empty if the targets were not standardised.
        unit: Numbers that the regression targets were divided by; empty if the targets were not standardised.
    """

    values: np.ndarray
    task: str
    num_outputs: int
    class_names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    offset: tuple[float, ...] = ()
    unit: tuple[float, ...] = ()


def make_targets(label: object, task: str | None, num_classes: int | None, names: tuple[str, ...]) -> Targets:
    """Return the targets that labels stand for.

    Args:
        label: ``(N,)`` or ``(N, C)``.
        task: Name of the task. If None, it is inferred by `counterpoise._arrays.guess_task`, or is multiclass if
            ``num_classes`` or ``names`` are given with one whole number per sample.
        num_classes: C; labels outside 0..C-1 are then an error.
        names: C names.

    Raises:
        DataError: If labels are missing, or do not suit the task.
    """
    y = as_labels(label)
    if y.ndim > 2 or y.dtype.kind not in "uibfUS":
        raise DataError(
            "`label` should be class ids or names (N,), zeros and ones (N, C), or reals (N,) or (N, C). "
            f"Found {y.dtype} of shape {y.shape}."
        )
    if task is not None:
        TASKS.check("from_arrays", "task", task)
        guess = TaskGuess(task)
    elif y.ndim == 1 and y.dtype.kind in "iub" and (num_classes is not None or names):
        guess = TaskGuess("multiclass")
    else:
        guess = guess_task(y)
    if guess.task == "multiclass":
        return _classes(y, num_classes, names, guess.notes)
    return _numbers(y, guess, names)


def _numbers(y: np.ndarray, guess: TaskGuess, names: tuple[str, ...]) -> Targets:
    """Return several labels per sample, or regression targets."""
    if y.dtype.kind in "US":
        raise DataError(f"Labels of the task {guess.task} should be numbers. Found texts of shape {y.shape}.")
    if guess.task == "multilabel":
        if y.ndim == 1:
            raise DataError(f"Labels of the task multilabel should be zeros and ones (N, C). Found shape {y.shape}.")
        return Targets(y.astype(np.int64), "multilabel", y.shape[1], names, guess.notes)
    values = y.reshape(len(y), -1).astype(np.float64)
    if not np.isfinite(values).all():
        raise DataError("Regression targets should be finite numbers that float32 can hold.")
    if (values == values[0]).all(0).any():
        raise DataError("A regression target should vary. Found the same value in all samples. Leave that target out.")
    return Targets(values, "regression", values.shape[1], names, guess.notes)


def _classes(y: np.ndarray, num_classes: int | None, names: tuple[str, ...], notes: tuple[str, ...]) -> Targets:
    if y.ndim != 1:
        raise DataError(f"`label` should have one class per sample. Found shape {y.shape}.")
    if y.dtype.kind == "f" and (y != np.floor(y)).any():
        raise DataError("Classes should be whole numbers or names. Found fractions in `label`.")
    if y.dtype.kind in "US":
        return _named_classes(y, names, notes)
    values = y.astype(np.int64)
    classes = np.unique(values)
    if num_classes is not None or names or (classes[0] >= 0 and classes[-1] == len(classes) - 1):
        size = num_classes or len(names) or int(classes[-1]) + 1
        _check_classes(classes, size)
        return Targets(values, "multiclass", size, names, notes)
    note = (
        f"class ids {classes[0]}..{classes[-1]} with gaps or not from 0 were numbered 0..{len(classes) - 1}; their old "
        "ids are the names of the classes"
    )
    _check_classes(classes, len(classes))
    ids = np.searchsorted(classes, values)
    return Targets(ids.astype(np.int64), "multiclass", len(classes), tuple(map(str, classes.tolist())), (*notes, note))


def _named_classes(y: np.ndarray, names: tuple[str, ...], notes: tuple[str, ...]) -> Targets:
    """Return classes in the order of ``names``, or in alphabetical order."""
    distinct, values = np.unique(y, return_inverse=True)
    known = tuple(v.decode() if isinstance(v, bytes) else str(v) for v in distinct)
    if names:
        missing = sorted(set(known) - set(names))
        if missing:
            raise DataError(f"`label` holds `{missing[0]}`, which is not in `class_names`: {', '.join(names)}.")
        values = np.array([names.index(v) for v in known])[values]
    _check_classes(np.unique(values), len(names or known))
    return Targets(values.astype(np.int64), "multiclass", len(names or known), names or known, notes)


def _check_classes(classes: np.ndarray, size: int) -> None:
    if len(classes) < 2 and size < 2:
        raise DataError("All samples have the same label. A task needs at least two classes. Found 1.")


def standardise_targets(targets: Targets, train: np.ndarray) -> Targets:
    """Return regression targets as float32, standardised if their scale is hard to learn, with a note if they were
    changed.

    The outputs of a network start near 0 and change by about the learning rate per step, so that a target of 50 or of
    3e9 would never be reached. Targets far from that scale are standardised by the mean and the standard deviation of
    the training samples.

    Args:
        targets: Targets of a regression; those of other tasks are returned as they are.
        train: Positions of the training samples; without any, the targets are returned as they are.

    Example:
        >>> given = Targets(np.array([[3e9], [4e9], [5e9]]), "regression", 1)
        >>> standardised = standardise_targets(given, np.arange(3))
        >>> standardised.values[:, 0].astype(float).round(2).tolist(), standardised.offset
        ([-1.22, 0.0, 1.22], (4000000000.0,))
    """
    if targets.task != "regression" or not len(train):
        return targets
    values = targets.values
    mean, std = values[train].mean(0), values[train].std(0)
    if (np.abs(mean) <= LARGE_MEAN).all() and (std >= 1 / LARGE_SPREAD).all() and (std <= LARGE_SPREAD).all():
        return replace(targets, values=values.astype(np.float32))
    std = np.where(std > 0, std, 1.0)
    shown = "; ".join(f"(y - {m:.6g}) / {s:.6g}" for m, s in zip(mean[:3], std[:3], strict=True))
    more = ", ..." if len(mean) > 3 else ""
    note = f"targets are standardised for training: {shown}{more}; RMSE and predictions are in the targets' own unit"
    return replace(
        targets,
        values=((values - mean) / std).astype(np.float32),
        notes=(*targets.notes, note),
        offset=tuple(mean.tolist()),
        unit=tuple(std.tolist()),
    )
