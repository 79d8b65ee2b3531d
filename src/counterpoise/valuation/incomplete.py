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
from torch import Tensor

from counterpoise._arrays import as_numpy, check_index, named_arrays
from counterpoise._validation import Options
from counterpoise.errors import ConfigError, DataError
from counterpoise.valuation._valuation import Estimate, Valuation
from counterpoise.valuation.absence import (
    PROPENSITY_FOLDS,
    AbsenceTest,
    Masks,
    presence_of,
    present_matrix,
    propensities,
    tests_of,
)
from counterpoise.valuation.assembly import Subset, SubsetEstimate, assemble, combine, needed_subsets
from counterpoise.valuation.estimators.variational import bound_of, corrected, fit_subsets, uncorrected
from counterpoise.valuation.heads.large import is_large
from counterpoise.valuation.heads.predictions import marginal
from counterpoise.valuation.inputs import EstimatorInput, Features, prepare, prepare_target

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = ["Absence", "estimate_incomplete"]

Absence: TypeAlias = Literal["auto", "completely-random", "random"]
"""Assumptions about absence; ``auto`` uses weights if absence depends significantly on observed variables."""

MAX_WEIGHT: Final = 10.0
"""Largest weight of a sample, in units of the mean weight."""
SIGNIFICANT: Final = 0.05


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
        propensity = propensities(self._observed(), mask, self.labels.group, self.labels.seed)[0][rows]
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
    matrices = {m: present_matrix(m, value, masks[m]) for m, value in arrays.items()}
    tests = tests_of(labels, matrices, masks)
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
