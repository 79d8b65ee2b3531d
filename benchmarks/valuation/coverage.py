"""Bias, standard deviation and coverage of every estimator on worlds of known information.

    python benchmarks/valuation/coverage.py [--repetitions 40] [--only variational] [--jobs 2] [--minutes 60]
        [--out docs/valuation.md]

writes a Markdown table between the markers of the page (and prints it). Draws go round the worlds and sizes, so that
the table can be made after any time; ``--cache`` keeps them, and a second run goes on where the first stopped. How
many draws a line rests on is in the table.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")

import joblib
import numpy as np
import torch

from counterpoise.data.worlds import XOR, Dominant, Gaussian, GaussianClasses, ManyLabels, Redundant, Unique, World
from counterpoise.errors import DataError
from counterpoise.valuation import estimate

WORLDS: dict[str, World] = {
    "redundant, M = 2": Redundant(flip=0.1),
    "unique, M = 2": Unique((2, 2), flip=0.1),
    "unique, M = 3": Unique((2, 3, 2), flip=0.1),
    "parity, M = 2": XOR(flip=0.1),
    "parity, M = 3": XOR(3, flip=0.1),
    "parity, M = 4": XOR(4, flip=0.1),
    "parity + 16 noise columns": XOR(flip=0.1, noise_dims=8),
    "redundant + 16 noise columns": Redundant(flip=0.1, noise_dims=8),
    "Gaussian classes, M = 2": GaussianClasses(),
    "Gaussian classes, M = 3": GaussianClasses((2.0, 1.0, 0.5), between=0.3),
    "Gaussian, M = 2": Gaussian(),
    "Gaussian, M = 3": Gaussian((0.6, 0.4, 0.2), between=0.2),
    "four labels, M = 2": ManyLabels(flip=0.1),
    "dominant, M = 2": Dominant(noise_dims=0),
    "dominant + 32 noise columns": Dominant(noise_dims=16),
}
SIZES = {200: 1.0, 1000: 1.0, 5000: 0.25}
"""Samples, and the share of the repetitions that they get."""
SIZES_OF: dict[str, tuple[int, ...]] = {
    "infonce": (1000,),
    "smile": (1000,),
    "plugin_uncorrected": (200, 1000),
    "ksg": (200, 1000),
}
SLOW = ("infonce", "smile")
"""Estimators that train networks: they are drawn only if ``--only`` names them."""
ESTIMATORS = ("variational", "ksg", "gaussian", "plugin", "plugin_uncorrected", "histogram", "infonce", "smile")
BEGIN, END = "<!-- coverage: begin -->", "<!-- coverage: end -->"


@dataclass(frozen=True)
class Job:
    """One draw of one world under one estimator."""

    world: str
    n: int
    estimator: str
    seed: int


def jobs(repetitions: int) -> list[Job]:
    """Return all jobs, one draw of everything first, then a second one, and so on."""
    ranked = []
    for world, estimator, (n, share) in itertools.product(WORLDS, ESTIMATORS, SIZES.items()):
        if n in SIZES_OF.get(estimator, SIZES):
            count = max(2, round(repetitions * share))
            ranked += [(seed / count, Job(world, n, estimator, seed)) for seed in range(count)]
    return [job for _, job in sorted(ranked, key=lambda pair: pair[0])]


def run(job: Job) -> list[float] | None:
    """Return error, in interval, for the joint information and the conditional one of the first modality.

    A truth above the entropy of the labels in the draw counts as that entropy, at which intervals end.
    """
    torch.set_num_threads(1)
    world = WORLDS[job.world]
    x, y = world.sample(job.n, (job.seed, 77))
    try:
        valuation = estimate(x, y, task=world.task, estimator=job.estimator, seed=job.seed)
    except DataError:
        return None  # not an estimator for this kind of data
    first = world.modalities[0]
    row: list[float] = []
    most = float("inf") if valuation.differential else valuation.entropy
    for e, truth in ((valuation.joint_mi, min(world.mi(), most)), (valuation.cmi[first], min(world.cmi(first), most))):
        row += [e.value - truth, float(e.low <= truth <= e.high)]
    return row


def table(done: dict[Job, list[float] | None]) -> str:
    lines = [
        "| world | estimator | n | draws | I(all; Y) | bias | sd | in 95 % | I(a; Y given rest) | bias | sd | in 95 % "
        "|",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for world, estimator, n in itertools.product(WORLDS, ESTIMATORS, SIZES):
        rows = [row for job, row in done.items() if (job.world, job.estimator, job.n) == (world, estimator, n)]
        if len(rows) < 2 or any(row is None for row in rows):
            continue
        values = np.array(rows, dtype=float)
        cells = [world, f"**{estimator}**" if estimator == "variational" else estimator, str(n), str(len(values))]
        truths = (WORLDS[world].mi(), WORLDS[world].cmi(WORLDS[world].modalities[0]))
        for k, truth in enumerate(truths):
            error, inside = values[:, 2 * k], values[:, 2 * k + 1]
            cells += [f"{truth:.3f}", f"{error.mean():+.4f}", f"{error.std(ddof=1):.4f}", f"{inside.mean():.0%}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def summary(done: dict[Job, list[float] | None]) -> str:
    """Return the coverage of the default's intervals by size, its minimum, and the error at n = 10,000."""
    own = {j: r for j, r in done.items() if j.estimator == "variational" and r is not None}
    lines = ["The default's 95 % intervals held the truth, over all worlds:", ""]
    lines += ["| n | draws | I(all; Y) | I(a; Y given rest) | least often |", "|---|---|---|---|---|"]
    lines += [line for n in SIZES if (line := _summary_line(own, n))]
    return "\n".join(lines)


