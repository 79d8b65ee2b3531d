"""Which methods survive when samples lack modalities? Six real sets, six settings, six methods, three rules.

    python benchmarks/missing/run.py [--minutes 35] [--seeds 2] [--table]

Every line of ``runs.jsonl`` is one training, read under the fused head, the calibrated and the dynamic rule; a second
call goes on where the first stopped. ``--table`` makes ``missing.md`` from the lines that there are. The same samples
lose the same modalities for every method and seed. Settings: nothing missing; all modalities missing at the same rate
(shared); only the modality that predicts best missing at that rate, and the others at a third of it (imbalanced).
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch

from counterpoise._files import write_atomic
from counterpoise.data import MultimodalData
from counterpoise.evaluation.collect import collect
from counterpoise.evaluation.metrics import scores
from counterpoise.experiment.config import make_config, parse_method
from counterpoise.experiment.folders import open_cached
from counterpoise.inference import Fused
from counterpoise.training.fit import fit

HERE: Final = Path(__file__).parent
SETS: Final = {"handwritten": 12, "leaves100": 24, "wikipedia": 10, "scene15": 12, "utd-mhad": 16, "kanji": 10}
"""Data sets and epochs."""
FASTER: Final = {"handwritten": 1, "leaves100": 9, "wikipedia": 1, "scene15": 9, "utd-mhad": 9, "kanji": 3}
"""Learning rate of all methods, in units of the recipe's: of 1, 3 and 9 the one with the best validation accuracy of
joint training with zeros at the shared rate .5 (seed 0, half of the epochs)."""
STRONGEST: Final = {
    "handwritten": "mor",
    "leaves100": "texture",
    "wikipedia": "text",
    "scene15": "phog",
    "utd-mhad": "skeleton",
    "kanji": "picture",
}
METHODS: Final = (
    "joint",
    "joint + tokens",
    "modality-dropout",
    "uniform",
    "separated-experts",
    "arm",
)
MAIN: Final = ("joint", "separated-experts", "uniform")
"""Methods that are trained first."""
RULES: Final = ("fused", "calibrated", "dynamic")
SETTINGS: Final = ("0", "shared .3", "shared .5", "shared .7", "imbalanced .5", "imbalanced .7")
REFERENCE: Final = ("joint", "fused")


def rates(data: MultimodalData, name: str, setting: str) -> dict[str, float]:
    """Return the share of the samples that lose each modality."""
    if setting == "0":
        return {}
    kind, rate = setting.split()
    strongest = STRONGEST[name] if STRONGEST[name] in data.info.names else data.info.names[0]
    low = float(rate) if kind == "shared" else float(rate) / 3
    return {m: float(rate) if m == strongest else low for m in data.info.names}


def train(name: str, method: str, setting: str, seed: int) -> dict[str, Any]:
    """Train once and return the test scores under every rule, in all and per number of modalities."""
    complete = open_cached(name, seed)
    missing = rates(complete, name, setting)
    data = complete.with_missing(missing) if missing else complete
    own, _, tokens = method.partition(" + ")
    method_name, arguments = parse_method(own)
    given = {"data": name, "method": method_name, "method_args": arguments, "rule": "dynamic", "seed": seed}
    config = make_config(complete.info, {**given, "missing": missing, "fit": {"epochs": SETS[name]}})
    config = replace(config, optim=replace(config.optim, lr=FASTER[name] * config.optim.lr))
    if tokens:
        config = replace(config, model=replace(config.model, absent="token"))
    started = time.process_time()
    fitted = fit(data, config, curves=False)
    return {
        "data": name,
        "method": method,
        "setting": setting,
        "seed": seed,
        "scores": dict(read(fitted, data)),
        "seconds": round(time.process_time() - started, 2),
    }


def read(fitted: Any, data: MultimodalData) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield rule and scores of one training, whose dynamic rule contains the calibrated one."""
    model, task = fitted.model, fitted.model.task
    outputs, target = collect(model, data.test.batches(512))
    dynamic = fitted.rule
    rules = {"fused": Fused(model.modalities, task), "calibrated": dynamic.calibrated, "dynamic": dynamic}
    for name, rule in rules.items():
        with torch.no_grad():
            logits = rule(outputs)
        values = scores(task, logits, target)
        right = np.packbits((logits.argmax(1) == target).numpy()).tobytes().hex()
        kept = {k: round(float(values[k]), 5) for k in (task.score_name, "nll", "ece")}
        yield name, {**kept, "n": len(target), "right": right}


def jobs(seeds: int) -> Iterator[tuple[str, str, str, int]]:
    """Yield all trainings, what matters most first, so that a table can be made after any time."""
    hard, others = ("shared .5", "shared .7"), ("0", "imbalanced .5", "shared .3", "imbalanced .7")
    order: list[tuple[tuple[str, ...], tuple[str, ...], int]] = [(hard, MAIN, 0), (hard, METHODS, 0)]
    order += [(others[:2], METHODS, 0), (hard, METHODS, 1), (others, METHODS, 0)]
    order += [((*hard, *others), METHODS, seed) for seed in range(seeds)]
    plan = [(n, m, s, seed) for settings, ms, seed in order for s in settings for n in SETS for m in ms if seed < seeds]
    yield from dict.fromkeys(plan)


