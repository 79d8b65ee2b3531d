"""Judge `diagnose_vlm` on 40 tiny models of images and text whose reliance on the image is known.

    python benchmarks/vision_language/run.py [--draws 10] [--samples 200]

writes ``table.md`` beside this file (about ten minutes on one core). The models are LLaVA of 12,000 parameters, made
from a configuration and trained here on questions about pictures whose answers the text suggests more or less strongly.
All pictures and questions are known, so what a model knows with and without the image is a sum over all of them.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
import numpy as np
import tiny
import torch
from torch import nn

from counterpoise import diagnose_vlm

HERE = Path(__file__).resolve().parent
TOLERANCE = 0.005
"""Shares of the image that differ by less count as equal."""


@dataclass(frozen=True)
class Row:
    """One model.

    Attributes:
        kind: How its reliance was planted.
        world: What it answers.
        make: Function from the trained model and its blind twin to the model.
    """

    kind: str
    world: tiny.World
    make: Callable[[nn.Module, nn.Module], nn.Module]


@dataclass(frozen=True)
class Reading:
    """The truth of one model, and what was measured in each draw of samples.

    Attributes:
        truth: Share of what the model knows that is lost without the image.
        values, lows, highs: Estimates and ends of their 95 % intervals.
        flagged: Whether the model was said to ignore the image.
    """

    kind: str
    world: str
    truth: float
    values: np.ndarray
    lows: np.ndarray
    highs: np.ndarray
    flagged: np.ndarray

    @property
    def held(self) -> np.ndarray:
        """Whether each interval holds the truth."""
        return (self.lows - TOLERANCE <= self.truth) & (self.truth <= self.highs + TOLERANCE)


def rows() -> list[Row]:
    """Return the 40 models: eight each as trained, with image features at their mean, and of 24 partial kinds."""
    models = []
    for k, world in enumerate(tiny.WORLDS):
        factor, share, places = (0.3, 0.5, 0.7)[k % 3], (0.1, 0.3, 0.6)[k % 3], 1 + k % 3
        models += [
            Row("trained with images", world, lambda seeing, blind: seeing),
            Row("the same, image features of all pictures alike", world, lambda s, b, w=world: tiny.dimmed(s, w, 0.0)),
            Row("trained on images that tell nothing", world, lambda seeing, blind: blind),
            Row("scores mixed with those of a blind model", world, lambda s, b, x=share: tiny.Mixed(s, b, x)),
            Row("blind for pictures of some kinds", world, lambda s, b, x=places: tiny.PartlyBlind(s, b, x))
            if k % 2
            else Row("image features dimmed", world, lambda s, b, w=world, x=factor: tiny.dimmed(s, w, x)),
        ]
    return models


def read(row: Row, seeing: nn.Module, blind: nn.Module, number: int, draws: int, n: int) -> Reading:
    """Diagnose one model with several draws of samples."""
    model = row.make(seeing, blind).eval()
    results = [
        diagnose_vlm(
            model,
            tiny.Processor(),
            row.world.draw(n, 1000 * number + draw),
            list(row.world.answers),
            batch_size=64,
            progress=False,
        )
        for draw in range(draws)
    ]
    used = [r.image_used for r in results]
    ends = ([getattr(e, k) for e in used] for k in ("value", "low", "high"))
    truth = tiny.truth(model, row.world)
    flagged = np.array([r.ignores_image for r in results])
    return Reading(row.kind, row.world.name, truth.used, *map(np.array, ends), flagged)


def measure(draws: int, n: int, only: int | None = None) -> Iterator[Reading]:
    """Yield what was measured for each model."""
    for number, row in enumerate(rows()[:only]):
        if number % 5 == 0:  # a new world
            seeing, blind = (tiny.train(row.world, number + k, looks=not k) for k in range(2))
        yield read(row, seeing, blind, number, draws, n)


def table(readings: list[Reading], n: int) -> str:
    """Return the table in Markdown."""
    lines = [
        "# Tiny vision-language models of known reliance on the image\n",
        "| model | models | true share of the image | mean error | intervals that hold it | said to ignore the image |",
        "|---|---:|---|---:|---:|---:|",
    ]
    kinds = dict.fromkeys(r.kind for r in readings)
    lines += [_line(kind, [r for r in readings if r.kind == kind]) for kind in kinds]
    lines.append(_line("**all**", readings))
    draws = len(readings[0].values)
    lines.append(
        f"\n{len(readings)} models, {draws} draws of {n} samples each, four swaps, 95 % intervals. "
        "Shares that differ by less than 0.005 count as equal."
    )
    return "\n".join(lines) + "\n"


def _line(kind: str, readings: list[Reading]) -> str:
    known = [r for r in readings if math.isfinite(r.truth)]
    truths = [r.truth for r in known]
    errors = np.concatenate([r.values - r.truth for r in known]) if known else np.array([])
    held = np.concatenate([r.held for r in known]) if known else np.array([])
    flagged = np.concatenate([r.flagged for r in readings])
    span = f"{min(truths):.2f} to {max(truths):.2f}" if truths else "nothing is known"
    error = f"{np.nanmean(errors):+.3f}" if len(errors) else ""
    shares = [f"{x.sum()} of {len(x)}" for x in (held, flagged)]
    return "| " + " | ".join([kind, str(len(readings)), span, error, *shares]) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--samples", type=int, default=200)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    readings = []
    for reading in measure(arguments.draws, arguments.samples):
        readings.append(reading)
        print(
            f"{reading.world:28} {reading.kind:42} truth {reading.truth:.3f} mean {np.nanmean(reading.values):.3f} "
            f"held {reading.held.sum()}/{len(reading.held)} flagged {reading.flagged.sum()}",
            file=sys.stderr,
            flush=True,
        )
    (HERE / "table.md").write_text(table(readings, arguments.samples))


if __name__ == "__main__":
    main()
