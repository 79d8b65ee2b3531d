"""Bad inputs for every command and public call: a clean error, a foreign exception, or silent acceptance.

Every input is wrong by construction, so that the only right answer is one `CounterpoiseError` (on the command line:
exit status 2 and one line) that says what was expected and what was found.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import random
import shutil
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["BadInput", "Outcome", "bad_inputs", "judge", "table"]

MARKS = ("Found", "required", "unrecognized", *"`'\"0123456789")
"""A clear message holds one of these: it quotes what was found, or names what is missing."""
CLEAN, FOREIGN, ACCEPTED, UNCLEAR = "clean error", "foreign exception", "accepted", "unclear message"


@dataclass(frozen=True)
class BadInput:
    """One wrong input.

    Attributes:
        area: Command or public call.
        what: What is wrong.
        words: Arguments of the command line, or empty.
        call: Call in Python, where there are no ``words``.
    """

    area: str
    what: str
    words: tuple[str, ...] = ()
    call: Callable[[], object] | None = None


@dataclass(frozen=True)
class Outcome:
    """What a bad input led to."""

    bad: BadInput
    verdict: str
    message: str


def judge(bad: BadInput) -> Outcome:
    """Try a bad input."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        verdict, message = _command(bad.words) if bad.words else _python(bad)
    return Outcome(bad, verdict, message)


def _command(words: Sequence[str]) -> tuple[str, str]:
    from counterpoise.cli.main import main

    shown = io.StringIO()
    with contextlib.redirect_stderr(shown):
        try:
            status = main(list(words))
        except BaseException as error:
            return FOREIGN, f"{type(error).__name__}: {error}"
    message = shown.getvalue().strip()
    if status == 0:
        return ACCEPTED, message
    if status != 2 or "This error is unexpected" in message or "Traceback" in message:
        return FOREIGN, message
    return (CLEAN if _is_clear(message) else UNCLEAR), message


def _python(bad: BadInput) -> tuple[str, str]:
    from counterpoise.errors import CounterpoiseError

    assert bad.call is not None
    try:
        bad.call()
    except CounterpoiseError as error:
        return (CLEAN if _is_clear(str(error)) else UNCLEAR), str(error)
    except Exception as error:
        return FOREIGN, f"{type(error).__name__}: {error}"
    return ACCEPTED, ""


def _is_clear(message: str) -> bool:
    """Tell whether a message is one statement that names something: a value, a name or a number."""
    return 25 < len(message) < 1500 and any(mark in message for mark in MARKS)


def bad_inputs(folder: Path) -> list[BadInput]:
    """Return all bad inputs; files that they need are written into ``folder``."""
    return [
        *_options(folder),
        *_files(folder),
        *_arrays(),
        *_hyperparameters(),
        *_configurations(),
        *_records(),
        *_descriptions(),
        *_calls(),
    ]


# -- command line ------------------------------------------------------------------------------------------------------


def _good(folder: Path) -> Path:
    rng = np.random.default_rng(0)
    y = np.arange(60) % 2
    path = folder / "good.npz"
    np.savez(path, a=rng.normal(size=(60, 2)) + y[:, None], b=rng.normal(size=(60, 3)), label=y)
    return path


