"""Is a recommendation right? Recommend on training and validation samples, then measure on the test set.

    python benchmarks/recommend/run.py --work FOLDER [--data kanji,wikipedia] [--splits 4] [--seeds 3]

For every data set, `counterpoise.recommend` chooses a method and a rule without reading the test set. Then every
candidate is trained with several seeds on the training set and scored on the test set, so that the choice can be
compared with joint training, with the best candidate on the test set, and with the best fixed choice for all data sets.
Finished trainings are read, so that the command resumes. Adds a line per data set to ``outcomes.jsonl`` and writes
``table.md`` beside this file.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from sets import EPOCHS, USED, open_data_set

from counterpoise import recommend
from counterpoise.data import MultimodalData
from counterpoise.experiment.config import make_config
from counterpoise.experiment.recommend import BASELINE, CANDIDATES, RULE_CANDIDATES
from counterpoise.experiment.trials import CORRUPTED, Trial, do_trials

HERE: Final = Path(__file__).parent
Outcome = Mapping[str, Any]
"""A line of ``outcomes.jsonl``: the recommendation, and the gain of every candidate on the test set by seed."""


def measure(name: str, work: Path, splits: int, seeds: int) -> Outcome:
    """Recommend, and measure every candidate on the test set."""
    given = {"fit": {"epochs": EPOCHS[name]}}
    data = open_data_set(name)
    started = time.process_time()
    found = recommend(data, splits=splits, given=given, out=work / name, jobs=1)
    seconds = time.process_time() - started
    scores = test_scores(data, given, work / name / "test", seeds)
    gains = {
        condition: {f"{m}, {r}": (np.array(v) - np.array(rows[BASELINE])).tolist() for (m, r), v in rows.items()}
        for condition, rows in scores.items()
    }
    return {"data": name, "recommendation": found.to_dict(), "gains": gains, "seconds": round(seconds)}


def test_scores(
    data: MultimodalData, given: Mapping[str, Any], folder: Path, seeds: int
) -> dict[str, dict[tuple[str, str], list[float]]]:
    """Return the score of every candidate on the test set by seed, with inputs as they are and corrupted."""
    swapped = replace(data, val=data.test, test=data.val)  # a trial scores on what is called validation
    scores: dict[str, dict[tuple[str, str], list[float]]] = {"ordinary": {}, "corrupted": {}}
    plans = [("joint", ("fused",), True)] + [(m, RULE_CANDIDATES, False) for m in CANDIDATES]
    for seed in range(seeds):
        for method, rules, baseline in plans:
            config = make_config(data.info, {**given, "data": data.info.name, "method": method, "seed": seed})
            (result,) = do_trials([Trial(config, tuple(rules), corrupted=True)], folder, data=swapped, jobs=1)
            for rule, reached in result.scores.items():
                if (method, rule) == BASELINE and not baseline:
                    continue
                scores["ordinary"].setdefault((method, rule), []).append(reached[result.score])
                scores["corrupted"].setdefault((method, rule), []).append(reached[CORRUPTED])
    return scores


def error(values: np.ndarray) -> float:
    """Return the standard error of a mean over seeds."""
    return float(values.std(ddof=1) / np.sqrt(len(values)))


def own_gain(outcome: Outcome, condition: str) -> np.ndarray:
    """Return the gain of the recommended choice on the test set by seed."""
    choice = outcome["recommendation"][condition]
    return np.array(outcome["gains"][condition][f"{choice['method']}, {choice['rule']}"])


def fixed_choices(outcomes: Sequence[Outcome], condition: str) -> dict[str, float]:
    """Return the mean gain over the data sets of every candidate that all of them have."""
    names = set.intersection(*(set(o["gains"][condition]) for o in outcomes))
    means = {name: float(np.mean([np.mean(o["gains"][condition][name]) for o in outcomes])) for name in names}
    return dict(sorted(means.items(), key=lambda item: -item[1]))


def table(outcomes: Sequence[Outcome]) -> str:
    """Return the tables for ordinary and corrupted inputs."""
    seconds = sum(o["seconds"] for o in outcomes)
    known = [o["data"] for o in outcomes if o["data"] in USED]
    lines = ["# Are recommendations right?", ""]
    lines += [
        "Gains over joint training in points: as expected from splits of the training and validation samples (with a",
        "90 % interval), and on the test set (mean and standard error over seeds). The best candidate and the best",
        "fixed choice are chosen on the test sets, which nobody can do.",
        f"Of these data sets, {', '.join(known) or 'none'} had been looked at when the candidates were chosen. The",
        f"recommendations took {seconds / 60:.0f} minutes of one processor for {len(outcomes)} data sets.",
    ]
    for condition, title in (("ordinary", "Inputs as they are"), ("corrupted", "One modality corrupted")):
        lines += ["", f"**{title}**", "", *condition_lines(outcomes, condition)]
    return "\n".join(lines) + "\n"


def condition_lines(outcomes: Sequence[Outcome], condition: str) -> list[str]:
    """Return the table of one condition of the inputs."""
    fixed = fixed_choices(outcomes, condition)
    best_fixed = next(iter(fixed))
    lines = ["| data | recommended | expected | on the test set | best candidate | its gain | best fixed choice |"]
    lines.append("|---|---|---:|---:|---|---:|---:|")
    reached, below = [], []
    for outcome in outcomes:
        choice = outcome["recommendation"][condition]
        gains = {name: float(np.mean(v)) for name, v in outcome["gains"][condition].items()}
        own = own_gain(outcome, condition)
        best = max(gains, key=lambda name: gains[name])
        reached.append(own.mean())
        if own.mean() < -error(own):
            below.append(outcome["data"])
        shown = f"{choice['method']}, {choice['rule']}" if choice["significant"] else "joint training"
        expected = f"{100 * choice['gain']:+.1f} ({100 * choice['low']:+.1f} to {100 * choice['high']:+.1f})"
        cells = [outcome["data"], shown, expected, f"{100 * own.mean():+.1f} ± {100 * error(own):.1f}", best]
        cells += [f"{100 * gains[best]:+.1f}", f"{100 * gains[best_fixed]:+.1f}"]
        lines.append(f"| {' | '.join(cells)} |")
    mean = f"{100 * np.mean(reached):+.1f}"
    lines.append(f"| mean |  |  | {mean} |  |  | {100 * fixed[best_fixed]:+.1f} ({best_fixed}) |")
    return [*lines, "", f"Below joint training by more than a standard error: {', '.join(below) or 'none'}."]


def main() -> None:
    """Recommend and measure what is missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--runs", type=Path, default=HERE / "outcomes.jsonl")
    parser.add_argument("--data", default=",".join(EPOCHS))
    parser.add_argument("--splits", type=int, default=4)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    outcomes = [json.loads(x) for x in options.runs.read_text().splitlines()] if options.runs.is_file() else []
    for name in options.data.split(","):
        if name not in {o["data"] for o in outcomes}:
            outcomes.append(measure(name, options.work, options.splits, options.seeds))
            with options.runs.open("a") as file:
                file.write(json.dumps(outcomes[-1]) + "\n")
        (HERE / "table.md").write_text(table(outcomes))
    print(table(outcomes), flush=True)


if __name__ == "__main__":
    main()
