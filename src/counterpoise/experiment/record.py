"""Evaluation of a trained model as a record: scores, probes, contributions, robustness and samples of the test set."""

from __future__ import annotations

import io
import math
import platform
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
import torch
from torch import Tensor

from counterpoise._files import write_atomic
from counterpoise._version import __version__
from counterpoise.config import RunConfig
from counterpoise.data import MultimodalData, Split
from counterpoise.evaluation import incomplete
from counterpoise.evaluation.collect import collect
from counterpoise.evaluation.metrics import head_score, scores
from counterpoise.evaluation.robustness import robustness
from counterpoise.evaluation.sample_selection import run_samples
from counterpoise.methods import Method
from counterpoise.methods.base import present_rows
from counterpoise.records import Outputs, Presence
from counterpoise.runs import Curve, CurveId, Metric, RowId, RunRecord, corrupted_means, split_key
from counterpoise.tasks import Task
from counterpoise.training.fit import Fitted
from counterpoise.valuation import PartialInformation, Valuation, decompose_samples, estimate, linear_probe

__all__ = ["GROUPS", "environment", "groups_of", "make_record", "row_of", "run_estimator", "write_predictions"]

GROUPS: Final = 10
"""Minimum number of groups (speakers, subjects) in the test set for intervals from the spread between groups."""

PROBE_SAMPLES: Final = 10_000
"""Maximum number of training samples that a linear probe is fitted on."""

FEW_SAMPLES: Final = 5000
"""Number of test samples below which the default estimator is used; above, its linear classifiers only."""

T = TypeVar("T")


def run_estimator(samples: int) -> str:
    """Return the estimator for records, pages and diagnoses of a run with this number of test samples.

    Example:
        >>> run_estimator(900), run_estimator(50_000)
        ('variational', 'variational-linear')
    """
    return "variational" if samples < FEW_SAMPLES else "variational-linear"


def groups_of(split: Split) -> np.ndarray | None:
    """Return the groups of a split if there are enough of them for an interval, else None."""
    group = split.group
    return group if group is not None and len(np.unique(group)) >= GROUPS else None


def row_of(config: RunConfig, method: Method) -> RowId:
    """Return the row of a comparison that a run belongs to.

    Example:
        >>> from counterpoise.methods import make_method
        >>> str(row_of(RunConfig("smartwatch", "joint", rule="calibrated"), make_method("joint", {})))
        'joint (calibrated)'
    """
    arguments = {k: v for k, v in config.method_args.items() if k not in config.tuned}
    single = method.single_modality
    if single is not None:
        arguments = {k: v for k, v in arguments.items() if v != single}
    own = config.rule in ("default", method.default_rule)
    return RowId(config.method, arguments, single, "default" if own else config.rule)


@dataclass
class _Collected:
    """Collector of the numbers of a run, and of notes on those that could not be measured."""

    metrics: list[Metric] = field(default_factory=list)
    valuation: dict[str, Any] = field(default_factory=dict)
    samples: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def attempt(self, what: str, measure: Callable[[], T]) -> T | None:
        """Return the result of ``measure``; an error becomes a note, so that a trained run is not lost because of one
        number.
        """
        try:
            return measure()
        except Exception as error:
            reason = re.sub(r"\s+", " ", str(error)).strip()
            self.notes.append(f"{what} could not be measured: {type(error).__name__}: {reason}")
            return None


def make_record(fitted: Fitted, data: MultimodalData, config: RunConfig, folder: Path) -> RunRecord:
    """Evaluate a trained model on the test set and return the record of the run.

    Args:
        fitted: The trained model, with the weights that validation selected.
        data: The data set.
        config: The configuration of the run.
        folder: Folder of the run; ``predictions.npz`` is written into it.

    Returns:
        The record. Its ``seconds`` and ``command`` are not set.
    """
    task = fitted.model.task
    test, target = collect(fitted.model, data.test.batches(512))
    with torch.no_grad():
        logits = fitted.rule(test)
    single = fitted.method.single_modality
    modalities = (single,) if single is not None else data.info.names
    collected = _Collected(notes=[*_data_notes(data, config), *_presence_notes(data, modalities)])
    collected.metrics += _scores(fitted, logits, test, target, modalities)
    collected.metrics += (
        collected.attempt("Linear probes", lambda: _probes(fitted, data, test, target, modalities)) or ()
    )
    if single is None:
        _value(collected, fitted, data, test, target, logits)
    collected.metrics += collected.attempt("Metrics of the method", lambda: _own_metrics(fitted, data)) or ()
    corrupted = collected.attempt("Robustness", lambda: _robustness(fitted, data, test, modalities)) or ()
    collected.metrics += corrupted
    collected.metrics += corrupted_means(corrupted, task.score_name)
    presence: dict[str, Any] | None = None
    if single is None and not data.is_complete:
        presence = collected.attempt("Scores of incomplete samples", lambda: _presence(fitted, logits, test, target))
    write_predictions(folder / "predictions.npz", task, logits, test, target)
    return RunRecord(
        key=folder.name,
        data=config.shown_data(data.info.name),
        row=row_of(config, fitted.method),
        seed=config.seed,
        task=task.name,
        modalities=data.info.names,
        rule=fitted.method.default_rule if config.rule == "default" else config.rule,
        score=task.score_name,
        source=_source(config.data),
        fingerprint=data.fingerprint(),
        config=config.to_dict(),
        metrics=tuple(collected.metrics),
        validation=_validation(fitted),
        curves=tuple(Curve(*curve, tuple(values)) for curve, values in fitted.history.items()),
        valuation=collected.valuation,
        best_epoch=fitted.best_epoch,
        environment=environment(),
        notes=tuple(dict.fromkeys(collected.notes)),
        class_names=data.info.class_names,
        samples=collected.samples,
        presence=presence or {},
    )


