"""The verbs of the command line.

Each verb takes the parsed options and the settings that were given explicitly, and returns the exit status. Packages
are imported when a verb runs.
"""

from __future__ import annotations

import importlib
import json
import re
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rich.markdown import Markdown
from rich.markup import escape

from counterpoise._launch import launched, refuse_several
from counterpoise._validation import check_keys, unknown
from counterpoise.catalogue import Catalogue
from counterpoise.cli._screen import RunProgress, console
from counterpoise.errors import ConfigError, OutputError

if TYPE_CHECKING:
    from jsonargparse import Namespace

    from counterpoise.diagnosis import Diagnosis
    from counterpoise.experiment.parallel import Failure
    from counterpoise.runs import RunRecord

__all__ = ["CATALOGUES", "COMMANDS", "load_catalogue", "missing_rates"]

SKIPPED: Final = 10
"""Maximum number of unreadable files that are named on the screen. The page names all of them."""

CATALOGUES: Final = {
    "methods": "counterpoise.methods.catalogue:METHODS",
    "datasets": "counterpoise.data.datasets.catalogue:DATASETS",
    "encoders": "counterpoise.encoders.catalogue:ENCODERS",
    "fusions": "counterpoise.fusion.catalogue:FUSIONS",
    "valuations": "counterpoise.valuation.catalogue:VALUATIONS",
    "rules": "counterpoise.inference.catalogue:RULES",
}
"""Where each catalogue is, by the name that ``list`` knows it by."""


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


def run_list(options: Namespace, given: Mapping[str, Any]) -> int:
    """Show a catalogue."""
    if options.check is not None:
        return _check(options)
    ignored = [f"--{name}" for name in ("name", "out") if getattr(options, name) is not None]
    if ignored:
        raise ConfigError(
            f"{' and '.join(ignored)} of `list` needs --check DIR, the folder to check. Found no --check."
        )
    rows = load_catalogue(options.what).values()
    if options.json:
        print(json.dumps([{k: v for k, v in asdict(r).items() if k != "target"} for r in rows], indent=1, default=str))
    else:
        _print_catalogue(options.what, rows)
    return 0


def _print_catalogue(name: str, rows: Collection[Any]) -> None:
    """Print the entries of a catalogue as a table."""
    from rich.table import Table

    table = Table(title=f"{name} ({len(rows)})", title_justify="left", box=None, pad_edge=False)
    for column in ("name", "what it is", "reference"):
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(f"[bold]{row.name}[/]", row.summary, row.reference)
    console.print(table)


def _check(options: Namespace) -> int:
    """Report the faults of a folder of data; the exit status is 1 if anything is missing."""
    from counterpoise._files import write_atomic
    from counterpoise.data.preparation import check_folder, to_csv

    lines, findings, well = check_folder(options.check, options.name)
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    if options.out is not None:
        write_atomic(options.out, to_csv(findings))
        console.print(f"The whole list: {options.out}", markup=False)
    return 0 if well else 1


def load_catalogue(name: str) -> Catalogue[Any]:
    """Import and return a catalogue.

    Raises:
        NotFoundError: If there is none of that name.
    """
    if name not in CATALOGUES:
        raise unknown("catalogue", name, CATALOGUES)
    module, _, attribute = CATALOGUES[name].partition(":")
    catalogue: Catalogue[Any] = getattr(importlib.import_module(module), attribute)
    return catalogue


def run_prepare(options: Namespace, given: Mapping[str, Any]) -> int:
    """Prepare a data set."""
    from dataclasses import fields

    from counterpoise.data.datasets.catalogue import prepare as prepare_data
    from counterpoise.data.preparation import Settings

    chosen = {f.name: getattr(options, f.name) for f in fields(Settings)}
    settings = Settings(**{**chosen, "modality": tuple(options.modality)})
    with console.status(f"preparing {options.name}") as status:

        def on_progress(done: int, total: int) -> None:
            status.update(f"preparing {options.name}: {done:,} of {total:,} samples")

        summary = prepare_data(
            options.name, options.source, options.out, settings=settings, jobs=options.jobs, on_progress=on_progress
        )
    console.print(str(summary), markup=False, highlight=False, soft_wrap=True)
    return 1 if summary.left_out else 0


