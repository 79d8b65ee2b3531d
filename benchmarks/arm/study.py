"""Train rows of methods on cached data sets, one line of ``study.jsonl`` each; finished trainings are kept.

    python benchmarks/arm/study.py --work FOLDER [--data kanji,wikipedia] [--rows joint,arm] [--seeds 3]

Every row is trained with seed 0 at 3 and 9 times the recipe's learning rate. The rate with the best validation score
under the calibrated rule is used for the other seeds. A tenth of the training set is held out until half of the epochs
are over, for every row alike, and every network is read under the fused, the calibrated and the dynamic rule. The
learning rate falls to zero along a cosine and the last weights count. ``tables.py`` reads the file.

``--split K`` puts the K-th quarter of the training and validation samples in place of the test set, which is then not
opened: this is how formulations are chosen.
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from counterpoise.config import RunConfig
from counterpoise.data import MultimodalData, Split
from counterpoise.evaluation.robustness import corrupted_outputs
from counterpoise.experiment.config import make_config, parse_method
from counterpoise.experiment.runner import open_cached
from counterpoise.inference import make_rule
from counterpoise.methods import EpochContext
from counterpoise.model import MultimodalClassifier
from counterpoise.training import MultimodalDataModule, collect, make_optimizer, seed_epoch
from counterpoise.training.curves import contributions
from counterpoise.training.fit import assemble
from counterpoise.training.rules import fit_rule, refresh_rule

HERE: Final = Path(__file__).parent
EPOCHS: Final = {
    "kanji": 12,
    "wikipedia": 15,
    "smartwatch": 6,
    "scene15": 12,
    "handwritten": 10,
    "leaves100": 10,
    "utd-mhad": 10,
    "av-mnist-speakers": 3,
    "av-mnist-speakers-weak-image": 3,
    "fashion": 3,
}
RATES: Final = (3.0, 9.0)
RULES: Final = ("fused", "calibrated", "dynamic")
ROWS: Final = (
    "joint",
    "uniform",
    "arm",
    "separated-experts",
    "separated-gradients",
    "arm[loss_weights=false,resampling=false]",
    "arm[fusion=false,resampling=false]",
    "arm[fusion=false,loss_weights=false]",
    "arm[fusion=false,loss_weights=false,resampling=false,smoothing=0.1]",
    "separated-experts[fusion=false]",
)
"""ARM and the recipe, ARM without its parts (uniform training), and one switch at a time."""
FEW: Final = 300
"""Samples of the test set that are corrupted, about."""


def joined(a: Split, b: Split) -> Split:
    """Return two splits as one."""
    group = None if a.group is None or b.group is None else np.concatenate([a.group, b.group])
    arrays = {m: np.concatenate([a.arrays[m], b.arrays[m]]) for m in a.arrays}
    return Split(arrays, np.concatenate([a.target, b.target]), group, a.augmentation)


def without_test(data: MultimodalData, k: int) -> MultimodalData:
    """Return the data with a quarter of the training and validation samples (or of their groups) as the test set."""
    whole, rng = joined(data.train, data.val), np.random.default_rng(100 + k)
    keys = whole.target if whole.group is None else np.zeros(len(whole), int)
    part = np.zeros(len(whole), int)  # 0 train, 1 validation, 2 test
    if whole.group is not None:
        groups = rng.permutation(np.unique(whole.group))
        part[np.isin(whole.group, groups[: max(1, len(groups) // 4)])] = 2
        part[np.isin(whole.group, groups[max(1, len(groups) // 4)])] = 1
    else:
        for c in np.unique(keys):
            rows = rng.permutation(np.flatnonzero(keys == c))
            part[rows[: round(len(rows) / 4)]] = 2
            part[rows[round(len(rows) / 4) : round(len(rows) * 0.35)]] = 1
    train, val, test = (whole.subset(np.flatnonzero(part == x)) for x in range(3))
    return MultimodalData(data.info, train, val, test)


def config_of(data: MultimodalData, row: str, rate: float, seed: int) -> RunConfig:
    """Return the configuration of a training."""
    name, arguments = parse_method(row)
    given = {"data": data.info.name, "method": name, "method_args": arguments, "rule": "calibrated", "seed": seed}
    config = make_config(data.info, given | {"fit": {"epochs": EPOCHS[data.info.name]}})
    return replace(config, optim=replace(config.optim, lr=config.optim.lr * rate))


class Training:
    """One training in a plain loop, with what the tables need after every epoch.

    Args:
        data: Data set.
        config: Configuration.
    """

    def __init__(self, data: MultimodalData, config: RunConfig) -> None:
        self.data, self.config = data, config
        self.model, self.method, _ = assemble(data, config)
        self.release = config.fit.epochs // 2
        self.module = MultimodalDataModule(
            data, config.fit, seed=config.seed, release=self.release, plan=self.method.resample
        )
        self.curves: dict[str, list[float]] = {}
        self.heads: dict[str, list[Tensor]] = {"val": [], "test": []}
        self.half: MultimodalClassifier | None = None
        self.distance: list[dict[str, float]] = []

    def run(self) -> None:
        """Train."""
        config = self.config
        optimizer = make_optimizer(config.optim, [*self.model.parameters(), *self.method.parameters()])
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, config.fit.epochs)
        for epoch in range(config.fit.epochs):
            if epoch == self.release:
                self.half = copy.deepcopy(self.model)
            self._epoch(epoch, optimizer)
            schedule.step()
            self._after_epoch()

    def _epoch(self, epoch: int, optimizer: torch.optim.Optimizer) -> None:
        loader = self.module.loader
        loader.indices = torch.from_numpy(self.module.epoch_indices(epoch))
        loader.set_epoch(epoch)
        seed_epoch(self.config.seed, epoch)
        held = self.module.held_out_pass if epoch < self.release else None
        context = EpochContext(epoch, self.config.fit.epochs, train=self.module.train_pass, held_out=held)
        self.model.train()
        self.method.on_epoch_start(self.model, context)
        sums: dict[str, list[Tensor]] = {}
        for batch in loader:
            for record in self.method.steps(self.model, batch):
                optimizer.step()
                optimizer.zero_grad()
                for name, value in record.coefficients.items():
                    sums.setdefault(name, []).append(value)
        for name, values in sums.items():
            curve = self.curves.setdefault(name, [float("nan")] * epoch)
            curve.append(round(float(torch.stack(values).mean()), 5))

    def _after_epoch(self) -> None:
        for name, split in (("val", self.data.val), ("test", self.data.test)):
            outputs = collect(self.model, split.batches(512))[0]
            self.heads[name].append(outputs.experts().half())


def train(data: MultimodalData, config: RunConfig, work: Path | None) -> dict[str, Any]:
    """Train once, and return scores, contributions and curves."""
    started = time.process_time()
    training = Training(data, config)
    training.run()
    model = training.model.eval()
    seconds = time.process_time() - started
    task = model.task
    test, target = collect(model, data.test.batches(512))
    val, val_target = collect(model, data.val.batches(512))
    few = data.test.subset(np.arange(0, len(data.test), max(1, len(data.test) // FEW)))
    clean, labels = collect(model, few.batches(512))
    views = [v for *_, v in corrupted_outputs(model, few, clean, model.modalities)]
    scores: dict[str, float] = {}
    right: dict[str, str] = {}
    half = (training.half or model).eval()
    for name in RULES:
        rule = make_rule(name, model.modalities, task, feature_dims=model.feature_dims)
        if rule.needs_holdout:
            fit_rule(rule, half, training.module, config.seed)
        refresh_rule(rule, model, training.module)
        with torch.no_grad():
            correct = task.sample_score(rule(test), target)
            scores[f"test:{name}"] = 100 * correct.float().mean().item()
            logits = rule(val)
            score = 100 * task.sample_score(logits, val_target).float().mean().item()
            scores[f"val:{name}"] = score - 1e-2 * task.loss(logits, val_target).item()
            hits = [task.sample_score(rule(v), labels).float().mean().item() for v in views]
            scores[f"damaged:{name}"] = 100 * sum(hits) / len(hits)
        right[name] = np.packbits(correct.bool().numpy()).tobytes().hex()
    for m, logits in test.unimodal_logits.items():
        scores[f"head:{m}"] = 100 * task.sample_score(logits, target).float().mean().item()
    known = {f"{c.name}:{c.modality}" if c.modality else c.name: c.value for c in contributions(test, target, task)}
    if work is not None:
        work.mkdir(parents=True, exist_ok=True)
        stacked = {name: torch.stack(parts).numpy() for name, parts in training.heads.items()}
        np.savez_compressed(
            work / f"{key_of(config)}.npz", val_target=val_target.numpy(), target=target.numpy(), **stacked
        )
    return {
        "scores": {k: round(v, 4) for k, v in scores.items()},
        "right": right,
        "samples": len(target),
        "information": {k: round(v, 5) for k, v in known.items()},
        "curves": training.curves,
        "seconds": round(seconds, 2),
    }


def key_of(config: RunConfig) -> str:
    """Return the name of a training's file of head outputs."""
    return config.key("study")


