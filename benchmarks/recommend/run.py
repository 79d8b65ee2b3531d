"""Is a recommendation right? Recommend on training and validation samples, then measure on the test set.

    python benchmarks/recommend/run.py --work FOLDER [--data kanji,wikipedia] [--splits 4] [--seeds 3]

For every data set, `counterpoise.recommend` chooses a method and a rule without reading the test set. Then every
candidate is trained with several seeds on the training set and scored on the test set, so that the choice can be
compared with joint training, with the best candidate on the test set, and with the best fixed choice for all data sets.
Finished trainings are read, so that the command resumes. Writes ``table.md`` beside this file.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import torch

from counterpoise import Recommendation, recommend
from counterpoise.experiment.config import make_config
from counterpoise.experiment.folders import open_cached
from counterpoise.experiment.recommend import CANDIDATES, RULE_CANDIDATES
from counterpoise.experiment.trials import CORRUPTED, Trial, do_trials

EPOCHS: Final = {"kanji": 10, "wikipedia": 15, "handwritten": 10, "leaves100": 10, "smartwatch": 6, "utd-mhad": 10}
HERE: Final = Path(__file__).parent
BASELINE: Final = ("joint", "fused")
Row = tuple[str, str]


@dataclass(frozen=True)
class Outcome:
    """A recommendation, and the gain of every candidate over joint training on the test set, by seed."""

    found: Recommendation
    gains: dict[bool, dict[Row, np.ndarray]]


def measure(name: str, work: Path, splits: int, seeds: int) -> Outcome:
    """Recommend, and measure every candidate on the test set."""
    given = {"fit": {"epochs": EPOCHS[name]}}
    found = recommend(name, splits=splits, given=given, out=work / name, jobs=1)
    data = open_cached(name, 0)
    swapped = replace(data, val=data.test, test=data.val)  # a trial scores on what is called validation
    scores: dict[bool, dict[Row, list[float]]] = {False: {}, True: {}}
    plans = [("joint", ("fused",), True)] + [(m, RULE_CANDIDATES, False) for m in CANDIDATES]
    for seed in range(seeds):
        for method, rules, baseline in plans:
            config = make_config(data.info, {**given, "data": name, "method": method, "seed": seed})
            (result,) = do_trials(
                [Trial(config, tuple(rules), corrupted=True)], work / name / "test", data=swapped, jobs=1
            )
            for rule, reached in result.scores.items():
                if (method, rule) == BASELINE and not baseline:
                    continue
                scores[False].setdefault((method, rule), []).append(reached[result.score])
                scores[True].setdefault((method, rule), []).append(reached[CORRUPTED])
    gains = {
        condition: {row: np.array(values) - np.array(rows[BASELINE]) for row, values in rows.items()}
        for condition, rows in scores.items()
    }
    return Outcome(found, gains)


def error(values: np.ndarray) -> float:
    """Return the standard error of a mean over seeds."""
    return float(values.std(ddof=1) / np.sqrt(len(values)))


def table(outcomes: dict[str, Outcome]) -> str:
    """Return the tables for ordinary and corrupted inputs."""
    lines = ["# Are recommendations right?", ""]
    lines += [
        "Gains over joint training in points: as expected from splits of the training and validation samples (with a",
        "90 % interval), and on the test set (mean and standard error over seeds). The best candidate and the best",
        "fixed choice are chosen on the test sets, which nobody can do.",
    ]
    for condition, title in ((False, "Inputs as they are"), (True, "One modality corrupted")):
        fixed = {
            row: np.mean([o.gains[condition][row].mean() for o in outcomes.values()])
            for row in next(iter(outcomes.values())).gains[condition]
            if all(row in o.gains[condition] for o in outcomes.values())
        }
        best_fixed = max(fixed, key=lambda row: fixed[row])
        lines += ["", f"## {title}", ""]
        lines.append(
            "| data | recommended | expected | on the test set | best candidate | its gain | best fixed choice |"
        )
        lines.append("|---|---|---:|---:|---|---:|---:|")
        reached = []
        for name, outcome in outcomes.items():
            choice = outcome.found.corrupted if condition else outcome.found.ordinary
            gains = outcome.gains[condition]
            own = gains[choice.method, choice.rule]
            best = max(gains, key=lambda row: gains[row].mean())
            reached.append(own.mean())
            shown = f"{choice.method}, {choice.rule}" if choice.significant else "joint training"
            cells = [name, shown, f"{100 * choice.gain:+.1f} ({100 * choice.low:+.1f} to {100 * choice.high:+.1f})"]
            cells += [f"{100 * own.mean():+.1f} ± {100 * error(own):.1f}", ", ".join(best)]
            cells += [f"{100 * gains[best].mean():+.1f}", f"{100 * gains[best_fixed].mean():+.1f}"]
            lines.append(f"| {' | '.join(cells)} |")
        mean = f"{100 * np.mean(reached):+.1f}"
        lines.append(f"| mean |  |  | {mean} |  |  | {100 * fixed[best_fixed]:+.1f} ({', '.join(best_fixed)}) |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--data", default=",".join(EPOCHS))
    parser.add_argument("--splits", type=int, default=4)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    outcomes = {}
    for name in options.data.split(","):
        outcomes[name] = measure(name, options.work, options.splits, options.seeds)
        print(outcomes[name].found, flush=True)
        (HERE / "table.md").write_text(table(outcomes))
        print(table(outcomes), flush=True)


if __name__ == "__main__":
    main()
