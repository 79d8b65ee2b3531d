"""Read every rule of inference from the trainings of ``train.py``, and score them on the test sets.

    python benchmarks/zoo/read.py --work FOLDER [--data wikipedia] [--rules fused,calibrated,dynamic] [--jobs 2]

A rule is fitted on what a training held out, with the network as it stood when half of the epochs were over, and used
with the network of the last epoch. Writes a ``records-<rule>.jsonl`` and a ``correct-<rule>.npz`` (which test samples
are predicted rightly) per training; finished rows are not read again. The variants of AV-MNIST with babble have the
training of their quiet twins and other test recordings.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import joblib
import numpy as np
import torch
from train import ALONE, EPOCHS

from counterpoise.config import FitConfig, ModelConfig, OptimConfig, RunConfig
from counterpoise.data import MultimodalData, Split
from counterpoise.evaluation.robustness import corrupted_outputs, corruption_score
from counterpoise.experiment.config import parse_method
from counterpoise.experiment.runner import open_cached
from counterpoise.inference import Rule, make_rule
from counterpoise.runs import Metric, RowId, RunRecord, corrupted_means, read_records, write_records
from counterpoise.training import MultimodalDataModule, collect, scores
from counterpoise.training.curves import contributions
from counterpoise.training.rules import fit_rule, refresh_rule
from counterpoise.valuation import linear_probe

TWINS: Final = {
    "av-mnist-speakers": ("av-mnist-speakers-babble",),
    "av-mnist-speakers-weak-image": ("av-mnist-speakers-weak-image-babble",),
}
"""Data sets with the same training and validation samples and other test samples."""
PROBE: Final = 2000
"""Training samples that linear probes are fitted on, at most."""
RULES: Final = ("fused", "calibrated", "dynamic")


def home_of(data: str) -> str:
    """Return the data set whose trainings a test set is read from."""
    return next((home for home, twins in TWINS.items() if data in twins), data)


def config_of(fields: dict[str, Any]) -> RunConfig:
    sections = {"model": ModelConfig, "optim": OptimConfig, "fit": FitConfig}
    return RunConfig(**{**fields, **{name: make(**fields[name]) for name, make in sections.items()}})


def fitted_rule(name: str, networks: dict[str, Any], config: RunConfig, data: MultimodalData) -> Rule:
    half, end = networks["half"].eval(), networks["end"].eval()
    alone = config.method_args.get("modality")
    rule = make_rule(name, end.modalities, end.task, modality=alone, feature_dims=end.feature_dims)
    module = MultimodalDataModule(data, config.fit, seed=config.seed, release=config.fit.epochs // 2)
    if rule.needs_holdout:
        fit_rule(rule, half, module, config.seed)
    refresh_rule(rule, end, module)
    return rule


def test_of(name: str, like: str) -> Split:
    """Return the test set of a data set, after checking that it has the training samples of another."""
    data, other = open_cached(name), open_cached(like)
    rows = torch.arange(min(500, len(data.train)))
    mine, theirs = data.train.batch(rows), other.train.batch(rows)
    if not all(torch.equal(mine.inputs[m], theirs.inputs[m]) for m in data.info.names):  # type: ignore[arg-type]
        raise SystemExit(f"{name} has other training samples than {like}.")
    return data.test


def read(
    fields: dict[str, Any], rules: Sequence[str], work: Path, damage: bool = True, probes: bool = True
) -> list[RunRecord]:
    """Return one record per test set and rule, with scores under corruption and linear probes unless switched off."""
    torch.set_num_threads(1)
    config = config_of(fields)
    folder = work / config.data / config.key("study")
    missing = [r for r in rules if not (folder / f"records-{r}.jsonl").is_file()]
    uncounted = [r for r in rules if not (folder / f"correct-{r}.npz").is_file()]
    if missing or uncounted:
        networks = torch.load(folder / "networks.pt", weights_only=False)
        data, model = open_cached(config.data), networks["end"].eval()
        fitted = {r: fitted_rule(r, networks, config, data) for r in dict.fromkeys([*missing, *uncounted])}
        found: dict[str, list[RunRecord]] = {r: [] for r in missing}
        right: dict[str, dict[str, np.ndarray]] = {r: {} for r in uncounted}
        for name in (config.data, *TWINS.get(config.data, ())):
            wanted = {r: fitted[r] for r in missing}
            if wanted:
                records = score(name, config, wanted, data, model, folder, damage, probes)
                for rule, record in zip(missing, records, strict=True):
                    found[rule].append(record)
            test, target = collect(model, test_of(name, config.data).batches(512))
            with torch.no_grad():
                for rule in uncounted:
                    right[rule][name] = model.task.sample_score(fitted[rule](test), target).numpy().astype(bool)
        for rule, arrays in right.items():
            np.savez_compressed(folder / f"correct-{rule}.npz", **arrays)
        for rule, records in found.items():
            write_records(folder / f"records-{rule}.jsonl", records)
    return read_records([folder / f"records-{r}.jsonl" for r in rules])[0]


def score(
    name: str,
    config: RunConfig,
    fitted: dict[str, Rule],
    data: MultimodalData,
    model: Any,
    folder: Path,
    damage: bool,
    probes: bool,
) -> list[RunRecord]:
    """Return a record per rule on one test set."""
    task, split = model.task, test_of(name, config.data)
    alone = config.method_args.get("modality")
    own = (alone,) if alone else model.modalities
    test, target = collect(model, split.batches(512))
    sample = data.train.subset(np.sort(np.random.default_rng(0).permutation(len(data.train))[:PROBE]))
    known, labels = collect(model, sample.batches(512))
    trained = json.loads((folder / "scores.json").read_text())
    shared = [Metric("step_ms", trained["step_ms"])]
    for m in own:
        shared.append(Metric(task.score_name, scores(task, test.unimodal_logits[m], target)[task.score_name], m))
        if probes:
            shared.append(Metric("probe", linear_probe(known.features[m], labels, test.features[m], target, task), m))
    if not alone:
        shared += contributions(test, target, task)
    views = list(corrupted_outputs(model, split, test, own)) if damage else []
    records = []
    for rule, piece in fitted.items():
        rows = [corruption_score(piece, outputs, target, m, corruption) for m, corruption, outputs in views]
        corrupted = [Metric(k, v, row.modality, row.corruption) for row in rows for k, v in row.scores.items()]
        with torch.no_grad():
            own_scores = [Metric(k, v) for k, v in scores(task, piece(test), target).items()]
        metrics = [*shared, *own_scores, *corrupted, *corrupted_means(corrupted, task.score_name)]
        records.append(
            RunRecord(
                f"{folder.name}-{rule}-{name}",
                name,
                RowId(config.method, config.method_args, alone, rule),
                config.seed,
                task.name,
                model.modalities,
                rule,
                task.score_name,
                source=name,
                config=config.to_dict(),
                metrics=tuple(metrics),
            )
        )
    return records


def jobs_of(
    data: str, rules: Sequence[str], work: Path, methods: Sequence[str]
) -> list[tuple[dict[str, Any], list[str]]]:
    """Return the chosen trainings of a data set and the rules to be read from each."""
    file = work / data / "chosen.json"
    wanted = [parse_method(m) for m in methods]
    found: list[tuple[dict[str, Any], list[str]]] = []
    for entry in json.loads(file.read_text()) if file.is_file() else []:
        if wanted and not any(entry["method"] == name and args in ({}, entry["args"]) for name, args in wanted):
            continue
        if entry["method"] in ALONE:
            found += [(c, [ALONE[entry["method"]]]) for c in entry["calibrated"]]
        else:
            found += [(c, ["fused"]) for c in entry.get("fused", []) if "fused" in rules]
            found += [(c, [r for r in rules if r != "fused"]) for c in entry.get("calibrated", [])]
    return [(config, asked) for config, asked in found if asked]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--data", default=",".join(EPOCHS))
    parser.add_argument(
        "--methods", default="", help="as for train.py, with or without hyper-parameters; all by default"
    )
    parser.add_argument("--rules", default=",".join(RULES))
    parser.add_argument("--no-damage", action="store_true", help="clean test sets only")
    parser.add_argument("--no-probes", action="store_true", help="no linear probes (slow with many classes)")
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    for data in options.data.split(","):
        methods = [m for m in options.methods.split(";") if m]
        jobs = jobs_of(data, options.rules.split(","), options.work, methods)
        parallel = joblib.Parallel(n_jobs=options.jobs, batch_size=1)
        found = parallel(
            joblib.delayed(read)(config, rules, options.work, not options.no_damage, not options.no_probes)
            for config, rules in jobs
        )
        print(data, len(jobs), "trainings,", sum(map(len, found)), "records", flush=True)


if __name__ == "__main__":
    main()
