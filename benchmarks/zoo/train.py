"""Train every method on every data set, each tuned alike, one line of ``study.jsonl`` each; finished ones are kept.

    python benchmarks/zoo/train.py [--data wikipedia] [--methods "arm;uniform"]

The grid and its order are those of ``counterpoise compare --tune 4`` (`counterpoise.experiment.tuning`): 1, 3 and 9
times the recipe's learning rate, then at the best of them label smoothing of the unimodal heads; a method without
smoothing gets another strength, and one without either another learning rate, so that every row has four trainings.
The point with the best validation score, in the mean over the fused head and the calibrated rule, is then trained with
four further seeds. Nothing is chosen on a test set.

Every training holds out a tenth of its training set until half of its epochs are over (whole groups where they are
known), and is read under the fused and the calibrated rule; the five that count are also read under the dynamic rule
and scored with one modality corrupted. The learning rate falls to zero along a cosine and the last weights count; no
epoch is selected.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import torch

from counterpoise.config import RunConfig
from counterpoise.data import MultimodalData
from counterpoise.errors import describe
from counterpoise.experiment.config import make_config, parse_method
from counterpoise.experiment.tuning import Point, apply_point, best_point, grid_of, next_point
from counterpoise.methods import METHODS
from counterpoise.model import MultimodalClassifier

HERE: Final = Path(__file__).parent
sys.path.append(str(HERE.parent / "arm"))
from speakers import NAME, open_set  # noqa: E402
from study import Training, read_rules  # noqa: E402

EPOCHS: Final = {
    NAME: 12,
    "kanji": 12,
    "wikipedia": 15,
    "leaves100": 10,
    "scene15": 12,
    "handwritten": 10,
    "smartwatch": 6,
}
RULES: Final = ("fused", "calibrated")
"""The rules whose validation scores select."""
FINAL_RULES: Final = (*RULES, "dynamic")
"""The rules under which the trainings that count are read."""
TRIALS: Final = 4
SEEDS: Final = 5
ALONE: Final = {"unimodal-ensemble": "ensemble"}
"""Methods without a fused head, and their rule."""


def base_config(data: MultimodalData, row: str) -> RunConfig:
    """Return the untuned configuration at seed 0."""
    name, arguments = parse_method(row)
    given = {
        "data": data.info.name,
        "method": name,
        "method_args": arguments,
        "fit": {"epochs": EPOCHS[data.info.name]},
    }
    return make_config(data.info, given)


class Study:
    """The trainings of the catalogue on data sets.

    Args:
        runs: File with a line for each training that was read.
    """

    def __init__(self, runs: Path) -> None:
        self.runs = runs
        lines = map(json.loads, runs.read_text().splitlines()) if runs.is_file() else ()
        self.lines = {(x["data"], x["row"], x["point"], x["seed"], x["final"]): x for x in lines}
        self.teachers: dict[str, MultimodalClassifier] = {}
        self.best: tuple[str, Training] | None = None

    def row(self, name: str, row: str) -> None:
        """Tune a row on a data set with seed 0, then read the best point with every seed."""
        base = base_config(open_set(name), row)
        grid, scores = grid_of(base), dict[Point, float]()
        self.best = None
        while len(scores) < TRIALS:
            point = next_point(grid, scores)
            if point is None:
                break
            scores[point] = selection(self.line(base, row, point, 0, final=False))
            if best_point(scores) == point and self.last is not None:
                self.best = (str(point), self.last)
        best = best_point(scores)
        for seed in range(SEEDS if math.isfinite(scores[best]) else 0):
            self.line(base, row, best, seed, final=True)

    def line(self, base: RunConfig, row: str, point: Point, seed: int, *, final: bool) -> dict[str, Any]:
        """Return the line of a training, which is done if it is missing."""
        place = (base.data, row, str(point), seed, final)
        self.last: Training | None = None
        if not complete(self.lines.get(place)):
            result = self.read(replace(apply_point(base, point), seed=seed), str(point), final=final)
            line = dict(zip(("data", "row", "point", "seed", "final"), place, strict=True)) | result
            with self.runs.open("a") as file:
                file.write(json.dumps(line, separators=(",", ":")) + "\n")
            shown = " ".join(f"{v:.1f}" for k, v in result["scores"].items() if k.startswith("test"))
            print(*place, shown, result.get("error", ""), f"({result['seconds']} s)", flush=True)
            self.lines[place] = line
        return self.lines[place]

    def read(self, config: RunConfig, point: str, *, final: bool) -> dict[str, Any]:
        """Train once and return scores; a method that diverges or does not go with the data gives an error."""
        started = time.process_time()
        rules = (ALONE[config.method],) if config.method in ALONE else FINAL_RULES if final else RULES
        result: dict[str, Any] = {"scores": {}}
        try:
            known = final and not config.seed and self.best is not None and self.best[0] == point
            training = self.best[1] if known and self.best is not None else self.train(config)
            self.last = training
            scores, right = read_rules(training, rules, corrupted=final)
            result = (
                {"scores": scores, "right": right, "samples": len(training.data.test)} if final else {"scores": scores}
            )
        except Exception as error:
            result["error"] = describe(error)
        return {**result, "seconds": round(time.process_time() - started, 2)}

    def train(self, config: RunConfig) -> Training:
        """Train once."""
        data = open_set(config.data)
        training = Training(data, config, self.teachers_of(config, data))
        training.run()
        if not all(bool(p.isfinite().all()) for p in training.model.parameters()):
            raise ArithmeticError("the weights are not finite")
        return training

    def teachers_of(self, config: RunConfig, data: MultimodalData) -> dict[str, MultimodalClassifier]:
        """Return the trained models that a method learns from: with its seed and its learning rate."""
        teachers = {}
        for name in METHODS.resolve(config.method).requires:
            own = replace(config, method=name, method_args={}, tuned=())
            key = own.key("")
            if key not in self.teachers:
                training = Training(data, own)
                training.run()
                self.teachers[key] = training.model.eval()
            teachers[name] = self.teachers[key]
        return teachers


def complete(line: Mapping[str, Any] | None) -> bool:
    """Return whether a training has been done and read under every rule that it should be read under."""
    if line is None:
        return False
    return (
        not line["final"] or not line["scores"] or line["row"] in ALONE or f"test:{FINAL_RULES[-1]}" in line["scores"]
    )


def selection(line: dict[str, Any]) -> float:
    """Return the validation score that selects: the mean over the rules; NaN for a failed training."""
    values = [v for k, v in line["scores"].items() if k.startswith("val:")]
    return math.fsum(values) / len(values) if values else math.nan


def main() -> None:
    """Train what is missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, default=HERE / "study.jsonl")
    parser.add_argument("--data", default=",".join(EPOCHS))
    parser.add_argument("--methods", default="all")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = options.methods.split(";")
    if options.methods == "all":
        rows = [m for m in METHODS if m != "unimodal" and not m.endswith(("-official", "-toolkit"))]
    study = Study(options.runs)
    for name in options.data.split(","):
        for row in rows:
            study.row(name, row)


if __name__ == "__main__":
    main()
