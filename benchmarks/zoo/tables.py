"""Write the tables of this folder from ``study.jsonl``.

    python benchmarks/zoo/tables.py [--runs benchmarks/zoo/study.jsonl]

``overview.md``: every method over all data sets under every rule, with ordinary and corrupted inputs; ``fused.md``,
``calibrated.md``, ``dynamic.md`` and ``corrupted.md``: data set by data set; ``tuning.md``: what each row was given and
what validation chose. A data set that is not complete for every row is left out.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from scipy import stats
from train import ALONE, FINAL_RULES, HERE, NAME, SEEDS, complete

from counterpoise._statistics import holm
from counterpoise.report.analysis.statistics import crossed_error, mean_ranks

STEPS: Final = "ResNet-18, image 3x32x32 + spectrogram 1x64x64"
"""The setting of ``benchmarks/step`` whose ratios are shown."""
Lines = Sequence[Mapping[str, Any]]


def final_runs(lines: Lines) -> dict[tuple[str, str], dict[int, Mapping[str, Any]]]:
    """Return the trainings that count by data set and row, then by seed, where all seeds gave a score.

    Of two lines of a training the last counts; lines without every rule do not count.
    """
    runs: dict[tuple[str, str], dict[int, Mapping[str, Any]]] = {}
    for x in lines:
        if x["final"] and x["scores"] and complete(x):
            runs.setdefault((x["data"], x["row"]), {})[x["seed"]] = x
    return {place: by_seed for place, by_seed in runs.items() if len(by_seed) >= SEEDS}


def failed_rows(trials: Lines) -> set[tuple[str, str]]:
    """Return the rows of which no trial gave a score, with their data sets."""
    scored = {(x["data"], x["row"]) for x in trials if x["scores"]}
    return {(x["data"], x["row"]) for x in trials} - scored


class Results:
    """The trainings that count, of every row on every data set that all rows have.

    Args:
        lines: Lines of ``study.jsonl``.
    """

    def __init__(self, lines: Lines) -> None:
        self.trials = [x for x in lines if not x["final"]]
        self.final = final_runs(lines)
        rows = list(dict.fromkeys(x["row"] for x in lines))
        done = {(d, r) for d, r in self.final} | failed_rows(self.trials)
        sets = dict.fromkeys(x["data"] for x in lines)
        self.sets = [d for d in sets if done >= {(d, r) for r in rows}]
        self.rows = [r for r in rows if self.final.keys() >= {(d, r) for d in self.sets}]
        self.incomplete = sorted(set(rows) - set(self.rows))

    def values(self, data: str, row: str, metric: str) -> np.ndarray:
        """Return a metric by seed; rows without a fused head have one rule, which stands for all."""
        kind, _, rule = metric.partition(":")
        name = f"{kind}:{ALONE[row]}" if row in ALONE and kind != "head" else f"{kind}:{rule}"
        return np.array([x["scores"][name] for _, x in sorted(self.final[data, row].items())])

    def gains(self, data: str, row: str, metric: str) -> np.ndarray:
        """Return the differences to joint training by seed."""
        return self.values(data, row, metric) - self.values(data, "joint", metric)

    def error(self, data: str, row: str, rule: str) -> float:
        """Return the standard error of the mean difference over seeds and test samples, in points."""
        table = self._right(data, row, rule) - self._right(data, "joint", rule)
        return 100 * max(standard_error(table.mean(1)), crossed_error(table))

    def _right(self, data: str, row: str, rule: str) -> np.ndarray:
        runs = [x for _, x in sorted(self.final[data, row].items())]
        bits = [bytes.fromhex(x["right"][ALONE.get(row, rule)]) for x in runs]
        shown = [np.unpackbits(np.frombuffer(b, np.uint8))[: x["samples"]] for b, x in zip(bits, runs, strict=True)]
        return np.stack(shown).astype(float)

    def weakest(self, data: str) -> str:
        """Return the head that joint training leaves weakest."""
        heads = [k for k in self.final[data, "joint"][0]["scores"] if k.startswith("head:")]
        return min(heads, key=lambda k: float(self.values(data, "joint", k).mean()))


def standard_error(values: np.ndarray) -> float:
    """Return the standard error of a mean."""
    return float(values.std(ddof=1)) / math.sqrt(len(values))


def differences(results: Results, row: str, rule: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean differences to joint training and their standard errors, by data set, in points."""
    means = [results.gains(d, row, f"test:{rule}").mean() for d in results.sets]
    return np.array(means), np.array([results.error(d, row, rule) for d in results.sets])


