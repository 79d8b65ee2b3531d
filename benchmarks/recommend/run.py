"""Is a recommendation right? Recommend on training and validation samples, then measure on the test set.

    python benchmarks/recommend/run.py --work FOLDER [--data kanji,wikipedia] [--splits 5] [--seeds 3]

For every data set, all candidates of `counterpoise.recommend` are trained on its splits, which never read the test
set. Then every candidate is trained with several seeds on the training set and scored on the test set. Finished
trainings are read, so that the command resumes; it adds a line per data set to ``outcomes.jsonl``.

From these lines it writes ``table.md`` (the recommendation for each data set, with priors from all *other* data sets,
compared with joint training, the best candidate on the test set, and the best fixed choice for all data sets) and the
gains that come with the package, ``src/counterpoise/experiment/gains.json`` (from all data sets).
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from sets import EPOCHS, USED, open_data_set

from counterpoise import recommend
from counterpoise.data import MultimodalData
from counterpoise.experiment import gains as shipped
from counterpoise.experiment.config import make_config
from counterpoise.experiment.gains import BenchmarkGains, Gain, fit_benchmark_gains
from counterpoise.experiment.recommend import (
    BASELINE,
    CANDIDATES,
    HARM,
    LEVEL,
    RULE_CANDIDATES,
    Candidate,
    choose,
    expected_gains,
    gains_on_splits,
)
from counterpoise.experiment.trials import CORRUPTED, Trial, do_trials

HERE: Final = Path(__file__).parent
SHIPPED: Final = Path(shipped.__file__).with_name("gains.json")
HARMS: Final = (0.05, 0.1, 0.25, 0.5)
CONDITIONS: Final = {"ordinary": "Inputs as they are", "corrupted": "One modality corrupted"}
Outcome = Mapping[str, Any]
"""A line of ``outcomes.jsonl``: the scores of every candidate on the splits, and its gains on the test set by seed."""


def measure(name: str, work: Path, splits: int, seeds: int) -> Outcome:
    """Train every candidate on the splits, and measure it on the test set."""
    given = {"fit": {"epochs": EPOCHS[name]}}
    data = open_data_set(name)
    started = time.process_time()
    recommendation = recommend(data, splits=splits, given=given, out=work / name, jobs=1)
    seconds = time.process_time() - started
    test = test_scores(data, given, work / name / "test", seeds)
    return {
        "data": name,
        "metric": recommendation.metric,
        "folds": recommendation.folds,
        "splits": [vars(c) for c in recommendation.candidates],
        "test": {condition: test_gains(rows) for condition, rows in test.items()},
        "seconds": round(seconds),
    }


def test_gains(rows: Mapping[tuple[str, str], Sequence[float]]) -> list[dict[str, Any]]:
    """Return the gain of every candidate over joint training by seed."""
    base = np.array(rows[BASELINE])
    return [
        {"method": method, "rule": rule, "gains": (np.array(own) - base).round(6).tolist()}
        for (method, rule), own in rows.items()
    ]


def test_scores(
    data: MultimodalData, given: Mapping[str, Any], folder: Path, seeds: int
) -> dict[str, dict[tuple[str, str], list[float]]]:
    """Return the score of every candidate on the test set by seed, with inputs as they are and corrupted."""
    swapped = replace(data, val=data.test, test=data.val)  # a trial scores on what is called validation
    scores: dict[str, dict[tuple[str, str], list[float]]] = {condition: {} for condition in CONDITIONS}
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


# -- what the data sets show ------------------------------------------------------------------------------------------


def on_test(outcome: Outcome, condition: str) -> dict[tuple[str, str], np.ndarray]:
    """Return the gain on the test set by candidate and seed."""
    return {(x["method"], x["rule"]): np.array(x["gains"]) for x in outcome["test"][condition]}


def candidates_of(outcome: Outcome) -> list[Candidate]:
    """Return the candidates with their scores on the splits."""
    return [Candidate(x["method"], x["rule"], tuple(x["scores"]), tuple(x["corrupted"])) for x in outcome["splits"]]


def benchmark_gains(outcomes: Sequence[Outcome], condition: str) -> BenchmarkGains:
    """Return what data sets show about gains on a further one."""
    tests = [{name: own.tolist() for name, own in on_test(o, condition).items() if name != BASELINE} for o in outcomes]
    corrupted = condition == "corrupted"
    return fit_benchmark_gains(
        tests, [gains_on_splits(candidates_of(o), o["folds"], corrupted=corrupted) for o in outcomes]
    )


def shipped_gains(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Return the content of ``gains.json``, from all data sets, by score and condition of the inputs."""
    content: dict[str, Any] = {}
    for metric in sorted({o["metric"] for o in outcomes}):
        own = [o for o in outcomes if o["metric"] == metric]
        content[metric] = {"data": [o["data"] for o in own]}
        for condition in CONDITIONS:
            known = benchmark_gains(own, condition)
            priors = [
                {"method": m, "rule": r, "mean": round(g.mean, 5), "sd": round(g.sd, 5)}
                for (m, r), g in known.priors.items()
            ]
            content[metric][condition] = {"shift": round(known.shift, 5), "priors": priors}
    return content


