"""One run: data set x method x seed x configuration, in a folder of its own, done once."""

from __future__ import annotations

import json
import platform
import sys
import time
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torch import Tensor

from counterpoise._files import write_atomic
from counterpoise._version import __version__
from counterpoise.config import RunConfig
from counterpoise.data import MultimodalData, Split, open_data, split_of_seed
from counterpoise.diagnosis import Diagnosis, diagnose
from counterpoise.errors import CheckpointError, OutputError
from counterpoise.evaluation.metrics import collect, scores
from counterpoise.evaluation.robustness import robustness, shift_metrics
from counterpoise.evaluation.sample_selection import run_samples
from counterpoise.methods import make_method
from counterpoise.model import MultimodalClassifier
from counterpoise.records import Outputs
from counterpoise.runs import SAMPLES, RunRecord, read_records
from counterpoise.training.callbacks.loggers import check_logger, log_folder, log_history, open_logger
from counterpoise.training.fit import BEST, LAST, Fitted, assemble, fit, load_weights
from counterpoise.training.module import MethodModule
from counterpoise.valuation import decompose_samples, estimate, linear_probe

__all__ = ["diagnose_run", "load_run", "open_cached", "run", "run_folder", "run_label", "teachers_of"]

GROUPS = 10
MEMORY = 1 << 31
"""Bytes of inputs that a diagnosis holds of each split."""
"""From so many speakers or subjects in the test set on, intervals of a diagnosis come from the spread between them."""

PROBE_SAMPLES = 10_000
"""Training samples that a linear probe is fitted on, at most."""


@lru_cache(maxsize=2)
def _open_split(name: str, split: int | None) -> MultimodalData:
    return open_data(name, split=split)


def open_cached(name: str, seed: int = 0) -> MultimodalData:
    """Open the data of a run once per process: of a set with several seeded splits, the one of the seed."""
    return _open_split(name, split_of_seed(name, seed))


def run_label(config: RunConfig) -> str:
    """Return the row that a run belongs to: method, what distinguishes it, and the rule if it is not the method's own.

    Example:
        >>> run_label(RunConfig("smartwatch", "unimodal", {"modality": "gyroscope"}))
        'unimodal:gyroscope'
        >>> run_label(RunConfig("smartwatch", "joint", rule="calibrated"))
        'joint (calibrated)'
        >>> run_label(RunConfig("smartwatch", "arm", {"minmax": False}))
        'arm [minmax=False]'
    """
    arguments = dict(config.method_args)
    name = config.method
    if "modality" in arguments:
        name += f":{arguments.pop('modality')}"
    if arguments:
        name += " [" + ", ".join(f"{k}={v}" for k, v in sorted(arguments.items())) + "]"
    own = make_method(config.method, config.method_args).default_rule
    return name if config.rule in ("default", own) else f"{name} ({config.rule})"


def run_folder(config: RunConfig, data: MultimodalData, out: Path) -> Path:
    """Return the folder of a run below ``out``."""
    return out / "runs" / config.key(data.fingerprint())


def run(
    config: RunConfig,
    out: Path,
    *,
    data: MultimodalData | None = None,
    progress: bool = False,
    logger: str = "none",
    command: str = "",
) -> RunRecord:
    """Train, select on validation, test once, and write the record; a finished run is read, an interrupted one goes on.

    The folder holds ``record.json``, ``config.yaml``, ``best.ckpt`` (the selected weights) and ``predictions.npz`` (test log-likelihoods and
    point predictions) and, for more than one modality, ``samples.json`` (some test samples with pictures).

    Args:
        config: the run.
        out: where run folders go.
        data: the data, if it is already open.
        progress: print a line per epoch.
        logger: one of `counterpoise.training.callbacks.loggers.LOGGERS`; it writes into the run's folder, for a finished run too if it has not yet.
        command: what was typed, for the record.

    Raises:
        ConfigError: if the logger's package is not installed.
        OutputError: if ``out`` cannot be written to.
    """
    started = time.perf_counter()
    check_logger(logger)
    data = data or open_cached(config.data, config.seed)
    folder = run_folder(config, data, out)
    if (folder / "record.json").is_file():
        records, _ = read_records([folder])
        if records:
            if not log_folder(folder, logger).exists():
                with open_logger(logger, folder, config) as loggers:
                    log_history(loggers, records[0].curves)
            return records[0]
    write_atomic(folder / "config.yaml", yaml.safe_dump(config.to_dict(), sort_keys=False))
    teachers = teachers_of(config, data, out, progress=progress)
    try:
        fitted = fit(data, config, folder=folder, progress=progress, logger=logger, teachers=teachers)
    except OSError as error:
        raise OutputError(
            f"Could not write checkpoints to `{folder}`: {error.strerror or error}. The run can be repeated and will go on from its "
            "last epoch."
        ) from error
    record = _evaluate(fitted, data, config, folder)
    record = replace(record, seconds=time.perf_counter() - started, command=command or " ".join(sys.argv))
    if record.samples:
        write_atomic(folder / SAMPLES, json.dumps(record.samples, separators=(",", ":")))
    write_atomic(folder / "record.json", record.to_json() + "\n")
    (folder / LAST).unlink(missing_ok=True)
    return record