def _options(folder: Path) -> Iterator[BadInput]:
    data = str(_good(folder))
    out = ("--out", str(folder / "out"))
    base = {
        "train": ("train", "--data", data, "--method", "joint", "--fit.epochs", "1", *out),
        "compare": ("compare", "--data", data, "--methods", "joint", "--seeds", "1", "--fit.epochs", "1", *out),
        "diagnose": ("diagnose", "--arrays", data),
        "demo": ("demo", "kanji", *out),
        "prepare": ("prepare", "own", "--source", str(folder / "good.csv"), *out),
        "list": ("list", "methods"),
        "report": ("report", str(folder), "--out", str(folder / "page.html")),
        "check": ("check", "joint"),
    }
    rows = "".join(f"{k % 7}.5,{k % 5}.25,{k % 2}\n" for k in range(60))
    (folder / "good.csv").write_text(f"a,b,label\n{rows}")
    settings = {
        "--seed": ("-1", "1.5", "x", str(2**63)),
        "--fit.epochs": ("0", "-1", "x", "1.5"),
        "--fit.batch_size": ("0", "x"),
        "--fit.holdout": ("0", "1", "nan", "x"),
        "--fit.patience": ("-1", "x"),
        "--fit.precision": ("8", "double"),
        "--fit.accelerator": ("quantum",),
        "--fit.accumulate": ("0",),
        "--optim.lr": ("0", "-1", "nan", "inf", "x"),
        "--optim.name": ("sgdm",),
        "--optim.momentum": ("1", "-0.1"),
        "--optim.weight_decay": ("-1", "nan"),
        "--optim.schedule": ("linear",),
        "--model.width": ("0", "-4", str(10**9)),
        "--model.fusion": ("concta", "os:getcwd", "no.such.Module", ".."),
        "--model.encoders": ('{"a": "mpl"}', '{"zz": "mlp"}', "5"),
        "--model.init_seed": ("-1", str(2**70)),
    }
    for option, values in settings.items():
        for value in values:
            yield BadInput("train", f"{option} {value}", (*base["train"], option, value))
    own: dict[str, Sequence[tuple[str, ...]]] = {
        "train": [
            ("--method", "jiont"),
            ("--method", "unimodal"),
            ("--method", "unimodal[modality=zz]"),
            ("--method", "ogm-ge[strenght=1]"),
            ("--method", "ogm-ge[strength=-1]"),
            ("--method", "arm["),
            ("--method", "os:system"),
            ("--method", ""),
            ("--method_args.strengh", "1"),
            ("--method_args", "[1]"),
            ("--rule", "clibrated"),
            ("--rule", "os.getcwd"),
            ("--logger", "tensorbord"),
            ("--data", str(folder / "none.npz")),
            ("--data", ""),
            ("--data", str(folder)),
            ("--out", data),
            ("--config", str(folder / "none.yaml")),
            ("--config", data),
            ("--nope", "1"),
        ],
        "compare": [
            ("--methods", ""),
            ("--methods", "jiont"),
            ("--seeds", "0"),
            ("--seeds", "-3"),
            ("--seeds", "x"),
            ("--seeds", "1,x"),
            ("--seeds", ""),
            ("--rules", ""),
            ("--rules", "nope"),
            ("--jobs", "0"),
            ("--jobs", "-5"),
            ("--jobs", "two"),
            ("--backend", "nope"),
            ("--ablation", "joint"),
            ("--ablation", "amr"),
            ("--reference", "nope"),
            ("--focus", "nope"),
            ("--data", ","),
            ("--data", "no-such-set"),
            ("--redo", "arm:0"),
            ("--redo", "joint:x"),
            ("--redo", ""),
            ("--dry-run", "--redo", "joint:7"),
        ],
        "diagnose": [
            ("--estimator", "nope"),
            ("--task", "nope"),
            ("--task", "regression", "--table", str(folder / "good.csv")),
            ("--out", data),
        ],
        "demo": [("--seeds", "0"), ("--seeds", "x"), ("--jobs", "0")],
        "prepare": [
            ("--length", "0"),
            ("--length", "12"),
            ("--size", "1"),
            ("--size", "-8"),
            ("--fps", "0"),
            ("--fps", "nan"),
            ("--keep", "0"),
            ("--frames", "-1"),
            ("--flow", "dis"),
            ("--flow", "nope"),
            ("--audio", "nope"),
            ("--tokenizer", "words"),
            ("--seed", "-1"),
            ("--label", "lable"),
            ("--task", "nope"),
            ("--modality", "a"),
            ("--modality", "=a"),
            ("--modality", "x=zz"),
            ("--modality", "x.y=a"),
            ("--modality", "x=a", "--modality", "x=b"),
            ("--jobs", "0"),
            ("--source", str(folder / "none.csv")),
            ("--source", str(folder)),
            ("--source", data),
            ("--out", data),
        ],
        "list": [("--out", "x.csv"), ("--name", "x"), ("--check", str(folder / "none"))],
        "report": [("--reference", ""), ("--focus", ""), ("--out", "page.txt"), ("--out", str(folder))],
        "check": [("--json", "x")],
    }
    for verb, extras in own.items():
        for extra in extras:
            yield BadInput(verb, " ".join(extra), (*base[verb], *extra))
    whole = [
        ("nope",),
        ("train",),
        ("compare",),
        ("diagnose",),
        ("diagnose", str(folder / "none")),
        ("diagnose", str(folder)),
        ("diagnose", data),
        ("diagnose", "--table", data),
        ("diagnose", "--table", str(folder / "good.csv"), "--label", "zz"),
        ("diagnose", "--table", str(folder / "good.csv"), "--group", "zz"),
        ("diagnose", "--table", str(folder / "good.csv"), "--modality", "x=zz"),
        ("demo", "nope"),
        ("list", "metods"),
        ("report", str(folder / "none"), "--out", "page.html"),
        ("report", "--out", "page.html"),
        ("check", "jiont"),
        ("check", "os:getcwd"),
        ("check", "arm[gamm=1]"),
        ("prepare", "nope", "--source", data, *out),
        ("prepare", "world-xor", "--source", str(folder), *out, "--length", "3"),
    ]
    for words in whole:
        yield BadInput(words[0], " ".join(Path(w).name or w for w in words[1:]) or "nothing", words)


