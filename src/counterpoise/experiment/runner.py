"""Execution of one run (data set x method x seed x configuration) in a folder of its own."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import yaml

from counterpoise._files import remove_temporary, write_atomic
from counterpoise._launch import shared_run
from counterpoise.config import RunConfig
from counterpoise.data import MultimodalData
from counterpoise.diagnosis import Diagnosis, diagnose
from counterpoise.errors import CheckpointError, CounterpoiseError, DataError, OutputError
from counterpoise.experiment.config import read_config
from counterpoise.experiment.folders import finished, open_cached, run_data, run_folder
from counterpoise.experiment.record import groups_of, make_record, run_estimator
from counterpoise.methods import make_method
from counterpoise.model import MultimodalClassifier
from counterpoise.runs import SAMPLES, RunRecord
from counterpoise.training.callbacks.loggers import check_logger, log_folder, log_history, open_logger
from counterpoise.training.callbacks.progress import waiting
from counterpoise.training.checkpoints import BEST, LAST, PREVIOUS, load_weights
from counterpoise.training.checks import check_data, check_space
from counterpoise.training.fit import Fitted, assemble, fit
from counterpoise.training.module import MethodModule

__all__ = ["diagnose_run", "finished", "load_run", "open_cached", "run", "run_data", "run_folder", "teachers_of"]

MEMORY = 1 << 31
"""Maximum size in bytes of the inputs of each split in a diagnosis."""
FEWEST = 50
"""Minimum number of complete test samples for the diagnosis of an incomplete set."""


def run(
    config: RunConfig,
    out: Path,
    *,
    data: MultimodalData | None = None,
    progress: bool = False,
    logger: str = "none",
    command: str = "",
) -> RunRecord:
    """Train a model, select the epoch on validation, test once, and write the record. A finished run is read; an
    interrupted run resumes.

    The folder holds ``record.json``, ``config.yaml``, ``best.ckpt`` (the selected weights) and ``predictions.npz``
    (test log-likelihoods and point predictions) and, for more than one modality, ``samples.json`` (some test samples
    with pictures).

    Args:
        config: Configuration of the run.
        out: Folder that holds the run folders.
        data: Data of the run, if it is already open, without the modalities that the run takes away (`run_data`).
        progress: Whether to print a line per epoch.
        logger: One of `counterpoise.training.callbacks.loggers.LOGGERS`. It writes into the run's folder; a finished
            run without a log is logged as well.
        command: Command line that started the run, for the record.

    Raises:
        ConfigError: If the logger's package is not installed, or `torchrun` has started another number of processes
            than `fit.devices`.
        OutputError: If ``out`` cannot be written to.
    """
    started = time.perf_counter()
    process = shared_run(config.fit.devices)
    check_logger(logger)
    data = data or run_data(config)
    folder = run_folder(config, data, out)
    record = finished(folder)
    if process is not None and process.rank:
        return record or _trained_with_others(config, out, data, folder)
    if record is not None:
        if not log_folder(folder, logger).exists():
            with open_logger(logger, folder, config) as loggers:
                log_history(loggers, {c.id: c.values for c in record.curves})
        return record
    record = _measured(config, out, data, folder, progress=progress, logger=logger)
    record = replace(record, seconds=time.perf_counter() - started, command=command or " ".join(sys.argv))
    if record.samples:
        write_atomic(folder / SAMPLES, json.dumps(record.samples, separators=(",", ":")))
    write_atomic(folder / "record.json", record.to_json() + "\n")
    for name in (LAST, PREVIOUS):
        (folder / name).unlink(missing_ok=True)
    return record


def _measured(
    config: RunConfig, out: Path, data: MultimodalData, folder: Path, *, progress: bool, logger: str
) -> RunRecord:
    """Train in the folder of a run and return its record."""
    notes = check_data(data)
    check_space(folder, assemble(data, config)[0])
    remove_temporary(folder)
    write_atomic(folder / "config.yaml", yaml.safe_dump(config.to_dict(), sort_keys=False, allow_unicode=True))
    teachers = teachers_of(config, data, out, progress=progress)
    try:
        fitted = fit(data, config, folder=folder, progress=progress, logger=logger, teachers=teachers)
    except OSError as error:
        if isinstance(error, CounterpoiseError):
            raise
        raise OutputError(
            f"Could not write checkpoints to `{folder}`: {error.strerror or error}. Free some space and run the same "
            "command again to resume from the last epoch."
        ) from error
    with waiting("measuring on the test set", progress):
        record = make_record(fitted, data, config, folder)
    return replace(record, notes=tuple(dict.fromkeys((*notes, *fitted.notes, *record.notes))))


def _trained_with_others(config: RunConfig, out: Path, data: MultimodalData, folder: Path) -> RunRecord:
    """Train in a process that is not the first one of its run, and return the record that the first one writes."""
    fit(data, config, folder=folder, teachers=teachers_of(config, data, out))
    while (record := finished(folder)) is None:  # `torchrun` and `srun` end this process if the first one fails
        time.sleep(0.5)
    return record


def teachers_of(
    config: RunConfig, data: MultimodalData, out: Path, *, progress: bool = False
) -> dict[str, MultimodalClassifier]:
    """Train (once, as runs of their own) and load the models that the method requires."""
    teachers = {}
    for name in make_method(config.method, config.method_args).requires:
        required = replace(config, method=name, method_args={}, rule="default")
        run(required, out, data=data, progress=progress)
        teachers[name] = _rebuild(required, data, run_folder(required, data, out) / BEST).model
    return teachers


def load_run(folder: Path | str, *, data: MultimodalData | None = None, trust: bool = False) -> Fitted:
    """Rebuild the model, method and rule of a run and load the selected weights.

    The files of a run are treated as untrusted data: names in them are resolved in the catalogues only, and nothing is
    unpickled.

    Args:
        folder: Folder of the run, or a checkpoint in it.
        data: Data of the run, if they are already open.
        trust: Whether to allow a run that was trained with a user-defined class, whose code is then imported and run.

    Raises:
        CheckpointError: If the run does not exist, if its checkpoint belongs to another model, or if its configuration
            names a class that is in no catalogue and ``trust`` is False.
    """
    path, config = _locate(Path(folder), trust=trust)
    return _rebuild(config, data or run_data(config), path)


def _locate(folder: Path, *, trust: bool) -> tuple[Path, RunConfig]:
    """Return the checkpoint and the configuration of a run."""
    path = folder if folder.is_file() else folder / BEST
    source = path.parent / "config.yaml"
    if not path.is_file() or not source.is_file():
        raise CheckpointError(
            f"There is no run in `{folder}`: it should hold config.yaml and {BEST}. `counterpoise train` makes one."
        )
    return path, read_config(source, trust=trust)


def _rebuild(config: RunConfig, data: MultimodalData, path: Path) -> Fitted:
    model, method, rule = assemble(data, config)
    module = MethodModule(model, method, rule, config, release=0)
    epoch = load_weights(module, path)
    module.eval()
    return Fitted(module.model, method, rule, {}, epoch, float("nan"), float("nan"))


def diagnose_run(folder: Path | str, *, estimator: str | None = None, trust: bool = False) -> Diagnosis:
    """Return the diagnosis of a run's model on its test set, and on its training set to detect overfitting.

    If samples lack modalities, only complete samples are used, and a note gives their number.

    Args:
        folder: The run's folder, or a checkpoint in it.
        estimator: Name in `counterpoise.valuation.VALUATIONS`; None uses that of the run's record.
        trust: See `load_run`.

    Raises:
        CheckpointError: If the run does not exist.
        DataError: If fewer than `FEWEST` test samples have all modalities.
    """
    path, config = _locate(Path(folder), trust=trust)
    data = run_data(config)
    fitted = _rebuild(config, data, path)
    test, train = data.test.complete(), data.train.complete()
    if len(test) < min(FEWEST, len(data.test)):
        raise DataError(
            f"A diagnosis needs at least {FEWEST} test samples that have every modality. Found {len(test)} of "
            f"{len(data.test)}."
        )
    size = 4 * sum(int(np.prod(m.shape)) for m in data.info.modalities)  # bytes of one sample's inputs
    limit = min(5000, max(500, MEMORY // size))
    rows = np.random.default_rng(0).permutation(len(train))[: min(len(test), limit)]
    parts = np.array_split(np.sort(rows), len(rows) // 512 + 1) if len(rows) else []
    diagnosis = diagnose(
        fitted.model,
        test.batches(512),
        group=groups_of(test),
        train=[train.batch(part) for part in parts] or None,
        limit=limit,
        class_names=data.info.class_names,
        display=data.info.modalities,
        estimator=estimator or run_estimator(len(test)),
    )
    if data.test.present is None:
        return diagnosis
    note = f"diagnosed on the {len(test):,} of {len(data.test):,} test samples that have every modality"
    return replace(diagnosis, notes=(*diagnosis.notes, note))
