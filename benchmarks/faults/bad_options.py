"""Wrong options of every command."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from bad_outcomes import BadInput


def good_file(folder: Path) -> Path:
    """Write arrays that every command accepts."""
    rng = np.random.default_rng(0)
    y = np.arange(60) % 2
    path = folder / "good.npz"
    np.savez(path, a=rng.normal(size=(60, 2)) + y[:, None], b=rng.normal(size=(60, 3)), label=y)
    return path


def bad_options(folder: Path) -> Iterator[BadInput]:
    data = str(good_file(folder))
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
    yield from _bad_settings(base["train"])
    yield from _bad_own_options(folder, data, base)
    yield from _bad_commands(folder, data, out)


def _bad_settings(train: tuple[str, ...]) -> Iterator[BadInput]:
    """Yield settings of a run out of range, added to a good command."""
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
            yield BadInput("train", f"{option} {value}", (*train, option, value))


def _bad_own_options(folder: Path, data: str, base: Mapping[str, tuple[str, ...]]) -> Iterator[BadInput]:
    """Yield wrong values of the options of each verb, added to a good command."""
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


def _bad_commands(folder: Path, data: str, out: tuple[str, ...]) -> Iterator[BadInput]:
    """Yield whole commands that cannot be carried out."""
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