def compared(results: Results, rule: str) -> dict[str, list[str]]:
    """Return by row: mean difference to joint training, and on how many data sets it is above and below."""
    rows = [r for r in results.rows if r != "joint"]
    by_row = {r: differences(results, r, rule) for r in rows}
    errors = {r: math.sqrt(sum(e**2)) / len(e) for r, (_, e) in by_row.items()}
    p = [2 * stats.norm.sf(abs(by_row[r][0].mean()) / errors[r]) if errors[r] else 1.0 for r in rows]
    cells = {"joint": ["–", "–"]}
    for row, adjusted in zip(rows, holm(p), strict=True):
        means, error = by_row[row]
        counts = f"{(means > error).sum()} / {(means < -error).sum()}"
        cells[row] = [f"{means.mean():+.1f} ± {errors[row]:.1f}{' *' if adjusted < 0.05 else ''}", counts]
    return cells


def ranks_of(results: Results, rule: str) -> dict[str, float]:
    """Return the mean rank of every row over the data sets; 1 is best."""
    table = np.array([[results.values(d, r, f"test:{rule}").mean() for r in results.rows] for d in results.sets])
    return dict(zip(results.rows, mean_ranks(table).tolist(), strict=True))


def step_costs() -> dict[str, tuple[str, str]]:
    """Return time and memory of a step by method, from what ``benchmarks/step`` measured."""
    with (HERE.parent / "step" / "step.csv").open(newline="") as file:
        rows = [r for r in csv.DictReader(file) if r["setting"] == STEPS]
    return {r["method"]: (f"{float(r['time']):.2f}", f"{float(r['memory']):.2f}") for r in rows}


def overview(results: Results) -> str:
    """Return two tables with one line per method, over all data sets: under every rule, and everything else."""
    ranks = {rule: ranks_of(results, rule) for rule in FINAL_RULES}
    order = sorted(results.rows, key=lambda r: sum(ranks[rule][r] for rule in FINAL_RULES))
    joint = [
        f"{np.mean([results.values(d, 'joint', f'test:{r}').mean() for d in results.sets]):.1f}" for r in FINAL_RULES
    ]
    left_out = f" Left out, because a training failed on one of them: {', '.join(results.incomplete)}."
    lines = [
        "# Every method",
        "",
        f"Test accuracy over {len(results.sets)} data sets ({', '.join(results.sets)}; on `{NAME}` the test "
        f"speakers are in no other split), {SEEDS} seeds. Every row was given the same four trainings on validation "
        "(`tuning.md`), and every network is read under three rules. Difference to joint training under the same rule: "
        "mean over the data sets of the paired difference in points ± standard error over seeds and test samples, * "
        "for p < .05 after Holm's correction for all rows; on how many sets it is above / below by more than a "
        f"standard error; mean rank (1 is best). Joint training itself reaches {joint[0]} % with its fused head, "
        f"{joint[1]} % under the calibrated and {joint[2]} % under the dynamic rule. Sorted by the mean of the three "
        "ranks. The ensemble has no fused head; its own rule stands in all places."
        f"{left_out if results.incomplete else ''}",
        "",
        f"| method | {' | '.join(f'{rule} | above / below | rank' for rule in FINAL_RULES)} |",
        "|---|" + "---:|" * 9,
    ]
    columns = {rule: compared(results, rule) for rule in FINAL_RULES}
    for row in order:
        cells = [x for rule in FINAL_RULES for x in (*columns[rule][row], f"{ranks[rule][row]:.1f}")]
        lines.append(f"| {' | '.join([row, *cells])} |")
    return "\n".join([*lines, "", *beyond(results, order)]) + "\n"