def run_extract(options: Namespace, given: Mapping[str, Any]) -> int:
    """Store features of frozen encoders."""
    from counterpoise.experiment.extraction import extract

    encoders: dict[str, str] = {}
    for text in words(options.encoders):
        name, equals, encoder = text.partition("=")
        if not (name.strip() and equals and encoder.strip()) or name.strip() in encoders:
            raise ConfigError(f"`--encoders` should be MODALITY=ENCODER,..., each modality once. Found `{text}`.")
        encoders[name.strip()] = encoder.strip()
    with console.status("encoding") as status:

        def on_progress(done: int, total: int) -> None:
            status.update(f"encoding: {done:,} of {total:,} samples")

        extraction = extract(
            options.data,
            encoders,
            options.out,
            width=options.width,
            seed=options.seed,
            batch_size=options.batch_size,
            on_progress=on_progress,
        )
    console.print(str(extraction), markup=False, highlight=False, soft_wrap=True)
    return 0


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


def run_diagnose(options: Namespace, given: Mapping[str, Any]) -> int:
    """Diagnose a trained model, arrays or a table."""
    sources = [name for name in ("run", "arrays", "table", "csv") if getattr(options, name) is not None]
    if len(sources) != 1:
        raise ConfigError(
            "Give one thing to diagnose: a run folder, --arrays FILE.npz or --table FILE. Found "
            f"{' and '.join(sources) or 'none'}."
        )
    with console.status("measuring contributions"):
        diagnosis = _diagnosis(options)
    if options.out is not None:
        diagnosis.save_html(options.out / "diagnosis.html")
        diagnosis.save_json(options.out / "diagnosis.json")
    if options.json:
        print(json.dumps(diagnosis.to_dict()))
        return 0
    console.print(diagnosis)
    if options.out is not None:
        console.print(f"\nThe page: [bold]{options.out / 'diagnosis.html'}[/]")
    return 0


def _diagnosis(options: Namespace) -> Diagnosis:
    from counterpoise.diagnosis import diagnose_csv, diagnose_file

    estimator, table = options.estimator or "variational", options.table or options.csv
    if options.arrays is not None:
        return diagnose_file(options.arrays, task=options.task, estimator=estimator)
    if table is not None:
        columns: dict[str, Sequence[str]] = {}
        for text in options.modality:
            name, equals, rest = text.partition("=")
            if not (name and equals and words(rest)):
                raise ConfigError(f"`--modality` should be NAME=COLUMN,COLUMN. Found `{text}`.")
            if name in columns:
                raise ConfigError(
                    f"`--modality {name}` is given twice. Name all of its columns at once: "
                    f"--modality {name}={','.join([*columns[name], *words(rest)])}."
                )
            columns[name] = words(rest)
        return diagnose_csv(
            table,
            label=options.label,
            modalities=columns,
            group=options.group,
            task=options.task,
            estimator=estimator,
        )
    from counterpoise.experiment.runner import diagnose_run

    return diagnose_run(Path(options.run), estimator=options.estimator, trust=options.trust)


def run_report(options: Namespace, given: Mapping[str, Any]) -> int:
    """Make the page."""
    from counterpoise.report import write_page
    from counterpoise.runs import read_records

    if options.out.suffix.lower() not in {".html", ".htm"}:
        raise OutputError(f"The page is one HTML file; `--out` should end in .html. Found `{options.out}`.")
    with console.status("reading runs"):
        records, skipped = read_records(options.runs)
    for line in skipped[:SKIPPED]:
        console.print(f"[yellow]skipped[/] {escape(line)}", highlight=False, soft_wrap=True)
    if len(skipped) > SKIPPED:
        console.print(f"[yellow]skipped[/] {len(skipped) - SKIPPED} more", highlight=False)
    if not records:
        raise OutputError(f"There is no finished run in {', '.join(options.runs)}, so there is nothing to report.")
    with console.status("drawing the page"):
        write_page(records, options.out, skipped=skipped, reference=options.reference, focus=options.focus)
    runs = f"{len(records)} run" + ("" if len(records) == 1 else "s")
    console.print(f"The page: [bold]{escape(str(options.out))}[/] ({runs})", highlight=False, soft_wrap=True)
    return 0


