"""Coverage of the intervals of information from incomplete data, on worlds of known information.

    python benchmarks/missing/coverage.py [--draws 40] [--minutes 6] [--out docs/incomplete_data.md]

Every draw makes one world, removes modalities by one mechanism, and estimates the information of the complete
population. The table says how often the 95 % interval holds the truth, the mean error, and how often the mechanism was
detected. It is written between the markers of the page, and printed.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from counterpoise._files import write_atomic
from counterpoise.data.worlds import GaussianClasses, Redundant, Unique, World
from counterpoise.valuation import Valuation, estimate

BEGIN, END = "<!-- coverage: begin -->", "<!-- coverage: end -->"
SAMPLES = 1000
Masks = dict[str, np.ndarray]
Mechanism = Callable[[dict[str, np.ndarray], np.ndarray, np.random.Generator], Masks]

WORLDS: dict[str, World] = {
    "Gaussian classes": GaussianClasses(),
    "unique": Unique((2, 2), flip=0.1),
    "redundant": Redundant(flip=0.1),
}


def completely_random(inputs: dict[str, np.ndarray], target: np.ndarray, rng: np.random.Generator) -> Masks:
    """Both modalities are absent at rate .4, never both."""
    draw = rng.random(len(target))
    return {"a": draw > 0.3, "b": draw < 0.7}


def label(inputs: dict[str, np.ndarray], target: np.ndarray, rng: np.random.Generator) -> Masks:
    """`b` is present with probability .8 in the first class and .35 in the others."""
    return {"b": rng.random(len(target)) < np.where(target == 0, 0.8, 0.35)}


def observed(inputs: dict[str, np.ndarray], target: np.ndarray, rng: np.random.Generator) -> Masks:
    """The probability of `b` depends on the first column of `a` and on the class."""
    a = inputs["a"][:, 0]
    logit = (a - a.mean()) / a.std() + 0.7 * (target == 0) + 0.3
    return {"b": rng.random(len(target)) < 1 / (1 + np.exp(-logit))}


def unobserved(inputs: dict[str, np.ndarray], target: np.ndarray, rng: np.random.Generator) -> Masks:
    """The probability of `b` depends on the first column of `b` itself."""
    b = inputs["b"][:, 0]
    logit = 1.5 * (b - b.mean()) / b.std()
    return {"b": rng.random(len(target)) < 1 / (1 + np.exp(-logit))}


MECHANISMS: dict[str, tuple[Mechanism, str]] = {
    "completely random": (completely_random, "auto"),
    "at random, by the label": (label, "auto"),
    "at random, by the label, ignored": (label, "completely-random"),
    "at random, by `a` and the label": (observed, "auto"),
    "informative, by `b` itself": (unobserved, "auto"),
}


def quantities(world: World, value: Valuation) -> dict[str, tuple[float, float, float, float]]:
    """Return truth, value and interval of every quantity."""
    rows = {"joint": (world.mi(), value.joint_mi)}
    rows |= {f"mi {m}": (world.mi([m]), value.mi[m]) for m in world.modalities}
    rows |= {f"cmi {m}": (world.cmi(m), value.cmi[m]) for m in world.modalities}
    return {name: (truth, e.value, e.low, e.high) for name, (truth, e) in rows.items()}


def draw(world: World, mechanism: Mechanism, absence: str, seed: int) -> tuple[list[tuple[float, bool]], bool]:
    """Return error and coverage of every quantity in one draw, and whether a note calls absence informative."""
    inputs, target = world.sample(SAMPLES, seed)
    masks = mechanism(inputs, target, np.random.default_rng([seed, 1]))
    value = estimate(inputs, target, present=masks, absence=absence, seed=seed)  # type: ignore[arg-type]
    rows = [(v - truth, low <= truth <= high) for truth, v, low, high in quantities(world, value).values()]
    return rows, any("informative" in note or "weighted" in note for note in value.notes)


def run(draws: int, minutes: float) -> str:
    """Return the table after at most that many draws, or that time."""
    results: dict[tuple[str, str], list[tuple[list[tuple[float, bool]], bool]]] = {}
    started = time.process_time()
    for seed in range(draws):
        for mechanism, (draw_masks, absence) in MECHANISMS.items():
            for name, world in WORLDS.items():
                if time.process_time() - started < 60 * minutes:
                    results.setdefault((mechanism, name), []).append(draw(world, draw_masks, absence, seed))
    lines = [
        "| absence | world | draws | intervals that hold the truth | mean error (nats) | dependence reported |",
        "|---|---|--:|--:|--:|--:|",
    ]
    for (mechanism, name), rows in results.items():
        cells = [cell for row, _ in rows for cell in row]
        covered = 100 * np.mean([c for _, c in cells])
        error = np.mean([e for e, _ in cells])
        reported = 100 * np.mean([flag for _, flag in rows])
        lines.append(f"| {mechanism} | {name} | {len(rows)} | {covered:.0f} % | {error:+.3f} | {reported:.0f} % |")
    return "\n".join(lines)


def main() -> None:
    """Run the study and write its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=40)
    parser.add_argument("--minutes", type=float, default=6.0)
    parser.add_argument("--out", type=Path, default=Path("docs/incomplete_data.md"))
    options = parser.parse_args()
    table = run(options.draws, options.minutes)
    print(table)
    if options.out.is_file():
        before, _, rest = options.out.read_text(encoding="utf-8").partition(BEGIN)
        after = rest.partition(END)[2]
        write_atomic(options.out, f"{before}{BEGIN}\n\n{table}\n\n{END}{after}")


if __name__ == "__main__":
    main()
