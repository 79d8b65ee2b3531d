"""The options of each verb."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from jsonargparse import ArgumentParser

from counterpoise.cli._parser import Parser
from counterpoise.config import FitConfig, ModelConfig, OptimConfig

DETAILS = "show every row, p-values, contributions in nats and encoder probes"


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


def _add_demo(parser: ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", default="kanji", help="kanji or smartwatch")
    parser.add_argument("--seeds", type=int, default=5, help="runs of each method")
    parser.add_argument("--out", type=Path, default=Path("counterpoise-demo"), help="folder for records, tables, page")
    parser.add_argument("--details", action="store_true", help=DETAILS)
    parser.add_argument("--jobs", type=int | None, default=None, help="processes; one per core by default")


def _add_list(parser: ArgumentParser) -> None:
    parser.add_argument(
        "what", nargs="?", default="methods", help="methods, datasets, encoders, fusions, valuations, rules"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--check", type=Path | None, default=None, metavar="DIR", help="datasets: report the faults of a folder"
    )
    parser.add_argument("--name", type=str | None, default=None, help="which data set the folder of --check is")
    parser.add_argument("--out", type=Path | None, default=None, help="CSV for the findings of --check")


def _add_prepare(parser: ArgumentParser) -> None:
    parser.add_argument("name", help="the data set (see `counterpoise list datasets`)")
    parser.add_argument("--source", type=Path, required=True, help="folder with the raw files")
    parser.add_argument("--out", type=Path, required=True, help="folder for the prepared data")
    _raw_settings(parser)
    parser.add_argument("--jobs", type=int | None, default=None, help="processes; one per core by default")


def _add_extract(parser: ArgumentParser) -> None:
    parser.add_argument("--data", type=str, required=True, help="name, folder of prepared data, or .npz")
    parser.add_argument(
        "--encoders",
        type=str,
        required=True,
        metavar="NAME=ENCODER,...",
        help="encoder by modality, with arguments in brackets: image=resnet18[pretrained=microsoft/resnet-18]",
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for the prepared data with features")
    parser.add_argument("--width", type=int, default=64, help="features of encoders without a dimension of their own")
    parser.add_argument("--batch_size", type=int, default=64, help="samples that are encoded at once")
    parser.add_argument(
        "--seed", type=int, default=0, help="seed of weights that are not pretrained, and number of a seeded split"
    )


def _add_train(parser: ArgumentParser) -> None:
    parser.add_argument("--data", type=str, required=True, help="name, folder of prepared data, or .npz")
    parser.add_argument(
        "--method",
        type=str,
        required=True,
        help="name, with hyper-parameters in brackets (arm[gamma=1.5]), or import path of your own",
    )
    parser.add_argument(
        "--method_args", type=dict[str, Any], default={}, help="hyper-parameters: --method_args.gamma 1.5"
    )
    parser.add_argument("--rule", type=str, default="default", help="decision rule")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("counterpoise-runs"), help="folder for run folders")
    parser.add_argument(
        "--logger",
        type=str,
        default="none",
        help="scalars per epoch, into the run's folder: tensorboard, wandb, csv or none",
    )
    _add_missing(parser)
    _settings(parser)


def _add_compare(parser: ArgumentParser) -> None:
    parser.add_argument("--data", type=str, required=True, help="names or paths, separated by commas")
    parser.add_argument(
        "--methods",
        type=str,
        help="names separated by commas, or all (the default); NAME[KEY=VALUE] sets hyper-parameters",
    )
    parser.add_argument("--ablation", type=str, help="a method whose parts are switched on and off in all combinations")
    parser.add_argument("--rules", type=str, default="default", help="decision rules, separated by commas")
    parser.add_argument("--seeds", type=str, default="3", help="runs of each method, or seeds separated by commas")
    parser.add_argument(
        "--tune",
        type=int | None,
        default=None,
        metavar="TRIALS",
        help="number of trainings per row with which learning rate, strength and smoothing are chosen on validation",
    )
    parser.add_argument("--out", type=Path, default=Path("counterpoise-compare"), help="folder of the comparison")
    parser.add_argument("--jobs", type=int | None, default=None, help="processes; one per core by default")
    _add_rows(parser)
    parser.add_argument(
        "--redo",
        action="append",
        default=[],
        metavar="METHOD[:SEED]",
        help="train these runs again although they are finished: arm, or arm:2 for seed 2; may be repeated",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="train nothing: print one `train` command per run that is missing"
    )
    parser.add_argument("--details", action="store_true", help=DETAILS)
    parser.add_argument(
        "--figures", type=bool, default=True, help="false: no figures for papers (PNG, SVG, PDF); the page has its own"
    )
    parser.add_argument(
        "--backend", type=str, default="loky", help="loky: processes of this machine; dask: workers of a cluster"
    )
    parser.add_argument(
        "--cluster",
        type=str | None,
        default=None,
        help="with --backend dask: tcp://HOST:PORT, a scheduler file (.json), slurm, pbs, another queue of "
        "dask-jobqueue, kubernetes, or a file of Dask's configuration (.yaml); processes of this machine by default",
    )
    _add_missing(parser)
    _settings(parser)


def _add_recommend(parser: ArgumentParser) -> None:
    parser.add_argument("--data", type=str, required=True, help="name, folder of prepared data, or .npz")
    parser.add_argument(
        "--methods", type=str | None, default=None, help="candidates, separated by commas; NAME[KEY=VALUE]"
    )
    parser.add_argument("--rules", type=str | None, default=None, help="decision rules, separated by commas")
    parser.add_argument(
        "--splits", type=int, default=5, help="random splits of the training and validation samples, at least 3"
    )
    parser.add_argument("--seed", type=int, default=0, help="of a set with several splits, the one to use")
    parser.add_argument("--out", type=Path, default=Path("counterpoise-recommend"), help="folder of the trials")
    parser.add_argument("--jobs", type=int | None, default=None, help="processes; one per core by default")
    parser.add_argument("--details", action="store_true", help="show every candidate")
    parser.add_argument("--json", action="store_true", help="print JSON")
    _settings(parser)


def _add_diagnose(parser: ArgumentParser) -> None:
    parser.add_argument("run", nargs="?", default=None, help="run folder or checkpoint")
    parser.add_argument("--arrays", type=Path | None, default=None, help=".npz: one array per modality, and `label`")
    parser.add_argument(
        "--table", type=Path | None, default=None, help="table with one row per sample: CSV, TSV, JSON lines or Parquet"
    )
    parser.add_argument("--csv", type=Path | None, default=None, help="the same as --table")
    parser.add_argument("--label", type=str, default="label", help="label column of the table")
    parser.add_argument(
        "--group", type=str | None, default=None, help="column of the groups: rows with the same value belong together"
    )
    parser.add_argument(
        "--task",
        type=str | None,
        default=None,
        help="multiclass, multilabel or regression; decided from the labels by default",
    )
    parser.add_argument(
        "--modality", action="append", default=[], metavar="NAME=COL,COL", help="columns of a modality of the table"
    )
    parser.add_argument("--estimator", type=str | None, default=None, help="see `counterpoise list valuations`")
    parser.add_argument(
        "--trust", action="store_true", help="import the user-defined class that a run was trained with"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--out", type=Path | None, default=None, help="folder for the page, the figure and the JSON")


def _add_report(parser: ArgumentParser) -> None:
    parser.add_argument("runs", nargs="+", help="run folders, folders of runs, or runs.jsonl files")
    parser.add_argument("--out", type=Path, required=True, help="the page, an .html file")
    _add_rows(parser)


def _add_check(parser: ArgumentParser) -> None:
    parser.add_argument(
        "method", help="name or import path (module:Class), with hyper-parameters in brackets (mine:Margin[start=0])"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


VERBS: Final[dict[str, tuple[str, Callable[[ArgumentParser], None]]]] = {
    "demo": (
        "Show a wasted modality and the remedy on real data, in about two minutes on two cores.",
        _add_demo,
    ),
    "list": (
        "Show the catalogues of methods, data sets, encoders, fusions, estimators and decision rules.",
        _add_list,
    ),
    "prepare": ("Convert the raw files of a data set into prepared data.", _add_prepare),
    "extract": ("Encode modalities once with frozen encoders, and store the features as prepared data.", _add_extract),
    "train": ("Train one run: data set x method x seed.", _add_train),
    "compare": ("Compare methods on data sets over seeds; finished runs are not repeated.", _add_compare),
    "recommend": (
        "Recommend a method and a decision rule for a data set, or joint training if nothing is better.",
        _add_recommend,
    ),
    "diagnose": (
        "Measure what each modality contributes to a trained model, or to the label in arrays or a table.",
        _add_diagnose,
    ),
    "report": ("Make one self-contained page from finished runs.", _add_report),
    "check": (
        "Check a method, also one of your own: gradients, strength 0, resume, precision, devices.",
        _add_check,
    ),
}
"""Each verb with what it does and the function that adds its options."""


def build_parser() -> dict[str, Parser]:
    """Return one parser per verb."""
    verbs = {}
    for name, (text, add_options) in VERBS.items():
        verbs[name] = Parser(prog=f"counterpoise {name}", description=text, allow_abbrev=False)
        add_options(verbs[name])
        verbs[name].add_argument("--debug", action="store_true", help="show the traceback of an unexpected error")
    return verbs