def teachers_of(
    config: RunConfig, data: MultimodalData, out: Path, *, progress: bool = False
) -> dict[str, MultimodalClassifier]:
    """Train (once, as runs of their own) and load the models that the method requires."""
    teachers = {}
    for name in make_method(config.method, config.method_args).requires:
        required = replace(config, method=name, method_args={}, rule="default")
        run(required, out, data=data, progress=progress)
        teachers[name] = load_run(run_folder(required, data, out), data=data).model
    return teachers


def load_run(folder: Path, *, data: MultimodalData | None = None) -> Fitted:
    """Rebuild the model, method and rule of a run and load the selected weights.

    Args:
        folder: the run's folder, or a checkpoint in it.
        data: the data of the run, if it is already open.

    Raises:
        CheckpointError: if there is no such run, or its checkpoint belongs to another model.
    """
    path = folder if folder.is_file() else folder / BEST
    source = path.parent / "config.yaml"
    if not path.is_file() or not source.is_file():
        raise CheckpointError(
            f"There is no run in `{folder}`: it should hold config.yaml and {BEST}. `counterpoise train` makes one."
        )
    config = read_config(source)
    data = data or open_cached(config.data, config.seed)
    teachers: dict[str, MultimodalClassifier] = {}
    model, method, rule = assemble(data, config, teachers)
    module = MethodModule(model, method, rule, config, release=0)
    epoch = load_weights(module, path)
    module.eval()
    return Fitted(model, method, rule, {}, epoch, float("nan"), float("nan"))


def read_config(path: Path) -> RunConfig:
    """Read the ``config.yaml`` of a run.

    Raises:
        CheckpointError: if it is no configuration of a run.
    """
    from counterpoise.config import FitConfig, ModelConfig, OptimConfig

    try:
        fields = yaml.safe_load(path.read_text())
        return RunConfig(
            **{
                **fields,
                "model": ModelConfig(**fields["model"]),
                "optim": OptimConfig(**fields["optim"]),
                "fit": FitConfig(**fields["fit"]),
            }
        )
    except (yaml.YAMLError, TypeError, KeyError) as error:
        raise CheckpointError(f"`{path}` is not the configuration of a run: {error}.") from error


