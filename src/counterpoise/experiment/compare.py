"""Comparisons of methods: planning the runs, training each once, in parallel, and writing the results."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from counterpoise._files import remove_temporary, write_atomic
from counterpoise._validation import unknown
from counterpoise.config import ModelConfig, RunConfig
from counterpoise.data import open_data
from counterpoise.errors import ConfigError, NotFoundError, describe
from counterpoise.experiment.cells import chosen_runs, forget, missing_runs
from counterpoise.experiment.cluster import one_cluster
from counterpoise.experiment.folders import finished_runs, run_data
from counterpoise.experiment.outputs import write_outputs
from counterpoise.experiment.parallel import Failure, check_parallel, run_all
from counterpoise.experiment.plan import combinations_of, expand, with_missing
from counterpoise.experiment.result import ComparisonResult
from counterpoise.experiment.trials import TrialResult
from counterpoise.experiment.tuning import tune, tuning_table
from counterpoise.runs import RunRecord, write_records

__all__ = ["Failure", "combinations_of", "compare", "expand", "planned_runs", "run_all", "with_missing"]


def compare(
    data: Sequence[str],
    methods: Sequence[str],
    *,
    seeds: int | Sequence[int],
    out: Path,
    rules: Sequence[str] = ("default",),
    reference_rules: Sequence[str] = (),
    ablation: str | None = None,
    given: Mapping[str, Any] | None = None,
    jobs: int | None = None,
    backend: str = "loky",
    cluster: str | None = None,
    on_start: Callable[[int], None] | None = None,
    on_done: Callable[[RunRecord | Failure], None] | None = None,
    on_figure: Callable[[int, int], None] | None = None,
    reference: str = "joint",
    focus: str | None = None,
    figures: bool = True,
    redo: Sequence[str] = (),
    missing: Mapping[str, float] | None = None,
    missing_in: str = "both",
    trials: int | None = None,
    on_trials: Callable[[int], None] | None = None,
    on_trial: Callable[[TrialResult], None] | None = None,
) -> ComparisonResult:
    """Compare methods on data sets and write records, tables, figures and the page into ``out``.

    These are ``runs.jsonl``, ``table.csv``, ``table.parquet``, ``table.md``, ``table.tex``, ``figures/`` (PDF, SVG,
    PNG) and ``report.html``.

    Args:
        data: Names or paths of data sets.
        methods: Names of methods, or ``all``.
        seeds: Number of runs of each method (seeds 0, 1, ...), or the seeds themselves.
        out: Folder of the comparison. Finished runs in it are skipped.
        rules: Names of decision rules.
        reference_rules: Further rules for joint training only, which show what a rule gives without the method.
        ablation: Method whose parts are switched on and off in all combinations; ``ablation.md`` is then written too.
        given: Further settings of the runs, nested.
        jobs: Number of processes, or of the workers requested from a cluster.
        backend: ``loky`` for processes of this machine, or ``dask`` for the workers of a cluster.
        cluster: Cluster of the backend ``dask``: address or file of a scheduler, name of a queueing system, or a file
            of Dask's configuration (`counterpoise.experiment.cluster.map_on_cluster`).
        on_start: Function that is called with the number of runs, before the first.
        on_done: Function that is called after each run.
        on_figure: Function that is called after each figure, with the number of figures written and of all figures.
        reference: Row to which the others are compared.
        focus: Row of the conclusions; by default the method with an import path, else the best row.
        figures: Whether to write figures for papers into ``figures/``; the page has its own.
        redo: Runs that are trained again although they are finished: ``METHOD`` or ``METHOD:SEED``.
        missing: Modalities that are taken away from samples, completely at random, with the share of the samples that
            lose each of them: ``{"audio": 0.5}``. The same samples lose them for every method and seed.
        missing_in: ``train`` (with validation), ``test`` or ``both``.
        trials: Number of trainings per row with which its learning rate, strength and smoothing are chosen on
            validation (`counterpoise.experiment.tuning`); None uses the recipe's values. The chosen values are written
            to ``tuning.json`` and ``tuning.md``.
        on_trials: Function that is called with the number of all trials, before the first.
        on_trial: Function that is called after each trial.

    Returns:
        Records and failures, which can be unpacked as two lists. A notebook shows them as a table.

    Raises:
        ConfigError: For an empty list of data sets, methods or rules, or a run of ``redo`` that cannot be read.
        NotFoundError: For an unknown data set, method or rule, or a run of ``redo`` that is not in the comparison.
        OutputError: If ``out`` cannot be written to.
    """
    check_parallel(jobs, backend, cluster)
    _check_lists(data, methods, rules)
    write_atomic(out / ".writable", "")  # fail before the runs, not after them
    (out / ".writable").unlink(missing_ok=True)
    remove_temporary(out)
    configs, failures = _expand_all(
        _distinct(data),
        methods,
        seeds=seeds,
        rules=rules,
        reference_rules=reference_rules,
        ablation=ablation,
        given=with_missing(given, missing, missing_in),
        on_done=on_done,
    )
    _check_rows(configs, reference, focus)
    _check_models(configs)
    where: dict[str, Any] = {"jobs": jobs, "backend": backend, "cluster": cluster}
    with one_cluster():
        if trials is not None:
            configs, choices = tune(configs, trials, out / "trials", **where, on_start=on_trials, on_done=on_trial)
            write_atomic(out / "tuning.json", json.dumps([c.to_dict() for c in choices], indent=1))
            write_atomic(out / "tuning.md", tuning_table(choices))
        forget(chosen_runs(configs, redo), out)
        if on_start is not None:
            on_start(len(configs))
        records, failed = run_all(configs, out, **where, on_done=on_done)
    failures += failed
    written = {record.key: record for record in records}
    for record in finished_runs(out):
        written.setdefault(record.key, record)
    write_records(out / "runs.jsonl", written.values())
    if records:
        failures += write_outputs(
            records,
            out,
            reference=reference,
            focus=focus,
            ablation=ablation,
            figures=figures,
            jobs=jobs,
            on_figure=on_figure,
        )
    return ComparisonResult(records, failures)


def planned_runs(
    data: Sequence[str],
    methods: Sequence[str],
    *,
    seeds: int | Sequence[int],
    out: Path,
    rules: Sequence[str] = ("default",),
    ablation: str | None = None,
    given: Mapping[str, Any] | None = None,
    redo: Sequence[str] = (),
    missing: Mapping[str, float] | None = None,
    missing_in: str = "both",
) -> list[RunConfig]:
    """Return the runs that `compare` would train with the same arguments. Nothing is written.

    Args:
        data: See `compare`, as for the other arguments.
        methods: Names of methods.
        seeds: Number of runs of each method, or the seeds.
        out: Folder of the comparison.
        rules: Names of decision rules.
        ablation: Method whose parts are switched on and off.
        given: Further settings of the runs, nested.
        redo: Runs to be trained again.
        missing: Shares of the samples that lose modalities.
        missing_in: Splits in which they lose them.

    Raises:
        ConfigError: For an empty list, or settings that cannot be used.
        NotFoundError: For an unknown data set, method or rule.
        DataError: For data that cannot be used.
    """
    _check_lists(data, methods, rules)
    configs: list[RunConfig] = []
    given = with_missing(given, missing, missing_in)
    for name in _distinct(data):
        info = open_data(name).info
        configs += expand(info, name, methods, seeds=seeds, rules=rules, ablation=ablation, given=given)
    again, unfinished = chosen_runs(configs, redo), missing_runs(configs, out)
    return [config for config in configs if config in unfinished or config in again]


def _check_lists(data: Sequence[str], methods: Sequence[str], rules: Sequence[str]) -> None:
    for name, values in (("data", data), ("methods", methods), ("rules", rules)):
        if not values:
            raise ConfigError(f"Parameter `{name}` should name at least one. Found none.")


def _check_models(configs: Sequence[RunConfig]) -> None:
    """Build each model with encoders or a fusion of the user's choice once, before the runs start.

    Raises:
        ConfigError: For arguments that an encoder or a fusion does not have.
        NotFoundError: For an unknown encoder or fusion.
    """
    chosen = [config for config in configs if config.model != ModelConfig(init_seed=config.model.init_seed)]
    for config in {repr((config.data, config.model)): config for config in chosen}.values():
        from counterpoise.model import build_model

        info = run_data(config).info
        build_model(
            {m.name: (m.kind, m.shape, m.vocabulary) for m in info.modalities},
            num_outputs=info.num_outputs,
            task=info.make_task(),
            fusion=config.model.fusion,
            encoders=config.model.encoders,
            width=config.model.width,
            absent=config.model.absent,
        )


def _check_rows(configs: Sequence[RunConfig], *rows: str | None) -> None:
    """Raise an error before the runs start if no run can belong to a row."""
    methods = dict.fromkeys(config.method for config in configs)
    for row in rows:
        if row is not None and methods and not row.startswith(tuple(methods)):
            raise unknown("row", row, methods)


def _distinct(data: Sequence[str]) -> list[str]:
    """Return the data sets without repetitions: one file under two paths is one."""
    names: dict[str, str] = {}
    for name in data:
        names.setdefault(str(Path(name).resolve()) if Path(name).exists() else name, name)
    return list(names.values())


def _expand_all(
    data: Sequence[str],
    methods: Sequence[str],
    *,
    on_done: Callable[[RunRecord | Failure], None] | None,
    **options: Any,
) -> tuple[list[RunConfig], list[Failure]]:
    """Return the runs of every data set. A set that cannot be used is skipped, unless it is the only one."""
    configs: list[RunConfig] = []
    failures: list[Failure] = []
    for name in data:
        try:
            info = open_data(name).info
        except NotFoundError:
            raise
        except Exception as error:
            if len(data) == 1:
                raise
            failures.append(Failure(RunConfig(name), describe(error)))
            continue
        configs += expand(info, name, methods, **options)
    return configs, failures