def beyond(results: Results, order: Sequence[str]) -> list[str]:
    """Return the table of corrupted inputs, of the weakest head and of costs."""
    costs = step_costs()
    lines = [
        "The same networks with one modality corrupted, and the head of the modality that joint training leaves "
        "weakest: mean difference to joint training under the same rule, in points. Time of a step and peak memory as "
        f"ratios to joint training ({STEPS}; `make bench`).",
        "",
        f"| method | {' | '.join(f'corrupted, {rule}' for rule in FINAL_RULES)} | weakest head | time | memory |",
        "|---|" + "---:|" * 6,
    ]
    for row in order:
        gains = [np.mean([results.gains(d, row, f"damaged:{r}").mean() for d in results.sets]) for r in FINAL_RULES]
        gains.append(np.mean([results.gains(d, row, results.weakest(d)).mean() for d in results.sets]))
        cells = ["–"] * 4 if row == "joint" else [f"{gain:+.1f}" for gain in gains]
        lines.append(f"| {' | '.join([row, *cells, *costs.get(row, ('–', '–'))])} |")
    return lines


def by_set(results: Results, metric: str, title: str, text: str) -> str:
    """Return a page with a table of a metric, data set by data set."""
    return "\n".join([f"# {title}", "", text, "", *by_set_lines(results, metric)]) + "\n"


def by_set_lines(results: Results, metric: str) -> list[str]:
    """Return a table of a metric, data set by data set."""
    means = {r: [results.values(d, r, metric).mean() for d in results.sets] for r in results.rows}
    lines = [f"| method | {' | '.join(results.sets)} | mean |", "|---|" + "---:|" * (len(results.sets) + 1)]
    for row in sorted(results.rows, key=lambda r: -float(np.mean(means[r]))):
        values = [results.values(d, row, metric) for d in results.sets]
        cells = [row, *(f"{v.mean():.1f} ± {standard_error(v):.1f}" for v in values), f"{np.mean(means[row]):.1f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def corrupted(results: Results, text: str) -> str:
    """Return the page with one modality corrupted."""
    lines = [
        "# With one modality corrupted",
        "",
        f"{text} Mean over corruptions of one modality at a time, about 300 test samples.",
    ]
    for rule in ("calibrated", "dynamic"):
        lines += ["", f"## Under the {rule} rule", "", *by_set_lines(results, f"damaged:{rule}")]
    return "\n".join(lines) + "\n"


def tuning(results: Results) -> str:
    """Return what every row was given and what was chosen."""
    lines = [
        "# What each row was given",
        "",
        "Trainings with seed 0 on each data set, by what they differ in from the method's defaults, and the point that "
        "validation chose (mean over the fused head and the calibrated rule). The learning rate is relative to the "
        "data set's recipe.",
        "",
        f"| method | trainings | {' | '.join(results.sets)} |",
        "|---|---|" + "---|" * len(results.sets),
    ]
    for row in [*results.rows, *results.incomplete]:
        tried = [x["point"] for x in results.trials if (x["data"], x["row"]) == (results.sets[0], row)]
        cells = [chosen_point(results, d, row) for d in results.sets]
        lines.append(f"| {row} | {given(tried)} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def given(points: Sequence[str]) -> str:
    """Return in words what the trainings of a row differed in."""
    words = [f"{sum(',' not in p for p in points)} learning rates"]
    words += ["another smoothing"] * any("smoothing" in p for p in points)
    words += ["another strength"] * any("strength" in p for p in points)
    return ", ".join(words)


def chosen_point(results: Results, data: str, row: str) -> str:
    """Return the chosen point, without the words that all points have."""
    runs = results.final.get((data, row))
    return runs[0]["point"].removeprefix("learning rate ") if runs else "failed"


def main() -> None:
    """Write the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, default=HERE / "study.jsonl")
    results = Results([json.loads(line) for line in parser.parse_args().runs.read_text().splitlines()])
    print(results.sets, len(results.rows), "rows; left out:", results.incomplete)
    text = "Test accuracy (%), mean ± standard error over five seeds, each row tuned alike."
    pages = {
        "overview": overview(results),
        "fused": by_set(results, "test:fused", "With the fused head", text),
        "calibrated": by_set(results, "test:calibrated", "Under the calibrated rule", text),
        "dynamic": by_set(results, "test:dynamic", "Under the dynamic rule", text),
        "corrupted": corrupted(results, text),
        "tuning": tuning(results),
    }
    for name, page in pages.items():
        (HERE / f"{name}.md").write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