# -- recommendations ---------------------------------------------------------------------------------------------------

Judge = Callable[[Outcome, BenchmarkGains, str], Mapping[tuple[str, str], Gain]]


def from_both(outcome: Outcome, benchmarks: BenchmarkGains, condition: str) -> Mapping[tuple[str, str], Gain]:
    """Return the posteriors: what `recommend` uses."""
    corrupted = condition == "corrupted"
    return expected_gains(candidates_of(outcome), benchmarks, outcome["folds"], corrupted=corrupted)


def from_splits(outcome: Outcome, benchmarks: BenchmarkGains, condition: str) -> Mapping[tuple[str, str], Gain]:
    """Return what the splits alone lead one to expect."""
    return from_both(outcome, BenchmarkGains(), condition)


def from_benchmarks(outcome: Outcome, benchmarks: BenchmarkGains, condition: str) -> Mapping[tuple[str, str], Gain]:
    """Return what the other data sets alone lead one to expect."""
    return benchmarks.priors


def judged(
    outcomes: Sequence[Outcome], outcome: Outcome, condition: str, judge: Judge = from_both, harm: float = HARM
) -> tuple[tuple[str, str], Mapping[tuple[str, str], Gain]]:
    """Return the choice for a data set, and the expected gains, with priors from all other data sets."""
    others = [o for o in outcomes if o["data"] != outcome["data"] and o["metric"] == outcome["metric"]]
    gains = judge(outcome, benchmark_gains(others, condition), condition)
    return choose(gains, harm), gains


def error(values: np.ndarray) -> float:
    """Return the standard error of a mean over seeds."""
    return float(values.std(ddof=1) / np.sqrt(len(values)))


def fixed_choices(outcomes: Sequence[Outcome], condition: str) -> dict[tuple[str, str], float]:
    """Return the mean gain over the data sets of every candidate that all of them have, the best first."""
    tables = [on_test(o, condition) for o in outcomes]
    names = [name for name in tables[0] if all(name in t for t in tables)]
    means = {name: float(np.mean([t[name].mean() for t in tables])) for name in names}
    return dict(sorted(means.items(), key=lambda item: -item[1]))


def shown(name: tuple[str, str]) -> str:
    return "joint training" if name == BASELINE else ", ".join(name)


def points(value: float) -> str:
    return f"{100 * value:+.1f}"


def table(outcomes: Sequence[Outcome]) -> str:
    """Return the tables for ordinary and corrupted inputs."""
    seconds = sum(o["seconds"] for o in outcomes)
    known = [o["data"] for o in outcomes if o["data"] in USED]
    lines = [
        "# Are recommendations right?",
        "",
        "Gains over joint training in points: as expected from splits of the training and validation samples and from",
        "the test sets of all *other* data sets (with a 90 % interval), and on the test set (mean and standard error",
        "over seeds). The best candidate and the best fixed choice are chosen on the test sets, which nobody can do.",
        f"The candidates and the rule of choice were settled on {', '.join(known)}. The trainings for the",
        f"recommendations took {seconds / 60:.0f} minutes of one processor for {len(outcomes)} data sets.",
    ]
    for condition, title in CONDITIONS.items():
        lines += ["", f"**{title}**", "", *condition_lines(outcomes, condition)]
    lines += ["", "**What the choice rests on**", "", *source_lines(outcomes)]
    lines += [
        "",
        f"**How the {HARM:.0%} were chosen**, on these data sets: {', '.join(known)}.",
        "",
        *harm_lines(outcomes),
    ]
    return "\n".join(lines) + "\n"


