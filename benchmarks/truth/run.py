"""Judge `diagnose` and `estimate` on cases whose answers are known.

    python benchmarks/truth/run.py [--repetitions 20] [--jobs 2] [--only XOR] [--cache draws.jsonl] [--minutes 45]

writes ``truth.md`` and ``truth.csv`` beside this file. With ``--only`` only the rows whose name contains the text run,
and the table is printed instead. ``--cache`` keeps what was measured, and a second run goes on where the first stopped.
With ``--minutes`` (in one process) every row is drawn once, then the rows that are the cheapest to judge get further
draws until the time is over. How verdicts are judged is written in `judge`.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import time
import traceback
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")
import forms
import joblib
import numpy as np
import torch
from cases import CASES, WORLDS, Case
from judge import Truth, judge, truth_of
from models import EXACT, permutation_effect
from scipy import stats
from worlds import Draw

HERE = Path(__file__).resolve().parent
ESTIMATES = ("mi", "cmi", "joint", "used", "joint_used")
LIMIT = 5000
"""Of more samples `diagnose` takes a random subset, whose accuracy is another."""
FEWEST = 20
"""Intervals from which on the coverage of an estimate in a row is judged."""
GOALS = (1, FEWEST // 2, FEWEST, 2 * FEWEST)
"""Numbers of draws at which all rows have been tried, estimates of each modality can be judged, then all estimates."""
MANY = 10**6
LOWEST, HIGHEST = 0.90, 0.99
"""The share of 95 % intervals that should hold the truth, in every row."""


@cache
def truth(name: str) -> Truth:
    """Return the truth of the row with a name."""
    case = next(case for case in CASES if case.name == name)
    world, plant = WORLDS[case.world], case.plant
    if plant is None:
        return truth_of(world, None, {}, {})
    exact = {m: permutation_effect(world, EXACT.build(world, None), m) for m in world.modalities}
    model = plant.build(world, world.draw(10, 999))
    effects = {m: permutation_effect(world, model, m) for m in world.modalities}
    return truth_of(world, plant, effects, exact)


def share_valuations() -> None:
    """Let rows that diagnose the same inputs share the valuation of these inputs, which costs the most."""
    import counterpoise.diagnosis._arrays as arrays
    import counterpoise.diagnosis._run as models

    remembered: dict[str, Any] = {}
    measured = models.estimate

    def estimate(features: Mapping[str, Any], target: Any, **settings: Any) -> Any:
        key = _content(features, target, settings)
        if key is None:
            return measured(features, target, **settings)
        if key not in remembered:
            if len(remembered) > 4:
                remembered.clear()
            remembered[key] = measured(features, target, **settings)
        return remembered[key]

    models.estimate = arrays.estimate = estimate


def _content(features: Mapping[str, Any], target: Any, settings: Mapping[str, Any]) -> str | None:
    """Return a hash of the arguments of `estimate`, or None if they are no plain arrays."""
    plain = {m: x for m, x in features.items() if isinstance(x, np.ndarray) and x.dtype.kind in "fiu"}
    if len(plain) < len(features):
        return None
    task, group = settings["task"], settings.get("group")
    rest = sorted((k, v) for k, v in settings.items() if k not in ("task", "group"))
    content = [(m, np.ascontiguousarray(x)) for m, x in plain.items()]
    name = task if isinstance(task, str) else task.name
    return str(joblib.hash((content, np.asarray(target), None if group is None else np.asarray(group), name, rest)))


def measure(case: Case, seed: int) -> dict[str, Any]:
    """Return how one draw of a row was judged."""
    torch.set_num_threads(1)
    world, start = WORLDS[case.world], time.process_time()
    drawn = repeated(world.draw(case.n, seed), case.copies)
    train = world.draw(case.n, seed + 50_000) if case.train else None
    model = None if case.plant is None else case.plant.build(world, train)
    batch = 100 if case.n <= 5000 else 1000
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            reading = forms.run(case.form, forms.Request(world, drawn, train, model, seed, batch))
    except Exception as error:  # a refusal is a result
        place = traceback.extract_tb(error.__traceback__)[-1]
        return {"error": f"{type(error).__name__}: {error} ({Path(place.filename).name}:{place.lineno})"[:300]}
    known = None if model is None or case.n > LIMIT else accuracy(world.task, drawn, model)
    checked = judge(reading, truth(case.name), known)
    row = {k: getattr(checked, k) for k in ("right", "wrong", "undecided", "accused", "contradictions")}
    inside, errors = (checked.inside, checked.error) if case.covered else ({}, {})
    return {**row, "inside": inside, "errors": errors, "seconds": time.process_time() - start}


def repeated(draw: Draw, copies: int) -> Draw:
    """Return a draw with repeated rows in random order: all rows, or those of class 1 if ``copies`` is negative."""
    if copies == 1:
        return draw
    times = np.where(draw.target == 1, -copies, 1) if copies < 0 else np.full(len(draw.target), copies)
    if copies < 0:  # the rarer class is repeated until both are as frequent
        keep = (draw.target == 0) | (np.cumsum(draw.target == 1) <= (draw.target == 0).sum() // -copies)
        times = times * keep
    rows = np.random.default_rng(0).permutation(np.repeat(np.arange(len(times)), times))
    return Draw({m: x[rows] for m, x in draw.inputs.items()}, draw.target[rows])


def accuracy(task: str, draw: Draw, model: Any) -> float | None:
    """Return the model's accuracy, or R² (mean over outputs), on the samples."""
    out = model({m: torch.from_numpy(x) for m, x in draw.inputs.items()}).numpy()
    if task == "multiclass":
        return float((out.argmax(1) == draw.target).mean())
    if task == "multilabel":
        return float(((out > 0) == (draw.target > 0.5)).mean())
    residual, spread = ((draw.target - out) ** 2).sum(0), ((draw.target - draw.target.mean(0)) ** 2).sum(0)
    return float((1 - residual / spread).mean())


