"""Write the tables of this folder from the records of ``read.py``.

    python benchmarks/zoo/tables.py --work FOLDER

``overview.md``: every method over all data sets, with its fused head and under the calibrated rule. ``fused.md`` and
``calibrated.md``: data set by data set, with mean ranks; ``fused.csv`` and ``calibrated.csv``: every number.
``critical-difference-*.png``; ``tuning.json``: what validation chose; ``runs.jsonl``: every run's metrics.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import json
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from train import ALONE, EPOCHS

from counterpoise.report import draw_figures, to_csv, to_markdown
from counterpoise.report.analysis.statistics import mean_ranks, paired_difference, summarise
from counterpoise.runs import RowId, RunRecord, read_records, write_records

HERE: Final = Path(__file__).parent
RULES: Final = ("fused", "calibrated")
STEPS: Final = "ResNet-18, image 3x32x32 + spectrogram 1x64x64"
"""The setting of ``benchmarks/step`` whose ratios are shown."""


def load(work: Path, seeds: int = 5) -> tuple[list[RunRecord], dict[str, Any]]:
    """Return the records of every row that has all seeds, labelled by method, and what validation chose for them."""
    records: list[RunRecord] = []
    tuning: dict[str, Any] = {}
    for data in EPOCHS:
        file = work / data / "chosen.json"
        for entry in json.loads(file.read_text()) if file.is_file() else []:
            rules = [ALONE[entry["method"]]] if entry["method"] in ALONE else ["fused", "calibrated", "dynamic"]
            for rule in rules:
                configs = entry.get("fused" if rule == "fused" else "calibrated", [])
                found = [r for c in configs for r in _records(work / data, c, rule)]
                complete = {r.data for r in found if sum(q.data == r.data for q in found) >= seeds}
                records += [r for r in found if r.data in complete]
                if complete:
                    settings = {"lr": configs[0]["optim"]["lr"], **configs[0]["method_args"]}
                    tuning.setdefault(data, {})[str(plain(found[0], rule).row)] = settings
    return records, tuning


def _records(folder: Path, config: dict[str, Any], rule: str) -> list[RunRecord]:
    from read import config_of

    file = folder / config_of(config).key("study") / f"records-{rule}.jsonl"
    return read_records([file])[0] if file.is_file() else []


def summary_of(text: str) -> str:
    """Return the table over all data sets of a page of tables; the whole page where there is one data set."""
    found = re.search(r"## All data sets\n\n(.*?)(?=\n## |\Z)", text, re.DOTALL)
    return found[1].rstrip() if found else text


def plain(record: RunRecord, rule: str = "default") -> RunRecord:
    """Return a record without the tuned settings, which differ by design and are in ``tuning.json``.

    Args:
        record: The record.
        rule: Rule of the row, ``default`` where it goes without saying.
    """
    metrics = [dataclasses.replace(m, value=float(f"{m.value:.5g}")) for m in record.metrics if m.corruption is None]
    row = RowId(record.method, modality=record.row.modality, rule=rule)
    return dataclasses.replace(record, row=row, config={}, validation=(), metrics=metrics)


def under(records: Sequence[RunRecord], rule: str) -> list[RunRecord]:
    """Return the rows of one rule (and those without a fused head) on the data sets that all of them have."""
    rows = [plain(r) for r in records if r.rule == rule or r.method in ALONE]
    methods = {r.method for r in rows}
    have = {d: {r.method for r in rows if r.data == d} for d in dict.fromkeys(r.data for r in rows)}
    whole = [d for d, found in have.items() if found == methods]
    return [r for r in rows if r.data in whole]


def overview(by_rule: dict[str, list[RunRecord]]) -> str:
    """Return one line per method over all data sets, under both rules."""
    values = {rule: scores_of(rows) for rule, rows in by_rule.items()}
    ranks = {rule: ranks_of(table) for rule, table in values.items()}
    sets = list(dict.fromkeys(r.data for r in by_rule["fused"]))
    lines = [
        "# Every method",
        "",
        f"Mean test accuracy (%) over {len(sets)} data sets ({', '.join(sets)}), five seeds; difference to joint "
        "training under the same rule, in points: mean over the data sets of the paired difference, and on how many of "
        "them it is above; mean rank among the methods (1 is best); macro-F1 (%) of the calibrated rule; what the "
        "linear probe of the encoder that joint training leaves weakest gains (points, over the data sets where it was "
        "taken); spread of the marginal contributions (nats); time of a step and peak memory as ratios to joint "
        f"training ({STEPS}; `make bench`).",
        "",
        "| method | fused head | to joint | better on | rank | calibrated | to joint | better on | rank | macro-F1 | "
        "weakest encoder | gap of φ_CMI | time | memory |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    costs = step_costs()
    weakest = {d: weakest_of([r for r in by_rule["fused"] if r.data == d and r.method == "joint"]) for d in sets}
    probed = [d for d in sets if _is_probed(by_rule["calibrated"], d, weakest[d])]
    for method in sorted(values["calibrated"][sets[0]], key=lambda name: ranks["calibrated"][name]):
        cells = [method]
        for rule in RULES:
            cells += _score_cells(values[rule], ranks[rule], method, sets)
        rows = [r for r in by_rule["calibrated"] if r.method == method]
        cells.append(f"{100 * mean_over(rows, 'macro_f1', sets):.1f}")
        joint = [r for r in by_rule["fused"] if r.method == "joint"]
        gains = [probe(rows, d, weakest[d]) - probe(joint, d, weakest[d]) for d in probed]
        cells.append("–" if method == "joint" or not gains else f"{100 * sum(gains) / len(gains):+.1f}")
        cells.append(f"{sum(gap_of(rows, d) for d in sets) / len(sets):.2f}")
        cells += costs.get(method, ("–", "–"))
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _is_probed(rows: Sequence[RunRecord], data: str, modality: str) -> bool:
    """Return whether every method with a fused head has a linear probe of a modality on a data set."""
    runs = [r for r in rows if r.data == data and r.method != "unimodal"]
    return not any(math.isnan(r.value("probe", modality)) for r in runs)


def _score_cells(
    table: dict[str, dict[str, dict[int, float]]], ranks: dict[str, float], method: str, sets: Sequence[str]
) -> list[str]:
    """Return mean score, difference to joint training, number of sets above it, and mean rank."""
    means = [summarise(list(table[d][method].values())).mean for d in sets]
    gaps = [paired_difference(table[d][method], table[d]["joint"]).diff for d in sets]
    against = (
        ["–", "–"] if method == "joint" else [f"{100 * sum(gaps) / len(gaps):+.1f}", f"{sum(g > 0 for g in gaps)}"]
    )
    return [f"{100 * sum(means) / len(means):.1f}", *against, f"{ranks[method]:.1f}"]


def step_costs() -> dict[str, tuple[str, str]]:
    """Return time and memory of a step by method, from what ``benchmarks/step`` measured."""
    with (HERE.parent / "step" / "step.csv").open(newline="") as file:
        rows = [r for r in csv.DictReader(file) if r["setting"] == STEPS]
    return {r["method"]: (f"{float(r['time']):.2f}", f"{float(r['memory']):.2f}") for r in rows}


def scores_of(rows: Sequence[RunRecord]) -> dict[str, dict[str, dict[int, float]]]:
    table: dict[str, dict[str, dict[int, float]]] = {}
    for r in rows:
        if r.method != "unimodal":
            table.setdefault(r.data, {}).setdefault(r.method, {})[r.seed] = r.value("accuracy")
    return table


def ranks_of(table: dict[str, dict[str, dict[int, float]]]) -> dict[str, float]:
    methods = list(next(iter(table.values())))
    means = [[summarise(list(row[m].values())).mean for m in methods] for row in table.values()]
    return dict(zip(methods, mean_ranks(means).tolist(), strict=True))


def mean_over(rows: Sequence[RunRecord], metric: str, sets: Sequence[str]) -> float:
    per_set = [summarise([r.value(metric) for r in rows if r.data == d]).mean for d in sets]
    return sum(per_set) / len(per_set)


def probe(rows: Sequence[RunRecord], data: str, m: str) -> float:
    return summarise([r.value("probe", m) for r in rows if r.data == data]).mean


def weakest_of(joint: Sequence[RunRecord]) -> str:
    """Return the modality whose encoder has the lowest probe inside joint training."""
    names = joint[0].modalities
    return min(names, key=lambda m: summarise([r.value("probe", m) for r in joint]).mean)


def gap_of(rows: Sequence[RunRecord], data: str) -> float:
    found = [[r.value("phi_cmi", m) for m in r.modalities] for r in rows if r.data == data]
    return sum(max(v) - min(v) for v in found) / len(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    records, tuning = load(options.work, options.seeds)
    by_rule = {rule: under(records, rule) for rule in RULES}
    for rule, rows in by_rule.items():
        (HERE / f"{rule}.csv").write_text(to_csv(rows))
        title = "With the fused head" if rule == "fused" else "Under the calibrated rule"
        (HERE / f"{rule}.md").write_text(f"# {title}\n\n{summary_of(to_markdown(rows))}\n")
        figure = draw_figures([r for r in rows if r.method != "unimodal"]).get("critical-difference")
        if figure is not None:
            figure.savefig(HERE / f"critical-difference-{rule}.png", dpi=150)
        print(rule, len({r.data for r in rows}), "data sets,", len({r.method for r in rows}), "methods")
    (HERE / "overview.md").write_text(overview(by_rule))
    (HERE / "tuning.json").write_text(json.dumps(tuning, indent=1) + "\n")
    kept = [plain(r, r.rule) for r in records]
    write_records(HERE / "runs.jsonl", kept)


if __name__ == "__main__":
    main()
