"""Every method of the catalogue on real data, each tuned with the same budget on validation.

    python benchmarks/zoo/run.py --work FOLDER [--data wikipedia,smartwatch] [--jobs 2]
    python benchmarks/zoo/run.py --work FOLDER --tables

The first line does the runs (hours on two cores; finished runs in FOLDER are found again), the second writes ``table.csv``, ``table.md``, ``summary.md``,
``tuning.json`` and ``runs.jsonl`` beside this file from the data sets that are complete.

The budget, for every row alike: the recipe's learning rate times 0.3, 1 and 3, then at the best of them a third of the method's default strength where it has
one; one seed, chosen by the validation score; then five seeds at the choice. Small encoders, the data set's recipe for all else. Rows are the
methods under the rule of inference that is their own; joint, uniform, mmpareto and arm also under the calibrated and the dynamic rule. Released variants
that differ from their paper are not run. Needs the raw data (COUNTERPOISE_DATA).
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from counterpoise.config import RunConfig
from counterpoise.data import open_data
from counterpoise.experiment import expand, run_all
from counterpoise.methods.catalogue import METHODS, make_method
from counterpoise.report import write_tables
from counterpoise.runs import RunRecord, read_records, write_records

EPOCHS: Final = {
    "wikipedia": 20,
    "smartwatch": 15,
    "av-mnist-speakers": 3,
    "scene15": 20,
    "av-mnist-speakers-weak-image-babble": 3,
    "handwritten": 15,
    "leaves100": 15,
    "utd-mhad": 20,
}
RATES: Final = (0.3, 1.0, 3.0)
WEAKER: Final = 1 / 3
RELEASED: Final = tuple(name for name in METHODS if name.endswith(("-official", "-toolkit")))
RIVALS: Final = ("joint", "uniform", "mmpareto", "arm")
RULES: Final = ("calibrated", "dynamic")
HERE: Final = Path(__file__).parent

Row = tuple[str, str, str]
"""Method, rule, and the modality of a unimodal row."""


def rows_of(data: str) -> dict[Row, RunConfig]:
    """Return every row of a data set with its untuned configuration at seed 0."""
    given = {"fit": {"epochs": EPOCHS[data]}}
    info = open_data(data).info
    methods = [name for name in METHODS if name not in RELEASED]
    configs = expand(info, data, methods, seeds=1, given=given)
    configs += expand(info, data, RIVALS, seeds=1, rules=RULES, given=given)
    return {(c.method, c.rule, str(c.method_args.get("modality", ""))): c for c in configs}


def variant(config: RunConfig, *, rate: float = 1.0, strength: float | None = None, seed: int = 0) -> RunConfig:
    arguments: Mapping[str, Any] = (
        config.method_args if strength is None else {**config.method_args, "strength": strength}
    )
    optim = dataclasses.replace(config.optim, lr=config.optim.lr * rate)
    return dataclasses.replace(config, optim=optim, method_args=arguments, seed=seed)


def do(configs: list[RunConfig], work: Path, jobs: int) -> dict[str, RunRecord]:
    records, failures = run_all(configs, work, jobs=jobs)
    for failure in failures:
        print(failure.config.method, failure.config.rule, failure.message, flush=True)
    return {identity(r.config): r for r in records}


def identity(config: Mapping[str, Any]) -> str:
    return json.dumps(config, sort_keys=True, default=str)


def best(candidates: list[RunConfig], records: Mapping[str, RunRecord]) -> RunConfig | None:
    """Return the candidate with the best validation score; of equals the one with the lower validation loss."""
    done = [(c, records[identity(c.to_dict())]) for c in candidates if identity(c.to_dict()) in records]
    if not done:
        return None
    return max(done, key=lambda pair: (pair[1].validation["val_score"], -pair[1].validation["val_nll"]))[0]


def tune(data: str, work: Path, jobs: int) -> dict[Row, RunConfig]:
    """Return the chosen configuration of every row."""
    rows = rows_of(data)
    grid = {row: [variant(config, rate=rate) for rate in RATES] for row, config in rows.items()}
    records = do([c for candidates in grid.values() for c in candidates], work, jobs)
    for row, candidates in grid.items():
        leader = best(candidates, records)
        default = getattr(make_method(row[0], dict(rows[row].method_args)), "strength", None)
        if leader is not None and default:
            candidates.append(variant(leader, strength=default * WEAKER))
    records |= do([c for candidates in grid.values() for c in candidates[len(RATES) :]], work, jobs)
    chosen = {row: best(candidates, records) for row, candidates in grid.items()}
    return {row: config for row, config in chosen.items() if config is not None}


def runs(names: list[str], work: Path, seeds: int, jobs: int) -> None:
    for name in names:
        folder = work / name
        chosen = tune(name, folder, jobs)
        write_choice(folder, chosen)
        found = do([dataclasses.replace(c, seed=s) for s in range(seeds) for c in chosen.values()], folder, jobs)
        print(name, len(chosen), "rows,", len(found), "runs", flush=True)


def write_choice(folder: Path, chosen: Mapping[Row, RunConfig]) -> None:
    content = [{"row": row, "config": config.to_dict()} for row, config in chosen.items()]
    (folder / "chosen.json").write_text(json.dumps(content, indent=1))


def tables(work: Path, seeds: int) -> None:
    """Write the tables of all data sets whose runs are complete."""
    kept: list[RunRecord] = []
    tuning: dict[str, Any] = {}
    for name in EPOCHS:
        file = work / name / "chosen.json"
        if not file.is_file():
            continue
        found = {identity(r.config): r for r in read_records([work / name / "runs"])[0]}
        tuned: list[RunRecord] = []
        choices: dict[str, Any] = {}
        for entry in json.loads(file.read_text()):
            config = entry["config"]
            row = [found.get(identity({**config, "seed": seed})) for seed in range(seeds)]
            records = [r for r in row if r is not None]
            if len(records) < seeds:
                print(f"{name}: {entry['row']} has {len(records)} of {seeds} seeds")
                continue
            method, rule, modality = entry["row"]
            label = f"{method}:{modality}" if modality else method if rule == "default" else f"{method} ({rule})"
            choices[label] = {
                "lr": config["optim"]["lr"],
                **{k: v for k, v in config["method_args"].items() if k == "strength"},
            }
            tuned += [plain(r, label) for r in records]
        print(f"{name}: {len(choices)} rows")
        tuning[name] = choices
        kept += tuned
    shared = set.intersection(*({r.label for r in kept if r.data == name} for name in tuning)) if tuning else set()
    kept = [r for r in kept if r.label in shared or r.label.startswith("unimodal:")]
    write_records(HERE / "runs.jsonl", [dataclasses.replace(r, curves={}, valuation={}, robustness=[]) for r in kept])
    (HERE / "tuning.json").write_text(json.dumps(tuning, indent=1) + "\n")
    write_tables(kept, HERE)
    summary = re.search(r"## All data sets\n\n(.*?)(?=\n## |\Z)", (HERE / "table.md").read_text(), re.DOTALL)
    if summary:
        (HERE / "summary.md").write_text(f"# All data sets\n\n{summary[1].rstrip()}\n")


def plain(record: RunRecord, label: str) -> RunRecord:
    """Return a record under its row's name, without the tuned settings: they differ between rows by design, and stand in ``tuning.json``."""
    config = {
        **record.config,
        "method_args": {},
        "optim": {k: v for k, v in record.config["optim"].items() if k != "lr"},
    }
    config["model"] = {k: v for k, v in config["model"].items() if k != "init_seed"}
    return dataclasses.replace(record, label=label, config=config)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--data", default=",".join(EPOCHS))
    parser.add_argument("--tables", action="store_true")
    options = parser.parse_args()
    if options.tables:
        tables(options.work, options.seeds)
    else:
        runs(options.data.split(","), options.work, options.seeds, options.jobs)


if __name__ == "__main__":
    main()
