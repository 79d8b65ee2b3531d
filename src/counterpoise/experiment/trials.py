"""Trials: trainings that are scored on validation with several decision rules. They never read a test set."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Final

import numpy as np

from counterpoise._files import write_atomic
from counterpoise.config import RunConfig
from counterpoise.data import MultimodalData, Split, holdout_split
from counterpoise.errors import CounterpoiseError, describe
from counterpoise.experiment.folders import open_cached, run_data
from counterpoise.experiment.parallel import map_jobs
from counterpoise.inference.catalogue import RULES
from counterpoise.methods.catalogue import METHODS

__all__ = ["CORRUPTED", "FOLDS", "Trial", "TrialResult", "count_folds", "count_splits", "do_trials", "redraw"]

FOLDS: Final = 5
"""Number of folds of the training and validation samples: a redrawn split uses one of them for validation."""

CORRUPTED: Final = "corrupted"
"""Name of the mean score over all corruptions in the scores of a rule."""


@dataclass(frozen=True)
class Trial:
    """One training, and the decision rules with which it is scored.

    Attributes:
        config: Configuration of the training. Its rule is not used.
        rules: Names of decision rules; ``default`` is the method's own.
        part: Number of a random split of the training and validation samples (`redraw`); None uses the data set's own
            split.
        corrupted: Whether to score with corrupted inputs, too.
    """

    config: RunConfig
    rules: tuple[str, ...]
    part: int | None = None
    corrupted: bool = False

    def key(self) -> str:
        """Return the hash of everything but the data that determines the trial."""
        parts = [self.config.to_dict(), sorted(self.rules), self.part, self.corrupted]
        return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:20]


@dataclass(frozen=True)
class TrialResult:
    """Scores of a trial on validation.

    Attributes:
        scores: Scores by rule: the task's score, ``nll`` and, if requested, `CORRUPTED`.
        score: Name of the task's score.
        error: Reason why the training is impossible or failed; empty otherwise.
    """

    scores: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    score: str = ""
    error: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return plain dictionaries."""
        return {"scores": {k: dict(v) for k, v in self.scores.items()}, "score": self.score, "error": self.error}


def redraw(data: MultimodalData, part: int) -> MultimodalData:
    """Return the data with another random split of the training and validation samples; the test set stays.

    The splits are those of repeated cross-validation: `count_folds` successive parts are scored on disjoint folds, and
    the next ones on folds of another random order. Folds consist of whole groups if groups are known; otherwise they
    are stratified by class.

    Args:
        data: The data.
        part: Number of the split, from 0.

    Example:
        >>> from counterpoise.data import open_data
        >>> data = open_data("world-xor")
        >>> other = redraw(data, 0)
        >>> len(other.train) + len(other.val) == len(data.train) + len(data.val), len(other.val)
        (True, 500)
    """
    pool, (repetition, fold) = _pooled(data), divmod(part, count_folds(data))
    held = _fold(pool.target, pool.group, fold, count_folds(data), repetition)
    kept = np.setdiff1d(np.arange(len(pool)), held)
    return replace(data, train=pool.subset(kept), val=pool.subset(held))


def count_folds(data: MultimodalData) -> int:
    """Return the number of folds: `FOLDS`, or the number of groups if there are 2 to `FOLDS` of them."""
    groups = _count_groups(data)
    return min(groups, FOLDS) if groups > 1 else FOLDS


def count_splits(data: MultimodalData, wanted: int) -> int:
    """Return the number of splits that differ: at most the number of groups if there are 2 to `FOLDS` of them."""
    return min(wanted, count_folds(data)) if 1 < _count_groups(data) <= FOLDS else wanted


def _count_groups(data: MultimodalData) -> int:
    group = _pooled_group(data)
    return 0 if group is None else len(np.unique(group))


def _pooled_group(data: MultimodalData) -> np.ndarray | None:
    train, val = data.train.group, data.val.group
    return None if train is None or val is None else np.concatenate([train, val])


def _pooled(data: MultimodalData) -> Split:
    train, val = data.train, data.val
    masks = [part.present or {m: np.ones(len(part), bool) for m in data.info.names} for part in (train, val)]
    return Split(
        {m: np.concatenate([train.arrays[m], val.arrays[m]]) for m in data.info.names},
        np.concatenate([train.target, val.target]),
        _pooled_group(data),
        train.augmentation,
        present={m: np.concatenate([mask[m] for mask in masks]) for m in data.info.names},
    )


def _fold(target: np.ndarray, group: np.ndarray | None, fold: int, folds: int, seed: int) -> np.ndarray:
    """Return the positions of a fold. Each fold is drawn from the samples that the folds before it have left."""
    rest = held = np.arange(len(target))
    for k in range(min(fold + 1, folds - 1)):
        part = None if group is None else group[rest]
        kept, drawn = holdout_split(target[rest], part, 1 / (folds - k), seed)
        rest, held = rest[kept], rest[drawn]
    return rest if fold == folds - 1 else held


