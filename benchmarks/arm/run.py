"""ARM against joint training, single modalities and its strongest rivals, each under the same rules of inference.

    python benchmarks/arm/run.py --work FOLDER [--data scene15,wikipedia] [--jobs 2]
    python benchmarks/arm/run.py --work FOLDER --tables

The first line does the runs (an hour or two on two cores; run folders go to FOLDER, where finished runs are found again), the second writes ``table.csv``,
``table.md``, ``summary.md``, ``shift.md`` and ``runs.jsonl`` beside this file from what is finished. Small encoders, few epochs, five seeds, nothing
tuned: every method has its published or documented defaults, and all share the data set's recipe. Needs the raw data (COUNTERPOISE_DATA).
"""

from __future__ import annotations

import argparse
import dataclasses
import re
from pathlib import Path

from counterpoise.experiment import compare
from counterpoise.report import write_tables
from counterpoise.report.statistics import paired_difference
from counterpoise.runs import RunRecord, read_records, write_records

SELECTION = {"wikipedia": 20, "scene15": 25, "av-mnist-speakers": 3, "smartwatch": 15}
"""Data sets, with their epochs, on whose validation sets formulations were chosen."""
CONFIRMATION = {
    "handwritten": 20,
    "leaves100": 20,
    "utd-mhad": 25,
    "av-mnist-speakers-babble": 3,
    "av-mnist-speakers-weak-image-babble": 3,
    "fashion": 4,
}
EPOCHS = SELECTION | CONFIRMATION
PLAN = (
    (("joint",), ("fused", "calibrated", "dynamic")),
    (("uniform", "arm"), ("calibrated", "dynamic")),
    (("unimodal", "unimodal-ensemble"), ("default",)),
    (("modality-dropout", "corruption", "mmpareto"), ("dynamic",)),
)
"""Methods, and the rules each of them is run under."""
HERE = Path(__file__).parent


def runs(names: list[str], work: Path, seeds: int, jobs: int) -> None:
    for name in names:
        for methods, rules in PLAN:
            found, failures = compare(
                [name],
                methods,
                seeds=seeds,
                rules=rules,
                given={"fit": {"epochs": EPOCHS[name]}},
                out=work / name,
                jobs=jobs,
            )
            for failure in failures:
                raise SystemExit(f"{name}: {failure.message}")
            print(name, methods, len(found), "runs", flush=True)


def tables(work: Path, seeds: int) -> None:
    """Write the tables of all data sets whose runs are complete."""
    records: list[RunRecord] = []
    for name in EPOCHS:
        found, _ = (
            read_records(sorted((work / name / "runs").glob("*"))) if (work / name / "runs").is_dir() else ([], [])
        )
        rows = {r.label for r in found}
        counts = {row: len({r.seed for r in found if r.label == row}) for row in rows}
        complete = [row for row, c in counts.items() if c >= seeds and not row.startswith("unimodal:")]
        rows_planned = sum(len(methods) * len(rules) for methods, rules in PLAN) - 1  # unimodal is one row per modality
        print(f"{name}: {len(found)} runs, {len(complete)} of {rows_planned} rows with {seeds} seeds")
        if len(complete) == rows_planned:
            records += found
    for r in records:
        r.config["model"].pop("init_seed", None)  # always the run's own here
    kept = sorted(records, key=lambda r: (list(EPOCHS).index(r.data), r.label, r.seed))
    write_records(HERE / "runs.jsonl", [dataclasses.replace(r, curves={}, valuation={}, robustness=[]) for r in kept])
    write_tables(kept, HERE)
    text = (HERE / "table.md").read_text()
    summary = re.search(r"## All data sets\n\n(.*?)(?=\n## |\Z)", text, re.DOTALL)
    if summary:
        (HERE / "summary.md").write_text(f"# All data sets\n\n{summary[1].rstrip()}\n")
    (HERE / "shift.md").write_text(shift(kept))


def shift(records: list[RunRecord]) -> str:
    """Return a table of accuracy with one modality damaged, and what ARM gains on each row, paired by seed."""
    names = list(dict.fromkeys(r.data for r in records))
    labels = [x for x in dict.fromkeys(r.label for r in records) if not x.startswith("unimodal:")]
    values = {
        (d, x): {r.seed: 100 * r.metrics["accuracy@shift"] for r in records if (r.data, r.label) == (d, x)}
        for d in names
        for x in labels
    }
    lines = [
        "# One modality damaged at test",
        "",
        "Mean test accuracy (%) over noise of 0.5, 1 and 2 standard deviations, zeros and another sample's input, of each modality in turn; mean over the seeds, and "
        "the mean of the paired differences of `arm` to the row over the data sets.",
        "",
        "| method | " + " | ".join(names) + " | mean | arm is ahead by | on sets |",
        "|---|" + "---:|" * (len(names) + 3),
    ]
    for x in labels:
        means = [sum(values[d, x].values()) / len(values[d, x]) for d in names]
        gaps = [paired_difference(values[d, "arm"], values[d, x]) for d in names]
        ahead = sum(g.diff > 0 for g in gaps)
        mean_gap = sum(g.diff for g in gaps) / len(gaps)
        cells = [f"{v:.1f}" for v in (*means, sum(means) / len(means))]
        last = ["–", "–"] if x == "arm" else [f"{mean_gap:+.1f}", f"{ahead} of {len(names)}"]
        lines.append("| " + " | ".join([x, *cells, *last]) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--data", default=",".join(EPOCHS))
    parser.add_argument("--tables", action="store_true")
    options = parser.parse_args()
    if options.tables:
        tables(options.work, options.seeds)
    else:
        runs(options.data.split(","), options.work, options.seeds, options.jobs)


if __name__ == "__main__":
    main()
