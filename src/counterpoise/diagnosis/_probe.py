"""What a model does with its modalities: predictions, partial predictions, and predictions from damaged inputs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor

from counterpoise._tree import leaves, map_named, take
from counterpoise.diagnosis._adapt import Adapter
from counterpoise.errors import ModelError
from counterpoise.records import Inputs, Nested
from counterpoise.tasks import Task

__all__ = ["CHANGES", "Partial", "calibration_error", "changed", "features", "partial_logits", "predictions", "scores"]

CHANGES: Final = ("zeros", "mean", "permuted", "noise 0.5", "noise 1", "noise 2")
"""A modality missing in three ways, and with noise of so many standard deviations."""


@dataclass(frozen=True)
class Partial:
    """Logits ``(N, C)`` of a model, with all modalities, each alone, and all but each."""

    whole: Tensor
    alone: dict[str, Tensor]
    without: dict[str, Tensor]


def predictions(adapter: Adapter, inputs: Inputs, size: int) -> Tensor:
    """Return logits ``(N, C)`` in float64, ``size`` samples at a time.

    Raises:
        ModelError: if the model returns another number of rows than it was given, or numbers that are not finite.
    """
    found = []
    for batch in _batches(inputs, size):
        logits = adapter.logits(batch)
        expected = len(next(iter(leaves(next(iter(batch.values()))).values())))
        if len(logits) != expected:
            raise ModelError(f"A model should return one row of logits per sample. Found {len(logits)} for {expected}.")
        found.append(logits.double())
    logits = torch.cat(found)
    bad = (~logits.isfinite()).any(1).nonzero().flatten()
    if len(bad):
        raise ModelError(
            f"The model's logits should be finite. Found NaN or inf in {len(bad)} of {len(logits)} samples, the first is {int(bad[0])}."
        )
    return logits


def features(adapter: Adapter, inputs: Inputs, size: int) -> dict[str, Tensor]:
    """Return what the encoders say, ``{m: (N, D_m)}``; empty where the model does not tell."""
    parts = [adapter.represent(batch) for batch in _batches(inputs, size)]
    return {m: torch.cat([p[m] for p in parts]).double() for m in parts[0]}


def partial_logits(adapter: Adapter, inputs: Inputs, *, donors: int, size: int, seed: int) -> Partial:
    r"""Return the model's predictions with some modalities known and the others averaged out.

    For the modalities S the logits are averaged over K donors whose other modalities take the place of the sample's:
    :math:`\bar f_S(x) = \frac1K \sum_k f(x_S, x^{(k)}_{-S})` (the partial dependence). All samples share the donors, so
    that what the donors say is a constant to an additive model, and no noise.

    Args:
        adapter: the model.
        inputs: of N samples.
        donors: K.
        size: samples at a time.
        seed: of the choice of donors.
    """
    names = tuple(inputs)
    n = len(next(iter(leaves(inputs[names[0]]).values())))
    chosen = torch.randperm(n, generator=torch.Generator().manual_seed(seed))[:donors]

    def averaged(known: set[str]) -> Tensor:
        total: Tensor | float = 0.0
        for donor in chosen:
            mixed = {m: value if m in known else _repeat(value, int(donor), n) for m, value in inputs.items()}
            total = total + predictions(adapter, mixed, size)
        assert isinstance(total, Tensor)  # there is a donor
        return total / len(chosen)

    whole = predictions(adapter, inputs, size)
    alone = {m: averaged({m}) for m in names}
    if len(names) == 2:
        return Partial(whole, alone, {names[0]: alone[names[1]], names[1]: alone[names[0]]})
    return Partial(whole, alone, {m: averaged(set(names) - {m}) for m in names})


def changed(inputs: Inputs, m: str, change: str, *, seed: int = 0) -> dict[str, Nested] | None:
    """Return the inputs with modality ``m`` damaged, or None where that makes no sense (the mean of token ids).

    Args:
        inputs: of all samples.
        m: which modality.
        change: one of `CHANGES`. Noise is in standard deviations of each column for ``(N, D)``, of the whole modality
            for more axes. Leaves called ``*mask*`` are left as they are.
        seed: of the permutation and the noise.

    Example:
        >>> changed({"a": torch.tensor([[1.0], [3.0]]), "b": torch.zeros(2, 1)}, "a", "mean")["a"].flatten()
        tensor([2., 2.])
    """
    generator = torch.Generator().manual_seed(seed)
    everything = leaves(inputs[m])
    real = {k: x.is_floating_point() for k, x in everything.items() if "mask" not in k}
    if change == "permuted":
        order = torch.randperm(len(next(iter(everything.values()))), generator=generator)
        return {**inputs, m: take(inputs[m], order)}
    if change != "zeros" and not all(real.values()):
        return None

    def edit(name: str, x: Tensor) -> Tensor:
        if "mask" in name:
            return x
        if change == "zeros":
            return torch.zeros_like(x)
        if change == "mean":
            return x.mean(0, keepdim=True).expand_as(x).clone()
        spread = x.std(0, correction=0) if x.ndim <= 2 else x.std(correction=0)
        noise = torch.randn(x.shape, generator=generator, dtype=torch.float32).to(x.dtype)
        return x + float(change.split()[1]) * spread * noise

    return {**inputs, m: map_named(edit, inputs[m])}


def scores(task: Task, logits: Tensor, target: Tensor) -> dict[str, float]:
    """Return accuracy (R² for regression), negative log-likelihood in nats and expected calibration error.

    Example:
        >>> from counterpoise.tasks import MultiClass
        >>> found = scores(MultiClass(2), torch.tensor([[0.0, 1.0], [1.0, 0.0]]), torch.tensor([1, 1]))
        >>> found["accuracy"], round(found["nll"], 3), round(found["ece"], 3)
        (0.5, 0.813, 0.231)
    """
    nll = -float(task.log_likelihood(logits, target).mean())
    if task.name == "regression":
        residual, spread = (target - logits).square().sum(0), (target - target.mean(0)).square().sum(0)
        return {"r2": float((1 - residual / spread).mean()), "nll": nll}
    accuracy = float(task.sample_score(logits, target).mean())
    if task.name == "multiclass":
        sure, correct = logits.softmax(-1).max(-1).values, logits.argmax(-1) == target
    else:
        p = logits.sigmoid().flatten()
        sure, correct = torch.maximum(p, 1 - p), (p > 0.5) == (target.flatten() > 0.5)
    return {"accuracy": accuracy, "nll": nll, "ece": calibration_error(sure.numpy(), correct.numpy())}


def calibration_error(sure: np.ndarray, correct: np.ndarray, bins: int = 15) -> float:
    """Return the expected calibration error with equal bins of (0, 1].

    Args:
        sure: ``(N,)`` probabilities of the predictions.
        correct: ``(N,)`` whether they were right.
        bins: how many.

    Example:
        >>> calibration_error(np.array([0.9, 0.9]), np.array([True, False])).__round__(3)
        0.4
    """
    place = np.clip(np.ceil(sure * bins).astype(int) - 1, 0, bins - 1)
    gap = np.bincount(place, correct.astype(float), bins) - np.bincount(place, sure, bins)
    return float(np.abs(gap).sum() / len(sure))


def _batches(inputs: Inputs, size: int) -> Iterator[dict[str, Nested]]:
    n = len(next(iter(leaves(next(iter(inputs.values()))).values())))
    for start in range(0, n, size):
        yield {m: take(value, slice(start, start + size)) for m, value in inputs.items()}


def _repeat(value: Nested, row: int, n: int) -> Nested:
    return map_named(lambda _, x: x[row : row + 1].expand(n, *x.shape[1:]), value)
