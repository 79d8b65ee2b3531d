"""`diagnose`: how a trained model uses its modalities."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, Unpack

import numpy as np
from torch import Tensor

from counterpoise.diagnosis._adapter import Adapter, adapt
from counterpoise.diagnosis._arrays import check_class_names, class_shares, conclude
from counterpoise.diagnosis._available import (
    Lattice,
    best_of,
    capped,
    flags_of,
    from_valuation,
    merged,
    shapley_share,
)
from counterpoise.diagnosis._calls import BATCH_BYTES, CORRUPTIONS, PERMUTED, Predictor
from counterpoise.diagnosis._consistency import contradictions
from counterpoise.diagnosis._diagnosis import Diagnosis
from counterpoise.diagnosis._estimators import as_loader, is_estimator
from counterpoise.diagnosis._frames import is_frame
from counterpoise.diagnosis._information import Scored, independent, linear_information
from counterpoise.diagnosis._loader import Samples, collect
from counterpoise.diagnosis._matrices import MatrixBuilder
from counterpoise.diagnosis._options import DiagnosisOptions, Settings, options_of
from counterpoise.diagnosis._progress import Progress
from counterpoise.diagnosis._readout import Readout
from counterpoise.diagnosis._samples import each_leaf, take_rows
from counterpoise.diagnosis._streams import cut_streams, has_slices
from counterpoise.diagnosis._table_tensors import as_batches
from counterpoise.diagnosis._verdicts import Evidence, overall
from counterpoise.errors import DataError, ModelError
from counterpoise.evaluation.metrics import scores
from counterpoise.evaluation.robustness import CorruptionScore
from counterpoise.evaluation.sample_gallery import Inputs, Predictions, described, make_gallery
from counterpoise.evaluation.sample_lists import ClassShare, SampleLists, sample_lists
from counterpoise.tasks import Task, make_task, task_type
from counterpoise.valuation import Estimate, Valuation, estimate
from counterpoise.valuation.assembly import SubsetEstimate, combine
from counterpoise.valuation.inputs import EstimatorInput, prepare, prepare_target

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = ["diagnose"]

IGNORED = 0.005
"""A modality whose replacement changes less than this share of the predictions is ignored by the model."""
SHOWN_SCORES = ("accuracy", "r2", "nll", "ece")
SHOWN = 512
"""Largest number of samples from which the display of the inputs is chosen."""
Result = TypeVar("Result")
Modalities: TypeAlias = "Sequence[str] | Mapping[str, Any]"
"""Names, or the keys, columns or slices of each modality."""
Points: TypeAlias = "tuple[Mapping[str, np.ndarray], Mapping[str, np.ndarray]]"
"""Information in nats by sample and modality: unimodal, and given the others."""


def diagnose(
    model: Callable[..., Any] | Adapter,
    loader: Iterable[Any],
    y: ArrayLike | str | None = None,
    *,
    train: Iterable[Any] | None = None,
    modalities: Modalities | None = None,
    adapter: Adapter | None = None,
    task: str | Task | None = None,
    **settings: Unpack[Settings],
) -> Diagnosis:
    r"""Measure how much information each modality carries and how much of it a model uses.

    On samples that the model was not trained on, three numbers are compared for every modality m:

    - available information: I(X_m; Y), the largest estimate from classifiers fitted on its inputs, on its features or
      on the features given as ``reference_features``, or from the predictions of the model itself;
    - used information: the information in the model's own predictions when all other modalities are averaged out over a
      few background samples. It is 0 if replacing m changes no prediction;
    - training information: the same on training samples, if ``train`` is given.

    A modality is *under-trained* if it is informative but little of that is used, *uninformative* if it carries no
    information, *overfitting* if its training information does not generalise, and *undecided* where there are too few
    samples. `counterpoise.diagnosis.Thresholds` sets the cut-offs.

    Args:
        model: A `MultimodalClassifier`, any torch module or function over several inputs, what `adapt` returned, or a
            fitted scikit-learn estimator (then ``loader`` is a table X, and ``y`` its labels). With a table of numbers,
            a module or function gets one float32 tensor ``(B, D)`` per modality, its columns in the order given.
        loader: Yields `Batch`, ``({m: tensor}, target)``, ``((x1, x2), target)``, ``(x1, x2, target)`` or mappings with
            a label, of samples that the model was not trained on; or a data set of single samples, or a
            LightningDataModule.
        y: Labels ``(N,)``, or the name of their column, if ``loader`` is a table; else None.
        train: The same as ``loader``, of samples that the model was trained on, to see overfitting. For a table,
            ``(X_train, y_train)``.
        modalities: Names in the order of positional inputs, or ``{name: [keys]}`` where a modality has several inputs.
            For a table, ``{name: [columns]}``. Where one input ``(B, T, ...)`` holds several modalities, ``{"image":
            slice(1, 577), "text": slice(577, None)}`` cuts it along T, or ``("inputs_embeds", slice(1, 577))`` where
            there are other inputs.
        adapter: Result of `adapt`, for models whose call cannot be inferred.
        task: Multiclass, multilabel, regression, or a `Task`; by default inferred from the labels and the outputs.
        settings: ``options=DiagnosisOptions(...)``, or any of its fields by name (``class_names``, ``group``,
            ``limit``, ``estimator``, ``seed``, ...), and the parameters ``call``, ``features`` and ``output`` of
            `adapt`.

    Returns:
        The diagnosis. A failure after the predictions with all modalities (a modality that cannot be replaced, a
        corruption that the model refuses, or pictures) becomes a note.

    Raises:
        DataError: For input that would silently produce incorrect results (empty, one class, NaN, one modality, unequal
            lengths).
        ModelError: For a model that cannot be called, does not return finite logits ``(B, C)``, or whose predictions
            cannot be reproduced.
        ConfigError: For settings out of range.
        NotFoundError: For an unknown estimator or submodule.

    Example:
        >>> import torch
        >>> g = torch.Generator().manual_seed(0)
        >>> y = torch.randint(2, (400,), generator=g)
        >>> a, b = (torch.randn(400, 1, generator=g) + 2 * y[:, None] for _ in "ab")
        >>> def deaf(a, b):                                      # it does not use b
        ...     return torch.cat([torch.zeros_like(a), 2 * a - 2], 1)
        >>> diagnosis = diagnose(deaf, [({"a": a, "b": b}, y)])
        >>> diagnosis.findings["a"].verdict, diagnosis.findings["b"].verdict
        ('balanced', 'under-trained')
    """
    options, call = options_of(settings)
    more: list[str] = []
    if is_estimator(model):
        table = as_loader(model, loader, y, modalities, task, options, train)
        model, loader, train, modalities = table.model, table.loader, table.train, table.modalities
        task, options, more = table.task, table.options, table.notes
        call = {**call, "call": "dict"}
    elif y is not None or is_frame(loader):
        loader, train, modalities, more = as_batches(
            loader, options.label if y is None else y, modalities, batch_size=options.batch_size, train=train
        )
    if isinstance(modalities, Mapping) and has_slices(modalities):
        model, loader, train, modalities = cut_streams(
            model.model if isinstance(model, Adapter) else model,
            loader,
            train,
            modalities,
            call=call.get("call", "auto"),
            label=options.label,
            batch_size=options.batch_size,
        )
        call = {**call, "call": "dict"}
    ready = _adapter(model, adapter, modalities, call, options)
    with Progress(options.progress) as progress:
        run = _Run(ready, options, task, progress, notes=list(more))
        try:
            return run.diagnosis(loader, train)
        finally:
            run.close()


def _adapter(
    model: Callable[..., Any] | Adapter,
    adapter: Adapter | None,
    modalities: Sequence[str] | Mapping[str, Sequence[str]] | None,
    call: Mapping[str, Any],
    options: DiagnosisOptions,
) -> Adapter:
    if isinstance(model, Adapter):
        ready = model
    elif adapter is not None:
        ready = replace(adapter, model=model)
    else:
        return replace(adapt(model, modalities=modalities, **call), autocast=options.autocast)
    if modalities is not None:
        named = adapt(ready.model, modalities=modalities)
        ready = replace(ready, modalities=named.modalities, groups=named.groups)
    return replace(ready, autocast=options.autocast or ready.autocast)


@dataclass
class _Used:
    """Information in the predictions on some samples, with all modalities, each alone, and all but each.

    ``problem.group`` holds the groups that were given, or the copies among the samples; ``group`` only the former.
    """

    problem: EstimatorInput
    predictor: Predictor
    logits: Tensor
    readout: Readout
    group: np.ndarray | None = None
    lattice: dict[frozenset[str], Scored] = field(default_factory=dict)
    alone: dict[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.lattice[frozenset(self.predictor.adapter.modalities)] = self.readout.whole

    @property
    def averaged(self) -> bool:
        """Whether predictions with modalities averaged out are known."""
        return len(self.lattice) > 1


class _Run:
    """One diagnosis, stage by stage; earlier results are kept if a late stage fails."""

    def __init__(
        self, adapter: Adapter, options: DiagnosisOptions, task: str | Task | None, progress: Progress, notes: list[str]
    ) -> None:
        self.adapter, self.options, self.asked, self.progress, self.notes = adapter, options, task, progress, notes
        self.samples: list[Samples] = []

    def close(self) -> None:
        """Remove temporary files."""
        for samples in self.samples:
            samples.store.close()

    def diagnosis(self, loader: Iterable[Any], train: Iterable[Any] | None) -> Diagnosis:
        """Run all stages."""
        o = self.options
        samples = self._collect(loader)
        modalities = self.adapter.modalities
        if len(modalities) < 2:
            names = ", ".join(modalities) or "none"
            raise DataError(
                f"A diagnosis needs at least two modalities. Found {len(modalities)}: {names}. "
                "Yield ({name: tensor, ...}, target) with one entry per modality."
            )
        if len(samples.index) < samples.seen:
            self.notes.append(f"a random subset of {len(samples.index)} of {samples.seen} samples (limit={o.limit})")
        with self.adapter.evaluating():
            return self._diagnosis(samples, train)

    def _collect(self, loader: Iterable[Any]) -> Samples:
        o = self.options
        names = self.samples[0].classes if self.samples and self.samples[0].classes else o.class_names
        samples, self.adapter = collect(
            loader,
            self.adapter,
            label=o.label,
            limit=o.limit,
            seed=o.seed,
            batch_size=o.batch_size,
            class_names=names,
        )
        self.samples.append(samples)
        self.notes += [note for note in samples.notes if note not in self.notes]
        return samples

    def _diagnosis(self, samples: Samples, train: Iterable[Any] | None) -> Diagnosis:
        o, modalities = self.options, self.adapter.modalities
        with self.adapter.evaluating():
            self.adapter, note = self.adapter.tried(samples.first)
        self.notes += [note] * bool(note)
        matrices = {m: MatrixBuilder() for m in modalities}
        used, inputs = self._held_out(samples, matrices)
        names = list(o.class_names) or list(samples.classes)
        check_class_names(used.problem, names)
        subsets = {frozenset([m]) for m in modalities} | {self._rest(m) for m in modalities}
        self._optional("what each modality is used for", self._average_out, used, subsets)
        sources = self._valuations(used, inputs)
        permuted = {m: self._optional(f"{m} permuted", used.predictor.corrupted, m, PERMUTED) for m in modalities}
        learnt = self._learnt(train, used.problem)
        evidence, valuation, source = self._evidence(used, sources, learnt, permuted)
        problem = used.problem
        clean = self._optional("scores", self._scores, problem, used.logits) or {}
        corrupted = self._corrupted(used, permuted) if clean else ()
        scale = problem.task.information_scale(problem.target)
        findings = conclude(modalities, evidence, valuation, scale, o.thresholds, problem)
        points = self._pointwise(used) if used.averaged else None
        lists, classes, gallery = (None, None, None) if points is None else self._samples(used, points, names)
        joint = used.readout.whole.estimate
        numbers = (problem, valuation, evidence, findings, joint, clean, corrupted)
        self.notes += self._optional("contradictions", contradictions, *numbers) or []
        self.notes += [note for note in used.predictor.notes if note not in self.notes]
        verdict, summary = overall(findings, evidence)
        return Diagnosis(
            modalities,
            verdict,
            summary,
            findings,
            valuation,
            source,
            evidence,
            joint_realised=joint,
            classes=classes or (),
            samples=lists,
            clean=clean,
            corrupted=corrupted,
            thresholds=o.thresholds,
            notes=tuple(dict.fromkeys((*valuation.notes, *self.notes))),
            gallery=gallery or {},
        )

    def _learnt(self, train: Iterable[Any] | None, held_out: EstimatorInput) -> _Used | None:
        """Return the information in the predictions on training samples; None, with a note, if it was not measured."""
        if train is None:
            self.notes.append("overfitting was not measured: give train= samples that the model was trained on")
            return None
        return self._optional("training samples", self._training, train, held_out)

    def _optional(self, what: str, function: Callable[..., Result], *arguments: Any) -> Result | None:
        """Run a late stage; if it fails, add a note."""
        try:
            return function(*arguments)
        except Exception as error:  # anything that a user's model or data may raise
            self._leave_out(what, error)
            return None

    def _leave_out(self, what: str, error: Exception) -> None:
        text = " ".join(str(error).split())[:200]
        self.notes.append(f"left out: {what} ({type(error).__name__}: {text})")

    def _pointwise(self, used: _Used) -> Points:
        """Return the information that each sample's prediction uses from each modality, alone and given the others."""
        modalities, whole = self.adapter.modalities, used.readout.whole.pointwise
        alone = {m: used.lattice[frozenset([m])].pointwise for m in modalities}
        return alone, {m: whole - used.lattice[self._rest(m)].pointwise for m in modalities}

    def _samples(
        self, used: _Used, points: Points, names: Sequence[str]
    ) -> tuple[SampleLists | None, tuple[ClassShare, ...] | None, dict[str, Any] | None]:
        """Return samples to inspect, the modalities of each class, and pictures."""
        lists = self._optional("samples to inspect", sample_lists, *points, used.predictor.samples.index.numpy())
        classes = self._optional("classes", class_shares, used.problem, points[0], names)
        if lists is None:
            return None, classes, None
        return lists, classes, self._optional("pictures of samples", self._gallery, lists, used, points, names)

    def _rest(self, m: str) -> frozenset[str]:
        return frozenset(self.adapter.modalities) - {m}

    # -- predictions on samples that were not trained on ---------------------------------------------------------------

    def _predictor(self, samples: Samples) -> Predictor:
        o = self.options
        return Predictor(self.adapter, samples, size=o.batch_size, seed=o.seed, progress=self.progress)

    def _held_out(self, samples: Samples, builders: dict[str, MatrixBuilder]) -> tuple[_Used, dict[str, Any]]:
        o = self.options
        group = None if o.group is None else _aligned("group", o.group, samples)
        predictor = self._predictor(samples)
        outputs = predictor.whole(builders)
        matrices, kind, target = self._matrices(samples, builders), self._kind(samples.target, outputs), samples.target
        if task_type(kind).has_classes and target.ndim == 2 and target.shape[1] == 1:
            target = target[:, 0]
        inputs = prepare(matrices, target, task=kind, folds=o.folds, seed=o.seed, group=group)
        predictor.check_finite()
        logits = predictor.read(task_type(kind))
        task = make_task(kind, logits.shape[1])
        if task.num_outputs != logits.shape[1]:
            raise ModelError(f"The task has {task.num_outputs} outputs. The model returns {logits.shape[1]}.")
        problem = prepare_target(
            target, task=task, num_outputs=task.num_outputs, folds=o.folds, seed=o.seed, group=inputs.group
        )
        predictor.task = task
        used = _Used(problem, predictor, logits, Readout(problem, logits, confidence=o.confidence), group)
        names = self.adapter.modalities
        if predictor.features and set(predictor.features) != set(names):
            raise ModelError(
                f"There should be features of the modalities {', '.join(names)}. Found {', '.join(predictor.features)}."
            )
        return used, matrices

    def _average_out(self, used: _Used, subsets: set[frozenset[str]]) -> None:
        """Fill the lattice of used information."""
        background = used.predictor.background(self.options.background_size)
        self.progress("predictions with modalities averaged out")
        for subset, partial in used.predictor.partials(subsets, background, used.readout.scales).items():
            used.lattice[subset] = used.readout.partial(partial)
            if len(subset) == 1:
                used.alone[next(iter(subset))] = partial.logits

    def _kind(self, target: Tensor, outputs: Tensor) -> str | Task:
        """Return the task: the requested one, the model's own, or the one that fits the labels and outputs."""
        if self.asked is not None:
            return self.asked
        classifier = self.adapter.classifier
        if classifier is not None:
            return classifier.task
        wide = target.ndim == 2 and target.shape[1] > 1
        binary = bool(((target == 0) | (target == 1)).all())
        if _has_fractions(target) or (not binary and outputs.shape[1] == (target.shape[1] if wide else 1)):
            self.notes.append("the labels are numbers, so the task is taken to be regression; set task= if it is not")
            return "regression"
        return "multilabel" if wide and binary else "multiclass"

    def _matrices(self, samples: Samples, builders: Mapping[str, MatrixBuilder]) -> dict[str, Any]:
        matrices: dict[str, Any] = {}
        for m, builder in builders.items():
            given = self.options.reference_features.get(m)
            if given is not None:
                matrices[m] = _aligned(f"reference features of `{m}`", given, samples)
                if not is_estimator(getattr(self.adapter.model, "estimator", None)):
                    self.notes.append(f"available information in {m} was measured on the features given as reference")
                continue
            matrices[m], done = builder.matrix(seed=self.options.seed)
            if done:
                self.notes.append(f"available information in {m} was measured on its {done}")
        return matrices

    # -- available information -----------------------------------------------------------------------------------------

    def _valuations(self, used: _Used, matrices: Mapping[str, Any]) -> dict[str, Valuation]:
        """Return valuations of the inputs, and of the features where they are known; at least one of the two."""
        o, task = self.options, used.problem.task
        common: dict[str, Any] = {"estimator": o.estimator, "confidence": o.confidence, "folds": o.folds}
        common |= {"seed": o.seed, "group": used.group, "task": task, "num_outputs": task.num_outputs}
        features = {m: used.predictor.features[m] for m in self.adapter.modalities if used.predictor.features}
        known: dict[str, Valuation] = {}
        failures: list[Exception] = []
        for source, arrays in (("inputs", matrices), ("features", features)):
            if not arrays:
                continue
            self.progress(f"information in the {source}")
            try:
                known[source] = estimate(arrays, used.problem.target, **common)
            except Exception as error:  # a user's estimator may raise anything
                failures.append(error)
                self._leave_out(f"information in the {source}", error)
        if not known:
            raise failures[0]
        return known

    def _evidence(
        self,
        used: _Used,
        valuations: Mapping[str, Valuation],
        learnt: _Used | None,
        permuted: Mapping[str, Tensor | None],
    ) -> tuple[dict[str, Evidence], Valuation, str]:
        """Bring together available, used and training information."""
        modalities, problem = self.adapter.modalities, used.problem
        heads = {name: capped(from_valuation(v, name), problem) for name, v in valuations.items()}
        flags = {flag for name, v in valuations.items() for flag in flags_of(v, name)}
        own = {s: q.term for s, q in used.lattice.items()}
        source = "features" if "features" in heads else "inputs"
        available = best_of([*heads.values(), own], problem.group)
        self._weak_heads(best_of(list(heads.values()), problem.group), own, problem)
        valuation = merged(valuations[source], best_of([heads[source], own], problem.group), problem, flags)
        changed = {m: self._changed(problem.task, used.logits, permuted[m]) for m in modalities}
        ignored = self._ignored(changed, own, problem)
        evidence = {}
        for m in modalities:
            e = self._compared(m, available, own, used, set() if m in ignored else ignored)
            encoder = valuations["features"].mi[m] if "features" in valuations else None
            e = self._with_training(replace(e, encoder=encoder, changed=changed[m]), m, learnt)
            if m in ignored:
                decodable = self._optional(f"what can be decoded of {m}", self._decodable, problem, used.alone[m])
                e = e if decodable is None else replace(e, decodable=decodable.estimate)
            evidence[m] = e
        return evidence, valuation, source

    def _decodable(self, problem: EstimatorInput, logits: Tensor) -> Scored:
        return linear_information(problem, logits, confidence=self.options.confidence)

    def _ignored(self, changed: Mapping[str, float | None], own: Lattice, problem: EstimatorInput) -> set[str]:
        """Return the modalities that change hardly any prediction and whose unimodal predictions carry no
        information.
        """
        small = self.options.thresholds.negligible * problem.task.information_scale(problem.target)
        unmoved = [m for m, share in changed.items() if share is not None and share < IGNORED]
        return {m for m in unmoved if frozenset([m]) in own and own[frozenset([m])].value < small}

    def _with_training(self, e: Evidence, m: str, learnt: _Used | None) -> Evidence:
        """Return evidence with the training information of a modality, where it was measured."""
        if learnt is None:
            return e
        shown = learnt.lattice[frozenset([m])].estimate
        gap = None if e.realised is None else independent(shown, e.realised, self.options.confidence)
        return replace(e, shown=shown, gap=gap)

    def _compared(self, m: str, available: Lattice, own: Lattice, used: _Used, ignored: set[str]) -> Evidence:
        """Return available and used information of one modality, alone and given the others.

        The predictions can only use the information that m adds to modalities that they do not ignore, so ignored
        modalities are left out of the comparison.
        """
        modalities = self.adapter.modalities
        whole, alone, rest = frozenset(modalities), frozenset([m]), self._rest(m)

        most = used.problem.largest_information

        def total(*terms: tuple[float, SubsetEstimate], least: float = 0.0) -> Estimate:
            return combine(terms, used.problem.group, self.options.confidence, least=least, most=most)

        # What the model knows of m given the others, where modalities that harm it are averaged out.
        known = best_of([own], used.problem.group)
        carried = Evidence(
            total((1.0, available[alone])),
            total((1.0, available[whole]), (-1.0, available[rest])),
            joint=total((1.0, available[whole])),
            joint_lost=total((1.0, available[whole]), (-1.0, known[whole])),
        )
        if not used.averaged:
            return carried
        top, others = whole - ignored, rest - ignored
        if top not in known or top not in available or (others and others not in own):
            top, others = whole, rest
        lost_cmi = [(1.0, available[top]), (-1.0, known[top])]
        if others:
            lost_cmi += [(-1.0, available[others]), (1.0, own[others])]
        share = list(shapley_share(available, m, modalities))
        share += [(-w, q) for w, q in shapley_share({**own, whole: known[whole]}, m, modalities)]
        return replace(
            carried,
            realised=used.lattice[alone].estimate,
            lost=total((1.0, available[alone]), (-1.0, own[alone])),
            lost_cmi=total(*lost_cmi, least=-most),
            shortfall=total(*share, least=-most),
        )

    def _weak_heads(self, heads: Lattice, own: Lattice, problem: EstimatorInput) -> None:
        """Add a note if the model's predictions carry significantly more information than those of all fitted
        classifiers.
        """
        whole = frozenset(self.adapter.modalities)
        gain = combine([(1.0, own[whole]), (-1.0, heads[whole])], problem.group)
        if gain.low > 0 and gain.value > 0.02 * max(own[whole].value, 1e-9):
            self.notes.append(
                f"the model's predictions know {own[whole].value:.3f} nats, the fitted classifiers find "
                f"{max(heads[whole].value, 0.0):.3f}: they are too weak for these inputs, and the model's number counts"
            )

    @staticmethod
    def _changed(task: Task, logits: Tensor, permuted: Tensor | None) -> float | None:
        """Return the share of predictions that change when a modality is replaced by another sample's."""
        if permuted is None:
            return None
        before, after = task.point(logits), task.point(permuted)
        if before.is_floating_point():
            moved = (before - after).abs() > 0.01 * before.std(0, correction=0).clamp_min(1e-12)
        else:
            moved = before != after
        return float(moved.reshape(len(moved), -1).double().mean())

    def _training(self, train: Iterable[Any], held_out: EstimatorInput) -> _Used:
        """Return the information in the predictions on training samples."""
        o = self.options
        samples = self._collect(train)
        predictor = self._predictor(samples)
        predictor.whole()
        logits = predictor.read(type(held_out.task))
        target = samples.target[:, 0] if held_out.task.has_classes and samples.target.ndim == 2 else samples.target
        problem = prepare_target(
            target, task=held_out.task, num_outputs=held_out.task.num_outputs, folds=o.folds, seed=o.seed
        )
        predictor.task = problem.task
        used = _Used(problem, predictor, logits, Readout(problem, logits, confidence=o.confidence))
        self._average_out(used, {frozenset([m]) for m in self.adapter.modalities})
        return used

    # -- late stages ---------------------------------------------------------------------------------------------------

    @staticmethod
    def _scores(problem: EstimatorInput, logits: Tensor) -> dict[str, float]:
        known = scores(problem.task, logits, problem.target)
        return {k: known[k] for k in dict.fromkeys((problem.task.score_name, *SHOWN_SCORES)) if k in known}

    def _corrupted(self, used: _Used, permuted: Mapping[str, Tensor | None]) -> tuple[CorruptionScore, ...]:
        """Return scores with each modality corrupted; corruptions that the model refuses are left out with a note."""
        rows = []
        for m in self.adapter.modalities:
            for corruption in CORRUPTIONS if self.options.damage else (PERMUTED,):
                if corruption == PERMUTED:
                    logits = permuted[m]
                else:
                    self.progress(f"{m}: {corruption}")
                    logits = self._optional(f"{m} with {corruption}", used.predictor.corrupted, m, corruption)
                known = None if logits is None else self._optional("scores", self._scores, used.problem, logits)
                if known is not None:
                    rows.append(CorruptionScore(m, corruption, known))
        return tuple(rows)

    def _gallery(
        self,
        lists: SampleLists,
        used: _Used,
        contributions: Points,
        names: Sequence[str],
    ) -> dict[str, Any]:
        """Return some of the samples with pictures of their inputs."""
        samples = used.predictor.samples
        place = {int(i): row for row, i in enumerate(samples.index)}

        def rows(chosen: list[int]) -> dict[str, Any]:
            single = [samples.store.row(place[i]) for i in chosen]
            return {m: each_leaf(_floats, _stacked([one[m] for one in single])) for m in self.adapter.modalities}

        count = max(2, min(SHOWN, BATCH_BYTES // samples.store.bytes_per_sample))
        some = next(iter(samples.store.batches(count)))[1]
        shown = {m: each_leaf(_floats, take_rows(v, slice(0, count))) for m, v in some.items()}
        modalities, moments = described(shown, self.options.display)
        alone, added = contributions
        return make_gallery(
            lists,
            Predictions(
                task=used.problem.task,
                index=samples.index.numpy(),
                target=used.problem.target,
                model=used.logits,
                alone=used.alone,
                contributions={m: (alone[m], added[m]) for m in alone},
                class_names=names or [str(c) for c in used.problem.classes],
            ),
            Inputs(modalities, rows, moments),
            source="A modality alone: the model's prediction with all other modalities averaged out.",
        )


def _has_fractions(x: Tensor) -> bool:
    return x.is_floating_point() and bool(((x != x.round()) & x.isfinite()).any())


def _floats(_: str, leaf: Any) -> Any:
    return leaf.float() if isinstance(leaf, Tensor) and leaf.is_floating_point() else leaf


def _stacked(values: list[Any]) -> Any:
    """Join single samples; those of differing length are not shown."""
    from counterpoise.diagnosis._samples import concat_rows, named_leaves

    sizes = {
        tuple(tuple(leaf.shape[1:]) for leaf in named_leaves(v).values() if isinstance(leaf, Tensor)) for v in values
    }
    return concat_rows(values) if len(sizes) == 1 else None


def _aligned(name: str, given: Any, samples: Samples) -> Any:
    """Return the rows of an array in the loader's order that belong to the samples that were kept."""
    x: Any = (
        given.detach().cpu().numpy() if isinstance(given, Tensor) else given if is_frame(given) else np.asarray(given)
    )
    if len(x) != samples.seen:
        raise DataError(f"The {name} should have {samples.seen} rows, as the loader. Found {len(x)}.")
    rows = samples.index.numpy()
    return x.iloc[rows] if is_frame(x) else x[rows]