def diagnose_run(folder: Path, *, estimator: str = "variational-linear") -> Diagnosis:
    """Return the diagnosis of a run's model on its test set, with its training set beside it to see overfitting.

    Args:
        folder: the run's folder, or a checkpoint in it.
        estimator: a name of `counterpoise.valuation.VALUATIONS`.

    Raises:
        CheckpointError: if there is no such run.
    """
    fitted = load_run(folder)
    path = folder.parent if folder.is_file() else folder
    config = read_config(path / "config.yaml")
    data = open_cached(config.data, config.seed)
    size = 4 * sum(int(np.prod(m.shape)) for m in data.info.modalities)  # bytes of one sample's inputs
    limit = min(5000, max(500, MEMORY // size))
    rows = np.random.default_rng(0).permutation(len(data.train))[: min(len(data.test), limit)]
    group = data.test.group
    return diagnose(
        fitted.model,
        data.test.batches(512),
        group=group if group is not None and len(np.unique(group)) >= GROUPS else None,
        train=[data.train.batch(part) for part in np.array_split(np.sort(rows), len(rows) // 512 + 1)],
        limit=limit,
        class_names=data.info.class_names,
        looks=data.info.modalities,
        estimator=estimator,
    )


# -- evaluation ----------------------------------------------------------------------------------------------------------


def _evaluate(fitted: Fitted, data: MultimodalData, config: RunConfig, folder: Path) -> RunRecord:
    task = fitted.model.task
    test, target = collect(fitted.model, data.test.batches(512))
    logits = fitted.rule(test)
    metrics = scores(task, logits, target) | {"step_ms": fitted.step_ms}
    alone = fitted.method.single_modality
    modalities = (alone,) if alone else data.info.names
    for m in modalities:
        metrics[f"{task.score_name}:{m}"] = scores(task, test.unimodal_logits[m], target)[task.score_name]
    if not alone:
        metrics[f"{task.score_name}:fused"] = scores(task, test.logits, target)[task.score_name]
    metrics |= _probes(fitted.model, data, test, target, modalities)
    valuation: dict[str, Any] = {}
    samples: dict[str, Any] = {}
    if not alone:
        value = estimate(
            test.features,
            target,
            task=task.name,
            num_outputs=task.num_outputs,
            estimator="variational-linear",
            seed=config.seed,
        )
        parts = decompose_samples(value, target.numpy())
        valuation = {**value.to_dict(), "parts": {m: part.to_dict() for m, part in parts.items()}}
        samples = run_samples(data, test, logits, target, value)
        metrics["entropy"] = value.entropy
        metrics["phi_mi"] = value.joint_mi.value
        for m in modalities:
            metrics[f"phi_mi:{m}"] = value.mi[m].value
            metrics[f"phi_cmi:{m}"] = value.cmi[m].value
        for m, part in parts.items():
            metrics[f"phi_shared:{m}"] = part.redundant.value
            metrics[f"phi_synergy:{m}"] = part.synergistic.value
    metrics |= fitted.method.test_metrics(fitted.model, data.test.batches(fitted.method.test_batch_size))
    damage = robustness(fitted.model, fitted.rule, data.test, test, modalities)
    metrics |= shift_metrics(damage, task.score_name)
    write_predictions(folder / "predictions.npz", logits, test, target)
    own = fitted.method.default_rule
    return RunRecord(
        key=folder.name,
        data=data.info.name,
        method=config.method,
        label=run_label(config),
        rule=own if config.rule == "default" else config.rule,
        seed=config.seed,
        task=task.name,
        modalities=data.info.names,
        config=config.to_dict(),
        metrics=metrics,
        validation={name: values[fitted.best_epoch] for name, values in fitted.history.items() if name[:4] == "val_"},
        curves=fitted.history,
        valuation=valuation,
        class_names=data.info.class_names,
        samples=samples,
        robustness=damage,
        best_epoch=fitted.best_epoch,
        environment=environment(),
    )


def _probes(
    model: MultimodalClassifier, data: MultimodalData, test: Outputs, target: Tensor, modalities: tuple[str, ...]
) -> dict[str, float]:
    """Return the score of a linear probe on each encoder's frozen features: fitted on training samples, scored on the test set."""
    rows = np.random.default_rng(0).permutation(len(data.train))[:PROBE_SAMPLES]
    sample: Split = data.train.subset(np.sort(rows))
    train, labels = collect(model, sample.batches(512))
    return {
        f"probe:{m}": linear_probe(train.features[m], labels, test.features[m], target, model.task) for m in modalities
    }


def write_predictions(path: Path, logits: Tensor, outputs: Outputs, target: Tensor) -> None:
    """Write the test set's logits (rule, fused, unimodal) and targets."""
    import io

    buffer = io.BytesIO()
    arrays: dict[str, Any] = {f"unimodal:{m}": value.numpy() for m, value in outputs.unimodal_logits.items()}
    arrays |= {"logits": logits.float().numpy(), "fused": outputs.logits.numpy(), "target": target.numpy()}
    np.savez_compressed(buffer, **arrays)
    write_atomic(path, buffer.getvalue())


def environment() -> dict[str, str]:
    """Return versions and threads, for the record."""
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