def known_lines(file: Path) -> dict[tuple[Any, ...], dict[str, Any]]:
    """Return the finished trainings by data set, split, row, rate and seed."""
    if not file.is_file():
        return {}
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    return {(x["data"], x["split"], x["row"], x["rate"], x["seed"]): x for x in lines}


def main() -> None:
    """Train what is missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, default=HERE / "study.jsonl")
    parser.add_argument("--work", type=Path, default=None, help="folder for the outputs of all heads in every epoch")
    parser.add_argument("--data", default=",".join(EPOCHS))
    parser.add_argument("--rows", default=";".join(ROWS), help="separated by semicolons")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rates", default=",".join(map(str, RATES)))
    parser.add_argument("--split", type=int, default=None)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rates = [float(r) for r in options.rates.split(",")]
    for name in options.data.split(","):
        for row in options.rows.split(";"):
            study(name, row, rates, options)


def study(name: str, row: str, rates: list[float], options: argparse.Namespace) -> None:
    """Tune a row on a data set with seed 0, then train the other seeds."""

    def one(rate: float, seed: int) -> dict[str, Any]:
        place = (name, options.split, row, rate, seed)
        done = known_lines(options.runs)
        if place in done:
            return done[place]
        data = open_cached(name, seed if options.split is None else options.split)
        data = data if options.split is None else without_test(data, options.split)
        found = train(data, config_of(data, row, rate, seed), options.work)
        line = dict(zip(("data", "split", "row", "rate", "seed"), place, strict=True)) | found
        with options.runs.open("a") as file:
            file.write(json.dumps(line, separators=(",", ":")) + "\n")
        shown = " ".join(f"{k}={v:.1f}" for k, v in found["scores"].items() if k.startswith(("test", "head")))
        print(f"{name} {row} x{rate:g} seed {seed}: {shown} ({found['seconds']} s)", flush=True)
        return line

    tuned = {rate: one(rate, 0)["scores"]["val:calibrated"] for rate in rates}
    best = max(tuned, key=lambda r: tuned[r])
    for seed in range(1, options.seeds):
        one(best, seed)


if __name__ == "__main__":
    main()
