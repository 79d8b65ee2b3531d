"""Train every method on every data set, each tuned on validation with the same budget, for both studies.

    python benchmarks/zoo/train.py --work FOLDER [--data wikipedia] [--methods "arm;uniform"] [--jobs 2]

Every training holds out a tenth of its training set until half of its epochs are over (by whole groups where they are
known), and is kept as it stood then and in the end, so that any rule of inference can be read from it afterwards
(``read.py``). Nothing here looks at a test set.

The budget, for every method alike: four trainings with seed 0, at 1, 3 and 9 times the recipe's learning rate and then,
at the best of them, with a third of the method's default strength; where a method has no strength, one more learning
rate beside the best. Twice the best is taken: by the fused head's validation score and by the calibrated rule's. Then
five seeds at each choice. The learning rate falls to zero along a cosine and the last weights count; no epoch is
selected.
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import joblib
import lightning
import torch

from counterpoise.config import RunConfig
from counterpoise.data import open_data
from counterpoise.experiment.config import make_config, parse_method
from counterpoise.experiment.runner import open_cached, teachers_of
from counterpoise.methods import METHODS, make_method
from counterpoise.runs import CurveId
from counterpoise.training import fit

EPOCHS: Final = {
    "wikipedia": 15,
    "scene15": 12,
    "smartwatch": 6,
    "av-mnist-speakers": 3,
    "handwritten": 10,
    "leaves100": 10,
    "utd-mhad": 10,
    "av-mnist-speakers-weak-image": 3,
    "fashion": 3,
}
SELECTION: Final = ("wikipedia", "scene15", "smartwatch", "av-mnist-speakers")
"""Data sets whose training and validation sets ARM's formulations were chosen on; the others confirm."""
RATES: Final = (1.0, 3.0, 9.0)
SEEDS: Final = 5
ALONE: Final = {"unimodal": "unimodal", "unimodal-ensemble": "ensemble"}
"""Methods without a fused head, and their rules."""


