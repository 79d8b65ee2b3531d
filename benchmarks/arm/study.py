"""Train rows of methods on cached data sets, one line of ``study.jsonl`` each; finished trainings are kept.

    python benchmarks/arm/study.py --work FOLDER [--data kanji,wikipedia] [--rows joint,arm] [--seeds 5]

Every row is trained with seed 0 at 3 and 9 times the recipe's learning rate. The rate with the best validation score
under the calibrated rule is used for the other seeds. All rows but joint training are also trained at one rate per data
set, the one with the best mean over these rows: switches are compared there, so that nothing else differs.

A tenth of the training set is held out until half of the epochs are over, for every row alike, and every network is
read under the fused, the calibrated and the dynamic rule. The learning rate falls to zero along a cosine and the last
weights count. ``tables.py`` reads the file.

With ``--work`` the row of the ceiling is also trained at `CEILING_RATES`.

The row `ORACLE` is ARM whose contributions are measured on the test samples, with their labels: what it would gain from
true contributions. It is trained at the common rate only.

``--split K`` puts the K-th quarter of the training and validation samples in place of the test set, which is then not
opened: this is how formulations are chosen.
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from course import frequencies, measured
from speakers import NAME
from torch import Tensor

from counterpoise.config import RunConfig
from counterpoise.data import MultimodalData, Split
from counterpoise.evaluation.robustness import corrupted_outputs
from counterpoise.experiment.config import make_config, parse_method
from counterpoise.inference import make_rule
from counterpoise.methods import EpochContext
from counterpoise.model import MultimodalClassifier
from counterpoise.records import Batch, Outputs
from counterpoise.training import MultimodalDataModule, collect, make_optimizer, seed_epoch
from counterpoise.training.curves import contributions
from counterpoise.training.fit import assemble
from counterpoise.training.rules import fit_rule, refresh_rule

HERE: Final = Path(__file__).parent
sys.path.append(str(HERE.parent / "recommend"))
from sets import EPOCHS as EPOCHS_OF_OTHERS  # noqa: E402
from sets import OTHERS, open_data_set  # noqa: E402
from speakers import open_set  # noqa: E402

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
    "av-mnist-weak-image": 3,
    NAME: 12,
}
SETS: Final = ("utd-mhad", "wikipedia", "leaves100", "kanji", "scene15", "handwritten", "smartwatch", NAME)
"""The data sets of the tables."""
BLIND: Final = tuple(name for name in OTHERS if name != "iris")
"""Small data sets that no formulation was chosen on; iris has 30 test samples."""
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
ORACLE: Final = "arm (true contributions)"
CEILING: Final = ("separated-gradients", 0)
"""Row and seed of whose trainings the ceiling needs the outputs of all heads; they are trained again without them."""
CEILING_RATES: Final = (1.0, 3.0, 9.0, 27.0)
"""Rates that the ceiling chooses from."""
MEASURED: Final = ("joint", "arm")
"""Methods whose contributions on the test set are estimated: the paper's figures compare these two."""
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
    name, arguments = parse_method("arm" if row == ORACLE else row)
    given = {"data": data.info.name, "method": name, "method_args": arguments, "rule": "calibrated", "seed": seed}
    epochs = EPOCHS.get(data.info.name) or EPOCHS_OF_OTHERS[data.info.name]
    config = make_config(data.info, given | {"fit": {"epochs": epochs}})
    return replace(config, optim=replace(config.optim, lr=config.optim.lr * rate))