def lines(path: Path) -> list[dict[str, Any]]:
    """Return the trainings that are done."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


# -- the table ---------------------------------------------------------------------------------------------------------


def value_of(rows: list[dict[str, Any]], name: str, setting: str, method: str, rule: str) -> dict[int, float]:
    """Return the accuracy in per cent by seed."""
    return {
        r["seed"]: 100 * r["scores"][rule]["accuracy"]
        for r in rows
        if (r["data"], r["setting"], r["method"]) == (name, setting, method)
    }


def difference(rows: list[dict[str, Any]], name: str, setting: str, row: tuple[str, str]) -> tuple[float, float] | None:
    """Return the difference to joint training with zeros, and its standard error: paired over the test samples."""
    own, base = (right_of(rows, name, setting, *x) for x in (row, REFERENCE))
    gaps = [100.0 * (own[seed] - base[seed]) for seed in own if seed in base]
    if not gaps:
        return None
    mean = np.mean(gaps, axis=0)  # over seeds, which share their test samples
    return float(mean.mean()), float(mean.std(ddof=1) / np.sqrt(len(mean)))


def right_of(rows: list[dict[str, Any]], name: str, setting: str, method: str, rule: str) -> dict[int, np.ndarray]:
    """Return which test samples are predicted rightly, by seed."""
    return {
        r["seed"]: np.unpackbits(np.frombuffer(bytes.fromhex(r["scores"][rule]["right"]), np.uint8))[
            : r["scores"][rule]["n"]
        ].astype(float)
        for r in rows
        if (r["data"], r["setting"], r["method"]) == (name, setting, method)
    }


def finished(rows: list[dict[str, Any]]) -> list[str]:
    """Return the settings in which every method was trained on every set."""
    done = {(r["data"], r["method"], r["setting"]) for r in rows}
    return [s for s in SETTINGS if all((name, m, s) in done for name in SETS for m in METHODS)]


def mean_table(rows: list[dict[str, Any]], methods: list[str]) -> list[str]:
    """Return the mean accuracy over the sets by row and setting."""
    settings = finished(rows)
    table = ["| method | rule | " + " | ".join(settings) + " |", "|---|---|" + "--:|" * len(settings)]
    best = {
        s: max((_mean(rows, s, m, rule) for m in methods for rule in RULES), default=float("nan")) for s in settings
    }
    for method in methods:
        for rule in RULES:
            cells = []
            for s in settings:
                v = _mean(rows, s, method, rule)
                cells.append(f"**{v:.1f}**" if v == best[s] else f"{v:.1f}")
            table.append(f"| {method} | {rule} | " + " | ".join(cells) + " |")
    return table


def _mean(rows: list[dict[str, Any]], setting: str, method: str, rule: str) -> float:
    values = [list(value_of(rows, name, setting, method, rule).values()) for name in SETS]
    return float(np.mean([np.mean(v) for v in values if v])) if any(values) else float("nan")


def set_table(rows: list[dict[str, Any]], row: tuple[str, str]) -> list[str]:
    """Return the difference of one row to joint training with zeros, set by set."""
    settings = finished(rows)
    table = ["| set | " + " | ".join(settings) + " |", "|---|" + "--:|" * len(settings)]
    for name in SETS:
        cells = []
        for s in settings:
            gap = difference(rows, name, s, row)
            cells.append("" if gap is None else f"{gap[0]:+.1f} ± {gap[1]:.1f}")
        table.append(f"| {name} | " + " | ".join(cells) + " |")
    means = []
    for s in settings:
        gaps = [g[0] for name in SETS if (g := difference(rows, name, s, row)) is not None]
        means.append(f"**{np.mean(gaps):+.1f}**" if gaps else "")
    return [*table, "| mean | " + " | ".join(means) + " |"]


def write_table(path: Path) -> str:
    """Write and return the page."""
    rows = lines(HERE / "runs.jsonl")
    methods = list(METHODS)
    hard = [s for s in ("shared .5", "shared .7") if s in finished(rows)]
    rows = [r for r in rows if r["setting"] in finished(rows)]
    candidates = [(m, rule) for m in methods for rule in RULES]
    best = max(candidates, key=lambda x: np.mean([_mean(rows, s, *x) for s in hard]))
    rule = max([("joint", r) for r in RULES[1:]], key=lambda x: np.mean([_mean(rows, s, *x) for s in hard]))
    seconds = sum(r["seconds"] for r in rows)
    seeds = len({r["seed"] for r in rows})
    parts = [
        "# Which methods survive when samples lack modalities?",
        f"Accuracy in per cent, mean over {len(SETS)} real sets ({', '.join(SETS)}); {len(rows)} trainings, {seeds} "
        f"seed{'' if seeds == 1 else 's'}, {seconds / 60:.0f} CPU minutes. Made by `python benchmarks/missing/run.py`. "
        "Training, validation and test samples lose modalities at the same rates; every sample keeps at least one. "
        "*Joint* reads zeros where a modality is absent, *joint + tokens* learned tokens. The learning rate was chosen "
        "for joint training with zeros. One training is read under all three rules, so that the fused rows are trained "
        "with a tenth of the training set held out for half of the epochs, too.",
        "\n".join(mean_table(rows, methods)),
        f"## {best[0]}, {best[1]} rule, less joint training with zeros",
        "Points of accuracy, mean over seeds ± standard error over test samples (paired).",
        "\n".join(set_table(rows, best)),
        f"## Joint training read by the {rule[1]} rule, less joint training with zeros",
        "The same networks: the difference is the rule.",
        "\n".join(set_table(rows, rule)),
    ]
    text = "\n\n".join(parts) + "\n"
    write_atomic(path, text)
    return text


def main() -> None:
    """Train what is not done yet, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=35.0)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    path = HERE / "runs.jsonl"
    started = time.process_time()
    if not options.table:
        done = {(r["data"], r["method"], r["setting"], r["seed"]) for r in lines(path)}
        for job in jobs(options.seeds):
            if job in done or time.process_time() - started > 60 * options.minutes:
                continue
            row = train(*job)
            with path.open("a") as file:
                file.write(json.dumps(row) + "\n")
    print(write_table(HERE / "missing.md"))


if __name__ == "__main__":
    main()
