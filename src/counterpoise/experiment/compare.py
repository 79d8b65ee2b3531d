"""Comparisons: which runs there are to do, doing them in parallel, once each, and writing what came of them."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from counterpoise._extras import extra
from counterpoise._validation import unknown
from counterpoise.config import RunConfig
from counterpoise.data import DataInfo
from counterpoise.errors import ConfigError, CounterpoiseError
from counterpoise.experiment.config import make_config, parse_method
from counterpoise.inference.catalogue import RULES
from counterpoise.methods.catalogue import METHODS
from counterpoise.runs import RunRecord, write_records

__all__ = ["Failure", "combinations_of", "compare", "expand", "run_all"]


def expand(
    info: DataInfo,
    data: str,
    methods: Sequence[str],
    *,
    seeds: int,
    rules: Sequence[str] = ("default",),
    ablation: str | None = None,
    given: Mapping[str, Any] | None = None,
) -> list[RunConfig]:
    """Return every run of one data set: each method (``unimodal`` once per modality) x rule x seed, without repetitions.

    `joint` is always among them, because every difference is taken to it.

    Args:
        info: what is known about the data set.
        data: the name or path it is opened by.
        methods: names, with hyper-parameters in brackets where they are not the defaults (``arm[tau=1.0,minmax=false]``); ``all``
            takes the whole catalogue.
        seeds: how many, from 0.
        rules: rules of inference; ``default`` is each method's own.
        ablation: a method whose named parts are switched on and off in all combinations.
        given: further settings, nested.

    Raises:
        ConfigError: for an unknown key, or no seeds.
        NotFoundError: for an unknown method or rule.
    """
    if seeds < 1:
        raise ConfigError(f"Parameter `seeds` should be at least 1. Found `seeds = {seeds}`.")
    specs = list(METHODS) if "all" in methods else list(dict.fromkeys(methods))
    specs += [] if ablation is None else combinations_of(ablation)
    chosen = [parse_method(spec) for spec in specs]
    if ("joint", {}) not in chosen:
        chosen.insert(0, ("joint", {}))
    for rule in rules:
        if rule != "default" and not {".", ":"} & set(rule):
            RULES[rule]
    configs: dict[str, RunConfig] = {}
    for name, own in chosen:
        cls = METHODS.resolve(name)
        variants: list[dict[str, Any]] = [own]
        if name == "unimodal" and "modality" not in own:
            variants = [{**own, "modality": m} for m in info.names]
        for rule in dict.fromkeys(rules):
            if not cls.trains_fusion and rule != "default":
                continue
            for arguments in variants:
                for seed in range(seeds):
                    settings = {**(given or {}), "data": data, "method": name, "seed": seed}
                    settings["method_args"] = arguments
                    settings["rule"] = "default" if rule == cls.default_rule else rule
                    config = make_config(info, settings)
                    configs.setdefault(config.key(""), config)
    if "default" not in rules:  # the reference row: joint training as it is
        for seed in range(seeds):
            config = make_config(info, {**(given or {}), "data": data, "method": "joint", "seed": seed})
            configs.setdefault(config.key(""), config)
    return list(configs.values())


def combinations_of(method: str) -> list[str]:
    """Return a method with its named parts switched on and off in all combinations, all on first.

    Raises:
        ConfigError: if the method has no parts.
        NotFoundError: for an unknown method.

    Example:
        >>> combinations_of("arm")[:3]
        ['arm', 'arm[resampling=false]', 'arm[minmax=false]']
    """
    from itertools import product

    parts = METHODS.resolve(method).parts
    if not parts:
        raise ConfigError(f"Method `{method}` has no parts that can be switched off. `arm` has.")
    found = []
    for on in product((True, False), repeat=len(parts)):
        off = ",".join(f"{part}=false" for part, kept in zip(parts, on, strict=True) if not kept)
        found.append(f"{method}[{off}]" if off else method)
    return found


@dataclass(frozen=True)
class Failure:
    """A run that could not be finished, and why."""

    config: RunConfig
    message: str


def _job(config: RunConfig, out: str, command: str, threads: int) -> RunRecord | Failure:
    import torch

    from counterpoise.experiment.runner import run

    torch.set_num_threads(threads)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            return run(config, Path(out), command=command)
    except CounterpoiseError as error:
        return Failure(config, f"{type(error).__name__}: {error}")


def run_all(
    configs: Sequence[RunConfig],
    out: Path,
    *,
    jobs: int | None = None,
    backend: str = "loky",
    on_done: Callable[[RunRecord | Failure], None] | None = None,
) -> tuple[list[RunRecord], list[Failure]]:
    """Do runs in parallel, each in one thread, in any order; finished ones are read, interrupted ones go on.

    Args:
        configs: the runs.
        out: where run folders go.
        jobs: processes; None takes one per core.
        backend: joblib's backend: ``loky`` on one machine, ``dask`` on a cluster.
        on_done: called after each run, in this process.

    Returns:
        The records in the order of ``configs``, and the failures.
    """
    with extra("train"):
        import joblib

    jobs = jobs or len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else jobs or os.cpu_count() or 1
    command = " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])
    if len(configs) == 1 or jobs == 1:
        results = (_job(config, str(out), command, jobs) for config in configs)
    else:
        parallel = joblib.Parallel(n_jobs=min(jobs, len(configs)), backend=backend, return_as="generator_unordered")
        results = parallel(joblib.delayed(_job)(config, str(out), command, 1) for config in configs)
    records: list[RunRecord] = []
    failures: list[Failure] = []
    for result in results:
        if isinstance(result, Failure):
            failures.append(result)
        else:
            records.append(result)
        if on_done is not None:
            on_done(result)
    order = {_identity(config.to_dict()): i for i, config in enumerate(configs)}
    records.sort(key=lambda r: order.get(_identity(r.config), len(order)))
    return records, failures


def _identity(config: Mapping[str, Any]) -> str:
    return repr(sorted(config.items(), key=lambda item: item[0]))


def compare(
    data: Sequence[str],
    methods: Sequence[str],
    *,
    seeds: int,
    out: Path,
    rules: Sequence[str] = ("default",),
    ablation: str | None = None,
    given: Mapping[str, Any] | None = None,
    jobs: int | None = None,
    backend: str = "loky",
    on_start: Callable[[int], None] | None = None,
    on_done: Callable[[RunRecord | Failure], None] | None = None,
    on_figure: Callable[[int, int], None] | None = None,
    reference: str = "joint",
    focus: str | None = None,
) -> tuple[list[RunRecord], list[Failure]]:
    """Compare methods on data sets and write records, tables, figures and the page into ``out``.

    These are ``runs.jsonl``, ``table.csv``, ``table.md``, ``table.tex``, ``figures/`` (PDF, SVG, PNG) and ``report.html``.

    Args:
        data: names or paths of data sets.
        methods: names of methods, or ``all``.
        seeds: how many, from 0.
        out: the folder of the comparison; what is already there is not repeated.
        rules: rules of inference.
        ablation: a method whose parts are switched on and off in all combinations; writes ``ablation.md`` too.
        given: further settings of the runs, nested.
        jobs: processes.
        backend: joblib's backend.
        on_start: called with the number of runs, before the first.
        on_done: called after each run.
        on_figure: called after each figure, with how many are written and how many there are.
        reference: Row that differences are taken to.
        focus: Row that the conclusions are about; by default the method with an import path, else the best row.

    Raises:
        NotFoundError: for an unknown data set, method or rule.
        OutputError: if ``out`` cannot be written to.
    """
    from counterpoise._files import write_atomic
    from counterpoise.data import open_data
    from counterpoise.report import ablation_table, write_figures, write_page, write_tables

    write_atomic(out / ".writable", "")  # fail before the work, not after it
    (out / ".writable").unlink(missing_ok=True)
    configs: list[RunConfig] = []
    for name in data:
        configs += expand(open_data(name).info, name, methods, seeds=seeds, rules=rules, ablation=ablation, given=given)
    for row in (reference, focus):
        if row is not None and not any(row.startswith(config.method) for config in configs):
            raise unknown("row", row, dict.fromkeys(config.method for config in configs))
    if on_start is not None:
        on_start(len(configs))
    records, failures = run_all(configs, out, jobs=jobs, backend=backend, on_done=on_done)
    write_records(out / "runs.jsonl", records)
    if records:
        write_tables(records, out, reference=reference, focus=focus)
        write_figures(records, out / "figures", on_figure=on_figure, reference=reference, focus=focus)
        write_page(records, out / "report.html", reference=reference, focus=focus)
    if ablation is not None:
        write_atomic(out / "ablation.md", ablation_table(records, ablation, METHODS.resolve(ablation).parts))
    return records, failures
