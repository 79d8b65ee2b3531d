"""The empirical multimodally-additive projection (EMAP), which measures a model's use of interactions between
modalities.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from counterpoise._tree import take
from counterpoise._validation import Interval, Options
from counterpoise.errors import DataError
from counterpoise.records import Inputs, batch_size
from counterpoise.tasks import Task
from counterpoise.valuation._valuation import Estimate
from counterpoise.valuation.model_based._scores import Predict, summary

__all__ = ["Emap", "emap"]

MEASURES = Options(("accuracy", "log_likelihood"))


@dataclass(frozen=True)
class Emap:
    """Comparison of a model with the best sum of unimodal functions of its own predictions.

    Attributes:
        model: Score of the model.
        additive: Score of its additive projection.
        interaction: Gain of the model from interactions between modalities, ``model - additive``.
        interaction_share: Share of the variance of the logits that no sum of unimodal functions explains, in [0, 1] up
            to sampling.
        logits: ``(N, C)`` of the projection.
        measure: ``accuracy`` or ``log_likelihood`` (nats).
    """

    model: Estimate
    additive: Estimate
    interaction: Estimate
    interaction_share: float
    logits: Tensor
    measure: str


@torch.no_grad()
def emap(
    predict: Predict,
    inputs: Inputs,
    target: Tensor,
    *,
    task: Task,
    measure: str = "accuracy",
    background: int = 256,
    batch: int = 512,
) -> Emap:
    r"""Project a model onto sums of unimodal functions, and return the loss of its score.

    Hessel and Lee, "Does my multimodal model learn cross-modal interactions? It's harder to tell than you might
    think!", EMNLP 2020. For two modalities a and b, equation 4:

    .. math:: \hat f(a_i, b_i) = \frac1N \sum_j f(a_i, b_j) + \frac1N \sum_j f(a_j, b_i)
        - \frac1{N^2} \sum_{jk} f(a_j, b_k)

    For more modalities, each one is averaged over the other modalities of other samples, and the centred averages are
    added. If the projection scores as well as the model, the model does not use interactions, whatever its
    architecture. It takes ``M * background`` passes over the samples (``background`` for two modalities).

    Args:
        predict: The model.
        inputs: All samples.
        target: Targets, as the task takes them.
        task: The likelihood.
        measure: ``accuracy`` (`Task.sample_score`) or ``log_likelihood``.
        background: Largest number of samples over which the other modalities are averaged; by definition all samples,
            which are used if there are no more.
        batch: Number of samples per call of the model.

    Raises:
        ConfigError: For an unknown measure, or no background samples.
        DataError: For no samples, unequal lengths, fewer than two modalities, or logits of another shape.

    Example:
        >>> from counterpoise.tasks import MultiClass
        >>> a, b = torch.tensor([[1.0], [1.0], [-1.0], [-1.0]]), torch.tensor([[1.0], [-1.0], [1.0], [-1.0]])
        >>> y = (a * b < 0).long().flatten()
        >>> def model(x):
        ...     return torch.cat([x["a"] * x["b"], 0 * x["a"]], 1)
        >>> product = emap(model, {"a": a, "b": b}, y, task=MultiClass(2))
        >>> product.model.value, product.interaction_share
        (1.0, 1.0)
    """
    MEASURES.check("emap", "measure", measure)
    Interval(1, integer=True).check("emap", "background", background)
    n, names = batch_size(inputs), tuple(inputs)
    if n != len(target) or not n:
        raise DataError(f"There should be one target per sample. Found {n} samples and {len(target)} targets.")
    if len(names) < 2:
        raise DataError(f"A projection needs at least two modalities. Found {len(names)}.")
    shifts = torch.linspace(0, n - 1, min(background, n)).round().long().unique().tolist()
    own = _logits(predict, inputs, batch, task)
    parts = _averages(predict, inputs, shifts, batch, task)
    level = torch.stack([p.mean(0) for p in parts]).mean(0)
    projected = level + torch.stack([p - p.mean(0) for p in parts]).sum(0)
    y = target.to(own.device)
    score = task.sample_score if measure == "accuracy" else task.log_likelihood
    whole, additive = (score(z, y).double().cpu().numpy() for z in (own, projected))
    spread = (own - own.mean(0)).square().sum()
    share = float((own - projected).square().sum() / spread) if spread > 0 else 0.0
    return Emap(summary(whole), summary(additive), summary(whole - additive), share, projected.cpu(), measure)


def _logits(predict: Predict, inputs: Inputs, batch: int, task: Task) -> Tensor:
    """Return ``(N, C)`` logits in float64, in the task's standard form, without the constant that a class distribution
    ignores.
    """
    n = batch_size(inputs)
    rows = [slice(start, start + batch) for start in range(0, n, batch)]
    z = torch.cat([predict({m: take(value, part) for m, value in inputs.items()}).detach().double() for part in rows])
    if z.ndim != 2 or len(z) != n:
        raise DataError(f"The model should return logits ({n}, C) for {n} samples. Found {tuple(z.shape)}.")
    return z if task.has_independent_outputs else z - z.mean(1, keepdim=True)


def _averages(predict: Predict, inputs: Inputs, shifts: list[int], batch: int, task: Task) -> list[Tensor]:
    """Return, per modality, the logits ``(N, C)`` of its values averaged over the others' values of other samples."""
    names, n = tuple(inputs), batch_size(inputs)
    index = torch.arange(n)
    totals: list[Tensor] = []
    # Of two modalities one pairing (a_i, b_i+s) serves both: it counts for a at i, and for b at i + s.
    moved = names[:1] if len(names) == 2 else names
    for m in moved:
        kept: Tensor | None = None
        other: Tensor | None = None
        for s in shifts:
            pairs = (index + s) % n
            mixed = {k: value if k == m else take(value, pairs) for k, value in inputs.items()}
            z = _logits(predict, mixed, batch, task)
            kept = z if kept is None else kept + z
            back = z[(index - s) % n]
            other = back if other is None else other + back
        assert kept is not None  # for the type checker
        assert other is not None
        totals += [kept / len(shifts)] + ([other / len(shifts)] if len(names) == 2 else [])
    return totals
