"""Choose formulations of ARM on splits of the training and validation sets of four data sets. No test set is read.

    python benchmarks/arm/formulations.py --work FOLDER [--methods "uniform;arm;arm[gamma=0]"] [--jobs 2]

Six splits per data set: a quarter of the samples, two of the smart watch's subjects, or one speaker (four splits) stand
for the test set, the rest trains. Every row is trained at 3 and 9 times the recipe's learning rate, and the rate that
is best for it under the calibrated rule counts. Writes ``formulations.md`` beside this file: points over uniform
training on the same splits.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import joblib
import numpy as np
import torch

HERE: Final = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "zoo"))

from read import RULES, fitted_rule  # noqa: E402
from train import SELECTION, Keep, base_config, variant  # noqa: E402

from counterpoise.data import MultimodalData, Split  # noqa: E402
from counterpoise.evaluation.robustness import corrupted_outputs  # noqa: E402
from counterpoise.experiment.config import parse_method  # noqa: E402
from counterpoise.experiment.runner import open_cached  # noqa: E402
from counterpoise.report.analysis.statistics import Paired, paired_difference  # noqa: E402
from counterpoise.training import collect, fit  # noqa: E402

METHODS: Final = "uniform;mmpareto;dgl;arm;arm[minmax=false];arm[fusion=false];arm[resampling=false];arm[smoothing=0.0]"
RATES: Final = (3.0, 9.0)
GROUPS: Final = {"smartwatch": 2, "av-mnist-speakers": 1}
"""How many subjects or speakers stand for the test set."""
SPLITS: Final = 6
DAMAGED: Final = 600
"""Samples that are damaged, about."""


def joined(a: Split, b: Split) -> Split:
    group = None if a.group is None or b.group is None else np.concatenate([a.group, b.group])
    arrays = {m: np.concatenate([a.arrays[m], b.arrays[m]]) for m in a.arrays}
    return Split(arrays, np.concatenate([a.target, b.target]), group, a.augmentation)


def split_of(name: str, k: int) -> MultimodalData:
    """Return a data set whose validation set is the k-th stand-in for a test set."""
    data = open_cached(name)
    whole, rng = joined(data.train, data.val), np.random.default_rng(100 + k)
    away = np.zeros(len(whole), bool)
    if name in GROUPS:
        known = np.unique(whole.group)  # type: ignore[arg-type]
        chosen = known[[k]] if GROUPS[name] == 1 else rng.permutation(known)[: GROUPS[name]]
        away = np.isin(whole.group, chosen)  # type: ignore[arg-type]
    else:
        for c in np.unique(whole.target):
            rows = rng.permutation(np.flatnonzero(whole.target == c))
            away[rows[: round(len(rows) / 4)]] = True
    train, test = (whole.subset(np.flatnonzero(x)) for x in (~away, away))
    return MultimodalData(data.info, train, test, data.test)


def score(name: str, spec: str, rate: float, k: int, work: Path) -> dict[str, float]:
    """Train once and score under every rule on the stand-in for a test set; finished trainings are not repeated."""
    torch.set_num_threads(1)
    done = work / name / f"{spec}-{rate:g}-{k}.json"
    if done.is_file():
        return dict(json.loads(done.read_text()))
    data, keep = split_of(name, k), Keep()
    config = variant(base_config(name, *parse_method(spec)), rate, seed=k)
    fitted = fit(data, config, callbacks=[keep], curves=False)
    model, task = fitted.model.eval(), fitted.model.task
    outputs, target = collect(model, data.val.batches(512))
    few = data.val.subset(np.arange(0, len(data.val), max(1, len(data.val) // DAMAGED)))
    clean, labels = collect(model, few.batches(512))
    views = [v for *_, v in corrupted_outputs(model, few, clean, model.modalities)]
    found = {}
    with torch.no_grad():
        for name_of_rule in RULES:
            rule = fitted_rule(name_of_rule, {"half": keep.model, "end": model}, config, data)
            found[name_of_rule] = 100 * task.sample_score(rule(outputs), target).float().mean().item()
            hits = [task.sample_score(rule(v), labels).float().mean().item() for v in views]
            found[f"{name_of_rule}, damaged"] = 100 * sum(hits) / len(hits)
    done.parent.mkdir(parents=True, exist_ok=True)
    done.write_text(json.dumps(found))
    return found


def table(scores: dict[tuple[str, str, float, int], dict[str, float]], methods: Sequence[str]) -> str:
    """Return points over the first method, paired by split: by data set under the dynamic rule, and their means."""
    shown = ("fused", "calibrated", "dynamic", "dynamic, damaged")

    def best(d: str, m: str) -> dict[int, dict[str, float]]:
        tried = [{k: s for (a, b, r, k), s in scores.items() if (a, b, r) == (d, m, rate)} for rate in RATES]
        return max(tried, key=lambda found: np.mean([s["calibrated"] for s in found.values()]))

    def gain(d: str, m: str, metric: str) -> Paired:
        ours, theirs = ({k: s[metric] for k, s in best(d, x).items()} for x in (m, methods[0]))
        return paired_difference(ours, theirs)

    lines = [
        f"Points of accuracy over {methods[0]} training, paired by split (mean ± standard error), on splits of the "
        "training and validation sets; in the last columns means over the four data sets.",
        "",
        "| method | " + " | ".join([*(f"{d} (dynamic)" for d in SELECTION), *shown]) + " |",
        "|---|" + "---:|" * (len(SELECTION) + len(shown)),
    ]
    for m in methods[1:]:
        cells = [f"{g.diff:+.1f} ± {g.se:.1f}" for g in (gain(d, m, "dynamic") for d in SELECTION)]
        means = [np.mean([gain(d, m, metric).diff for d in SELECTION]) for metric in shown]
        lines.append(f"| {m} | " + " | ".join([*cells, *(f"{v:+.2f}" for v in means)]) + " |")
    return "\n".join(["# Formulations on splits of the training data", "", *lines]) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--methods", default=METHODS)
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    methods = options.methods.split(";")
    keys = [
        (d, m, rate, k)
        for m in methods
        for d in SELECTION
        for rate in RATES
        for k in range(4 if GROUPS.get(d) == 1 else SPLITS)
    ]
    parallel = joblib.Parallel(n_jobs=options.jobs, batch_size=1)
    found = parallel(joblib.delayed(score)(*key, options.work) for key in keys)
    (HERE / "formulations.md").write_text(table(dict(zip(keys, found, strict=True)), methods), encoding="utf-8")


if __name__ == "__main__":
    main()