def do_trials(
    trials: Sequence[Trial],
    folder: Path,
    *,
    data: MultimodalData | None = None,
    jobs: int | None = None,
    backend: str = "loky",
    cluster: str | None = None,
    on_done: Callable[[TrialResult], None] | None = None,
) -> list[TrialResult]:
    """Run trials in parallel. Each result is kept in a file of ``folder``; trials with a result are not repeated.

    Args:
        trials: The trials.
        folder: Folder of the files.
        data: The data, if they have no name or path.
        jobs: Number of processes; None takes one per core.
        backend: One of `counterpoise.experiment.parallel.BACKENDS`.
        cluster: Cluster of the backend ``dask``, see `counterpoise.experiment.cluster.map_on_cluster`.
        on_done: Function that is called after each trial, in this process.
    """
    results: dict[int, TrialResult] = {}
    do = partial(_do, folder=folder, data=data)
    for index, result in map_jobs(do, trials, jobs=jobs, backend=backend, cluster=cluster, lost=_lost):
        results[index] = result
        if on_done is not None:
            on_done(result)
    return [results[index] for index in range(len(trials))]


def _lost(trial: Trial, reason: str) -> TrialResult:
    return TrialResult(error=f"not finished: {reason}")


def _do(trial: Trial, folder: Path, data: MultimodalData | None) -> TrialResult:
    """Run a trial, or read its result. An error of the method and a diverging training are results, too, and are
    kept.
    """
    try:
        data = _data_of(trial, data)
        file = folder / f"{trial.config.method.rpartition(':')[2]}-{trial.key()}-{data.fingerprint()[:8]}.json"
        known = _read(file)
        if known is not None:
            return known
        try:
            result = _train(trial, data)
        except CounterpoiseError as error:
            result = TrialResult(error=str(error))
        write_atomic(file, json.dumps(result.to_dict(), indent=1))
    except Exception as error:
        return TrialResult(error=describe(error))
    return result


def _data_of(trial: Trial, data: MultimodalData | None) -> MultimodalData:
    """Return the data of a trial with its split."""
    if data is None and trial.part is not None:
        return _redrawn(trial.config.data, trial.config.seed, trial.part)
    data = data or run_data(trial.config)
    return data if trial.part is None else redraw(data, trial.part)


@lru_cache(maxsize=1)
def _redrawn(name: str, seed: int, part: int) -> MultimodalData:
    return redraw(open_cached(name, seed), part)


def _read(file: Path) -> TrialResult | None:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        return TrialResult(content["scores"], content["score"], content["error"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _train(trial: Trial, data: MultimodalData) -> TrialResult:
    """Train once, keep the model of the epoch in which a rule would be fitted, and score every rule on validation."""
    from lightning.pytorch.callbacks import Callback

    from counterpoise.training.fit import fit

    config = trial.config
    rules = tuple(dict.fromkeys(_rule_name(config, rule) for rule in trial.rules))
    fitting = [rule for rule in rules if RULES.resolve(rule).needs_holdout]
    half: list[Any] = []

    class Keep(Callback):
        """Callback that keeps a copy of the model at the start of the epoch in which a rule is fitted."""

        def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
            if trainer.current_epoch == config.fit.epochs // 2:
                half.append(copy.deepcopy(pl_module.model))

    trained = replace(config, rule=fitting[0] if fitting else "default")
    teachers = {
        name: fit(data, replace(config, method=name, method_args={}, rule="default"), curves=False).model
        for name in METHODS.resolve(config.method).requires
    }
    fitted = fit(data, trained, callbacks=[Keep()], curves=False, teachers=teachers)
    by_rule = _score(fitted, half[0].cpu() if half else fitted.model, data, trained, rules, corrupted=trial.corrupted)
    names = {rule: _rule_name(config, rule) for rule in trial.rules}
    return TrialResult({rule: by_rule[name] for rule, name in names.items()}, fitted.model.task.score_name)


def _rule_name(config: RunConfig, rule: str) -> str:
    default: str = METHODS.resolve(config.method).default_rule
    return default if rule == "default" else rule


def _score(
    fitted: Any, half: Any, data: MultimodalData, config: RunConfig, rules: Sequence[str], *, corrupted: bool
) -> dict[str, dict[str, float]]:
    """Return the validation scores of every rule, fitted on the samples that training held out."""
    from counterpoise.evaluation.collect import collect
    from counterpoise.evaluation.metrics import scores
    from counterpoise.evaluation.robustness import corrupted_outputs, corruption_score
    from counterpoise.inference import make_rule
    from counterpoise.training.datamodule import MultimodalDataModule
    from counterpoise.training.rules import fit_rule, refresh_rule

    model, method, task = fitted.model, fitted.method, fitted.model.task
    holds_out = RULES.resolve(_rule_name(config, config.rule)).needs_holdout
    release = None if method.needs_held_out else config.fit.epochs // 2 if holds_out else 0
    module = MultimodalDataModule(data, config.fit, seed=config.seed, release=release)
    outputs, target = collect(model, data.val.batches(512))
    views = list(corrupted_outputs(model, data.val, outputs, data.info.names)) if corrupted else []
    by_rule = {}
    for name in rules:
        rule = make_rule(name, model.modalities, task, modality=method.single_modality, feature_dims=model.feature_dims)
        if rule.needs_holdout:
            fit_rule(rule, half, module, config.seed)
        refresh_rule(rule, model, module)
        reached = scores(task, rule(outputs), target)
        by_rule[name] = {key: float(reached[key]) for key in (task.score_name, "nll")}
        if views:
            each = [corruption_score(rule, x, target, m, c).scores[task.score_name] for m, c, x in views]
            by_rule[name][CORRUPTED] = float(np.mean(each))
    return by_rule
