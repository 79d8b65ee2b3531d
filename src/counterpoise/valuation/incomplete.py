r"""Information from incomplete data: samples in which some modalities are absent.

The quantities are those of complete data, :math:`I(Z_S; Y)` in the population. Every subset S of the modalities uses
the samples in which all of S are present; a conditional quantity is a difference between two subsets of the *same*
samples. An assumption is needed for these samples to represent all samples:

- *completely random*: absence depends on nothing. The samples are used without weights.
- *random*: absence depends on observed variables only: the modalities that are present in every sample, and the label.
  With :math:`\pi_S = p(S \text{ present} \mid z_{\text{observed}}, y)` from a cross-fitted logistic model, every sample
  has the weight :math:`1 / \pi_S`, at most `MAX_WEIGHT` times the mean one (inverse-probability weights; Horvitz and
  Thompson, JASA 1952; for information under missing modalities Choi et al., "ICYM2I", arXiv 2505.16953). A weight
  becomes a number of copies, by random rounding, and the copies of a sample are one group: they stay in one fold, and
  intervals count the groups and their sizes. Heads, corrections and intervals are therefore those of complete data.

If the pattern of presence is informative about the label, :math:`I(R; Y) > 0`, a note reports it. Whether absence
depends on the absent value itself cannot be seen in the data; a note states that, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, get_args

import numpy as np
import torch
from scipy import special
from torch import Tensor

from counterpoise._arrays import as_matrix, as_numpy, check_index, named_arrays
from counterpoise._validation import Options
from counterpoise.data._absence import association
from counterpoise.errors import ConfigError, DataError
from counterpoise.tasks import MultiClass
from counterpoise.valuation._valuation import Estimate, Valuation
from counterpoise.valuation.assembly import Subset, SubsetEstimate, assemble, combine, needed_subsets
from counterpoise.valuation.estimators.variational import bound_of, corrected, fit_subsets, uncorrected
from counterpoise.valuation.groups import design_effect
from counterpoise.valuation.heads.large import is_large
from counterpoise.valuation.heads.linear import LinearHeads, choose_l2, standardise
from counterpoise.valuation.heads.predictions import marginal
from counterpoise.valuation.inputs import EstimatorInput, Features, assign_folds, prepare, prepare_target

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = ["Absence", "AbsenceTest", "absence_tests", "estimate_incomplete", "presence_of"]

Absence: TypeAlias = Literal["auto", "completely-random", "random"]
"""Assumptions about absence; ``auto`` uses weights if absence depends significantly on observed variables."""
Masks: TypeAlias = Mapping[str, np.ndarray]

MAX_WEIGHT: Final = 10.0
"""Largest weight of a sample, in units of the mean weight."""
SIGNIFICANT: Final = 0.05
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


# -- presence ----------------------------------------------------------------------------------------------------------


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


def _present_matrix(m: str, value: Any, mask: np.ndarray) -> np.ndarray:
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


# -- dependence of absence -------------------------------------------------------------------------------------------


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
    matrices = {m: _present_matrix(m, v, masks[m]) for m, v in named_arrays(features, "The features").items()}
    return _absence_tests(labels, matrices, masks)


def _absence_tests(labels: EstimatorInput, matrices: Masks, masks: Masks) -> list[AbsenceTest]:
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
    found = association(codes, np.asarray(labels.labels), labels.task.name, labels.seed, design_effect=effect)
    return found.nats, found.p


def _observed_dependence(labels: EstimatorInput, always: Sequence[np.ndarray], mask: np.ndarray) -> tuple[float, float]:
    """Return the information of always-present modalities about presence, out of sample, and its one-sided p-value."""
    if min(mask.sum(), (~mask).sum()) < PROPENSITY_FOLDS:
        return 0.0, 1.0
    propensity, fold = _propensity([*always], mask, labels.group, labels.seed)
    base = np.array([mask[fold != k].mean() for k in range(PROPENSITY_FOLDS)])[fold]
    gain = np.where(mask, np.log(propensity / base), np.log((1 - propensity) / (1 - base)))
    spread = gain.std(ddof=1)
    if spread < 1e-9:
        return 0.0, 1.0
    effect = design_effect(gain, labels.group)
    z = float(gain.mean() / (spread * np.sqrt(effect / len(gain))))
    return float(gain.mean()), float(special.ndtr(-z))


def _propensity(
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


# -- estimation --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Sample:
    """The samples of one subset, weighted to represent the population.

    Attributes:
        rows: Their positions among all samples; a sample of weight k occurs k times.
        available: Number of samples that have the whole subset.
        largest: Largest weight in units of the mean, before the limit; 1 without weights.
    """

    rows: np.ndarray
    available: int
    largest: float = 1.0


class _Incomplete:
    """Checked incomplete data, and the samples that each subset of the modalities uses.

    Args:
        labels: Checked labels of all samples.
        matrices: ``{m: (N, D_m)}``; absent rows are not read.
        masks: ``{m: (N,)}`` presence.
        weighted: Whether the samples of a subset are weighted.
    """

    def __init__(self, labels: EstimatorInput, matrices: Masks, masks: Masks, *, weighted: bool) -> None:
        self.labels, self.matrices, self.masks, self.weighted = labels, matrices, masks, weighted
        self.modalities = tuple(matrices)
        self._samples: dict[Subset, _Sample] = {}

    def sample(self, subset: Subset) -> _Sample:
        """Return the samples of a subset; they are drawn once."""
        if subset not in self._samples:
            self._samples[subset] = self._draw(subset)
        return self._samples[subset]

    def _draw(self, subset: Subset) -> _Sample:
        mask = np.all([self.masks[m] for m in subset], axis=0)
        rows = np.flatnonzero(mask)
        few = min(len(rows), len(mask) - len(rows)) < PROPENSITY_FOLDS
        if not self.weighted or few:
            return _Sample(rows, len(rows))
        propensity = _propensity(self._observed(), mask, self.labels.group, self.labels.seed)[0][rows]
        weight = 1 / propensity
        largest = float(weight.max() / weight.mean())
        weight = np.minimum(weight, MAX_WEIGHT * weight.mean())
        rng = np.random.default_rng([self.labels.seed, len(subset), *map(self.modalities.index, subset)])
        count = np.floor(weight / weight.mean() + rng.random(len(rows))).astype(np.int64)
        return _Sample(np.repeat(rows, count), len(rows), largest)

    def _observed(self) -> list[np.ndarray]:
        """Return the variables on which absence may depend: the always-present modalities, and the label."""
        task = self.labels.task
        label = task.one_hot(self.labels.target, torch.float64).numpy().reshape(self.labels.n, -1)
        return [*(self.matrices[m] for m in self.modalities if self.masks[m].all()), label]

    def problem(self, subset: Subset, settings: Mapping[str, Any]) -> EstimatorInput:
        """Return the checked input of a subset on its own samples.

        Raises:
            DataError: If there are too few samples.
        """
        rows = self.sample(subset).rows
        features = {m: self.matrices[m][rows] for m in subset}
        if len(subset) == 1:  # an input has at least two modalities, so a copy is added and removed again
            features[f"{subset[0]} "] = features[subset[0]]
        target = self.labels.target[torch.from_numpy(rows)]
        group = None if settings["group"] is None else np.asarray(settings["group"])[rows]
        if group is None and len(np.unique(rows)) < len(rows):
            group = rows
        task = self.labels.task
        given = prepare(
            features,
            target,
            task=task,
            num_outputs=task.num_outputs,
            folds=settings["folds"],
            group=group,
            seed=settings["seed"],
        )
        return replace(given, features={m: given.features[m] for m in subset})


def estimate_incomplete(
    features: Features,
    target: ArrayLike | Tensor,
    present: Mapping[str, Any] | None = None,
    *,
    absence: Absence = "auto",
    task: Any = "auto",
    num_outputs: int | None = None,
    estimator: str = "variational",
    folds: int = 5,
    group: ArrayLike | None = None,
    seed: int = 0,
    confidence: float = 0.95,
) -> Valuation:
    """Estimate contributions from incomplete data; `estimate` with ``present=`` calls it.

    Args:
        features: As for `estimate`. Rows of absent modalities are not read and may be NaN.
        target: Labels of all samples.
        present: As for `presence_of`.
        absence: Assumption about absence: ``completely-random``, ``random`` (weights from a model of presence), or
            ``auto``: weights if the absence of some modality depends significantly on the label or on the modalities
            that are always present.
        task: As for `estimate`.
        num_outputs: As for `estimate`.
        estimator: ``variational`` or ``variational-linear``.
        folds: As for `estimate`.
        group: As for `estimate`.
        seed: As for `estimate`.
        confidence: As for `estimate`.

    Returns:
        A `Valuation` of the population of all samples. ``n`` counts all of them, and the notes give the number of
        samples of each quantity. Contributions of samples that a quantity does not use are NaN.

    Raises:
        DataError: For a sample without any modality, and as `estimate`.
        ConfigError: For another estimator or assumption.
    """
    Options(get_args(Absence)).check("estimate", "absence", absence)
    if estimator not in ("variational", "variational-linear"):
        raise ConfigError(
            f"Incomplete data are measured by `variational` or `variational-linear`. Found `estimator = {estimator!r}`."
        )
    arrays = named_arrays(features, "The features")
    check_index(arrays | {"the labels": target} | ({} if group is None else {"group": group}))
    masks = presence_of(arrays, present)
    settings: dict[str, Any] = {"folds": folds, "group": None if group is None else as_numpy(group), "seed": seed}
    labels = prepare_target(target, task=task, num_outputs=num_outputs, **settings)
    _check_lengths(masks, labels.n)
    matrices = {m: _present_matrix(m, value, masks[m]) for m, value in arrays.items()}
    tests = _absence_tests(labels, matrices, masks)
    depends = any(min(t.label_p, t.observed_p) < SIGNIFICANT for t in tests[1:])
    data = _Incomplete(labels, matrices, masks, weighted=absence == "random" or (absence == "auto" and depends))
    return _Measurement(data, settings, estimator, confidence).valuation(tests)


def _check_lengths(masks: Masks, n: int) -> None:
    sizes = {m: len(mask) for m, mask in masks.items()} | {"the labels": n}
    if len(set(sizes.values())) != 1:
        lengths = ", ".join(f"{name}: {size}" for name, size in sizes.items())
        raise DataError(f"Every modality and the labels should have the same number of samples. Found {lengths}.")


class _Measurement:
    """Estimates of every subset on its own samples.

    Args:
        data: The data.
        settings: Folds, groups and seed.
        estimator: Name of the estimator.
        confidence: Level of the intervals.
    """

    def __init__(self, data: _Incomplete, settings: Mapping[str, Any], estimator: str, confidence: float) -> None:
        self.data, self.settings, self.estimator, self.confidence = data, settings, estimator, confidence
        self.linear = estimator == "variational-linear"

    def _information(self, subset: Subset) -> tuple[EstimatorInput, dict[Subset, SubsetEstimate], str]:
        """Return the information of a subset and of its own subsets on its samples, and the kind of bound."""
        problem = self.data.problem(subset, self.settings)
        prior = marginal(problem)
        correct = not self.linear and not is_large(problem)
        inner = needed_subsets(subset)
        fitted = fit_subsets(problem, inner, prior, linear=self.linear, halves=correct)
        terms = {s: corrected(problem, f, prior) if correct else uncorrected(f, prior) for s, f in fitted.items()}
        return problem, terms, bound_of(problem, correct)

    def valuation(self, tests: Sequence[AbsenceTest]) -> Valuation:
        """Return the valuation: differences on complete samples, single terms on all samples that have them."""
        everything = self.data.modalities
        labels = self.data.labels
        entropy = float(labels.task.entropy(labels.target))
        base, notes = self._complete(entropy)
        own: dict[Subset, Estimate] = {}
        pointwise: dict[Subset, np.ndarray] = {}
        for subset in needed_subsets(everything):
            if subset == everything or self.data.sample(subset).available == self.data.sample(everything).available:
                continue
            try:
                problem, terms, bound = self._information(subset)
            except DataError:
                own[subset] = _unknown()
                continue
            own[subset] = combine(
                [(1.0, terms[subset])],
                problem.group,
                self.confidence,
                bound=bound,
                least=0.0,
                most=problem.largest_information,
            )
            pointwise[subset] = self._scattered(subset, terms[subset].pointwise)
        single = {m: own.get((m,), base.mi[m]) for m in everything}
        per_sample = base.per_sample | {f"mi:{s[0]}": value for s, value in pointwise.items() if len(s) == 1}
        unknown = {f"mi:{m}" for m in everything if np.isnan(single[m].value)}
        few = tuple(k for k in base.too_few_samples if not k.startswith("mi:") or (k[3:],) not in own)
        return replace(
            base,
            n=labels.n,
            entropy=entropy,
            mi=single,
            subsets=base.subsets | own,
            per_sample=per_sample,
            notes=(*labels.notes, *notes, self._used(), *self._assumed(tests), *_informative(tests)),
            too_few_samples=tuple(dict.fromkeys([*few, *sorted(unknown)])),
            terms={},
        )

    def _complete(self, entropy: float) -> tuple[Valuation, tuple[str, ...]]:
        """Return the valuation from the samples that have every modality."""
        everything = self.data.modalities
        try:
            problem, terms, bound = self._information(everything)
        except DataError as error:
            return _nothing(self.data, entropy, self.estimator, self.confidence), (
                f"too few samples have all modalities, so that conditional quantities are unknown ({error})",
            )
        value = assemble(
            problem, terms, estimator=self.estimator, entropy=entropy, bound=bound, confidence=self.confidence
        )
        scattered = {key: self._scattered(everything, x) for key, x in value.per_sample.items()}
        known = set(self.data.labels.notes)
        if self.data.weighted:  # the copies are our own
            known |= {note for note in value.notes if "are copies of others" in note}
        return replace(value, per_sample=scattered), tuple(note for note in value.notes if note not in known)

    def _scattered(self, subset: Subset, values: np.ndarray) -> np.ndarray:
        result = np.full(self.data.labels.n, np.nan)
        result[self.data.sample(subset).rows] = values
        return result

    def _used(self) -> str:
        sample, everything = self.data.sample, self.data.modalities
        parts = [f"all modalities {sample(everything).available:,}"]
        parts += [f"`{m}` {sample((m,)).available:,}" for m in everything]
        return f"samples used of {self.data.labels.n:,}: {', '.join(parts)}"

    def _assumed(self, tests: Sequence[AbsenceTest]) -> list[str]:
        """Return notes on the assumption about absence, and on its limits."""
        always = [m for m, mask in self.data.masks.items() if mask.all()]
        observed = " and ".join([*(f"`{m}`" for m in always), "the label"])
        if self.data.weighted:
            notes = [
                f"assumed: absence depends on nothing but {observed}; samples are weighted by their inverse "
                "probability of being complete"
            ]
            largest = max(self.data.sample(s).largest for s in needed_subsets(self.data.modalities))
            if largest > MAX_WEIGHT:
                notes.append(
                    f"the largest weight is {largest:.0f} times the mean; weights are limited to {MAX_WEIGHT:.0f} "
                    "times, so that samples that are rarely complete count too little"
                )
        else:
            notes = ["assumed: absence is completely random"]
            notes += [
                f"the absence of `{t.modality}` depends on what is observed (p = {min(t.label_p, t.observed_p):.2g}): "
                "absence='random' takes that into account"
                for t in tests[1:]
                if min(t.label_p, t.observed_p) < SIGNIFICANT
            ]
        return [*notes, "not detectable: absence that depends on the absent value itself"]


def _informative(tests: Sequence[AbsenceTest]) -> list[str]:
    pattern = tests[0]
    if pattern.label_p >= SIGNIFICANT:
        return []
    return [
        f"absence is informative: which modalities are present tells about the label, I(R; Y) = {pattern.label:.3f} "
        f"nats (p = {pattern.label_p:.2g})"
    ]


def _unknown() -> Estimate:
    nan = float("nan")
    return Estimate(nan, nan, nan, nan)


def _nothing(data: _Incomplete, entropy: float, estimator: str, confidence: float) -> Valuation:
    """Return a valuation in which all numbers are unknown."""
    names = data.modalities
    unknown = {m: _unknown() for m in names}
    task = data.labels.task
    return Valuation(
        modalities=names,
        n=data.labels.n,
        entropy=entropy,
        joint_mi=_unknown(),
        mi=dict(unknown),
        cmi=dict(unknown),
        estimator=estimator,
        task=task.name,
        differential=not task.has_discrete_entropy,
        confidence=confidence,
        too_few_samples=("mi", *(f"mi:{m}" for m in names), *(f"cmi:{m}" for m in names)),
    )
