"""One diagnosis of a model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from counterpoise._notes import Notes
from counterpoise.diagnosis._adapter import Adapter
from counterpoise.diagnosis._arrays import check_class_names, class_shares, conclude
from counterpoise.diagnosis._calls import CORRUPTIONS, PERMUTED, Predictor
from counterpoise.diagnosis._comparison import Comparison
from counterpoise.diagnosis._consistency import contradictions
from counterpoise.diagnosis._diagnosis import Diagnosis
from counterpoise.diagnosis._estimators import is_estimator
from counterpoise.diagnosis._frames import is_frame
from counterpoise.diagnosis._loader import Samples, collect
from counterpoise.diagnosis._matrices import MatrixBuilder
from counterpoise.diagnosis._options import DiagnosisOptions
from counterpoise.diagnosis._pictures import pictures_of
from counterpoise.diagnosis._progress import Progress
from counterpoise.diagnosis._readout import Readout
from counterpoise.diagnosis._scores import corrupted_scores, scores_of
from counterpoise.diagnosis._used import Used
from counterpoise.diagnosis._verdicts import overall
from counterpoise.errors import DataError, ModelError
from counterpoise.evaluation.robustness import CorruptionScore
from counterpoise.evaluation.sample_lists import ClassShare, SampleLists, sample_lists
from counterpoise.tasks import Task, make_task, task_type
from counterpoise.valuation import Valuation, estimate
from counterpoise.valuation.inputs import EstimatorInput, prepare, prepare_target


class Run:
    """One diagnosis, stage by stage; earlier results are kept if a late stage fails."""

    def __init__(
        self, adapter: Adapter, options: DiagnosisOptions, task: str | Task | None, progress: Progress, notes: Notes
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
        subsets = {frozenset([m]) for m in modalities} | {used.rest(m) for m in modalities}
        self.notes.optional("what each modality is used for", used.average_out, subsets, o.background_size)
        sources = self._valuations(used, inputs)
        permuted = {m: self.notes.optional(f"{m} permuted", used.predictor.corrupted, m, PERMUTED) for m in modalities}
        learnt = self._learnt(train, used.problem)
        comparison = Comparison(used, sources, o, self.notes)
        evidence, valuation, source = comparison.evidence(learnt, permuted)
        problem = used.problem
        clean, corrupted = self._scores(used, permuted)
        scale = problem.task.information_scale(problem.target)
        findings = conclude(modalities, evidence, valuation, scale, o.thresholds, problem)
        lists, classes, gallery = self._samples(used, names)
        joint = used.readout.whole.estimate
        numbers = (problem, evidence, findings, clean, corrupted)
        self.notes += self.notes.optional("contradictions", contradictions, *numbers) or []
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
            classes=classes,
            samples=lists,
            clean=clean,
            corrupted=corrupted,
            thresholds=o.thresholds,
            notes=tuple(dict.fromkeys((*valuation.notes, *self.notes))),
            gallery=gallery,
        )

    def _learnt(self, train: Iterable[Any] | None, held_out: EstimatorInput) -> Used | None:
        """Return the information in the predictions on training samples; None, with a note, if it was not measured."""
        if train is None:
            self.notes.append("overfitting was not measured: give train= samples that the model was trained on")
            return None
        return self.notes.optional("training samples", self._training, train, held_out)

    def _scores(
        self, used: Used, permuted: Mapping[str, Tensor | None]
    ) -> tuple[dict[str, float], tuple[CorruptionScore, ...]]:
        """Return scores on clean and on corrupted inputs; none of either if the former fail."""
        clean = self.notes.optional("scores", scores_of, used.problem, used.logits)
        if not clean:
            return {}, ()
        corruptions = CORRUPTIONS if self.options.damage else (PERMUTED,)
        return clean, corrupted_scores(used, corruptions, permuted, self.notes)

    def _samples(
        self, used: Used, names: Sequence[str]
    ) -> tuple[SampleLists | None, tuple[ClassShare, ...], dict[str, Any]]:
        """Return samples to inspect, the modalities of each class, and pictures."""
        if not used.averaged:
            return None, (), {}
        points, optional = used.pointwise(), self.notes.optional
        lists = optional("samples to inspect", sample_lists, *points, used.predictor.samples.index.numpy())
        classes = optional("classes", class_shares, used.problem, points[0], names) or ()
        if lists is None:
            return None, classes, {}
        arguments = (lists, used, points, names, self.options.display)
        return lists, classes, optional("pictures of samples", pictures_of, *arguments) or {}

    # -- predictions on samples that were not trained on ---------------------------------------------------------------

    def _predictor(self, samples: Samples) -> Predictor:
        o = self.options
        return Predictor(self.adapter, samples, size=o.batch_size, seed=o.seed, progress=self.progress)

    def _held_out(self, samples: Samples, builders: dict[str, MatrixBuilder]) -> tuple[Used, dict[str, Any]]:
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
        used = Used(problem, predictor, logits, Readout(problem, logits, confidence=o.confidence), group)
        names = self.adapter.modalities
        if predictor.features and set(predictor.features) != set(names):
            raise ModelError(
                f"There should be features of the modalities {', '.join(names)}. Found {', '.join(predictor.features)}."
            )
        return used, matrices

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

    def _valuations(self, used: Used, matrices: Mapping[str, Any]) -> dict[str, Valuation]:
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
                self.notes.leave_out(f"information in the {source}", error)
        if not known:
            raise failures[0]
        return known

    def _training(self, train: Iterable[Any], held_out: EstimatorInput) -> Used:
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
        used = Used(problem, predictor, logits, Readout(problem, logits, confidence=o.confidence))
        used.average_out({frozenset([m]) for m in self.adapter.modalities}, o.background_size)
        return used


def _has_fractions(x: Tensor) -> bool:
    return x.is_floating_point() and bool(((x != x.round()) & x.isfinite()).any())


def _aligned(name: str, given: Any, samples: Samples) -> Any:
    """Return the rows of an array in the loader's order that belong to the samples that were kept."""
    x: Any = (
        given.detach().cpu().numpy() if isinstance(given, Tensor) else given if is_frame(given) else np.asarray(given)
    )
    if len(x) != samples.seen:
        raise DataError(f"The {name} should have {samples.seen} rows, as the loader. Found {len(x)}.")
    rows = samples.index.numpy()
    return x.iloc[rows] if is_frame(x) else x[rows]