def run_check(options: Namespace, given: Mapping[str, Any]) -> int:
    """Run every check on a method and print the results."""
    from rich.table import Table

    from counterpoise.catalogue import parse_spec
    from counterpoise.methods.checks import check_method

    name, arguments = parse_spec("method", options.method)
    with console.status("checking"):
        results = check_method(name, arguments)
    failed = sum(r.status == "failed" for r in results)
    if options.json:
        print(json.dumps([asdict(r) for r in results], indent=2))
        return int(failed > 0)
    table = Table("check", "result", "message", title=f"Checks of {escape(options.method)}")
    colours = {"passed": "green", "failed": "bold red", "skipped": "yellow"}
    for r in results:
        table.add_row(r.name, f"[{colours[r.status]}]{r.status}[/]", escape(r.message))
    console.print(table)
    skipped = sum(r.status == "skipped" for r in results)
    console.print(f"{len(results) - failed - skipped} passed, {failed} failed, {skipped} skipped")
    return int(failed > 0)


def missing_rates(text: str) -> dict[str, float]:
    """Return the shares of samples that lose modalities.

    Raises:
        ConfigError: If the text is not ``NAME=RATE,NAME=RATE``.

    Example:
        >>> missing_rates("audio=0.5,video=0.2")
        {'audio': 0.5, 'video': 0.2}
    """
    rates: dict[str, float] = {}
    for word in words(text):
        name, _, share = word.rpartition("=")
        try:
            rate = float(share)
        except ValueError:
            rate = -1.0
        if not name or not 0 <= rate <= 1 or name in rates:
            raise ConfigError(
                f"--missing should be NAME=RATE,NAME=RATE, once per modality, with rates from 0 to 1. Found `{text}`."
            )
        rates[name] = rate
    return rates


def words(text: str) -> Sequence[str]:
    """Split at commas, but not inside brackets."""
    return [word.strip() for word in re.split(r",(?![^\[]*\])", text) if word.strip()]


def data_names(text: str) -> list[str]:
    """Split names of data sets at commas, but not within the name of a file or folder that exists.

    Example:
        >>> data_names("kanji, world-xor")
        ['kanji', 'world-xor']
    """
    parts = text.split(",")
    names: list[str] = []
    while parts:
        longest = next((n for n in range(len(parts), 1, -1) if Path(",".join(parts[:n]).strip()).exists()), 1)
        names.append(",".join(parts[:longest]).strip())
        parts = parts[longest:]
    return [name for name in names if name]


def show(
    records: Sequence[RunRecord], *, reference: str = "joint", focus: str | None = None, details: bool = False
) -> None:
    """Print the results of a comparison: the finding and the advice, the table, the evidence, and notes."""
    from counterpoise.report import conclusions, rich_table

    if not records:
        return
    by_data = conclusions(records, reference=reference, focus=focus)

    def say(text: str, data: str) -> None:
        prefix = f"{data}: " if len(by_data) > 1 else ""
        console.print(f"{prefix}{text}", highlight=False, markup=False)

    console.print()
    for data, one in by_data.items():
        say(one.finding, data)
        if one.action:
            say(one.action, data)
    console.print()
    console.print(rich_table(records, reference=reference, focus=focus, details=details))
    for data, one in by_data.items():
        for sentence in (*one.evidence, *(one.details if details else ())):
            say(f"• {sentence}", data)
    for note in dict.fromkeys(note for record in records for note in record.notes):
        console.print(f"Note: {note}", highlight=False, markup=False)


def complain(failures: Sequence[Failure]) -> int:
    """Print the failures and return the exit status."""
    for failure in failures:
        console.print(f"[red]failed[/] {escape(str(failure))}", highlight=False, soft_wrap=True)
    return 1 if failures else 0


def seed_numbers(text: str) -> int | list[int]:
    """Parse ``--seeds``: the number of seeds, or the seeds themselves.

    Example:
        >>> seed_numbers("3"), seed_numbers("3,7,11")
        (3, [3, 7, 11])
    """
    try:
        numbers = [int(word) for word in text.split(",") if word.strip()]
    except ValueError as error:
        raise ConfigError(f"`--seeds` should be a number, or seeds separated by commas. Found `{text}`.") from error
    return numbers[0] if len(numbers) == 1 and "," not in text else numbers


COMMANDS: Final[Mapping[str, Callable[[Namespace, Mapping[str, Any]], int]]] = {
    "demo": run_demo,
    "list": run_list,
    "prepare": run_prepare,
    "extract": run_extract,
    "train": run_train,
    "compare": run_compare,
    "recommend": run_recommend,
    "diagnose": run_diagnose,
    "report": run_report,
    "check": run_check,
}
"""The verbs by name."""
