"""Comparisons of methods: planning the runs, training each once, in parallel, and writing the results."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

from counterpoise._files import remove_temporary, write_atomic
from counterpoise._validation import Interval, check_keys, unknown
from counterpoise._version import __version__
from counterpoise.catalogue import user_name
from counterpoise.config import MAX_SEED, ModelConfig, RunConfig
from counterpoise.data import DataInfo, open_data
from counterpoise.errors import ConfigError, NotFoundError, describe
from counterpoise.experiment.cells import chosen_runs, forget, missing_runs
from counterpoise.experiment.cluster import one_cluster
from counterpoise.experiment.config import make_config, parse_method
from counterpoise.experiment.folders import finished_runs, run_data
from counterpoise.experiment.parallel import Failure, check_parallel, map_jobs, run_all
from counterpoise.experiment.result import ComparisonResult
from counterpoise.experiment.trials import TrialResult
from counterpoise.experiment.tuning import tune, tuning_table
from counterpoise.inference.catalogue import RULES
from counterpoise.methods.catalogue import METHODS
from counterpoise.runs import RunRecord, write_records

__all__ = ["Failure", "combinations_of", "compare", "expand", "planned_runs", "run_all", "with_missing"]


def expand(
    info: DataInfo,
    data: str,
    methods: Sequence[str],
    *,
    seeds: int | Sequence[int],
    rules: Sequence[str] = ("default",),
    reference_rules: Sequence[str] = (),
    ablation: str | None = None,
    given: Mapping[str, Any] | None = None,
) -> list[RunConfig]:
    """Return the runs of one data set, without repetitions: each method x rule x seed.

    `unimodal` is run once per modality. `joint` is always included, because all rows are compared to it.

    Args:
        info: Description of the data set.
        data: Name or path of the data set.
        methods: Names of methods, with hyper-parameters in brackets where they are not the defaults
            (``arm[tau=1.0,loss_weights=false]``). ``all`` stands for the whole catalogue.
        seeds: Number of runs of each method (seeds 0, 1, ...), or the seeds themselves.
        rules: Names of decision rules; ``default`` is each method's own.
        reference_rules: Further rules for joint training only.
        ablation: Method whose named parts are switched on and off in all combinations.
        given: Further settings, nested.

    Raises:
        ConfigError: For an unknown key, or no seeds.
        NotFoundError: For an unknown method or rule.
    """
    check_keys("`missing`", (given or {}).get("missing", {}), info.names)
    numbers = _seed_list(seeds)
    chosen = _chosen_methods(methods, ablation)
    for rule in (*rules, *reference_rules):
        if rule != "default" and not {".", ":"} & set(rule):
            RULES[rule]
    configs: dict[str, RunConfig] = {}
    further = [{"method": "joint", "rule": rule} for rule in reference_rules]
    for settings in (*_method_settings(info, chosen, rules), *further):
        for seed in numbers:
            config = make_config(info, {**(given or {}), "data": data, "seed": seed, **settings})
            configs.setdefault(config.key(""), config)
    return list(configs.values())


def _chosen_methods(methods: Sequence[str], ablation: str | None) -> list[tuple[str, dict[str, Any]]]:
    """Return the methods with their hyper-parameters, `joint` among them."""
    specs = list(METHODS) if "all" in methods else list(dict.fromkeys(methods))
    specs += [] if ablation is None else combinations_of(ablation)
    chosen = [parse_method(spec) for spec in specs]
    return chosen if ("joint", {}) in chosen else [("joint", {}), *chosen]


def _method_settings(
    info: DataInfo, chosen: Sequence[tuple[str, dict[str, Any]]], rules: Sequence[str]
) -> Iterator[dict[str, Any]]:
    """Yield the settings of each row, including the reference row, joint training with its own rule."""
    for name, own in chosen:
        cls = METHODS.resolve(name)
        applicable = [rule for rule in dict.fromkeys(rules) if cls.trains_fusion or rule == "default"]
        for rule, arguments in product(applicable, _variants(info, name, own)):
            shown = "default" if rule == cls.default_rule else rule
            yield {"method": name, "method_args": arguments, "rule": shown}
    if "default" not in rules:
        yield {"method": "joint"}


def _variants(info: DataInfo, name: str, own: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the hyper-parameters of a method's rows: `unimodal` has one row per modality."""
    if name == "unimodal" and "modality" not in own:
        return [{**own, "modality": m} for m in info.names]
    return [own]


