"""The command ``counterpoise``: its verbs and their options. Large packages are imported only when a verb runs."""

from __future__ import annotations

import difflib
import os
import re
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Final, NoReturn

from jsonargparse import ArgumentParser

from counterpoise._validation import nearest
from counterpoise._version import __version__
from counterpoise.config import FitConfig, ModelConfig, OptimConfig
from counterpoise.errors import ConfigError, CounterpoiseError, describe

__all__ = ["build_parser", "main"]

DETAILS = "show every row, p-values, contributions in nats and encoder probes"


class Parser(ArgumentParser):
    """An argument parser whose error for an unknown option names the nearest known option."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Print one clear line and exit with 2."""
        message = _of_one_line(message)
        known = sorted({option for action in self._actions for option in action.option_strings})
        hints = []
        for word in re.findall(r"(--[\w.-]+)|[Kk]ey '([\w.]+)'", "" if " should be " in message else message):
            name = word[0] or f"--{word[1]}"
            match = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
            if match and match[0] != name:
                hints.append(f"Did you mean `{match[0]}`?")
        print(f"error: {' '.join([message.strip(), *dict.fromkeys(hints)])}", file=sys.stderr)
        print(f"try: {self.prog} --help", file=sys.stderr)
        raise SystemExit(2)


_KINDS: Final = {
    "int": "an integer",
    "float": "a number",
    "bool": "true or false",
    "str": "a text",
    "tuple": "a list, such as [a, b]",
    "list": "a list, such as [a, b]",
    "dict": "a mapping, such as {option}.NAME VALUE",
}
"""What a value of a type is called in a message."""


def _of_one_line(message: str) -> str:
    """Return an error about the value of an option as one line with the allowed values; other errors stay unchanged."""
    key = re.search(r'Parser key "([\w.]+)":', message)
    if key is None:
        return " ".join(message.split())
    option = f"--{key[1]}"
    unreadable = re.search(r"Unable to load config '(.*?)'", message)
    if unreadable is not None:
        return f"{option} should be a YAML file with such settings. Found `{unreadable[1]}`."
    value = re.search(r"(?:Got value:|Given value:) (.*)", message)
    allowed, hint = _allowed(message, option, "" if value is None else value[1])
    if value is None or not allowed:
        return " ".join(message.split())
    return f"{option} should be {allowed}. Found `{value[1]}`.{hint}"


def _allowed(message: str, option: str, value: str) -> tuple[str, str]:
    """Return what jsonargparse's message allows, in words, and the nearest word to what was given."""
    words = [word for choice in re.findall(r"typing\.Literal\[(.*?)\]", message) for word in choice.split(", ")]
    if words:
        words = list(dict.fromkeys(words))
        other = " or a list of numbers" if "tuple[float" in message else ""
        return f"one of {', '.join(words)}{other}", nearest(value, [word.strip("'") for word in words])
    kinds = re.findall(r"Expected a <class '(\w+)'>", message)
    if option == "--optim.rates" and kinds == ["float"]:
        return "a mapping of names to numbers", ""
    names = [_KINDS[kind].format(option=option) for kind in dict.fromkeys(kinds) if kind in _KINDS]
    return " or ".join(names), ""


def _settings(parser: ArgumentParser) -> None:
    parser.add_argument("--config", action="config", help="YAML file with any of these options; the command line wins")
    parser.add_argument("--model", type=ModelConfig, help="the network")
    parser.add_argument("--optim", type=OptimConfig, help="the optimizer")
    parser.add_argument("--fit", type=FitConfig, help="the training")


def _add_rows(parser: ArgumentParser) -> None:
    """Add the options that choose the rows of a report."""
    parser.add_argument("--reference", type=str, default="joint", help="row to which the others are compared")
    parser.add_argument(
        "--focus",
        type=str | None,
        default=None,
        help="row that the conclusions are about: your own method by default, else the best",
    )


def _add_missing(parser: ArgumentParser) -> None:
    """Add the options that take modalities away from samples."""
    parser.add_argument(
        "--missing",
        type=str,
        default="",
        metavar="NAME=RATE,...",
        help="take modalities away from a share of the samples, at random: audio=0.5,video=0.2",
    )
    parser.add_argument(
        "--missing-in",
        type=str,
        default="both",
        help="splits that lose modalities: train (with validation), test, or both (the default)",
    )


