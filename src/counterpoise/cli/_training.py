"""``demo``, ``train``, ``compare`` and ``recommend``: the verbs that train."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rich.markdown import Markdown
from rich.markup import escape

from counterpoise._launch import launched, refuse_several
from counterpoise._validation import check_keys, unknown
from counterpoise.cli._results import complain, show
from counterpoise.cli._screen import RunProgress, console
from counterpoise.cli._words import data_names, missing_rates, seed_numbers, words
from counterpoise.errors import ConfigError

if TYPE_CHECKING:
    from jsonargparse import Namespace


def run_demo(options: Namespace, given: Mapping[str, Any]) -> int:
    """Run the demo."""
    from counterpoise.experiment import demo

    if options.name not in demo.DEMOS:
        raise unknown("demo", options.name, demo.DEMOS)
    started = time.monotonic()
    console.print(demo.DEMOS[options.name].question, highlight=False)
    with RunProgress() as progress:
        records, failures = demo.run_demo(
            options.name,
            seeds=options.seeds,
            out=options.out,
            jobs=options.jobs,
            on_start=progress.start,
            on_done=progress.done,
        )
    show(records, focus=demo.DEMOS[options.name].focus, details=options.details)
    if records:
        console.print(
            "\n`counterpoise diagnose` finds out whether your model has this problem; `counterpoise compare` tries the "
            "remedies on your data.",
            highlight=False,
        )
        page, seconds = escape(str(options.out / "report.html")), time.monotonic() - started
        console.print(
            f"The page, with the samples themselves: [bold]{page}[/] ({seconds:.0f} seconds)", highlight=False
        )
    return complain(failures)


def run_train(options: Namespace, given: Mapping[str, Any]) -> int:
    """Train one run."""
    from counterpoise.data import open_data, split_of_seed
    from counterpoise.experiment.compare import with_missing
    from counterpoise.experiment.config import make_config, parse_method
    from counterpoise.experiment.runner import run, run_data, run_folder
    from counterpoise.training.callbacks.loggers import check_logger, log_folder

    devices = int(given.get("fit", {}).get("devices", 1))
    refuse_several("A training", devices)
    check_logger(options.logger)
    with console.status("opening the data"):
        data = open_data(options.data, split=split_of_seed(options.data, options.seed))
    method, arguments = parse_method(options.method)
    config = make_config(
        data.info,
        {
            **with_missing(given, missing_rates(options.missing), options.missing_in),
            "data": options.data,
            "method": method,
            "method_args": arguments | dict(options.method_args),
            "rule": options.rule,
            "seed": options.seed,
        },
    )
    if config.method == "unimodal" and "modality" not in config.method_args:
        raise ConfigError(
            f"Method `unimodal` needs a modality: --method 'unimodal[modality={data.info.names[0]}]'. Known: "
            f"{', '.join(data.info.names)}."
        )
    if config.missing:
        check_keys("`missing`", config.missing, data.info.names)
        data = run_data(config)
    record = run(config, options.out, data=data, progress=True, logger=options.logger)
    process = launched()
    if process is not None and process.rank:
        return 0  # the first process says it
    show([record])
    folder = run_folder(config, data, options.out)
    console.print(f"\nThe run: [bold]{folder}[/] (epoch {record.best_epoch + 1} selected)")
    if options.logger != "none":
        console.print(f"Its log: [bold]{log_folder(folder, options.logger)}[/]")
    return 0


def run_compare(options: Namespace, given: Mapping[str, Any]) -> int:
    """Compare methods."""
    refuse_several("A comparison")
    from counterpoise.experiment import compare

    methods = options.methods
    if methods is None:
        methods = "joint" if options.ablation else "all"
    runs: dict[str, Any] = {
        "data": data_names(options.data),
        "methods": words(methods),
        "seeds": seed_numbers(options.seeds),
        "out": options.out,
        "rules": words(options.rules),
        "ablation": options.ablation,
        "given": given,
        "redo": options.redo,
        "missing": missing_rates(options.missing),
        "missing_in": options.missing_in,
    }
    if options.dry_run:
        return _print_commands(options, runs)
    with RunProgress() as progress:
        records, failures = compare.compare(
            **runs,
            jobs=options.jobs,
            backend=options.backend,
            cluster=options.cluster,
            figures=options.figures,
            on_start=progress.start,
            on_done=progress.done,
            on_figure=progress.figure,
            reference=options.reference,
            focus=options.focus,
            trials=options.tune,
            on_trials=progress.start,
            on_trial=progress.trial,
        )
    show(records, reference=options.reference, focus=options.focus, details=options.details)
    if options.tune and records:
        console.print(Markdown((options.out / "tuning.md").read_text(encoding="utf-8")))
    if options.ablation and records:
        console.print(Markdown((options.out / "ablation.md").read_text(encoding="utf-8")))
    if records:
        console.print(f"\nThe page: [bold]{options.out / 'report.html'}[/]   figures, tables and records beside it")
    return complain(failures)


def _print_commands(options: Namespace, runs: Mapping[str, Any]) -> int:
    """Print the command of each run that a comparison lacks."""
    from counterpoise.experiment.cells import train_command
    from counterpoise.experiment.compare import planned_runs
    from counterpoise.experiment.parallel import check_parallel

    if options.tune is not None:
        raise ConfigError(
            "--dry-run cannot list the runs of --tune: their learning rates are known after the trials. Leave one out."
        )
    check_parallel(options.jobs, options.backend, options.cluster, dry=True)
    planned = planned_runs(**runs)
    for config in planned:
        print(train_command(config, runs["given"], options.out))
    print("1 run is missing." if len(planned) == 1 else f"{len(planned)} runs are missing.", file=sys.stderr)
    return 0


def run_recommend(options: Namespace, given: Mapping[str, Any]) -> int:
    """Recommend a method and a rule."""
    from counterpoise.experiment.recommend import recommend

    refuse_several("A recommendation")
    chosen = {name: words(getattr(options, name)) for name in ("methods", "rules") if getattr(options, name)}
    with RunProgress(quiet=options.json) as progress:
        recommendation = recommend(
            options.data,
            **chosen,
            splits=options.splits,
            seed=options.seed,
            out=options.out,
            jobs=options.jobs,
            given=given,
            on_start=progress.start,
            on_done=progress.trial,
        )
    if options.json:
        print(json.dumps(recommendation.to_dict()))
        return 0
    console.print(str(recommendation), highlight=False, markup=False)
    if options.details:
        console.print(Markdown(recommendation.table()))
    console.print(f"\nThe trials: [bold]{escape(str(options.out))}[/]", highlight=False)
    return 0