def _data_notes(data: MultimodalData, config: RunConfig) -> list[str]:
    """Return the assumptions about the data and, for a data set of the catalogue, its source."""
    named = data.info.source and not Path(config.data).exists()
    return [*data.info.notes, *([f"Data: {data.info.source}"] if named else [])]


def _presence_notes(data: MultimodalData, modalities: tuple[str, ...]) -> list[str]:
    """Return notes on the number of test samples behind the numbers of single modalities, if some samples lack them."""
    if data.test.present is None:
        return []
    counts = ", ".join(f"{m} {int(data.test.present[m].sum()):,}" for m in modalities)
    return [f"Unimodal scores and probes are computed on the test samples that have the modality: {counts}"]


def _source(data: str) -> str:
    """Return the absolute path of a file or folder of data, or the unchanged name of a data set."""
    return str(Path(data).resolve()) if Path(data).exists() else data


def _scores(fitted: Fitted, logits: Tensor, test: Outputs, target: Tensor, modalities: tuple[str, ...]) -> list[Metric]:
    """Return the scores of the rule, of each unimodal head and of the fused head, and the time of a step."""
    task, name = fitted.model.task, fitted.model.task.score_name
    metrics = [Metric(k, v) for k, v in scores(task, logits, target).items()]
    metrics += [Metric(name, head_score(task, test, target, m), m) for m in modalities]
    if fitted.method.single_modality is None:
        metrics.append(Metric(f"fused_{name}", scores(task, test.logits, target)[name]))
    metrics.append(Metric("step_ms", fitted.step_ms))
    return metrics


def _probes(
    fitted: Fitted, data: MultimodalData, test: Outputs, target: Tensor, modalities: tuple[str, ...]
) -> list[Metric]:
    """Return the score of a linear probe on each encoder's frozen features, fitted on training samples.

    Only samples that have the modality are used.
    """
    rows = np.random.default_rng(0).permutation(len(data.train))[:PROBE_SAMPLES]
    parts = torch.from_numpy(np.sort(rows)).split(data.train.batch_size(512))
    train, labels = collect(fitted.model, (data.train.batch(part) for part in parts))
    task = fitted.model.task

    def probe(m: str) -> float:
        x, y = present_rows(train.mask(m), train.features[m], labels)
        test_x, test_y = present_rows(test.mask(m), test.features[m], target)
        return linear_probe(x, y, test_x, test_y, task) if len(y) and len(test_y) else math.nan

    return [Metric("probe", probe(m), m) for m in modalities]


def _value(
    collected: _Collected, fitted: Fitted, data: MultimodalData, test: Outputs, target: Tensor, logits: Tensor
) -> None:
    """Add the contributions: the estimator, seed, folds and groups that `diagnose_run` uses on the same features."""
    task = fitted.model.task

    def measure() -> Valuation:
        return estimate(
            test.features,
            target,
            task=task,
            num_outputs=task.num_outputs,
            estimator=run_estimator(len(target)),
            group=groups_of(data.test),
            present=test.present,
        )

    value = collected.attempt("Contributions", measure)
    if value is None:
        return
    collected.metrics.append(Metric("entropy", value.entropy))
    numbers = {"mi": Metric("phi_mi", value.joint_mi.value)}
    numbers |= {f"mi:{m}": Metric("phi_mi", value.mi[m].value, m) for m in data.info.names}
    numbers |= {f"cmi:{m}": Metric("phi_cmi", value.cmi[m].value, m) for m in data.info.names}
    # An impossible number is not stored as a metric; the valuation holds it, marked as such.
    collected.metrics += [metric for name, metric in numbers.items() if name not in value.too_few_samples]
    collected.valuation = value.to_dict()
    if value.too_few_samples:
        collected.notes.append(f"Contributions: too few test samples for {', '.join(value.too_few_samples)}")
        return
    parts = collected.attempt("Shared and synergistic information", lambda: _parts(value, target, test.present)) or {}
    for m, part in parts.items():
        collected.metrics.append(Metric("phi_shared", part.redundant.value, m))
        collected.metrics.append(Metric("phi_synergy", part.synergistic.value, m))
    collected.valuation["parts"] = {m: part.to_dict() for m, part in parts.items()}
    chosen = collected.attempt("Samples to inspect", lambda: run_samples(data, test, logits, target, value))
    collected.samples = chosen or {}


