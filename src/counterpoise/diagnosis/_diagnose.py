"""`diagnose`: what a trained model makes of its modalities."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from counterpoise._tree import take
from counterpoise._validation import Interval
from counterpoise.data import Modality
from counterpoise.diagnosis._adapt import Adapter, Features, adapt
from counterpoise.diagnosis._arrays import class_shares, conclude
from counterpoise.diagnosis._diagnosis import Damage, Diagnosis
from counterpoise.diagnosis._information import Scored, difference, independent, linear_information
from counterpoise.diagnosis._loader import Samples, collect
from counterpoise.diagnosis._matrices import as_matrix
from counterpoise.diagnosis._probe import (
    CHANGES,
    Partial,
    changed,
    partial_logits,
    predictions,
    scores,
)
from counterpoise.diagnosis._probe import (
    features as encode,
)
from counterpoise.diagnosis._verdicts import Evidence, Thresholds, overall
from counterpoise.errors import DataError, ModelError
from counterpoise.evaluation._gallery import described, make_gallery
from counterpoise.evaluation._sample_lists import SampleLists, sample_lists
from counterpoise.model import MultimodalClassifier
from counterpoise.tasks import Task, make_task
from counterpoise.valuation import Estimate, Valuation, estimate
from counterpoise.valuation.inputs import EstimatorInput, prepare

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = ["diagnose"]


@dataclass(frozen=True)
class _Settings:
    task: str | Task
    estimator: str
    folds: int
    confidence: float
    donors: int
    size: int
    seed: int
    group: np.ndarray | None


def diagnose(
    model: Callable[..., Any] | Adapter,
    loader: Iterable[Any],
    *,
    train: Iterable[Any] | None = None,
    call: str = "auto",
    modalities: Sequence[str] | Mapping[str, Sequence[str]] | None = None,
    features: Features | None = None,
    output: Callable[[Any], Tensor] | None = None,
    potential: Mapping[str, ArrayLike | Tensor] | None = None,
    task: str | Task | None = None,
    label: str | None = None,
    class_names: Sequence[str] = (),
    looks: Sequence[Modality] = (),
    group: ArrayLike | None = None,
    estimator: str = "variational",
    folds: int = 5,
    thresholds: Thresholds | None = None,
    donors: int = 8,
    limit: int | None = 5000,
    batch_size: int = 256,
    confidence: float = 0.95,
    seed: int = 0,
) -> Diagnosis:
    r"""Say what each modality contributes to a model, what becomes of it on the way, and whether that is as it should be.

    On samples that the model was not trained on, three things are compared for every modality m:

    - what is there: I(X_m; Y), the most that heads find in its inputs, its features or what you give as ``potential``;
    - what is used: the information in the model's predictions when all other modalities are averaged out (over the
      same few donors for all samples), :math:`I(\bar f_m(X_m); Y)`;
    - what the training samples show: the same there, if ``train`` is given.

    Much there and little used is under-trained; nothing there is uninformative; much shown in training and little of it
    on other samples is overfitting. `counterpoise.diagnosis.Thresholds` says how much is much.

    Args:
        model: a `MultimodalClassifier`, any torch module over several inputs, a function, or what `adapt` returned.
        loader: yields `Batch`, ``({m: tensor}, target)``, ``((x1, x2), target)``, ``(x1, x2, target)`` or mappings with
            a label, of samples that the model was not trained on.
        train: the same of samples that it was trained on, to see overfitting.
        call: how the model is called; see `adapt`.
        modalities: names, or the inputs that make up each; see `adapt`.
        features: what the encoders say; see `adapt`. A `MultimodalClassifier` tells by itself.
        output: picks the logits; see `adapt`.
        potential: ``{m: (N, D)}`` features, in the loader's order, of a better encoder of m (one trained alone, say): how
            much is there is then measured on them rather than on the raw inputs.
        task: multiclass (the default), multilabel or regression.
        label: the key of the target, where batches are mappings.
        class_names: C names.
        looks: what the modalities look like (`counterpoise.data.Modality`: words of token ids, rate of a sensor), for the
            samples on the page; else it is guessed from their shapes.
        group: ``(N,)``, in the loader's order: which samples belong together (one speaker, one patient). Whole groups stay
            in one fold, and intervals come from the spread between groups.
        estimator: a name of `counterpoise.valuation.VALUATIONS`.
        folds: of the cross-fitting.
        thresholds: where the verdicts part.
        donors: over so many samples the other modalities are averaged.
        limit: a random subset of at most so many samples is looked at; None takes all. Inputs are held in memory.
        batch_size: samples in a forward pass.
        confidence: level of the intervals.
        seed: of folds, donors, noise and the subset.

    Raises:
        DataError: for input that would give a wrong number (empty, one class, NaN, one modality, unequal lengths).
        ModelError: for a model that cannot be called, or does not return finite logits ``(B, C)``.
        ConfigError: for settings out of range.
        NotFoundError: for an unknown estimator or submodule.

    Example:
        >>> from counterpoise.records import Batch
        >>> g = torch.Generator().manual_seed(0)
        >>> y = torch.randint(2, (400,), generator=g)
        >>> a, b = (torch.randn(400, 1, generator=g) + 2 * y[:, None] for _ in "ab")
        >>> def deaf(a, b):                                      # it never listens to b
        ...     return torch.cat([torch.zeros_like(a), 2 * a - 2], 1)
        >>> found = diagnose(deaf, [({"a": a, "b": b}, y)])
        >>> found.findings["a"].verdict, found.findings["b"].verdict
        ('balanced', 'under-trained')
    """
    for name, value, low in (("donors", donors, 1), ("batch_size", batch_size, 1), ("limit", limit or 1, 1)):
        Interval(low, integer=True).check("diagnose", name, value)
    t = thresholds or Thresholds()
    adapter = (
        model
        if isinstance(model, Adapter)
        else adapt(model, call=call, modalities=modalities, features=features, output=output)
    )
    if task is None:
        task = adapter.model.task if isinstance(adapter.model, MultimodalClassifier) else "multiclass"
    samples, adapter = collect(loader, adapter, label=label, limit=limit, seed=seed)
    together = None if group is None else _aligned("group", np.asarray(group), samples)
    settings = _Settings(task, estimator, folds, confidence, donors, batch_size, seed, together)
    _check_modalities(adapter.modalities)
    notes = []
    if len(samples.index) < samples.seen:
        notes.append(f"a random subset of {len(samples.index)} of {samples.seen} samples (limit={limit})")
    with adapter.evaluating():
        inside = _look(adapter, samples, settings, potential or {})
        learnt = (
            None
            if train is None
            else _realised(
                adapter,
                collect(train, adapter, label=label, limit=limit, seed=seed)[0],
                replace(settings, group=None),  # of the other samples
            )
        )
        damage = _damage(adapter, samples, inside.problem, settings)
    notes += inside.notes
    if learnt is None:
        notes.append("overfitting was not looked at: give train= samples that the model was trained on")
    evidence = {m: _evidence(m, inside, learnt, confidence) for m in adapter.modalities}
    scale = inside.problem.task.information_scale(inside.problem.target)
    findings = conclude(adapter.modalities, evidence, inside.valuation, scale, t)
    verdict, summary = overall(findings)
    alone, drop = _pointwise(inside)
    lists = sample_lists(alone, drop, samples.index.numpy())
    return Diagnosis(
        adapter.modalities,
        verdict,
        summary,
        findings,
        inside.valuation,
        inside.source,
        evidence,
        joint_realised=inside.realised.whole.estimate,
        classes=class_shares(inside.problem, {m: s.pointwise for m, s in inside.realised.alone.items()}, class_names),
        samples=lists,
        clean=scores(inside.problem.task, inside.realised.logits.whole, inside.problem.target),
        damage=damage,
        thresholds=t,
        notes=(*inside.valuation.notes, *notes),
        gallery=_gallery(lists, samples, inside, {m: (alone[m], drop[m]) for m in alone}, looks, class_names),
    )


def _gallery(
    lists: SampleLists,
    samples: Samples,
    inside: _Inside,
    contributions: Mapping[str, tuple[np.ndarray, np.ndarray]],
    looks: Sequence[Modality],
    class_names: Sequence[str],
) -> dict[str, Any]:
    """Return some of the samples with pictures of their inputs."""
    place = {int(i): row for row, i in enumerate(samples.index)}
    modalities, moments = described(samples.inputs, looks)
    return make_gallery(
        lists,
        task=inside.problem.task,
        index=samples.index.numpy(),
        target=inside.problem.target,
        model=inside.realised.logits.whole,
        alone=inside.realised.logits.alone,
        contributions=contributions,
        modalities=modalities,
        inputs=lambda chosen: {
            m: take(value, torch.tensor([place[i] for i in chosen])) for m, value in samples.inputs.items()
        },
        class_names=class_names or [str(c) for c in inside.problem.classes],
        moments=moments,
        source="A modality alone: the model's prediction with all other modalities averaged out.",
    )


@dataclass(frozen=True)
class _Realised:
    """What predictions say on some samples, with all modalities, each alone, and all but each."""

    problem: EstimatorInput
    logits: Partial
    whole: Scored
    alone: dict[str, Scored]
    without: dict[str, Scored]


@dataclass(frozen=True)
class _Inside:
    """What was found on the samples that the model was not trained on."""

    realised: _Realised
    valuation: Valuation
    source: str
    there: tuple[Valuation, ...]
    encoder: Valuation | None
    notes: tuple[str, ...]

    @property
    def problem(self) -> EstimatorInput:
        return self.realised.problem


def _check_modalities(names: tuple[str, ...]) -> None:
    if len(names) < 2:
        raise DataError(
            f"A diagnosis needs at least two modalities. Found {len(names)}: {', '.join(names) or 'none'}. "
            "Yield ({name: tensor, ...}, target) with one entry per modality."
        )


def _look(adapter: Adapter, samples: Samples, s: _Settings, potential: Mapping[str, Any]) -> _Inside:
    notes = []
    matrices: dict[str, Any] = {}
    for m, value in samples.inputs.items():
        given = potential.get(m)
        if given is not None:
            matrices[m] = _aligned(f"potential of `{m}`", given, samples)
            notes.append(f"what is there in {m} was measured on the features given as potential")
            continue
        matrices[m], done = as_matrix(value, seed=s.seed)
        if done:
            notes.append(f"what is there in {m} was measured on its {done}")
    common: dict[str, Any] = {"folds": s.folds, "seed": s.seed, "group": s.group}
    task = s.task if isinstance(s.task, Task) else None
    prepare(matrices, _target(samples.target, s.task), task=s.task, **common)  # refuses bad data before the model runs
    realised = _realised(adapter, samples, s)
    task = realised.problem.task
    target = realised.problem.target
    more: dict[str, Any] = {"estimator": s.estimator, "confidence": s.confidence, **common}
    inputs = estimate(matrices, target, task=task, num_outputs=task.num_outputs, **more)
    encoded = encode(adapter, samples.inputs, s.size)
    if not encoded:
        return _Inside(realised, inputs, "inputs", (inputs,), None, tuple(notes))
    if set(encoded) != set(adapter.modalities):
        raise ModelError(
            f"There should be features of the modalities {', '.join(adapter.modalities)}. Found {', '.join(encoded)}."
        )
    own = {m: encoded[m] for m in adapter.modalities}
    valuation = estimate(own, target, task=task, num_outputs=task.num_outputs, **more)
    return _Inside(realised, valuation, "features", (inputs, valuation), valuation, tuple(notes))


def _aligned(name: str, given: Any, samples: Samples) -> np.ndarray:
    """Return the rows of what came in the loader's order that belong to the samples kept."""
    x = given.detach().cpu().numpy() if isinstance(given, Tensor) else np.asarray(given)
    if len(x) != samples.seen:
        raise DataError(f"The {name} should have {samples.seen} rows, as the loader. Found {len(x)}.")
    return x[samples.index.numpy()]