class Training:
    """One training in a plain loop, with what the tables need after every epoch.

    Args:
        data: Data set.
        config: Configuration.
        teachers: Trained models that the method learns from.
        oracle: Whether contributions are measured on the test samples instead of the held-out ones.
    """

    def __init__(
        self,
        data: MultimodalData,
        config: RunConfig,
        teachers: dict[str, MultimodalClassifier] | None = None,
        *,
        oracle: bool = False,
    ) -> None:
        self.data, self.config, self.oracle = data, config, oracle
        self.model, self.method, _ = assemble(data, config, teachers)
        self.release = config.fit.epochs // 2
        never = self.method.needs_held_out and not self.method.releases_held_out
        self.module = MultimodalDataModule(
            data, config.fit, seed=config.seed, release=None if never else self.release, plan=self.method.resample
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
        source = self._test_pass if self.oracle else self.module.held_out_pass
        held = source if self.module.holds_out(epoch) else None
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

    def _test_pass(self) -> Iterable[Batch]:
        return self.data.test.batches(512)

    def _after_epoch(self) -> None:
        for name, split in (("val", self.data.val), ("test", self.data.test)):
            outputs = collect(self.model, split.batches(512))[0]
            self.heads[name].append(outputs.experts().half())


def corrupted_views(model: MultimodalClassifier, data: MultimodalData) -> tuple[list[Outputs], Tensor]:
    """Return the outputs for about `FEW` test samples under every corruption of one modality, and their targets."""
    few = data.test.subset(np.arange(0, len(data.test), max(1, len(data.test) // FEW)))
    clean, labels = collect(model, few.batches(512))
    return [v for *_, v in corrupted_outputs(model, few, clean, model.modalities)], labels


def read_rules(
    training: Training, rules: Sequence[str], *, corrupted: bool = True
) -> tuple[dict[str, float], dict[str, str]]:
    """Read decision rules from a training.

    Each rule is fitted with the network as it stood when half of the epochs were over, and used with the last one.

    Args:
        training: A finished training.
        rules: Names of the rules.
        corrupted: Whether to score with corrupted inputs, too.

    Returns:
        Scores in per cent, ``test:RULE``, ``val:RULE`` (less a hundredth of the loss, which decides ties) and
        ``damaged:RULE`` (mean over corruptions of one modality at a time), and ``head:MODALITY`` on the test set; and
        which test samples each rule predicts rightly, in hexadecimal bits.
    """
    data, model, config = training.data, training.model.eval(), training.config
    task = model.task
    test, target = collect(model, data.test.batches(512))
    val, val_target = collect(model, data.val.batches(512))
    views, labels = corrupted_views(model, data) if corrupted else ([], target)
    scores: dict[str, float] = {}
    right: dict[str, str] = {}
    half = (training.half or model).eval()
    for name in rules:
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
        if hits:
            scores[f"damaged:{name}"] = 100 * sum(hits) / len(hits)
        right[name] = np.packbits(correct.bool().numpy()).tobytes().hex()
    for m, logits in test.unimodal_logits.items():
        scores[f"head:{m}"] = 100 * task.sample_score(logits, target).float().mean().item()
    return {k: round(v, 4) for k, v in scores.items()}, right


def train(data: MultimodalData, config: RunConfig, work: Path | None, *, oracle: bool = False) -> dict[str, Any]:
    """Train once, and return scores, contributions and curves."""
    started = time.process_time()
    training = Training(data, config, oracle=oracle)
    training.run()
    seconds = time.process_time() - started
    scores, right = read_rules(training, RULES)
    model = training.model
    test, target = collect(model, data.test.batches(512))
    known = contributions(test, target, model.task) if config.method in MEASURED else ()
    if work is not None:
        work.mkdir(parents=True, exist_ok=True)
        stacked = {name: torch.stack(parts).numpy() for name, parts in training.heads.items()}
        np.savez_compressed(
            work / f"{key_of(config)}.npz", val_target=data.val.target, target=target.numpy(), **stacked
        )
    return {
        "scores": scores,
        "right": right,
        "samples": len(target),
        "information": {f"{c.name}:{c.modality}" if c.modality else c.name: round(c.value, 5) for c in known},
        "curves": training.curves,
        "held": measured(training),
        "frequency": frequencies(training),
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
    parser.add_argument("--data", default=",".join(SETS))
    parser.add_argument("--rows", default=";".join((*ROWS, ORACLE)), help="separated by semicolons")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--rates", default=",".join(map(str, RATES)))
    parser.add_argument("--split", type=int, default=None)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rates = [float(r) for r in options.rates.split(",")]
    rows = options.rows.split(";")
    for name in options.data.split(","):
        for row in rows:
            if row != ORACLE:
                study(name, row, rates, options)
        if options.split is None and options.work is not None and CEILING[0] in rows:
            for rate in CEILING_RATES:
                one(name, CEILING[0], rate, CEILING[1], options)
        if options.split is None:
            study_shared(name, [row for row in rows if row != "joint"], rates, options)


def shared_rate(lines: Mapping[tuple[Any, ...], dict[str, Any]], name: str, rates: Sequence[float]) -> float:
    """Return the rate with the best mean validation score of ARM, the recipe and their switches, with seed 0."""
    rows = {k[2] for k in lines if k[:2] == (name, None) and k[2] in ROWS and k[2] != "joint"}
    complete = [row for row in rows if all((name, None, row, rate, 0) in lines for rate in rates)]
    return max(rates, key=lambda r: sum(lines[name, None, row, r, 0]["scores"]["val:calibrated"] for row in complete))


def one(name: str, row: str, rate: float, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """Return the line of a training, which is done if it is missing."""
    place = (name, options.split, row, rate, seed)
    line = known_lines(options.runs).get(place)
    if line is not None:
        if options.work is not None and (row, seed) == CEILING:
            keep_outputs(open_set(name, seed), row, rate, options.work)
        return line
    number = seed if options.split is None else options.split
    data = open_data_set(name) if name in OTHERS else open_set(name, number)
    data = data if options.split is None else without_test(data, options.split)
    result = train(data, config_of(data, row, rate, seed), options.work, oracle=row == ORACLE)
    line = dict(zip(("data", "split", "row", "rate", "seed"), place, strict=True)) | result
    with options.runs.open("a") as file:
        file.write(json.dumps(line, separators=(",", ":")) + "\n")
    shown = " ".join(f"{k}={v:.1f}" for k, v in result["scores"].items() if k.startswith(("test", "head")))
    print(f"{name} {row} x{rate:g} seed {seed}: {shown} ({result['seconds']} s)", flush=True)
    return line


def keep_outputs(data: MultimodalData, row: str, rate: float, work: Path) -> None:
    """Train once more where the outputs of the heads have not been kept."""
    config = config_of(data, row, rate, CEILING[1])
    if not (work / f"{key_of(config)}.npz").is_file():
        train(data, config, work)


def study(name: str, row: str, rates: list[float], options: argparse.Namespace) -> None:
    """Tune a row on a data set with seed 0, then train the other seeds."""
    tuned = {rate: one(name, row, rate, 0, options)["scores"]["val:calibrated"] for rate in rates}
    best = max(tuned, key=lambda r: tuned[r])
    for seed in range(1, options.seeds):
        one(name, row, best, seed, options)


def study_shared(name: str, rows: Sequence[str], rates: list[float], options: argparse.Namespace) -> None:
    """Train rows with every seed at the rate that they share."""
    rate = shared_rate(known_lines(options.runs), name, rates)
    for row in rows:
        for seed in range(options.seeds):
            one(name, row, rate, seed, options)


if __name__ == "__main__":
    main()