# -- files -------------------------------------------------------------------------------------------------------------


def _files(folder: Path) -> Iterator[BadInput]:
    good = _good(folder).read_bytes()
    contents = {
        "empty": b"",
        "text": b"hello",
        "cut in the middle": good[: len(good) // 2],
        "without its end": good[:-30],
        "zeros": bytes(1000),
        "web page": b"<!doctype html><html></html>",
        "not UTF-8": b"\xff\xfe\xfa\x00\xd8" * 20,
        "JSON list": b"[1, 2]",
        "header only": b"a,b,label\n",
        "one column": b"a\n1\n2\n",
        "null bytes": b"a,b,label\n1,\x00,2\n",
        "unclosed quote": b'a,b,label\n1,"2,3\n4,5,6\n',
    }
    readers = {
        "npz": ("diagnose", "--arrays"),
        "csv": ("diagnose", "--table"),
        "parquet": ("diagnose", "--table"),
        "jsonl": ("diagnose", "--table"),
        "csv.gz": ("diagnose", "--table"),
        "tsv": ("prepare", "own", "--out", str(folder / "prepared"), "--source"),
    }
    for suffix, command in readers.items():
        for k, (what, content) in enumerate(contents.items()):
            path = folder / f"bad{k}.{suffix}"
            path.write_bytes(content)
            yield BadInput(command[0], f".{suffix}: {what}", (*command, str(path)))
    for k, (what, content) in enumerate(contents.items()):
        path = folder / f"train{k}.npz"
        path.write_bytes(content)
        words = ("train", "--data", str(path), "--method", "joint", "--fit.epochs", "1", "--out", str(folder / "o"))
        yield BadInput("train", f".npz: {what}", words)


# -- arrays ------------------------------------------------------------------------------------------------------------


def _array_faults() -> dict[str, Callable[[dict[str, Any]], dict[str, Any]]]:
    """Return what can be wrong with ``{"a": ..., "b": ..., "label": ...}``, by name."""
    n = 60

    def put(key: str, value: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
        return lambda good: {**good, key: value(good[key]) if callable(value) else value}

    def at(value: float) -> Callable[[np.ndarray], np.ndarray]:
        return lambda x: np.where(np.arange(x.size).reshape(x.shape) == 7, value, x.astype(float))

    faults: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
        "one modality": lambda good: {k: v for k, v in good.items() if k != "b"},
        "an empty name": lambda good: {**good, "": good["a"]},
        "a name that is a number": lambda good: {**good, 3: good["a"]},
        "labels of one class": put("label", np.zeros(n, int)),
        "labels with NaN": put("label", at(np.nan)),
        "labels with None": put("label", np.array([None, *range(n - 1)], dtype=object)),
        "labels of three axes": put("label", np.zeros((n, 2, 2))),
        "labels of mixed kinds": put("label", np.array(["x", 1] * (n // 2), dtype=object)),
        "a label per letter": put("label", np.array([f"name{k}" for k in range(n)])),
        "complex labels": put("label", np.arange(n) * 1j),
        "dates as labels": put("label", np.arange(n).astype("M8[D]")),
        "one label": put("label", 3),
        "a label too few": put("label", lambda y: y[:-1]),
        "no labels": put("label", None),
        "a constant target": put("label", np.full((n, 1), 2.5)),
        "infinite targets": put("label", np.where(np.arange(n) == 3, np.inf, np.arange(n) / 7)),
    }
    for m in "ab":
        faults |= {
            f"{m} with NaN": put(m, at(np.nan)),
            f"{m} with inf": put(m, at(np.inf)),
            f"{m} a row too few": put(m, lambda x: x[:-1]),
            f"{m} without rows": put(m, lambda x: x[:0]),
            f"{m} without columns": put(m, lambda x: x[:, :0]),
            f"{m} of one number": put(m, np.float64(3)),
            f"{m} is None": put(m, None),
            f"{m} of complex numbers": put(m, lambda x: x.astype(complex)),
            f"{m} of dates": put(m, np.arange(n).astype("M8[s]")),
            f"{m} of records": put(m, np.zeros(n, [("u", float), ("v", int)])),
            f"{m} of ragged lists": put(m, [[1.0], [1.0, 2.0]] * (n // 2)),
            f"{m} of objects": put(m, np.array([object()] * n, dtype=object)),
        }
    return faults


def _arrays() -> Iterator[BadInput]:
    from counterpoise import diagnose_arrays
    from counterpoise.data import from_arrays
    from counterpoise.valuation import decompose, estimate

    rng = np.random.default_rng(0)
    y = np.arange(60) % 2
    good = {"a": rng.normal(size=(60, 2)) + y[:, None], "b": rng.normal(size=(60, 3)), "label": y}
    calls = {"from_arrays": from_arrays, "estimate": estimate, "diagnose_arrays": diagnose_arrays}
    for name, function in calls.items():
        for what, spoil in _array_faults().items():
            if name != "from_arrays" and what.endswith(("without columns", "of dates")):
                continue  # such modalities are valued
            bad = spoil(good)
            arrays = {k: v for k, v in bad.items() if k != "label"}
            yield BadInput(name, what, call=partial(function, arrays, bad["label"]))
        for what, value in {"None": None, "a list": [good["a"]], "an array": good["a"], "a text": "good"}.items():
            yield BadInput(name, f"arrays: {what}", call=partial(function, value, y))
    both = {m: good[m] for m in "ab"}
    settings: dict[str, Sequence[Any]] = {
        "folds": (0, 1, -2, 2.5, "5", None, 10**6),
        "seed": (-1, 1.5, "x", None),
        "estimator": ("nope", None, 3),
        "confidence": (0, 1, 2, "x", None),
        "group": (3, [1, 2], [None] * 60, [0] * 60, "x"),
        "task": ("nope", 3),
        "num_outputs": (0, 1, -3, 2.5, "x"),
    }
    for name, values in settings.items():
        for value in values:
            given = {name: value}
            yield BadInput("estimate", f"{name}={value!r:.20}", call=partial(estimate, both, y, **given))
    for value in ("nope", None, 3):
        yield BadInput("decompose", f"definition={value!r}", call=partial(decompose, both, y, definition=value))
    more: dict[str, Sequence[Any]] = {
        "split": (["train"] * 60, ["trian"] * 60, ["train"] * 59, 3, [1] * 60),
        "group": (3, [1, 2], [None] * 60),
        "kinds": ({"a": "nope"}, {"a": "video"}, {"a": "tokens"}, {"zz": "vector"}),
        "task": ("nope", "multilabel", 3),
        "num_classes": (0, 1, -1, 2.5, "x"),
        "class_names": (["only"], ["a", "b", "c", "a"], [1, 2]),
        "rates": ({"a": -1}, {"a": "x"}, {"zz": 8}),
        "seed": (-1, 1.5, "x", None),
        "recipe": ({"nope": 1}, {"fit": {"nope": 1}}, 3),
    }
    for name, values in more.items():
        for value in values:
            given = {name: value}
            yield BadInput("from_arrays", f"{name}={value!r:.30}", call=partial(from_arrays, both, y, **given))


# -- settings ----------------------------------------------------------------------------------------------------------


def _hyperparameters() -> Iterator[BadInput]:
    from counterpoise.methods import make_method
    from counterpoise.methods.catalogue import METHODS

    for name in METHODS:
        for parameter, declared in METHODS[name].load().declarations.items():
            values = [("another type", object())]
            if declared.limits is not None:
                values.append(("out of range", declared.limits.invalid()))
            for what, value in values:
                given = {parameter: value}
                yield BadInput(
                    "make_method", f"{name}: {parameter} {what}", call=lambda n=name, g=given: make_method(n, g)
                )  # type: ignore[misc]


def _configurations() -> Iterator[BadInput]:
    from counterpoise.config import FitConfig, ModelConfig, OptimConfig, RunConfig
    from counterpoise.data.preparation import Settings

    fields: dict[Any, dict[str, Sequence[Any]]] = {
        RunConfig: {
            "data": (3, None),
            "method": (3, None),
            "rule": (3, None),
            "method_args": ([1], None),
            "seed": ("0",),
        },
        ModelConfig: {"fusion": (3,), "encoders": ([1],), "width": ("64", 0, 1.5, True), "init_seed": ("x", -1)},
        OptimConfig: {"name": ("lion", None), "lr": ("x", 0, float("nan")), "step": (0, 1.5), "factor": (0, 2)},
        FitConfig: {"epochs": (0, "3", 1.5), "holdout": (0, 1), "precision": (32,), "accelerator": ("x",)},
        Settings: {
            "fps": (0, -1, "x"),
            "keep": (0,),
            "size": (1, "x"),
            "flow": ("x",),
            "length": (0, 1.5),
            "seed": (-1,),
        },
    }
    for kind, known in fields.items():
        for name, values in known.items():
            for value in values:
                given = {"data": "x", name: value} if kind is RunConfig else {name: value}
                yield BadInput(kind.__name__, f"{name}={value!r}", call=partial(kind, **given))


# -- files of results and data -----------------------------------------------------------------------------------------


def _records() -> Iterator[BadInput]:
    from counterpoise.runs import Curve, Metric, RowId, RunRecord

    whole = RunRecord("k", "d", RowId("joint"), 0, task="multiclass", modalities=("a", "b"), score="accuracy")
    parts = {"metrics": (Metric("accuracy", 0.5),), "curves": (Curve("loss", "total", None, (1.0,)),)}
    good = json.loads(replace(whole, **parts).to_json())
    wrong = {"text": "x", "number": 3.5, "list": [[1]], "mapping": {"x": {}}, "null": None}
    harmless = {("config", "mapping"), ("valuation", "mapping"), ("seconds", "number"), ("seconds", "null")}
    fine = {str: "text", int: "", float: "number", list: "", dict: ""}
    for name, value in good.items():
        for what, other in wrong.items():
            if (
                (name, what) in harmless
                or what == fine.get(type(value))
                or (isinstance(value, float) and what == "number")
            ):
                continue
            text = json.dumps({**good, name: other})
            yield BadInput("record.json", f"{name}: {what}", call=partial(RunRecord.from_json, text))
    for what, text in {"empty": "", "list": "[]", "cut": '{"key": ', "deep": "[" * 5000, "no key": "{}"}.items():
        yield BadInput("record.json", what, call=partial(RunRecord.from_json, text))


def _descriptions() -> Iterator[BadInput]:
    from dataclasses import asdict

    from counterpoise.data import DataInfo, Modality
    from counterpoise.data._schema import read_info

    info = DataInfo("x", (Modality("a", "vector", (2,)), Modality("b", "vector", (2,))), "multiclass", 2)
    good = json.loads(json.dumps(asdict(info)))
    for name in good:
        for what, other in {"number": 3.5, "null": None, "list of lists": [[1]], "mapping": {"x": 1}}.items():
            spoilt = {**good, name: other}
            yield BadInput("counterpoise.json", f"{name}: {what}", call=partial(read_info, spoilt))


def _calls() -> Iterator[BadInput]:
    import torch

    from counterpoise.corruptions import Corruption
    from counterpoise.data import BatchLoader, open_data
    from counterpoise.data._sampling import holdout_split
    from counterpoise.inference import make_rule
    from counterpoise.model import MultimodalClassifier, build_model
    from counterpoise.report import write_page
    from counterpoise.tasks import MultiClass, Regression, make_task
    from counterpoise.valuation import linear_probe

    x, y = np.random.default_rng(0).normal(size=(20, 2)), np.arange(20) % 2
    kinds: dict[str, Any] = {"a": ("vector", (2,), 0), "b": ("vector", (2,), 0)}
    calls: dict[str, Callable[[], object]] = {
        "open_data: no such name": lambda: open_data("kanij"),
        "open_data: a number": lambda: open_data(3),  # type: ignore[arg-type]
        "open_data: None": lambda: open_data(None),  # type: ignore[arg-type]
        "open_data: a split that is not there": lambda: open_data("world-xor", split=9),
        "Corruption: no such kind": lambda: Corruption("blur", 1.0),
        "Corruption: strength": lambda: Corruption("noise", -1.0),
        "make_task: no such task": lambda: make_task("nope", 2),
        "make_task: a number": lambda: make_task(3, 2),  # type: ignore[arg-type]
        "make_task: one class": lambda: make_task("multiclass", 1),
        "make_task: no outputs": lambda: make_task("regression", 0),
        "make_task: a fraction": lambda: make_task("regression", 1.5),  # type: ignore[arg-type]
        "Regression: scale": lambda: Regression(1, scale=-1),
        "Regression: units": lambda: Regression(2, unit=[1.0], offset=[0.0]),
        "MultiClass: label in the loss": lambda: MultiClass(3).loss(torch.zeros(4, 3), torch.full((4,), 9)),
        "build_model: no modality": lambda: build_model({}, num_outputs=2, task="multiclass"),
        "build_model: one modality": lambda: build_model({"a": kinds["a"]}, num_outputs=2, task="multiclass"),
        "build_model: kind": lambda: build_model({**kinds, "a": ("nope", (2,), 0)}, num_outputs=2, task="multiclass"),
        "build_model: fusion": lambda: build_model(kinds, num_outputs=2, task="multiclass", fusion="nope"),
        "build_model: encoder": lambda: build_model(kinds, num_outputs=2, task="multiclass", encoders={"a": "nope"}),
        "build_model: encoder of no modality": lambda: build_model(
            kinds, num_outputs=2, task="multiclass", encoders={"zz": "mlp"}
        ),
        "build_model: width": lambda: build_model(kinds, num_outputs=2, task="multiclass", width=0),
        "build_model: outputs": lambda: build_model(kinds, num_outputs=0, task="multiclass"),
        "MultimodalClassifier: no encoders": lambda: MultimodalClassifier({}, num_outputs=2),
        "MultimodalClassifier: outputs": lambda: MultimodalClassifier(
            {m: torch.nn.Linear(2, 2) for m in "ab"}, num_outputs=1
        ),
        "make_rule: name": lambda: make_rule("nope", ("a", "b"), MultiClass(2)),
        "holdout_split: share": lambda: holdout_split(y, None, share=1.5, seed=0),
        "BatchLoader: size": lambda: BatchLoader(open_data("world-xor").train, batch_size=0, seed=0),
        "linear_probe: lengths": lambda: linear_probe(x, y[:-1], x, y),
        "linear_probe: NaN": lambda: linear_probe(x * np.nan, y, x, y),
        "linear_probe: axes": lambda: linear_probe(x[None], y, x, y),
        "linear_probe: task": lambda: linear_probe(x, y, x, y, task="nope"),
        "write_page: no records": lambda: write_page([], Path("page.html")),
    }
    for what, call in calls.items():
        yield BadInput(what.partition(":")[0], what.partition(": ")[2], call=call)


# -- results -----------------------------------------------------------------------------------------------------------


def table(outcomes: Sequence[Outcome]) -> str:
    """Return the verdicts by area as a Markdown table."""
    verdicts = (CLEAN, UNCLEAR, FOREIGN, ACCEPTED)
    areas: dict[str, Counter[str]] = {}
    for outcome in outcomes:
        areas.setdefault(outcome.bad.area, Counter())[outcome.verdict] += 1
    areas["all"] = Counter(outcome.verdict for outcome in outcomes)
    lines = [f"| input | number | {' | '.join(verdicts)} |", f"|---|{'---:|' * (1 + len(verdicts))}"]
    for area, counts in areas.items():
        name = area if area == "all" else f"`{area}`"
        lines.append(f"| {name} | {counts.total()} | {' | '.join(str(counts[v]) for v in verdicts)} |")
    return "\n".join(lines)


def main() -> None:
    """Try all bad inputs, or a seeded part of them, and print what was not refused cleanly."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--number", type=int, default=0, help="a seeded part of this size; all by default")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--area", default=None, help="one area")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="bad-"))
    try:
        inputs = [bad for bad in bad_inputs(folder) if options.area in (None, bad.area)]
        if options.number:
            inputs = random.Random(options.seed).sample(inputs, min(options.number, len(inputs)))
        outcomes = [judge(bad) for bad in inputs]
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    for outcome in outcomes:
        if outcome.verdict != CLEAN:
            print(f"{outcome.verdict}: {outcome.bad.area}: {outcome.bad.what}: {outcome.message[:200]!r}")
    print(table(outcomes))


if __name__ == "__main__":
    main()