class Keep(lightning.Callback):
    """Keeps the network as it stands when a rule would be fitted."""

    model: torch.nn.Module | None = None

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Keep a copy at the start of the epoch that would fit the rule."""
        if trainer.current_epoch == trainer.max_epochs // 2:
            self.model = copy.deepcopy(pl_module.model)


def train(config: RunConfig, work: Path) -> dict[str, Any]:
    """Do one training unless it is there, and return its validation scores."""
    torch.set_num_threads(1)
    folder = work / config.data / config.key("study")
    done = folder / "scores.json"
    if done.is_file():
        return dict(json.loads(done.read_text()))
    folder.mkdir(parents=True, exist_ok=True)
    data = open_cached(config.data)
    keep = Keep()
    try:
        fitted = fit(
            data, config, callbacks=[keep], curves=False, teachers=teachers_of(config, data, work / "teachers")
        )
    except Exception as error:  # a method that diverges or does not go with the data is a result, not an end
        found: dict[str, Any] = {
            "error": f"{type(error).__name__}: {error}",
            "val:fused": float("-inf"),
            "val:calibrated": float("-inf"),
        }
        done.write_text(json.dumps(found))
        return found
    last = {curve: values[-1] for curve, values in fitted.history.items()}
    name = fitted.model.task.score_name
    torch.save({"half": keep.model, "end": fitted.model, "config": config.to_dict()}, folder / "networks.pt")
    (folder / "config.json").write_text(json.dumps(config.to_dict()))
    found = {
        "val:calibrated": last[CurveId("score", name)] - 1e-4 * last[CurveId("score", "nll")],
        "val:fused": last[CurveId("score", f"fused_{name}")] - 1e-6 * last.get(CurveId("loss", "fused"), 0.0),
        "step_ms": fitted.step_ms,
    }
    done.write_text(json.dumps(found))
    return found


def base_config(data: str, method: str, arguments: dict[str, Any]) -> RunConfig:
    """Return the untuned configuration at seed 0."""
    given = {"data": data, "method": method, "method_args": arguments, "fit": {"epochs": EPOCHS[data]}}
    return make_config(open_data(data).info, given | {"rule": "default" if method in ALONE else "calibrated"})


def variant(config: RunConfig, rate: float, strength: float | None = None, seed: int = 0) -> RunConfig:
    arguments = config.method_args if strength is None else {**config.method_args, "strength": strength}
    return replace(config, optim=replace(config.optim, lr=config.optim.lr * rate), method_args=arguments, seed=seed)


def last_trial(config: RunConfig, rate: float) -> RunConfig:
    """Return the fourth trial, at the best rate of the first three."""
    default = getattr(make_method(config.method, dict(config.method_args)), "strength", None)
    if default:
        return variant(config, rate, default / 3)
    return variant(config, {1.0: 1.7, 3.0: 1.7, 9.0: 5.2}[rate])


def rows(data: str, methods: Sequence[str]) -> list[RunConfig]:
    found = []
    for spec in methods:
        name, arguments = parse_method(spec)
        if name == "unimodal":
            found += [base_config(data, name, {"modality": m}) for m in open_data(data).info.names]
        else:
            found.append(base_config(data, name, arguments))
    return found


def do(configs: Sequence[RunConfig], work: Path, jobs: int) -> list[dict[str, Any]]:
    parallel = joblib.Parallel(n_jobs=jobs, batch_size=1)
    return list(parallel(joblib.delayed(train)(c, work) for c in configs))


def study(data: str, methods: Sequence[str], work: Path, jobs: int, seeds: int) -> None:
    started = time.time()
    base = rows(data, methods)
    trials = [[variant(c, rate) for rate in RATES] for c in base]
    scores = do([t for row in trials for t in row], work, jobs)
    scored = [
        list(zip(row, scores[i * len(RATES) : (i + 1) * len(RATES)], strict=True)) for i, row in enumerate(trials)
    ]
    second = []
    for config, row in zip(base, scored, strict=True):
        best = max(row, key=lambda pair: pair[1]["val:calibrated"])[0]
        second.append(last_trial(config, round(best.optim.lr / config.optim.lr, 6)))
    for row, config, score in zip(scored, second, do(second, work, jobs), strict=True):
        row.append((config, score))
    chosen: list[dict[str, Any]] = []
    final: dict[str, RunConfig] = {}
    for config, row in zip(base, scored, strict=True):
        entry: dict[str, Any] = {"method": config.method, "args": config.method_args}
        for rule in ("calibrated",) if config.method in ALONE else ("fused", "calibrated"):
            best = max(row, key=lambda pair: pair[1][f"val:{rule}"])
            if best[1][f"val:{rule}"] == float("-inf"):
                entry["error"] = best[1].get("error")
                continue
            entry[rule] = [replace(best[0], seed=s).to_dict() for s in range(seeds)]
            final |= {replace(best[0], seed=s).key(""): replace(best[0], seed=s) for s in range(seeds)}
        chosen.append(entry)
    do(list(final.values()), work, jobs)
    file = work / data / "chosen.json"
    before = json.loads(file.read_text()) if file.is_file() else []
    kept = [e for e in before if (e["method"], e["args"]) not in [(c["method"], c["args"]) for c in chosen]]
    file.write_text(json.dumps(kept + chosen, indent=1, default=str))
    print(f"{data}: {len(base)} rows, {len(final)} final trainings, {time.time() - started:.0f} s", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--data", default=",".join(EPOCHS))
    parser.add_argument("--methods", default="all")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    methods = options.methods.split(";")
    if options.methods == "all":
        methods = [m for m in METHODS if not m.endswith(("-official", "-toolkit"))]
    for data in options.data.split(","):
        study(data, methods, options.work, options.jobs, options.seeds)


if __name__ == "__main__":
    main()
