"""The first comparison: the baselines and ARM, each under the plain rule of inference and the held-out calibrated one.

    python benchmarks/comparison/run.py --work FOLDER

Small encoders, few epochs, three seeds, nothing tuned: about half an hour on two otherwise idle cores. Run folders go to FOLDER, where finished runs are
found again; ``table.csv``, ``table.md``, ``summary.md`` and ``runs.jsonl`` go beside this file. Needs the raw data (COUNTERPOISE_DATA).
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from counterpoise.experiment import compare
from counterpoise.report import write_tables
from counterpoise.runs import write_records

EPOCHS = {
    "wikipedia": 20,
    "scene15": 25,
    "handwritten": 20,
    "utd-mhad": 25,
    "av-mnist-speakers": 3,
    "av-mnist-speakers-babble": 3,
    "fashion": 5,
}
METHODS = ("unimodal", "unimodal-ensemble", "joint", "uniform", "ogm-ge", "arm")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--data", default=",".join(EPOCHS))
    options = parser.parse_args()
    records = []
    for name in options.data.split(","):
        found, failures = compare(
            [name],
            METHODS,
            seeds=options.seeds,
            rules=("default", "fused", "calibrated"),
            given={"fit": {"epochs": EPOCHS[name]}},
            out=options.work / name,
        )
        for failure in failures:
            raise SystemExit(f"{name}: {failure.message}")
        records += found
        write_records(Path(__file__).with_name("runs.jsonl"), records)
        write_tables(records, Path(__file__).parent)
        print(name, len(found), "runs", flush=True)
    text = Path(__file__).with_name("table.md").read_text()
    summary = re.search(r"## All data sets\n\n(.*?)(?=\n## |\Z)", text, re.DOTALL)
    if summary:
        Path(__file__).with_name("summary.md").write_text(f"# All data sets\n\n{summary[1].rstrip()}\n")


if __name__ == "__main__":
    main()