def _target(target: Tensor, task: str | Task) -> Tensor:
    name = task if isinstance(task, str) else task.name
    return target[:, 0] if name == "multiclass" and target.ndim == 2 and target.shape[1] == 1 else target


def _realised(adapter: Adapter, samples: Samples, s: _Settings) -> _Realised:
    logits = partial_logits(adapter, samples.inputs, donors=s.donors, size=s.size, seed=s.seed)
    target = _target(samples.target, s.task)
    name = s.task if isinstance(s.task, str) else s.task.name
    if name == "multiclass" and logits.whole.shape[1] == 1:  # log-odds of class 1
        logits = Partial(
            _two(logits.whole), *({m: _two(x) for m, x in part.items()} for part in (logits.alone, logits.without))
        )
    outputs = logits.whole.shape[1]
    task = make_task(s.task, outputs)
    if task.num_outputs != outputs:
        raise ModelError(f"The task has {task.num_outputs} outputs. The model returns {outputs}.")
    none = {m: np.zeros((len(target), 1)) for m in samples.inputs}
    problem = prepare(none, target, task=task, num_outputs=outputs, folds=s.folds, seed=s.seed, group=s.group)

    def score(x: Tensor) -> Scored:
        return linear_information(problem, x, confidence=s.confidence)

    alone = {m: score(x) for m, x in logits.alone.items()}
    if len(alone) == 2:
        first, second = alone
        without = {first: alone[second], second: alone[first]}
    else:
        without = {m: score(x) for m, x in logits.without.items()}
    return _Realised(problem, logits, score(logits.whole), alone, without)


