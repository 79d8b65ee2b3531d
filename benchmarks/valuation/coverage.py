"""Bias, standard deviation and coverage of every estimator on worlds of known information.

    python benchmarks/valuation/coverage.py [--repetitions 40] [--jobs 2] [--out docs/valuation.md]

writes a Markdown table between the markers of the page (and prints it). The number of repetitions falls with the
sample size: it is in the table.
"""

from __future__ import annotations

import argparse
import itertools
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")

import joblib
import numpy as np
import torch

from counterpoise.data.worlds import XOR, Gaussian, GaussianClasses, ManyLabels, Redundant, Unique, World
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
}
SIZES = {200: 1.0, 1000: 1.0, 5000: 0.5, 20000: 0.25}
SIZES_OF = {"infonce": (1000,), "smile": (1000,), "plugin_uncorrected": (200, 1000)}
FEWER = {"infonce": 0.25, "smile": 0.25}
ESTIMATORS = ("variational", "ksg", "gaussian", "plugin", "plugin_uncorrected", "histogram", "infonce", "smile")
BEGIN, END = "<!-- coverage: begin -->", "<!-- coverage: end -->"


@dataclass(frozen=True)
class Job:
    """One draw of one world under one estimator."""

    world: str
    n: int
    estimator: str
    seed: int


def jobs(repetitions: int) -> Iterator[Job]:
    for world, estimator, (n, share) in itertools.product(WORLDS, ESTIMATORS, SIZES.items()):
        if n in SIZES_OF.get(estimator, SIZES):
            count = max(2, round(repetitions * share * FEWER.get(estimator, 1.0)))
            yield from (Job(world, n, estimator, seed) for seed in range(count))


def run(job: Job) -> list[float] | None:
    """Return error, in interval, for the joint information and the conditional one of the first modality."""
    torch.set_num_threads(1)
    world = WORLDS[job.world]
    x, y = world.sample(job.n, (job.seed, 77))
    try:
        found = estimate(x, y, task=world.task, estimator=job.estimator, seed=job.seed)
    except DataError:
        return None  # not an estimator for this kind of data
    first = world.modalities[0]
    row: list[float] = []
    for e, truth in ((found.joint_mi, world.mi()), (found.cmi[first], world.cmi(first))):
        row += [e.value - truth, float(e.low <= truth <= e.high)]
    return row


def table(done: list[tuple[Job, list[float] | None]]) -> str:
    lines = [
        "| world | estimator | n | draws | I(all; Y) | bias | sd | in 95 % | I(a; Y given rest) | bias | sd | in 95 % |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for (world, estimator, n), group in itertools.groupby(done, key=lambda d: (d[0].world, d[0].estimator, d[0].n)):
        rows = [row for _, row in group]
        if any(row is None for row in rows):
            continue
        values = np.array(rows, dtype=float)
        cells = [world, f"**{estimator}**" if estimator == "variational" else estimator, str(n), str(len(values))]
        truths = (WORLDS[world].mi(), WORLDS[world].cmi(WORLDS[world].modalities[0]))
        for k, truth in enumerate(truths):
            error, inside = values[:, 2 * k], values[:, 2 * k + 1]
            cells += [f"{truth:.3f}", f"{error.mean():+.4f}", f"{error.std(ddof=1):.4f}", f"{inside.mean():.0%}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=40)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    todo = list(jobs(args.repetitions))
    results = joblib.Parallel(n_jobs=args.jobs, batch_size=4, verbose=1)(joblib.delayed(run)(job) for job in todo)
    text = table(list(zip(todo, results, strict=True)))
    print(text)
    if args.out:
        page = args.out.read_text(encoding="utf-8")
        before, after = page.split(BEGIN)[0], page.split(END)[1]
        args.out.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