def _parts(value: Valuation, target: Tensor, present: Presence | None) -> dict[str, PartialInformation]:
    """Return the shared and the synergistic information of each modality, from the samples that have every modality."""
    labels = target.numpy()
    if present is None:
        return decompose_samples(value, labels)
    complete = np.isfinite(value.per_sample["mi"]) if "mi" in value.per_sample else np.zeros(len(labels), bool)
    points = {k: v[complete] for k, v in value.per_sample.items()} if complete.any() else {}
    return decompose_samples(replace(value, per_sample=points), labels[complete])


def _own_metrics(fitted: Fitted, data: MultimodalData) -> list[Metric]:
    """Return the metrics that the method itself reports."""
    method = fitted.method
    reported = method.test_metrics(fitted.model, data.test.batches(method.test_batch_size))
    return [
        Metric(name, float(value), modality)
        for key, value in reported.items()
        for name, modality in [split_key(key, data.info.names)]
    ]


def _robustness(fitted: Fitted, data: MultimodalData, test: Outputs, modalities: tuple[str, ...]) -> tuple[Metric, ...]:
    """Return the scores with the input of one modality corrupted, for every modality and corruption."""
    rows = robustness(fitted.model, fitted.rule, data.test, test, modalities)
    return tuple(
        Metric(name, value, row.modality, row.corruption) for row in rows for name, value in row.scores.items()
    )


def _presence(fitted: Fitted, logits: Tensor, test: Outputs, target: Tensor) -> dict[str, Any]:
    """Return the scores by pattern and over rates of absence, and the equity of modalities and patterns."""
    model, rule = fitted.model, fitted.rule
    names = model.modalities
    patterns = incomplete.pattern_scores(model.task, logits, target, test.present, names)
    result: dict[str, Any] = {"patterns": [asdict(p) | {"present": list(p.present)} for p in patterns]}
    energies = {m: fitted.history.get(CurveId("gradient", "energy", m), []) for m in names}
    if all(energies.values()):
        norms = {m: float(np.nanmean(np.sqrt(values))) for m, values in energies.items()}
        result["mli"] = incomplete.modality_learning(norms)
    if model.separable:
        result["severity"] = [asdict(s) for s in incomplete.severity_curve(model, rule, test, target)]
        values = incomplete.configuration_scores(model, rule, test, target)
        if values:
            result["mei"] = incomplete.modality_equity(values, names)
            result["equity"] = incomplete.pattern_equity(values)
    return result


def _validation(fitted: Fitted) -> tuple[Metric, ...]:
    """Return the validation scores of the selected epoch."""
    return tuple(
        Metric(curve.name, values[fitted.best_epoch], curve.modality)
        for curve, values in fitted.history.items()
        if curve.kind == "score" and 0 <= fitted.best_epoch < len(values)
    )


def write_predictions(path: Path, task: Task, logits: Tensor, outputs: Outputs, target: Tensor) -> None:
    """Write the logits (of the rule, fused, unimodal) and targets of the test set; of a regression in its own unit."""
    buffer = io.BytesIO()
    arrays: dict[str, Any] = {
        f"unimodal:{m}": task.in_units(value).numpy() for m, value in outputs.unimodal_logits.items()
    }
    arrays |= {"logits": task.in_units(logits.float()).numpy(), "fused": task.in_units(outputs.logits).numpy()}
    arrays["target"] = task.in_units(target).numpy()
    arrays |= {f"present:{m}": mask.numpy() for m, mask in (outputs.present or {}).items()}
    np.savez_compressed(buffer, **arrays)
    write_atomic(path, buffer.getvalue())


def environment() -> dict[str, str]:
    """Return versions, threads and device."""
    import lightning

    return {
        "counterpoise": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "lightning": lightning.__version__,
        "numpy": np.__version__,
        "threads": str(torch.get_num_threads()),
        "device": "cuda" if torch.cuda.is_available() else "cpu",
        "platform": platform.machine(),
    }