def _two(x: Tensor) -> Tensor:
    return torch.cat([torch.zeros_like(x), x], 1)


def _evidence(m: str, inside: _Inside, learnt: _Realised | None, confidence: float) -> Evidence:
    """Bring together what is there, what is used and what training shows."""
    none = np.empty(0)
    there = max(inside.there, key=lambda v: v.mi[m].value)
    group = inside.problem.group
    beside, beside_points = _beside(m, inside.there, confidence, group)
    used, whole, rest = inside.realised.alone[m], inside.realised.whole, inside.realised.without[m]
    used_beside = difference(whole.estimate, whole.pointwise, rest.estimate, rest.pointwise, confidence, group=group)
    points = there.per_sample.get(f"mi:{m}", none)
    lost = difference(there.mi[m], points, used.estimate, used.pointwise, confidence, group=group)
    lost_cmi = difference(
        beside,
        beside_points,
        used_beside,
        whole.pointwise - rest.pointwise,
        confidence,
        group=group,
    )
    shown: Estimate | None = None if learnt is None else learnt.alone[m].estimate
    return Evidence(
        there.mi[m],
        beside,
        realised=used.estimate,
        lost=lost,
        lost_cmi=lost_cmi,
        encoder=None if inside.encoder is None else inside.encoder.mi[m],
        shown=shown,
        gap=None if shown is None else independent(shown, used.estimate, confidence),
    )


