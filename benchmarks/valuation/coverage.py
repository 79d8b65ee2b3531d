"""Bias, standard deviation and coverage of every estimator on worlds of known information.

    python benchmarks/valuation/coverage.py [--repetitions 20] [--only variational] [--jobs 1] [--minutes 10]
        [--cache draws.jsonl] [--out docs/valuation.md]

writes two Markdown tables between the markers of the page (and prints them). Draws go round the worlds and sizes, so
that the tables can be made after any time; ``--cache`` keeps them, and a second run goes on where the first stopped.
How many draws a line rests on is in the tables.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeAlias

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
SIZES = {200: 1.0, 1000: 1.0, 5000: 0.1}
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


Draws: TypeAlias = dict[Job, "list[float] | None"]


def rows_of(done: Draws, **chosen: object) -> np.ndarray:
    """Return ``(draws, 4)``: the results of the jobs with some attributes."""
    rows = [r for j, r in done.items() if r is not None and all(getattr(j, k) == v for k, v in chosen.items())]
    return np.array(rows, dtype=float).reshape(-1, 4)


def table(done: Draws, estimator: str) -> str:
    """Return one line per world and number of samples for one estimator."""
    lines = [
        "| world | n | draws | I(all; Y) | bias | sd | in 95 % | I(a; Y given rest) | bias | sd | in 95 % |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for world, n in itertools.product(WORLDS, SIZES):
        values = rows_of(done, world=world, n=n, estimator=estimator)
        if len(values) < 2:
            continue
        cells = [world, f"{n:,}", str(len(values))]
        for k, truth in enumerate((WORLDS[world].mi(), WORLDS[world].cmi(WORLDS[world].modalities[0]))):
            error, inside = values[:, 2 * k], values[:, 2 * k + 1]
            cells += [f"{truth:.3f}", f"{error.mean():+.4f}", f"{error.std(ddof=1):.4f}", f"{inside.mean():.0%}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def summary(done: Draws) -> str:
    """Return one line per estimator and number of samples: coverage over all worlds, and the largest bias."""
    lines = [
        "| estimator | n | draws | I(all; Y) in 95 % | I(a; Y given rest) in 95 % | largest bias of I(all; Y) |",
        "|---|---|---|---|---|---|",
    ]
    for estimator, n in itertools.product(ESTIMATORS, SIZES):
        values = rows_of(done, n=n, estimator=estimator)
        biases = {w: rows_of(done, world=w, n=n, estimator=estimator)[:, 0] for w in WORLDS}
        means = {w: float(errors.mean()) for w, errors in biases.items() if len(errors) > 1}
        if means:
            worst = max(means, key=lambda w: abs(means[w]))
            joint, given = values[:, [1, 3]].mean(0)
            cells = [estimator, f"{n:,}", str(len(values)), f"{joint:.0%}", f"{given:.0%}"]
            lines.append("| " + " | ".join([*cells, f"{means[worst]:+.3f} ({worst})"]) + " |")
    return "\n".join(lines)


def page(done: Draws) -> str:
    """Return what is written into the page."""
    return (
        f"Every estimator, over all worlds that it is for:\n\n{summary(done)}\n\nThe default, world by world:\n\n"
        + (table(done, "variational"))
    )


def load(cache: Path | None) -> Draws:
    if cache is None or not cache.exists():
        return {}
    lines = [json.loads(line) for line in cache.read_text(encoding="utf-8").splitlines()]
    return {Job(**line["job"]): line["row"] for line in lines}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=20)
    parser.add_argument("--only", choices=ESTIMATORS, help="draw only for this estimator")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=10.0, help="processor time of one job to spend")
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    done: Draws = load(args.cache)
    todo = [j for j in jobs(args.repetitions) if j not in done and (args.only or j.estimator) == j.estimator]
    todo = [j for j in todo if args.only or j.estimator not in SLOW]
    clock = time.process_time if args.jobs == 1 else time.monotonic
    stop, size = clock() + 60 * args.minutes, 4 * args.jobs
    with joblib.Parallel(n_jobs=args.jobs) as parallel:
        for start in range(0, len(todo), size):
            if clock() > stop:
                break
            part = todo[start : start + size]
            results = dict(zip(part, parallel(joblib.delayed(run)(job) for job in part), strict=True))
            done |= results
            if args.cache:
                with args.cache.open("a", encoding="utf-8") as file:
                    file.writelines(json.dumps({"job": asdict(j), "row": r}) + "\n" for j, r in results.items())
    text = page(done)
    print(text)
    if args.out:
        written = args.out.read_text(encoding="utf-8")
        before, after = written.split(BEGIN)[0], written.split(END)[1]
        args.out.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
