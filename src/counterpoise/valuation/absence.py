"""Presence of modalities, and tests of its dependence on the label and on the modalities that are always present."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np
import torch
from scipy import special
from torch import Tensor

from counterpoise._arrays import as_matrix, as_numpy, named_arrays
from counterpoise.data.absence import association
from counterpoise.errors import DataError
from counterpoise.tasks import MultiClass
from counterpoise.valuation.groups import design_effect
from counterpoise.valuation.heads.linear import LinearHeads, choose_l2, standardise
from counterpoise.valuation.inputs import EstimatorInput, Features, assign_folds, prepare_target

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = [
    "PROPENSITY_FOLDS",
    "AbsenceTest",
    "Masks",
    "absence_tests",
    "presence_of",
    "present_matrix",
    "propensities",
    "tests_of",
]

Masks: TypeAlias = Mapping[str, np.ndarray]
"""Presence or features by modality."""
PROPENSITY_GRID: Final = (1.0, 10.0, 100.0, 1000.0, 10000.0)
"""Penalties of the logistic model of presence, in pseudo-observations."""
PROPENSITY_FOLDS: Final = 5


@dataclass(frozen=True)
class AbsenceTest:
    """Test whether the presence of one modality, or the pattern of all, depends on the label and on observed
    modalities.

    Attributes:
        modality: The modality; None for the pattern of all modalities.
        rate: Share of the samples that lack the modality (any modality, for the pattern).
        label: I(R; Y) in nats, corrected for chance: information that presence carries about the label.
        label_p: p-value of "presence does not depend on the label".
        observed: Information of the always-present modalities about R, in nats, out of sample; 0 if there are none.
        observed_p: p-value of "presence does not depend on them"; 1 if there are none.
    """

    modality: str | None
    rate: float
    label: float
    label_p: float
    observed: float = 0.0
    observed_p: float = 1.0


def presence_of(features: Features, present: Mapping[str, Any] | None = None) -> dict[str, np.ndarray]:
    """Return which samples have which modality, ``{m: (N,) bool}``.

    A sample lacks a modality if ``present`` is False for it, or if all of its numbers are NaN (in a table: if all cells
    are empty).

    Args:
        features: As for `estimate`.
        present: ``{m: (N,) bool}`` for some modalities; the others count as present where they hold numbers.

    Raises:
        DataError: For a mask of an unknown modality, of another type or length, or a sample without any modality.

    Example:
        >>> presence_of({"a": np.array([[1.0], [np.nan]]), "b": np.zeros((2, 3))})["a"].tolist()
        [True, False]
    """
    arrays, given = named_arrays(features, "The features"), dict(present or {})
    unknown = [m for m in given if m not in arrays]
    if unknown:
        raise DataError(f"`present` names `{unknown[0]}`, which is not a modality. Known: {', '.join(arrays)}.")
    masks = {m: ~_empty_rows(value) for m, value in arrays.items()}
    for m, mask in given.items():
        array = as_numpy(mask)
        if array.dtype != bool or array.shape != masks[m].shape:
            raise DataError(
                f"`present[{m!r}]` should be a boolean array of shape {masks[m].shape}. Found {array.dtype} of shape "
                f"{array.shape}."
            )
        masks[m] = masks[m] & array
    if len({len(mask) for mask in masks.values()}) == 1:
        nothing = np.flatnonzero(~np.any(list(masks.values()), axis=0))
        if len(nothing):
            raise DataError(
                f"Every sample should have at least one modality. Found none in {len(nothing)} samples, the first at "
                f"{nothing[0]}. Leave them out: there is no input that could be informative about their label."
            )
    return masks


def _empty_rows(value: Any) -> np.ndarray:
    """Return ``(N,)``: rows that hold only NaN (or empty cells of a table)."""
    if hasattr(value, "isna"):  # a pandas object
        empty: np.ndarray = np.asarray(value.isna())
    else:
        array = as_numpy(value)
        empty = np.isnan(array) if array.dtype.kind == "f" else np.zeros(array.shape, dtype=bool)
    return np.asarray(empty.reshape(len(empty), -1).all(1) if empty.size else np.zeros(len(empty), dtype=bool))


def present_matrix(m: str, value: Any, mask: np.ndarray) -> np.ndarray:
    """Return the features ``(N, D)`` of a modality; rows of samples that lack it are zeros and are never read."""
    rows = np.flatnonzero(mask)
    if not len(rows):
        raise DataError(f"Modality `{m}` is present in no sample. Leave it out.")
    if hasattr(value, "iloc"):
        kept = value.iloc[rows]
    else:
        kept = value[torch.from_numpy(rows)] if isinstance(value, Tensor) else as_numpy(value)[rows]
    part = as_matrix(m, kept)
    matrix = np.zeros((len(mask), part.shape[1]), dtype=part.dtype)
    matrix[rows] = part
    return matrix


def absence_tests(
    features: Features, target: ArrayLike | Tensor, present: Mapping[str, Any] | None = None, **settings: Any
) -> list[AbsenceTest]:
    """Test whether the absence of modalities depends on the label and on the modalities that are always present.

    The first entry is about the pattern of all modalities, the others about one modality each.

    Args:
        features: As for `estimate`.
        target: As for `estimate`.
        present: As for `presence_of`.
        **settings: ``task``, ``num_outputs``, ``group`` and ``seed``, as for `estimate`.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> y = rng.integers(2, size=500)
        >>> tests = absence_tests({"a": rng.normal(size=500), "b": rng.normal(size=500)}, y, {"b": y == 1})
        >>> tests[0].label_p < 0.01, round(tests[0].label, 1)      # presence is the label: log 2
        (True, 0.7)
    """
    masks = presence_of(features, present)
    labels = prepare_target(target, **settings)
    matrices = {m: present_matrix(m, v, masks[m]) for m, v in named_arrays(features, "The features").items()}
    return tests_of(labels, matrices, masks)


def tests_of(labels: EstimatorInput, matrices: Masks, masks: Masks) -> list[AbsenceTest]:
    """Return the tests for checked labels, features and presence; see `absence_tests`."""
    codes = np.unique(np.stack(list(masks.values()), 1), axis=0, return_inverse=True)[1].reshape(-1)
    value, p = _label_dependence(labels, codes)
    any_absent = float(1 - np.all(list(masks.values()), axis=0).mean())
    tests = [AbsenceTest(None, any_absent, value, p)]
    always = [m for m, mask in masks.items() if mask.all()]
    for m, mask in masks.items():
        if not mask.all():
            value, p = _label_dependence(labels, mask)
            gain, gain_p = _observed_dependence(labels, [matrices[k] for k in always], mask) if always else (0.0, 1.0)
            tests.append(AbsenceTest(m, float(1 - mask.mean()), value, p, gain, gain_p))
    return tests


def _label_dependence(labels: EstimatorInput, codes: np.ndarray) -> tuple[float, float]:
    """Return I(R; Y) in nats, corrected for chance, and the p-value of independence; see `association`."""
    group = labels.group
    effect = None if group is None else lambda contributions: design_effect(contributions, group)
    result = association(codes, np.asarray(labels.labels), labels.task.name, labels.seed, design_effect=effect)
    return result.nats, result.p


def _observed_dependence(labels: EstimatorInput, always: Sequence[np.ndarray], mask: np.ndarray) -> tuple[float, float]:
    """Return the information of always-present modalities about presence, out of sample, and its one-sided p-value."""
    if min(mask.sum(), (~mask).sum()) < PROPENSITY_FOLDS:
        return 0.0, 1.0
    propensity, fold = propensities([*always], mask, labels.group, labels.seed)
    base = np.array([mask[fold != k].mean() for k in range(PROPENSITY_FOLDS)])[fold]
    gain = np.where(mask, np.log(propensity / base), np.log((1 - propensity) / (1 - base)))
    spread = gain.std(ddof=1)
    if spread < 1e-9:
        return 0.0, 1.0
    effect = design_effect(gain, labels.group)
    z = float(gain.mean() / (spread * np.sqrt(effect / len(gain))))
    return float(gain.mean()), float(special.ndtr(-z))


def propensities(
    covariates: Sequence[np.ndarray], mask: np.ndarray, group: np.ndarray | None, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return p(present | covariates) for every sample from a logistic model of the other folds, and the folds."""
    target = torch.from_numpy(mask.astype(np.int64))
    task = MultiClass(2)
    fold = assign_folds(target, task, PROPENSITY_FOLDS, group, seed)
    blocks = [standardise(torch.from_numpy(np.asarray(x, dtype=np.float64))) for x in covariates]
    heads = LinearHeads(blocks, target, task)
    inner, test = torch.from_numpy(fold > 1), torch.from_numpy(fold <= 1)
    penalty = choose_l2(heads, inner, test, PROPENSITY_GRID)
    train = torch.from_numpy(fold[None] != np.arange(PROPENSITY_FOLDS)[:, None])
    weights = heads.fit(train, torch.full((PROPENSITY_FOLDS,), penalty), tolerance=1e-6)
    logits = heads.logits(weights)[torch.arange(len(fold)), torch.from_numpy(fold)]
    floor = 0.5 / len(fold)
    return logits.double().softmax(-1)[:, 1].clamp(floor, 1 - floor).numpy(), fold