def _raw_settings(parser: ArgumentParser) -> None:
    """Add the choices for sets of videos, images, texts and features; None takes the data set's own."""
    parser.add_argument("--fps", type=float | None, default=None, help="frames per second that are read from a video")
    parser.add_argument("--keep", type=int | None, default=None, help="frames stored per clip")
    parser.add_argument("--frames", type=int | None, default=None, help="frames per sample when it is used")
    parser.add_argument("--size", type=int | None, default=None, help="height and width of images and frames")
    parser.add_argument("--audio", type=str | None, default=None, help="sound recipe: fbank, stft-crema-d, ...")
    parser.add_argument("--flow", type=str | None, default=None, help="optical flow: dis or tvl1")
    parser.add_argument("--tokenizer", type=str | None, default=None, help="words, a folder, or a name on the hub")
    parser.add_argument("--length", type=int | None, default=None, help="token ids per text, steps per sequence")
    parser.add_argument("--label", type=str | None, default=None, help="label column; convention of a sentiment corpus")
    parser.add_argument(
        "--modality",
        action="append",
        default=[],
        metavar="NAME=COL,COL",
        help="columns of a modality of your own table",
    )
    parser.add_argument(
        "--task",
        type=str | None,
        default=None,
        help="multiclass, multilabel or regression, default: inferred from the labels",
    )
    parser.add_argument(
        "--allow_outside", type=bool, default=False, help="true: your table may name files outside its own folder"
    )
    parser.add_argument(
        "--strict",
        type=bool,
        default=False,
        help="true: leave out rows of your table whose file does not exist or cannot be read",
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of splits that are drawn")


def build_parser() -> dict[str, Parser]:
    """Return one parser per verb."""
    verbs = {
        name: Parser(prog=f"counterpoise {name}", description=text, allow_abbrev=False)
        for name, text in {
            "demo": "Show a wasted modality and the remedy on real data, in about two minutes on two cores.",
            "list": "Show the catalogues of methods, data sets, encoders, fusions, estimators and decision rules.",
            "prepare": "Convert the raw files of a data set into prepared data.",
            "extract": "Encode modalities once with frozen encoders, and store the features as prepared data.",
            "train": "Train one run: data set x method x seed.",
            "compare": "Compare methods on data sets over seeds; finished runs are not repeated.",
            "recommend": "Recommend a method and a decision rule for a data set, or joint training if nothing is "
            "better.",
            "diagnose": "Measure what each modality contributes to a trained model, or to the label in arrays or a "
            "table.",
            "report": "Make one self-contained page from finished runs.",
            "check": "Check a method, also one of your own: gradients, strength 0, resume, precision, devices.",
        }.items()
    }
    demo = verbs["demo"]
    demo.add_argument("name", nargs="?", default="kanji", help="kanji or smartwatch")
    demo.add_argument("--seeds", type=int, default=5, help="runs of each method")
    demo.add_argument("--out", type=Path, default=Path("counterpoise-demo"), help="folder for records, tables, page")
    demo.add_argument("--details", action="store_true", help=DETAILS)
    demo.add_argument("--jobs", type=int | None, default=None, help="processes; one per core by default")

    listing = verbs["list"]
    listing.add_argument(
        "what", nargs="?", default="methods", help="methods, datasets, encoders, fusions, valuations, rules"
    )
    listing.add_argument("--json", action="store_true", help="print JSON")
    listing.add_argument(
        "--check", type=Path | None, default=None, metavar="DIR", help="datasets: report the faults of a folder"
    )
    listing.add_argument("--name", type=str | None, default=None, help="which data set the folder of --check is")
    listing.add_argument("--out", type=Path | None, default=None, help="CSV for the findings of --check")

    prepare = verbs["prepare"]
    prepare.add_argument("name", help="the data set (see `counterpoise list datasets`)")
    prepare.add_argument("--source", type=Path, required=True, help="folder with the raw files")
    prepare.add_argument("--out", type=Path, required=True, help="folder for the prepared data")
    _raw_settings(prepare)
    prepare.add_argument("--jobs", type=int | None, default=None, help="processes; one per core by default")

    extract = verbs["extract"]
    extract.add_argument("--data", type=str, required=True, help="name, folder of prepared data, or .npz")
    extract.add_argument(
        "--encoders",
        type=str,
        required=True,
        metavar="NAME=ENCODER,...",
        help="encoder by modality, with arguments in brackets: image=resnet18[pretrained=microsoft/resnet-18]",
    )
    extract.add_argument("--out", type=Path, required=True, help="folder for the prepared data with features")
    extract.add_argument("--width", type=int, default=64, help="features of encoders without a dimension of their own")
    extract.add_argument("--batch_size", type=int, default=64, help="samples that are encoded at once")
    extract.add_argument(
        "--seed", type=int, default=0, help="seed of weights that are not pretrained, and number of a seeded split"
    )

    train = verbs["train"]
    train.add_argument("--data", type=str, required=True, help="name, folder of prepared data, or .npz")
    train.add_argument(
        "--method",
        type=str,
        required=True,
        help="name, with hyper-parameters in brackets (arm[gamma=1.5]), or import path of your own",
    )
    train.add_argument(
        "--method_args", type=dict[str, Any], default={}, help="hyper-parameters: --method_args.gamma 1.5"
    )
    train.add_argument("--rule", type=str, default="default", help="decision rule")
    train.add_argument("--seed", type=int, default=0)
    train.add_argument("--out", type=Path, default=Path("counterpoise-runs"), help="folder for run folders")
    train.add_argument(
        "--logger",
        type=str,
        default="none",
        help="scalars per epoch, into the run's folder: tensorboard, wandb, csv or none",
    )
    _add_missing(train)
    _settings(train)

    compare = verbs["compare"]
    compare.add_argument("--data", type=str, required=True, help="names or paths, separated by commas")
    compare.add_argument(
        "--methods",
        type=str,
        help="names separated by commas, or all (the default); NAME[KEY=VALUE] sets hyper-parameters",
    )
    compare.add_argument(
        "--ablation", type=str, help="a method whose parts are switched on and off in all combinations"
    )
    compare.add_argument("--rules", type=str, default="default", help="decision rules, separated by commas")
    compare.add_argument("--seeds", type=str, default="3", help="runs of each method, or seeds separated by commas")
    compare.add_argument(
        "--tune",
        type=int | None,
        default=None,
        metavar="TRIALS",
        help="number of trainings per row with which learning rate, strength and smoothing are chosen on validation",
    )
    compare.add_argument("--out", type=Path, default=Path("counterpoise-compare"), help="folder of the comparison")
    compare.add_argument("--jobs", type=int | None, default=None, help="processes; one per core by default")
    _add_rows(compare)
    compare.add_argument(
        "--redo",
        action="append",
        default=[],
        metavar="METHOD[:SEED]",
        help="train these runs again although they are finished: arm, or arm:2 for seed 2; may be repeated",
    )
    compare.add_argument(
        "--dry-run", action="store_true", help="train nothing: print one `train` command per run that is missing"
    )
    compare.add_argument("--details", action="store_true", help=DETAILS)
    compare.add_argument(
        "--figures", type=bool, default=True, help="false: no figures for papers (PNG, SVG, PDF); the page has its own"
    )
    compare.add_argument(
        "--backend", type=str, default="loky", help="loky: processes of this machine; dask: workers of a cluster"
    )
    compare.add_argument(
        "--cluster",
        type=str | None,
        default=None,
        help="with --backend dask: tcp://HOST:PORT, a scheduler file (.json), slurm, pbs, another queue of "
        "dask-jobqueue, kubernetes, or a file of Dask's configuration (.yaml); processes of this machine by default",
    )
    _add_missing(compare)
    _settings(compare)

    recommend = verbs["recommend"]
    recommend.add_argument("--data", type=str, required=True, help="name, folder of prepared data, or .npz")
    recommend.add_argument(
        "--methods", type=str | None, default=None, help="candidates, separated by commas; NAME[KEY=VALUE]"
    )
    recommend.add_argument("--rules", type=str | None, default=None, help="decision rules, separated by commas")
    recommend.add_argument(
        "--splits", type=int, default=5, help="random splits of the training and validation samples, at least 3"
    )
    recommend.add_argument("--seed", type=int, default=0, help="of a set with several splits, the one to use")
    recommend.add_argument("--out", type=Path, default=Path("counterpoise-recommend"), help="folder of the trials")
    recommend.add_argument("--jobs", type=int | None, default=None, help="processes; one per core by default")
    recommend.add_argument("--details", action="store_true", help="show every candidate")
    recommend.add_argument("--json", action="store_true", help="print JSON")
    _settings(recommend)

    diagnose = verbs["diagnose"]
    diagnose.add_argument("run", nargs="?", default=None, help="run folder or checkpoint")
    diagnose.add_argument("--arrays", type=Path | None, default=None, help=".npz: one array per modality, and `label`")
    diagnose.add_argument(
        "--table", type=Path | None, default=None, help="table with one row per sample: CSV, TSV, JSON lines or Parquet"
    )
    diagnose.add_argument("--csv", type=Path | None, default=None, help="the same as --table")
    diagnose.add_argument("--label", type=str, default="label", help="label column of the table")
    diagnose.add_argument(
        "--group", type=str | None, default=None, help="column of the groups: rows with the same value belong together"
    )
    diagnose.add_argument(
        "--task",
        type=str | None,
        default=None,
        help="multiclass, multilabel or regression; decided from the labels by default",
    )
    diagnose.add_argument(
        "--modality", action="append", default=[], metavar="NAME=COL,COL", help="columns of a modality of the table"
    )
    diagnose.add_argument("--estimator", type=str | None, default=None, help="see `counterpoise list valuations`")
    diagnose.add_argument(
        "--trust", action="store_true", help="import the user-defined class that a run was trained with"
    )
    diagnose.add_argument("--json", action="store_true", help="print JSON")
    diagnose.add_argument("--out", type=Path | None, default=None, help="folder for the page, the figure and the JSON")

    check = verbs["check"]
    check.add_argument(
        "method", help="name or import path (module:Class), with hyper-parameters in brackets (mine:Margin[start=0])"
    )
    check.add_argument("--json", action="store_true", help="print JSON")

    report = verbs["report"]
    report.add_argument("runs", nargs="+", help="run folders, folders of runs, or runs.jsonl files")
    report.add_argument("--out", type=Path, required=True, help="the page, an .html file")
    _add_rows(report)
    for parser in verbs.values():
        parser.add_argument("--debug", action="store_true", help="show the traceback of an unexpected error")
    return verbs


_HELP = """counterpoise {version}: what does each modality contribute, and how is none wasted?

usage: counterpoise VERB [options]

{verbs}

See counterpoise VERB --help.
"""


FAILED, USAGE, INTERRUPTED, TERMINATED = 1, 2, 130, 143
"""Exit statuses: something failed, cannot be done as asked, Ctrl-C (128 + 2), SIGTERM (128 + 15)."""

_RESUME = "Completed runs are kept; run the same command again to resume."


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status.

    0: everything was done. 1: some runs or samples failed. 2: the request cannot be carried out. 130 and 143: stopped
    by Ctrl-C or SIGTERM.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    verbs = build_parser()
    if not arguments or arguments[0] in {"-h", "--help", "help"}:
        lines = "\n".join(f"  {name:9} {parser.description}" for name, parser in verbs.items())
        print(_HELP.format(version=__version__, verbs=lines))
        return 0
    verb, *rest = arguments
    if verb in {"--version", "-V"}:
        print(f"counterpoise {__version__}")
        return 0
    if verb not in verbs:
        match = difflib.get_close_matches(verb, verbs, n=1, cutoff=0.5)
        hint = f" Did you mean `{match[0]}`?" if match else ""
        print(f"error: Unknown verb `{verb}`.{hint} Known: {', '.join(verbs)}.", file=sys.stderr)
        return USAGE
    return _run_verb(verb, verbs[verb], rest)


def _run_verb(verb: str, parser: Parser, arguments: Sequence[str]) -> int:
    """Run a verb and return its exit status, also after an exception or a signal."""
    try:
        with _terminable():
            return _dispatch(verb, parser, arguments)
    except CounterpoiseError as error:
        print(f"error: {error}", file=sys.stderr)
        return USAGE
    except SystemExit as stop:
        if stop.code == TERMINATED:
            print(f"\nTerminated. {_RESUME}", file=sys.stderr)
        return stop.code if isinstance(stop.code, int) else 0
    except BrokenPipeError:  # the reader of our output has gone, as in `counterpoise list | head`
        sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115 - the interpreter flushes it at exit
        return 0
    except KeyboardInterrupt:
        print(f"\nInterrupted. {_RESUME}", file=sys.stderr)
        return INTERRUPTED
    except Exception as error:
        print(f"error: {describe(error)}", file=sys.stderr)
        if "--debug" in arguments:
            traceback.print_exception(error)
        else:
            print(f"This error is unexpected. `counterpoise {verb} --debug ...` shows its traceback.", file=sys.stderr)
        return FAILED


@contextmanager
def _terminable() -> Iterator[None]:
    """Turn SIGTERM into an orderly exit with status 143 while a verb runs."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(signum: int, frame: FrameType | None) -> None:
        raise SystemExit(TERMINATED)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


_SECTIONS: Final = ("model", "optim", "fit")


def _dispatch(verb: str, parser: Parser, arguments: Sequence[str]) -> int:
    try:
        given = parser.parse_args(list(arguments), defaults=False)
    except UnicodeDecodeError as error:
        raise ConfigError(f"A file given as --config should be YAML, text in UTF-8. Found: {error}.") from error
    settings = {name: given.pop(name).as_dict() for name in _SECTIONS if name in given}
    options = parser.get_defaults()
    options.update(given)
    from counterpoise.cli._commands import COMMANDS

    return COMMANDS[verb](options, settings)


if __name__ == "__main__":
    sys.exit(main())