def condition_lines(outcomes: Sequence[Outcome], condition: str) -> list[str]:
    """Return the table of one condition of the inputs."""
    lines = ["| data | recommended | expected | on the test set | best candidate | its gain | best fixed choice |"]
    lines.append("|---|---|---:|---:|---|---:|---:|")
    best_fixed = next(iter(fixed_choices(outcomes, condition)))
    for outcome in outcomes:
        choice, gains = judged(outcomes, outcome, condition)
        test = on_test(outcome, condition)
        own, best = test[choice], max(test, key=lambda name: test[name].mean())
        interval = [points(x) for x in gains[choice].interval(LEVEL)] if choice in gains else []
        expected = f"{points(gains[choice].mean)} ({' to '.join(interval)})" if interval else "–"
        cells = [
            outcome["data"],
            shown(choice),
            expected,
            f"{points(own.mean())} ± {100 * error(own):.1f}",
            shown(best),
        ]
        lines.append(f"| {' | '.join([*cells, points(test[best].mean()), points(test[best_fixed].mean())])} |")
    for title, part in parts(outcomes).items():
        fixed = fixed_choices(part, condition)
        name, gain = next(iter(fixed.items()))
        own_gains = [on_test(o, condition)[judged(outcomes, o, condition)[0]].mean() for o in part]
        oracle = np.mean([max(v.mean() for v in on_test(o, condition).values()) for o in part])
        cells = [f"mean, {title}", "", "", points(float(np.mean(own_gains))), "", points(float(oracle))]
        lines.append(f"| {' | '.join(cells)} | {points(gain)} ({shown(name)}) |")
    below = [o["data"] for o in outcomes if is_below(o, condition, judged(outcomes, o, condition)[0])]
    return [*lines, "", f"Below joint training by more than a standard error: {', '.join(below) or 'none'}."]


def parts(outcomes: Sequence[Outcome]) -> dict[str, Sequence[Outcome]]:
    """Return the data sets over which means are taken: all, and those on which nothing was chosen."""
    unseen = [o for o in outcomes if o["data"] not in USED]
    return {"all": outcomes, "unseen": unseen} if unseen else {"all": outcomes}


def is_below(outcome: Outcome, condition: str, choice: tuple[str, str]) -> bool:
    """Return whether a choice is below joint training by more than a standard error."""
    own = on_test(outcome, condition)[choice]
    return bool(own.mean() < -error(own))


def reached(outcomes: Sequence[Outcome], part: Sequence[Outcome], judge: Judge, harm: float = HARM) -> list[str]:
    """Return the mean gain of the choices for some data sets, and how many are below joint training, by condition."""
    cells = []
    for condition in CONDITIONS:
        choices = [judged(outcomes, o, condition, judge, harm)[0] for o in part]
        gains = [on_test(o, condition)[c].mean() for o, c in zip(part, choices, strict=True)]
        below = sum(is_below(o, condition, c) for o, c in zip(part, choices, strict=True))
        cells += [points(float(np.mean(gains))), f"{below} of {len(part)}"]
    return cells


def source_lines(outcomes: Sequence[Outcome]) -> list[str]:
    """Return what a choice by the splits alone, by the other data sets alone, and by both reaches."""
    lines = ["| choice by | data sets | " + " | ".join(f"{c} | below joint" for c in CONDITIONS) + " |"]
    lines.append("|---|---|" + "---:|" * (2 * len(CONDITIONS)))
    judges = {"the splits alone": from_splits, "the other data sets alone": from_benchmarks, "both": from_both}
    for title, judge in judges.items():
        for name, part in parts(outcomes).items():
            lines.append(f"| {' | '.join([title, name, *reached(outcomes, part, judge)])} |")
    return lines


def harm_lines(outcomes: Sequence[Outcome]) -> list[str]:
    """Return what each accepted probability of harm reaches on the data sets on which it was chosen."""
    known = [o for o in outcomes if o["data"] in USED]
    lines = ["| accepted probability of harm | " + " | ".join(f"{c} | below joint" for c in CONDITIONS) + " |"]
    lines.append("|---:|" + "---:|" * (2 * len(CONDITIONS)))
    rows = [[f"{harm:.0%}", *reached(outcomes, known, from_both, harm)] for harm in HARMS]
    return [*lines, *(f"| {' | '.join(cells)} |" for cells in rows)]


def main() -> None:
    """Measure what is missing, and write the table and the gains."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=None, help="folder of the trainings; without it only the tables")
    parser.add_argument("--runs", type=Path, default=HERE / "outcomes.jsonl")
    parser.add_argument("--data", default=",".join(EPOCHS))
    parser.add_argument("--splits", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    outcomes = [json.loads(x) for x in options.runs.read_text().splitlines()] if options.runs.is_file() else []
    missing = [name for name in options.data.split(",") if name not in {o["data"] for o in outcomes}]
    for name in missing if options.work is not None else []:
        outcomes.append(measure(name, options.work, options.splits, options.seeds))
        with options.runs.open("a") as file:
            file.write(json.dumps(outcomes[-1]) + "\n")
        print(name, outcomes[-1]["seconds"], "s", flush=True)
    (HERE / "table.md").write_text(table(outcomes), encoding="utf-8")
    SHIPPED.write_text(json.dumps(shipped_gains(outcomes), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