def _seed_list(seeds: int | Sequence[int]) -> list[int]:
    if isinstance(seeds, int):
        Interval(1, 10_000, "[]", integer=True).check("compare", "seeds", seeds)
        return list(range(seeds))
    if not seeds:
        raise ConfigError("Parameter `seeds` should name at least one seed. Found none.")
    for seed in seeds:
        Interval(0, MAX_SEED, "[]", integer=True).check("compare", "seeds", seed)
    return list(dict.fromkeys(seeds))


def combinations_of(method: str) -> list[str]:
    """Return a method with its named parts switched on and off in all combinations, all on first.

    Raises:
        ConfigError: If the method has no parts.
        NotFoundError: For an unknown method.

    Example:
        >>> combinations_of("arm")[:3]
        ['arm', 'arm[resampling=false]', 'arm[loss_weights=false]']
    """
    parts = METHODS.resolve(user_name(method)).parts
    if not parts:
        raise ConfigError(f"Method `{method}` has no parts that can be switched off. `arm` has.")
    names = []
    for on in product((True, False), repeat=len(parts)):
        off = ",".join(f"{part}=false" for part, kept in zip(parts, on, strict=True) if not kept)
        names.append(f"{method}[{off}]" if off else method)
    return names


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
        failures += _write_outputs(
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


def with_missing(
    given: Mapping[str, Any] | None, missing: Mapping[str, float] | None, missing_in: str = "both"
) -> dict[str, Any]:
    """Return the settings of runs with the modalities that are taken away from samples.

    Raises:
        ConfigError: If ``missing_in`` is given without ``missing``.
    """
    if missing_in != "both" and not missing:
        raise ConfigError(
            f"`missing_in = {missing_in}` needs `missing`: the modalities that are taken away, with their rates."
        )
    own = {"missing": dict(missing), "missing_in": missing_in} if missing else {}
    return {**(given or {}), **own}


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


def _write_outputs(
    records: list[RunRecord],
    out: Path,
    *,
    reference: str,
    focus: str | None,
    ablation: str | None,
    figures: bool,
    jobs: int | None,
    on_figure: Callable[[int, int], None] | None,
) -> list[Failure]:
    """Write the files that are derived from the records, if these changed. An output that cannot be written is returned
    as a failure.
    """
    from counterpoise.report import ablation_table, write_figures, write_page, write_tables

    rows = {"reference": reference, "focus": focus}
    stamp = out / ".outputs"
    digest = hashlib.sha256(repr((__version__, rows, ablation, [r.to_json() for r in records])).encode()).hexdigest()
    wanted = ("report.html", "table.csv", *(("figures",) if figures else ()))
    present = all((out / name).exists() for name in wanted)
    if present and stamp.is_file() and stamp.read_text(encoding="utf-8", errors="replace") == digest:
        return []
    stamp.unlink(missing_ok=True)
    steps: dict[str, Callable[[], object]] = {
        "tables": lambda: write_tables(records, out, reference=reference, focus=focus),
        "page": lambda: write_page(records, out / "report.html", reference=reference, focus=focus),
    }
    if figures:
        steps["figures"] = lambda: write_figures(
            records,
            out / "figures",
            on_figure=on_figure,
            reference=reference,
            focus=focus,
            mapped=partial(map_jobs, jobs=jobs),
        )
    if ablation is not None:
        parts = METHODS.resolve(user_name(ablation)).parts
        steps["ablation"] = lambda: write_atomic(out / "ablation.md", ablation_table(records, ablation, parts))
    failures = [failure for name, write in steps.items() if (failure := _failure_of(name, write)) is not None]
    if not failures:
        write_atomic(stamp, digest)
    return failures


def _failure_of(name: str, write: Callable[[], object]) -> Failure | None:
    """Write an output; return the failure if it cannot be written."""
    try:
        write()
    except Exception as error:
        return Failure(None, f"The {name} could not be written: {describe(error)}")
    return None