def _beside(
    m: str, there: Sequence[Valuation], confidence: float, group: np.ndarray | None
) -> tuple[Estimate, np.ndarray]:
    """Return the most that is known of I(X_m; Y | X_-m), and its pointwise values.

    The best that any reader found in all modalities, less the best that any found in the others. The larger of two
    readers' own differences would be wrong: a reader who understands little of the others finds much beside them.
    """

    def rest(v: Valuation) -> float:
        return v.joint_mi.value - v.cmi[m].value

    best, other = max(there, key=lambda v: v.joint_mi.value), max(there, key=rest)
    own = best.per_sample.get(f"cmi:{m}", np.empty(0))
    if best is other:
        return best.cmi[m], own
    joint, shared = best.per_sample.get("mi", np.empty(0)), other.per_sample.get("mi", np.empty(0))
    without = shared - other.per_sample[f"cmi:{m}"] if len(shared) else shared
    value = rest(other)
    left = Estimate(value, other.joint_mi.se, value, value)
    points = joint - without if len(joint) and len(without) else np.empty(0)
    return difference(best.joint_mi, joint, left, without, confidence, group=group), points


def _pointwise(inside: _Inside) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Return what the model's predictions say of every sample with each modality alone, and lose without it."""
    r = inside.realised
    alone = {m: s.pointwise for m, s in r.alone.items()}
    return alone, {m: r.whole.pointwise - s.pointwise for m, s in r.without.items()}


def _damage(adapter: Adapter, samples: Samples, problem: EstimatorInput, s: _Settings) -> tuple[Damage, ...]:
    rows = []
    for m in adapter.modalities:
        for change in CHANGES:
            inputs = changed(samples.inputs, m, change, seed=s.seed)
            if inputs is None:
                continue
            logits = predictions(adapter, inputs, s.size)
            if logits.shape[1] == 1 and problem.task.name == "multiclass":
                logits = _two(logits)
            rows.append(Damage(m, change, scores(problem.task, logits, problem.target)))
    return tuple(rows)