def _summary_line(own: dict[Job, list[float]], n: int) -> str:
    """Return the line of one size, or an empty text where there is no draw."""
    rows = np.array([r for j, r in own.items() if j.n == n])
    if not len(rows):
        return ""
    cells = {w: np.array([r for j, r in own.items() if (j.world, j.n) == (w, n)])[:, [1, 3]].mean(0) for w in WORLDS}
    enough = len(rows) / len(cells) >= 25
    worst = sorted({(share, w) for w, pair in cells.items() for share in pair})[: 2 if enough else 0]
    least = "; ".join(f"{share:.0%} {w}" for share, w in worst) or "too few draws"
    joint, given = rows[:, [1, 3]].mean(0)
    return f"| {n:,} | {len(rows)} | {joint:.1%} | {given:.1%} | {least} |"


def load(cache: Path | None) -> dict[Job, list[float] | None]:
    if cache is None or not cache.exists():
        return {}
    lines = [json.loads(line) for line in cache.read_text(encoding="utf-8").splitlines()]
    return {Job(**line["job"]): line["row"] for line in lines}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=40)
    parser.add_argument("--only", choices=ESTIMATORS, help="draw only for this estimator")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    done = load(args.cache)
    todo = [j for j in jobs(args.repetitions) if j not in done and (args.only or j.estimator) == j.estimator]
    todo = [j for j in todo if args.only or j.estimator not in SLOW]
    stop = time.monotonic() + 60 * args.minutes
    size = 4 * args.jobs
    with joblib.Parallel(n_jobs=args.jobs) as parallel:
        for start in range(0, len(todo), size):
            if time.monotonic() > stop:
                break
            part = todo[start : start + size]
            results = dict(zip(part, parallel(joblib.delayed(run)(job) for job in part), strict=True))
            done |= results
            if args.cache:
                with args.cache.open("a", encoding="utf-8") as file:
                    file.writelines(json.dumps({"job": asdict(j), "row": r}) + "\n" for j, r in results.items())
    text = f"{summary(done)}\n\n{table(done)}"
    print(text)
    if args.out:
        page = args.out.read_text(encoding="utf-8")
        before, after = page.split(BEGIN)[0], page.split(END)[1]
        args.out.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