@dataclass(frozen=True)
class Row:
    """The summary of one row.

    Attributes:
        case: The row.
        runs: Number of draws.
        verdicts: Number of verdicts other than undecided.
        right: Number of acceptable ones among them.
        undecided: Number of "undecided".
        accused: Number of false accusations.
        coverage: Share and number of intervals that hold the truth, by estimate.
        bias: Mean error in nats of the estimate in which it is largest, by absolute value.
        contradictions: Number of draws with a contradiction.
        errors: Number of draws that ended in an error.
        seconds: Mean time of a draw.
        examples: One example each of wrong verdicts, contradictions and errors.
    """

    case: Case
    runs: int
    verdicts: int
    right: int
    undecided: int
    accused: int
    coverage: Mapping[str, tuple[float, int]]
    bias: float
    contradictions: int
    errors: int
    seconds: float
    examples: tuple[str, ...]

    @property
    def uncovered(self) -> tuple[str, ...]:
        """Estimates whose intervals hold the truth significantly less often than in 90 %."""
        return self._outside(LOWEST, "less")

    @property
    def wide(self) -> tuple[str, ...]:
        """Estimates whose intervals hold the truth significantly more often than in 99 %."""
        return self._outside(HIGHEST, "greater")

    def _outside(self, share: float, side: str) -> tuple[str, ...]:
        judged = {k: (round(s * n), n) for k, (s, n) in self.coverage.items() if n >= FEWEST}
        return tuple(k for k, (hits, n) in judged.items() if stats.binomtest(hits, n, share, side).pvalue < 0.05)

    @property
    def faults(self) -> tuple[str, ...]:
        """What is wrong with the row."""
        kinds = []
        if self.right < self.verdicts:
            kinds.append("verdict")
        if self.accused:
            kinds.append("accused")
        if self.contradictions:
            kinds.append("contradiction")
        if self.errors:
            kinds.append("error")
        kinds += [f"coverage of {k} below 90 %" for k in self.uncovered]
        return (*kinds, *(f"coverage of {k} above 99 %" for k in self.wide))


def summarise(case: Case, results: Sequence[Mapping[str, Any]]) -> Row:
    """Return the summary of a row's draws."""
    good = [r for r in results if "error" not in r]
    coverage, bias = _coverage(good)
    wrong = sum(len(r["wrong"]) for r in good)
    right = sum(r["right"] for r in good)
    return Row(
        case,
        len(results),
        right + wrong,
        right,
        sum(r["undecided"] for r in good),
        sum(len(r["accused"]) for r in good),
        coverage,
        bias,
        sum(bool(r["contradictions"]) for r in good),
        len(results) - len(good),
        float(np.mean([r["seconds"] for r in good])) if good else 0.0,
        _examples(results, good),
    )


def _coverage(good: Sequence[Mapping[str, Any]]) -> tuple[dict[str, tuple[float, int]], float]:
    """Return how often intervals hold the truth, with their number, by estimate, and the largest bias."""
    coverage: dict[str, tuple[float, int]] = {}
    biases = [0.0]
    for name in ESTIMATES:
        keys = sorted({k for r in good for k in r["inside"] if k.split(":")[0] == name})
        hits = [r["inside"][k] for r in good for k in keys]
        if hits:
            coverage[name] = (float(np.mean(hits)), len(hits))
            biases += [float(np.mean([r["errors"][k] for r in good])) for k in keys]
    return coverage, max(biases, key=abs)


