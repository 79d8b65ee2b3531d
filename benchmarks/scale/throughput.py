"""How much faster a comparison is with two processes than with one: at least 1.8 times on two cores.

    python benchmarks/scale/throughput.py             # about five minutes on two idle cores

Each turn runs the same comparison of 24 runs (four methods, six seeds) with ``--jobs 1`` and with ``--jobs 2``, from
an empty folder each, without figures, as a command of its own. A process imports torch and Lightning for about six
seconds before its first run, so that a comparison of a few seconds gains less. Two numbers are written:

- the ratio of the times by the clock, which means something on an idle machine only;
- the ratio of the times of the processors. If two processes need no more of them than one, nothing but other work on
  the machine keeps two cores from twice the throughput.

If other processes took more than a tenth of the cores meanwhile, the table says so. Writes ``throughput.md`` and
``throughput.jsonl`` beside this file.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
RUNS = 24
QUIET = 0.1
"""Share of the cores that other processes may take."""


def busy() -> tuple[float, float]:
    """Return the processor seconds of the whole machine so far: used, and idle."""
    fields = [float(x) for x in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    idle = fields[3] + fields[4]
    tick = os.sysconf("SC_CLK_TCK")
    return (sum(fields) - idle) / tick, idle / tick


def compare(jobs: int, epochs: int) -> dict[str, float]:
    """Run the comparison once; return its times, and the share of the cores that others took."""
    command = [sys.executable, "-m", "counterpoise.cli.main", "compare", "--data", "world-xor"]
    command += ["--methods", "joint,uniform,arm,dgl", "--seeds", str(RUNS // 4), "--fit.accelerator", "cpu"]
    command += ["--fit.epochs", str(epochs), "--figures", "false", "--jobs", str(jobs)]
    with tempfile.TemporaryDirectory() as folder:
        before, machine, started = resource.getrusage(resource.RUSAGE_CHILDREN), busy(), time.perf_counter()
        subprocess.run([*command, "--out", folder], check=True, capture_output=True)
        wall, after, now = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN), busy()
        finished = len(list(Path(folder).rglob("record.json")))
    assert finished == RUNS, f"{finished} runs were finished"
    own = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    used, idle = (b - a for a, b in zip(machine, now, strict=True))
    return {"jobs": jobs, "wall": wall, "cpu": own, "others": max(used - own, 0.0) / (used + idle)}


def table(turns: list[tuple[dict[str, float], dict[str, float]]]) -> str:
    """Return the medians over the turns as Markdown."""
    wall = statistics.median(one["wall"] / two["wall"] for one, two in turns)
    cpu = statistics.median(two["cpu"] / one["cpu"] for one, two in turns)
    others = max(part["others"] for turn in turns for part in turn)
    quiet = others <= QUIET
    lines = [
        "# Throughput",
        "",
        f"{RUNS} runs, `--jobs 2` against `--jobs 1`, on {os.cpu_count()} cores (median of {len(turns)}):",
        "",
        "| | |",
        "|---|---:|",
        f"| runs per second, ratio{'' if quiet else ' (other work took the cores meanwhile)'} | {wall:.2f} |",
        f"| processor seconds, ratio | {cpu:.2f} |",
        f"| largest share of the cores that other processes took | {100 * others:.0f} % |",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=120, help="length of the runs")
    options = parser.parse_args()
    turns = []
    for turn in range(options.turns):
        order = (1, 2) if turn % 2 == 0 else (2, 1)  # so that a trend of the machine hits both
        parts = {jobs: compare(jobs, options.epochs) for jobs in order}
        print(parts, flush=True)
        turns.append((parts[1], parts[2]))
    (HERE / "throughput.jsonl").write_text("".join(json.dumps(part) + "\n" for turn in turns for part in turn))
    text = table(turns)
    print(text)
    (HERE / "throughput.md").write_text(text)
    if all(part["others"] <= QUIET for turn in turns for part in turn):
        ratio = statistics.median(one["wall"] / two["wall"] for one, two in turns)
        assert ratio >= 1.8, f"two processes have {ratio:.2f} times the throughput of one"


if __name__ == "__main__":
    main()
