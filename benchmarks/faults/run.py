"""Measure all faults and bad inputs, and write the tables into the document: about half an hour on one core."""

from __future__ import annotations

import argparse
import random
import shutil
import tempfile
from pathlib import Path

import bad_inputs
import faults
import kill

PARTS = ("kills", "faults", "inputs")


def main() -> None:
    """Measure the parts that are asked for and replace their tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="the document, docs/reliability.md")
    parser.add_argument("--only", choices=PARTS, action="append", help="measure these parts only")
    parser.add_argument("--share", type=float, default=1.0, help="share of the 100 kills")
    options = parser.parse_args()

    def say(text: str) -> None:
        print(text, flush=True)

    for part in options.only or PARTS:
        if part == "kills":
            table = kill.table(kill.run_kills(options.share, say=say))
        elif part == "faults":
            table = faults.table(faults.run_faults(say))
        else:
            table = _inputs()
        text = options.out.read_text(encoding="utf-8")
        options.out.write_text(_replaced(text, part, table), encoding="utf-8")


def _inputs() -> str:
    folder = Path(tempfile.mkdtemp(prefix="bad-"))
    try:
        inputs = bad_inputs.bad_inputs(folder)
        random.Random(0).shuffle(inputs)
        outcomes = [bad_inputs.judge(bad) for bad in inputs]
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    outcomes.sort(key=lambda outcome: outcome.bad.area)
    return bad_inputs.table(outcomes)


def _replaced(text: str, part: str, table: str) -> str:
    """Return the document with the table between the two marks of a part replaced."""
    begin, end = f"<!-- {part}: begin -->", f"<!-- {part}: end -->"
    head, _, rest = text.partition(begin)
    old, mark, tail = rest.partition(end)
    if not mark:
        raise SystemExit(f"The document should hold {begin} and {end}.")
    del old
    return f"{head}{begin}\n\n{table}\n\n{end}{tail}"


if __name__ == "__main__":
    main()