def _examples(results: Sequence[Mapping[str, Any]], good: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Return the first wrong verdict, the first contradiction and the first error."""
    wrong = [r[k][0] for k in ("wrong", "contradictions") for r in good if r[k]]
    contradictions = [r["contradictions"][0] for r in good if r["contradictions"]]
    errors = [r["error"] for r in results if "error" in r]
    return tuple(dict.fromkeys([*wrong[:1], *contradictions[:1], *errors[:1]]))


COLUMNS = (
    "world",
    "model",
    "form",
    "n",
    "draws",
    "right",
    "undecided",
    "accused",
    *ESTIMATES,
    "bias",
    "contradictions",
)
HEADS = (
    "world", "model", "form", "n", "draws", "verdicts right", "undecided", "accused",
    "mi", "cmi", "joint", "used", "joint used", "largest bias (nats)", "contradictions",
)  # fmt: skip


def cells(row: Row) -> list[str]:
    """Return the cells of a row, as in HEADS."""
    world, model, form, n = row.case.name.split(" | ")
    shares = [f"{row.coverage[k][0]:.0%}" if k in row.coverage else "" for k in ESTIMATES]
    verdicts = f"{row.right} of {row.verdicts}" if row.verdicts + row.undecided else ""
    failed = f"{row.errors} errors" if row.errors else str(row.contradictions)
    counts = [verdicts, str(row.undecided), str(row.accused)]
    return [world, model, form, n, str(row.runs), *counts, *shares, f"{row.bias:+.3f}", failed]


def table(rows: Iterable[Row]) -> str:
    """Return the Markdown table."""
    lines = ["| " + " | ".join(HEADS) + " |", "|" + "---|" * 4 + "---:|" * (len(HEADS) - 4)]
    return "\n".join([*lines, *("| " + " | ".join(cells(row)) + " |" for row in rows)])


def summary(rows: Sequence[Row]) -> str:
    """Return the totals beside the targets."""
    verdicts, right = sum(r.verdicts for r in rows), sum(r.right for r in rows)
    undecided, accused = sum(r.undecided for r in rows), sum(r.accused for r in rows)
    everything = verdicts + undecided
    lines = ["| | target | measured |", "|---|---|---|", f"| rows | 80 | {len(rows)} |"]
    lines.append(f"| verdicts right, of those given | 97 % | {right / max(verdicts, 1):.1%} of {verdicts} |")
    lines.append(f'| "undecided" | counted | {undecided / max(everything, 1):.1%} of {everything} |')
    lines.append(f"| false accusations | at most 1 % | {accused / max(everything, 1):.1%} of {everything} |")
    for name, head in zip(ESTIMATES, HEADS[8:13], strict=True):
        counts = [r.coverage[name] for r in rows if name in r.coverage]
        total = sum(c for _, c in counts)
        share = sum(s * c for s, c in counts) / max(total, 1)
        low, wide = (sum(name in getattr(r, side) for r in rows) for side in ("uncovered", "wide"))
        judged = sum(c >= FEWEST for _, c in counts)
        target = "90 to 99 % in every row"
        lines.append(
            f"| 95 % intervals of {head} hold the truth | {target} | {share:.1%} of {total}; of {judged} rows with at "
            f"least {FEWEST} intervals {low} are significantly below 90 %, {wide} above 99 % |"
        )
    lines.append(
        f"| draws with a contradiction | 0 | {sum(r.contradictions for r in rows)} of {sum(r.runs for r in rows)} |"
    )
    lines.append(f"| draws that end in an error | 0 | {sum(r.errors for r in rows)} |")
    runs = sorted(r.runs for r in rows)
    lines.append(
        f"| draws per row | | {runs[0]} to {runs[-1]}, {runs[len(runs) // 2]} in the median, {sum(runs)} in all |"
    )
    return "\n".join(lines).replace("%", " %").replace("  %", " %")


def faults(rows: Sequence[Row]) -> str:
    """Return the rows in which something is wrong, with an example."""
    lines = [f"- {r.case.name}: {', '.join(r.faults)}. {'; '.join(r.examples)}" for r in rows if r.faults]
    return "\n".join(lines).replace(" | ", ", ") or "None."


def page(rows: Sequence[Row]) -> str:
    """Return the page."""
    import judge as rules
    from oracles import compare, markdown

    assert rules.__doc__ is not None
    return f"""# Known answers: what `diagnose` and `estimate` say, and what is true

Generated by `python benchmarks/truth/run.py`. Every row is a synthetic distribution whose information is known, a model
whose reliance on each modality is planted, and a form in which both reach the library.

## Summary

{summary(rows)}

## How verdicts are judged

{rules.__doc__.strip()}

Coverage is the share of 95 % intervals that hold the truth. An estimate is judged in rows with at least {FEWEST} of its
intervals, by binomial tests (one-sided, p < 0.05) against 90 and 99 %: of 20 rows that cover 90 %, one is expected to
fail by chance. Rows that share a distribution and a number of samples share their draws. A contradiction is a number
outside of [0, H(Y)], an interval that excludes one that it cannot exclude, a share above 100 %, information "used" of a
modality whose replacement changes no prediction, or an accuracy that is not the model's.

## Rows

{table(rows)}

## Rows with a fault

{faults(rows)}

## Independent implementations

{markdown(compare())}
"""


def seeds(case: Case, repetitions: int) -> range:
    """Return the seeds of a row."""
    return range(max(1, round(repetitions * case.share)))


def load(path: Path | None) -> dict[tuple[str, int], dict[str, Any]]:
    """Return what an earlier run measured."""
    if path is None or not path.exists():
        return {}
    lines = (json.loads(line) for line in path.read_text(encoding="utf-8").splitlines())
    return {(line["case"], line["seed"]): line["result"] for line in lines}


def bench(
    chosen: Sequence[Case], repetitions: int, jobs: int, kept: Path | None = None
) -> tuple[list[Row], dict[tuple[str, int], dict[str, Any]]]:
    """Measure rows and return their summaries and the results of single draws."""
    done = load(kept)
    todo = [(case, seed) for case in chosen for seed in seeds(case, repetitions) if (case.name, seed) not in done]
    with joblib.Parallel(n_jobs=jobs, return_as="generator") as parallel:
        results = parallel(joblib.delayed(measure)(case, seed) for case, seed in todo)
        for (case, seed), result in zip(todo, results, strict=True):
            done[case.name, seed] = result
            if kept is not None:
                with kept.open("a", encoding="utf-8") as file:
                    file.write(json.dumps({"case": case.name, "seed": seed, "result": result}, default=float) + "\n")
    rows = [summarise(case, [done[case.name, s] for s in seeds(case, repetitions)]) for case in chosen]
    return rows, done


def budgeted(chosen: Sequence[Case], minutes: float, kept: Path) -> list[Row]:
    """Draw every row once, then those that are the cheapest to judge, until the processor time is over."""
    share_valuations()
    end, done = time.process_time() + 60 * minutes, load(kept)
    results: dict[str, list[dict[str, Any]]] = {case.name: [] for case in chosen}
    for (name, _), result in done.items():
        results.get(name, []).append(result)
    families: dict[tuple[str, int, int], list[Case]] = {}
    for case in chosen:
        families.setdefault((case.world, case.n, case.copies), []).append(case)
    while time.process_time() < end:
        family = min(families.values(), key=lambda cases: _cost(cases, results))
        if not _missing(family, results)[1]:
            break
        seed = min(len(results[case.name]) for case in family)
        for case in family:  # one after the other, since they share the valuation of the inputs
            if len(results[case.name]) > seed:
                continue
            results[case.name].append(measure(case, seed))
            line = {"case": case.name, "seed": seed, "result": results[case.name][-1]}
            with kept.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line, default=float) + "\n")
    return [summarise(case, results[case.name]) for case in chosen if results[case.name]]


def _missing(cases: Sequence[Case], results: Mapping[str, Sequence[Mapping[str, Any]]]) -> tuple[int, int]:
    """Return the next number of draws that the rows of a family should reach, and how many are missing."""
    fewest = min(len(results[case.name]) for case in cases)
    goal = next((g for g in GOALS if g > fewest), fewest)
    return goal, goal - fewest


def _cost(cases: Sequence[Case], results: Mapping[str, Sequence[Mapping[str, Any]]]) -> tuple[int, float]:
    """Return the next goal of a family, and the seconds per row until it is reached: small ones come first."""
    goal, missing = _missing(cases, results)
    seconds = [float(np.mean([r.get("seconds", 1.0) for r in results[case.name]] or [0.0])) for case in cases]
    return (goal, missing * sum(seconds) / len(cases)) if missing else (MANY, np.inf)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=20)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--only", help="run only rows whose name contains this text")
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--minutes", type=float, help="processor time to spend; needs --cache")
    args = parser.parse_args()
    chosen = [case for case in CASES if args.only is None or args.only in case.name]
    if args.minutes is not None:
        rows = budgeted(chosen, args.minutes, args.cache)
    else:
        rows, _ = bench(chosen, args.repetitions, args.jobs, args.cache)
    if args.only is not None:
        print(summary(rows), table(rows), faults(rows), sep="\n\n")
        return
    (HERE / "truth.md").write_text(page(rows), encoding="utf-8")
    with (HERE / "truth.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows(cells(row) for row in rows)
    print(summary(rows))


if __name__ == "__main__":
    import run  # functions of `__main__` cannot be sent to other processes

    run.main()
