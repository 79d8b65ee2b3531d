"""Inputs of the estimators: checked features and labels, and folds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np
import torch
from torch import Tensor

from counterpoise._arrays import as_labels, as_matrix, check_index, find_copies, guess_task, named_arrays
from counterpoise._validation import Interval
from counterpoise.config import MAX_SEED
from counterpoise.errors import DataError
from counterpoise.tasks import Task, make_task, task_type

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = ["NOISE_FLOOR", "EstimatorInput", "Features", "Predictions", "assign_folds", "prepare", "prepare_target"]

NOISE_FLOOR: Final = 1e-4
"""Smallest residual variance of a real target, as a share of its variance: R² above 0.9999 counts as perfect, because
smaller differences come from rounding and convergence and are not information. It caps the information at 4.6 nats per
output."""

Features: TypeAlias = "Mapping[str, ArrayLike | Tensor]"
Predictions: TypeAlias = "Mapping[tuple[str, ...], ArrayLike | Tensor]"
"""Logits ``(N, C)`` of a model, by the subset of modalities that it saw."""


@dataclass(frozen=True)
class EstimatorInput:
    """Checked input of an estimator.

    Attributes:
        features: ``{m: (N, D_m)}`` floats.
        target: ``(N,)`` class ids from 0, or ``(N, C)``.
        task: The likelihood.
        group: ``(N,)`` group ids from 0, or None. If no groups are given, copies of a sample form a group.
        folds: Number of folds.
        fold: ``(N,)`` fold of each sample.
        seed: Seed of all random numbers.
        classes: Labels of the class ids (multi-class).
        notes: Notes from the checks.
        copies: ``(N,)`` numbers from 0, equal for samples whose columns are all equal; None without copies.
    """

    features: dict[str, np.ndarray]
    target: Tensor
    task: Task
    group: np.ndarray | None
    folds: int
    fold: np.ndarray
    seed: int
    classes: tuple[object, ...] = ()
    notes: tuple[str, ...] = ()
    copies: np.ndarray | None = None

    @property
    def modalities(self) -> tuple[str, ...]:
        """Names of the modalities."""
        return tuple(self.features)

    @property
    def n(self) -> int:
        """The number of samples."""
        return len(self.target)

    @cached_property
    def labels(self) -> np.ndarray:
        """The target as a NumPy array."""
        return self.target.numpy()

    @cached_property
    def largest_information(self) -> float:
        """Upper limit of the information about the labels in nats: H(Y), or the limit set by the noise floor of real
        targets.
        """
        if self.task.has_discrete_entropy:
            return float(self.task.entropy(self.target))
        return -0.5 * float(np.log(NOISE_FLOOR)) * self.task.num_outputs

    def without_copies(self) -> EstimatorInput:
        """Return the distinct samples only, for estimators without folds."""
        if self.copies is None:
            return self
        rows = np.unique(self.copies, return_index=True)[1]
        features = {m: x[rows] for m, x in self.features.items()}
        group = None if self.group is self.copies or self.group is None else self.group[rows]
        codes = None if group is None else np.unique(group, return_inverse=True)[1].reshape(-1)
        return replace(
            self, features=features, target=self.target[rows], group=codes, fold=self.fold[rows], copies=None
        )

    def matrix(self, subset: tuple[str, ...]) -> np.ndarray:
        """Return the features of some modalities side by side, ``(N, D)`` in float64."""
        return np.concatenate([self.features[m] for m in subset], 1).astype(np.float64)


def prepare(
    features: Features,
    target: ArrayLike | Tensor,
    *,
    task: str | Task = "auto",
    num_outputs: int | None = None,
    folds: int = 5,
    group: ArrayLike | None = None,
    seed: int = 0,
) -> EstimatorInput:
    """Check and convert the input of an estimator.

    Features of more than two axes are flattened; text and other non-numbers become indicator columns, one per value.
    Labels of a multi-class task may be any integers, booleans or strings: they are numbered in sorted order, unless
    ``num_outputs`` is given, which means that they are class ids.

    Raises:
        DataError: For fewer than two modalities, no samples, mismatched lengths, NaN or inf (which modality, which
            samples), a single class, more classes than half of the samples, a constant target, or too few groups.
        ConfigError: For fewer than two folds.
    """
    features = named_arrays(features, "The features")
    check_index(features | {"the labels": target} | ({} if group is None else {"group": group}))
    arrays = {m: as_matrix(m, value) for m, value in features.items()}
    labels = as_labels(target)
    _check_sizes(arrays, labels)
    _check_settings(task, num_outputs, folds, seed)
    notes = [f"`{m}` is constant: it carries no information" for m, x in arrays.items() if (x == x[:1]).all()]
    task, guessed = _choose_task(labels, task, num_outputs)
    notes += guessed
    y, likelihood, classes = _labels(labels, task, num_outputs)
    groups = None if group is None else _groups(group, len(y), folds)
    copies = find_copies(list(arrays.values())) if len(y) >= 2 * folds else None
    if copies is not None:
        notes.append(_copies_note(copies, groups))
        if groups is None and copies.max() + 1 >= 2 * folds:
            groups = copies
    if groups is None and len(y) < 2 * folds:
        raise DataError(
            f"{folds} folds need at least {2 * folds} samples. Found {len(y)}. Use fewer folds or more data."
        )
    fold = assign_folds(y, likelihood, folds, groups, seed)
    notes += _rare_classes(y, likelihood, folds)
    return EstimatorInput(arrays, y, likelihood, groups, folds, fold, seed, classes, tuple(notes), copies)


def _check_sizes(arrays: Mapping[str, np.ndarray], labels: np.ndarray) -> None:
    """Raise an error for fewer than two modalities, no samples, or lengths that differ."""
    if len(arrays) < 2:
        raise DataError(
            f"A valuation needs at least two modalities. Found {len(arrays)}: {', '.join(arrays) or 'none'}. "
            "Give {name: (N, D) array} with one entry per modality."
        )
    sizes = {m: len(x) for m, x in arrays.items()} | {"the labels": len(labels)}
    if len(set(sizes.values())) != 1:
        lengths = ", ".join(f"{name}: {size}" for name, size in sizes.items())
        raise DataError(f"Every modality and the labels should have the same number of samples. Found {lengths}.")
    if not len(labels):
        raise DataError("A valuation needs samples. Found none.")


def _check_settings(task: str | Task, num_outputs: int | None, folds: int, seed: int) -> None:
    if task != "auto":
        task_type(task)
    if num_outputs is not None:
        Interval(1, integer=True).check("estimate", "num_outputs", num_outputs)
    Interval(2, integer=True).check("estimate", "folds", folds)
    Interval(0, MAX_SEED, "[]", integer=True).check("estimate", "seed", seed)


def _rare_classes(target: Tensor, task: Task, folds: int) -> list[str]:
    """Return a note on classes that are not in every fold."""
    if not task.has_classes:
        return []
    rare = int((np.bincount(target.numpy(), minlength=task.num_outputs) < folds).sum())
    return [f"{rare} of {task.num_outputs} classes have fewer samples than folds"] if rare else []


def _choose_task(labels: np.ndarray, task: str | Task, num_outputs: int | None) -> tuple[str | Task, list[str]]:
    """Return the task, inferred from the labels if it is ``auto``, and notes."""
    if task != "auto":
        return task, []
    if num_outputs is not None and labels.ndim == 1 and labels.dtype.kind in "iubUS":
        return "multiclass", []
    guess = guess_task(labels)
    return guess.task, list(guess.notes)


def _copies_note(copies: np.ndarray, groups: np.ndarray | None) -> str:
    repeated = len(copies) - (int(copies.max()) + 1)
    note = f"{repeated} of {len(copies)} samples are copies of others (all columns identical)"
    if groups is None:
        return f"{note}: copies stay in one fold and count as one group"
    split = len(np.unique(np.stack([copies, groups]), axis=1).T) > copies.max() + 1
    return f"{note}, some in other groups: the folds are not independent" if split else note


def prepare_target(
    target: ArrayLike | Tensor,
    *,
    task: str | Task = "auto",
    num_outputs: int | None = None,
    folds: int = 5,
    group: ArrayLike | None = None,
    seed: int = 0,
) -> EstimatorInput:
    """Check labels alone, as `prepare` does, and assign the same folds; there are no features.

    Raises:
        DataError: As `prepare`.
        ConfigError: As `prepare`.
    """
    n = len(target)  # type: ignore[arg-type]
    placeholder = {name: np.arange(n, dtype=np.float64) / 7 for name in "ab"}
    data = prepare(placeholder, target, task=task, num_outputs=num_outputs, folds=folds, group=group, seed=seed)
    return replace(data, features={})


def _labels(labels: np.ndarray, task: str | Task, num_outputs: int | None) -> tuple[Tensor, Task, tuple[object, ...]]:
    kind = task_type(task) if isinstance(task, str) else type(task)
    if not kind.has_classes:
        return _values(labels, task, num_outputs)
    labels = _class_labels(labels)
    whole = labels.dtype.kind in "iub"
    values, codes = np.unique(labels if whole else labels.astype(str), return_inverse=True)
    declared = num_outputs if num_outputs is not None else None if isinstance(task, str) else task.num_outputs
    if declared is not None and whole:
        y, count = torch.from_numpy(labels.astype(np.int64)), declared
        classes: tuple[object, ...] = tuple(range(declared))
    else:
        y, count, classes = torch.from_numpy(codes.reshape(-1).astype(np.int64)), len(values), tuple(values.tolist())
    if len(values) < 2:
        only = values.tolist()[0] if len(values) else "none"
        raise DataError(
            f"All {len(labels)} labels are of one class ({only}): H(Y) = 0, so that no information can be measured."
        )
    if 2 * count > len(y):
        raise DataError(
            f"{count} classes need at least {2 * count} samples, two each. Found {len(y)}. Merge rare classes; "
            "for real targets choose task='regression'."
        )
    likelihood = make_task(task, count)
    likelihood.check_target(y)
    return y, likelihood, classes


def _class_labels(labels: np.ndarray) -> np.ndarray:
    """Return labels ``(N,)`` of classes; floats that are whole become integers."""
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1:
        raise DataError(
            f"The labels of a multi-class task should have shape (N,). Found {labels.shape}. "
            "For several labels per sample choose task='multilabel', for real targets task='regression'."
        )
    if labels.dtype.kind != "f":
        return labels
    if not np.isfinite(labels).all():
        raise DataError(f"The labels hold NaN or inf at samples {np.flatnonzero(~np.isfinite(labels))[:5].tolist()}.")
    if (labels != np.round(labels)).any():
        raise DataError(
            "The labels of a multi-class task should be classes. Found fractions; choose task='regression'."
        )
    return labels.astype(np.int64)


def _values(labels: np.ndarray, task: str | Task, num_outputs: int | None) -> tuple[Tensor, Task, tuple[object, ...]]:
    """Return targets that are numbers: labels, reals or counts ``(N, C)``."""
    wide = labels.reshape(len(labels), -1)
    if wide.dtype.kind not in "fiub":
        name = task if isinstance(task, str) else task.name
        raise DataError(f"The targets of a {name} task should be numbers. Found {labels.dtype}.")
    likelihood = make_task(task, num_outputs or wide.shape[1])
    y = torch.from_numpy(wide.astype(np.float64))
    likelihood.check_target(y)
    if ((wide == wide[:1]).all(0)).any():
        constant = int((wide == wide[:1]).all(0).sum())
        raise DataError(
            f"A target should vary: one that never changes has no entropy. Found {constant} such of {wide.shape[1]}. "
            "Remove it."
        )
    return y, likelihood, ()


def _groups(group: ArrayLike, n: int, folds: int) -> np.ndarray:
    raw = as_labels(group, "Groups")
    if raw.shape != (n,):
        raise DataError(f"Groups should have shape ({n},), one per sample. Found {raw.shape}.")
    codes = np.unique(raw, return_inverse=True)[1].reshape(-1)
    needed = max(folds, 3)
    if codes.max() + 1 < needed:
        raise DataError(f"{folds} folds need at least {needed} groups. Found {codes.max() + 1}. Use fewer folds.")
    return codes


def assign_folds(target: Tensor, task: Task, folds: int, group: np.ndarray | None, seed: int) -> np.ndarray:
    """Return ``(N,)`` fold numbers: stratified by class, with whole groups where they are known.

    Args:
        target: Targets, as the task expects them.
        task: The likelihood.
        folds: K.
        group: ``(N,)`` group ids from 0, or None.
        seed: Seed of the shuffle.
    """
    rng = np.random.default_rng(seed)
    labels = target.numpy() if task.has_classes else np.zeros(len(target), dtype=np.int64)
    if group is not None:
        return _assign_groups(labels, group, folds, rng)
    order = rng.permutation(len(target))
    order = order[np.argsort(labels[order], kind="stable")]
    fold = np.empty(len(target), dtype=np.int64)
    fold[order] = np.arange(len(target)) % folds
    return fold


def _assign_groups(labels: np.ndarray, group: np.ndarray, folds: int, rng: np.random.Generator) -> np.ndarray:
    """Return folds of whole groups, with classes and numbers of samples as equal as possible.

    If the classes of a fold are rare outside of it, the label frequencies predict that fold badly, and an uninformative
    input can look informative. Large groups are placed first, each into the fold in which the classes are then most
    equal.
    """
    classes, groups = int(labels.max()) + 1, int(group.max()) + 1
    counts = np.bincount(group * classes + labels, minlength=groups * classes).reshape(groups, classes)
    share = counts / counts.sum(0).clip(1)
    order = rng.permutation(groups)
    order = order[np.argsort(-counts[order].max(1), kind="stable")]
    home = np.empty(groups, dtype=np.int64)
    load, size = np.zeros((folds, classes)), np.zeros(folds)
    for g in order:
        # The sum of squares of the shares grows by 2 load . share + a constant.
        crowded = np.round(load @ share[g], 12)
        home[g] = np.lexsort((size, crowded))[0]
        load[home[g]] += share[g]
        size[home[g]] += counts[g].sum()
    return home[group]
