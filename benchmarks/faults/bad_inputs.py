"""Bad inputs for every command and public call: a clean error, a foreign exception, or silent acceptance.

Every input is wrong by construction, so that the only right answer is one `CounterpoiseError` (on the command line:
exit status 2 and one line) that says what was expected and what was found.
"""

from __future__ import annotations

import argparse
import random
import shutil
import tempfile
from pathlib import Path

from bad_arrays import bad_arrays
from bad_calls import bad_calls
from bad_files import bad_files
from bad_options import bad_options
from bad_outcomes import CLEAN, BadInput, Outcome, judge, table
from bad_records import bad_descriptions, bad_records
from bad_settings import bad_configurations, bad_hyperparameters

__all__ = ["CLEAN", "BadInput", "Outcome", "bad_inputs", "judge", "table"]


def bad_inputs(folder: Path) -> list[BadInput]:
    """Return all bad inputs; files that they need are written into ``folder``."""
    return [
        *bad_options(folder),
        *bad_files(folder),
        *bad_arrays(),
        *bad_hyperparameters(),
        *bad_configurations(),
        *bad_records(),
        *bad_descriptions(),
        *bad_calls(),
    ]


def main() -> None:
    """Try all bad inputs, or a seeded part of them, and print what was not refused cleanly."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--number", type=int, default=0, help="a seeded part of this size; all by default")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--area", default=None, help="one area")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="bad-"))
    try:
        inputs = [bad for bad in bad_inputs(folder) if options.area in (None, bad.area)]
        if options.number:
            inputs = random.Random(options.seed).sample(inputs, min(options.number, len(inputs)))
        outcomes = [judge(bad) for bad in inputs]
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    for outcome in outcomes:
        if outcome.verdict != CLEAN:
            print(f"{outcome.verdict}: {outcome.bad.area}: {outcome.bad.what}: {outcome.message[:200]!r}")
    print(table(outcomes))


if __name__ == "__main__":
    main()
