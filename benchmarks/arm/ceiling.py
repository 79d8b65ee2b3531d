"""What an oracle could gain from learning rates and stopping of each encoder, and how much ARM and the recipe gain."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from speakers import open_set
from study import CEILING_RATES, ORACLE, config_of, key_of
from torch import Tensor
from trainings import CONTROL, ON, RECIPE, Study, markdown, mean_error, signed, tested

from counterpoise.inference._exponents import fit_exponents
from counterpoise.tasks import Task

__all__ = ["ceiling"]

ROW = "separated-gradients"
Choice = list[tuple[int, int]]
"""Training and epoch of every encoder."""


def ceiling(study: Study, same: Study, work: Path) -> str:
    """Return the table of the ceiling; data sets without the outputs of all heads in ``work`` are left out."""
    body, most, halves = [], [], []
    for d in study.complete(ROW):
        data = open_set(d, 0)
        files = [work / f"{key_of(config_of(data, ROW, r, 0))}.npz" for r in CEILING_RATES]
        if not all(f.is_file() for f in files):
            continue
        oracle = Oracle(data, [np.load(f) for f in files])
        one, rates, stops = oracle.accuracies()
        half = oracle.across_halves()
        most.append(stops - one)
        halves.append(half)
        gains = [signed(same.gain(d, r, CONTROL, "test:calibrated")) for r in (ON, ORACLE, RECIPE)]
        numbers = [f"{v:.1f}" for v in (one, rates, stops)]
        body.append([d, *numbers, f"{stops - one:+.1f}", f"{half:+.1f}", *gains])
    sets = [line[0] for line in body]
    means = [tested(same, sets, r, CONTROL, "calibrated") for r in (ON, ORACLE, RECIPE)]
    half_mean, half_error = mean_error(np.array(halves))
    body.append(["mean", "", "", "", f"{np.mean(most):+.2f}", f"{half_mean:+.2f} ± {half_error:.2f}", *means])
    text = (
        "What learning rates and stopping per encoder can give at all. Encoders are those of separated gradients, so "
        "that each can be exchanged for the one of another training, under the calibrated product of the unimodal "
        "heads. One rate for all: the best of 1, 3, 9 and 27 times the recipe's. Oracle: rate, and rate and epoch, of "
        "each encoder chosen by coordinate ascent. In the columns up to 'most to gain' everything is chosen, fitted "
        "and scored on all test samples (an upper bound that overfits the test set). In the next column the oracle and "
        "the one rate are chosen and fitted on one half of the test samples and scored on the other half, mean over "
        "5 random halves and their exchange: what of it is real. Seed 0, test accuracy in %. Last columns: points "
        "over uniform training under the calibrated rule at one rate per data set: ARM as it is, ARM whose "
        "contributions are measured on the test samples with their labels, and the recipe."
    )
    header = ["data", "one rate", "oracle: rates", "oracle: rates and stopping", "most to gain"]
    header += ["gain on the other half", "arm", "arm, true contributions", "separated-experts"]
    return markdown("The ceiling", text, header, body)


class Oracle:
    """Chooses training and epoch of every encoder on labelled test samples.

    Args:
        data: Data set.
        files: Logits of all heads after every epoch, for each learning rate.
    """

    def __init__(self, data: Any, files: Sequence[Any]) -> None:
        self.task: Task = data.info.make_task()
        self.target = torch.from_numpy(files[0]["target"])
        self.heads = [torch.from_numpy(f["test"].astype(np.float32)) for f in files]
        self.count, self.last = len(data.info.names), len(self.heads[0]) - 1
        self.every = torch.arange(len(self.target))

    def accuracy(self, choice: Choice, fitted: Tensor, scored: Tensor) -> float:
        """Return the accuracy in % of the product whose exponents are fitted on other samples or the same ones."""
        experts = torch.stack([self.heads[r][e, m + 1] for m, (r, e) in enumerate(choice)]).double()
        theta, temperature = fit_exponents(self.task, experts[:, fitted], self.target[fitted])
        logits = self.task.combine(self.task.normalise(experts[:, scored]), (temperature + theta).exp())
        return 100 * self.task.sample_score(logits, self.target[scored]).float().mean().item()

    def one_rate(self, rows: Tensor) -> Choice:
        """Return the best rate for all encoders."""
        same = [[(r, self.last)] * self.count for r in range(len(self.heads))]
        return max(same, key=lambda c: self.accuracy(c, rows, rows))

    def ascend(self, start: Choice, candidates: Sequence[tuple[int, int]], rows: Tensor) -> Choice:
        """Return the choice that changes one encoder after the other for the best of the candidates."""
        best = list(start)
        for m in range(self.count):
            trials = [[*best[:m], c, *best[m + 1 :]] for c in candidates]
            best = max([best, *trials], key=lambda c: self.accuracy(c, rows, rows))
        return best

    @property
    def rates(self) -> list[tuple[int, int]]:
        """Every rate at the last epoch."""
        return [(r, self.last) for r in range(len(self.heads))]

    @property
    def stops(self) -> list[tuple[int, int]]:
        """Every rate at four epochs."""
        count = self.last + 1
        epochs = sorted({self.last, 3 * count // 4, count // 2, count // 4})
        return [(r, e) for r in range(len(self.heads)) for e in epochs]

    def accuracies(self) -> tuple[float, float, float]:
        """Return the accuracy with one rate, with a rate per encoder, and with a rate and an epoch per encoder."""
        start, rows = self.one_rate(self.every), self.every
        choices = (start, self.ascend(start, self.rates, rows), self.ascend(start, self.stops, rows))
        one, rates, stops = (self.accuracy(c, rows, rows) for c in choices)
        return one, rates, max(rates, stops)

    def across_halves(self, draws: int = 5) -> float:
        """Return the gain of rates and epochs per encoder over one rate, chosen on one half and scored on the other."""
        generator = torch.Generator().manual_seed(0)
        gains = []
        for _ in range(draws):
            order = torch.randperm(len(self.target), generator=generator)
            halves = order[::2], order[1::2]
            for chosen, scored in (halves, halves[::-1]):
                start = self.one_rate(chosen)
                best = self.ascend(start, self.stops, chosen)
                gains.append(self.accuracy(best, chosen, scored) - self.accuracy(start, chosen, scored))
        return float(np.mean(gains))
