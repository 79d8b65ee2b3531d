"""Streaming valuation with the torchmetrics interface: update on batches, reduce over processes, compute once."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch
from torch import Tensor
from torchmetrics import Metric

from counterpoise.errors import DataError
from counterpoise.tasks import Task
from counterpoise.valuation.functional.entropy import gaussian_entropy

__all__ = ["Contributions"]


class Contributions(Metric):
    r"""Joint and marginal contributions of the modalities over a stream of batches, in nats.

    Its inputs are logits of classifiers on samples on which they were *not* fitted. Only sums are kept, in float64.

    As input to ``update``: logits of the classifier on all modalities ``(B, C)``, on each modality alone ``{m: (B,
    C)}``, on all but each ``{m: (B, C)}``, and the targets. Either mapping may be empty.

    As output of ``compute``: a dict of tensors, ``n``, ``entropy`` (of the labels so far), ``mi`` (a lower bound of
    I(Z; Y)), ``mi:<m>`` (lower bounds), ``cmi:<m>`` (differences of bounds: no bounds), ``kl:<m>`` (the same without
    labels), their standard errors as ``se:<name>`` (not of ``mi`` for regression), and ``per_class:<name>`` of shape
    ``(C,)``: means over the samples of each class (NaN where there was none), or each label's share for multi-label.

    Args:
        task: The likelihood, which for regression includes the noise scale.
        modalities: Names of the modalities.

    Example:
        >>> from counterpoise.tasks import MultiClass
        >>> metric = Contributions(MultiClass(2), ["a", "b"])
        >>> sure, none = torch.tensor([[20.0, 0.0], [0.0, 20.0]]), torch.zeros(2, 2)
        >>> metric.update(sure, {"a": sure, "b": none}, {"a": none, "b": sure}, torch.tensor([0, 1]))
        >>> results = metric.compute()
        >>> [round(results[key].item(), 3) for key in ("mi", "mi:b", "cmi:a", "cmi:b")]
        [0.693, 0.0, 0.693, 0.0]
    """

    is_differentiable = False
    higher_is_better = None
    full_state_update = False
    count: Tensor
    total: Tensor
    square: Tensor
    by_class: Tensor
    cross: Tensor
    label_sum: Tensor
    label_outer: Tensor
    base_sum: Tensor
    base_square: Tensor
    base_label: Tensor
    base_cross: Tensor

    def __init__(self, task: Task, modalities: Collection[str]) -> None:
        super().__init__()
        self.task = task
        self._example: Tensor | None = None
        self.modalities = tuple(modalities)
        self.names = ("mi", *(f"{kind}:{m}" for kind in ("mi", "cmi", "kl") for m in self.modalities))
        rows, c = len(self.names), task.num_outputs
        shapes = {
            "count": (rows,),
            "total": (rows,),
            "square": (rows,),
            "by_class": (rows, c),
            "cross": (rows, c),
            "label_sum": (c,),
            "label_outer": (0, 0) if task.has_classes else (c, c),
            "base_sum": (c if task.has_independent_outputs and not task.is_gaussian else 1,),
            "base_square": (),
            "base_label": (c,),
            "base_cross": (rows,),
        }
        for name, shape in shapes.items():
            self.add_state(name, torch.zeros(shape, dtype=torch.float64), dist_reduce_fx="sum")

    def update(
        self, logits: Tensor, alone: Mapping[str, Tensor], without: Mapping[str, Tensor], target: Tensor
    ) -> None:
        """Add a batch.

        Args:
            logits: ``(B, C)`` of the classifier on all modalities.
            alone: ``{m: (B, C)}`` of classifiers on one modality each; may be empty.
            without: ``{m: (B, C)}`` of classifiers on all but one modality each; may be empty.
            target: Targets, as the task expects them.

        Raises:
            DataError: For an unknown modality, another shape, or targets that do not fit the task.
        """
        self._check(logits, alone, without)
        self.task.check_target(target)
        whole = self._log_likelihood(logits, target)
        terms = {"mi": whole}
        terms |= {f"mi:{m}": self._log_likelihood(value, target) for m, value in alone.items()}
        for m, value in without.items():
            terms[f"cmi:{m}"] = whole - self._log_likelihood(value, target)
            terms[f"kl:{m}"] = self.task.kl(logits.double(), value.double())[:, None]
        labels = self.task.one_hot(target, torch.float64)
        base = self._log_likelihood(torch.zeros_like(logits), target)
        for name, term in terms.items():
            row = self.names.index(name)
            sample = term.sum(-1)
            self.count[row] += len(sample)
            self.total[row] += sample.sum()
            self.square[row] += sample.square().sum()
            self.cross[row] += sample @ labels
            self.base_cross[row] += sample @ base.sum(-1)
            if term.shape[-1] == self.task.num_outputs:
                self.by_class[row] += term.sum(0)
        self.label_sum += labels.sum(0)
        self.base_sum += base.sum(0)
        self.base_square += base.sum(-1).square().sum()
        self.base_label += base.sum(-1) @ labels
        self._example = target[:1]
        if not self.task.has_classes:
            self.label_outer += labels.T @ labels

    def compute(self) -> dict[str, Tensor]:
        """Return the contributions over all batches since the last reset.

        Raises:
            DataError: If there was no batch.
        """
        n = self.count[0]
        if not n:
            raise DataError("Contributions need samples. Call update before compute.")
        results = {"n": n.long(), "entropy": self._entropy(n)}
        for row, name in enumerate(self.names):
            if self.count[row]:
                results |= self._summary(row, name, n)
        return results

    def _summary(self, row: int, name: str, n: Tensor) -> dict[str, Tensor]:
        """Return the mean, its standard error and the classes' means of one quantity."""
        is_mi, task = name.startswith("mi"), self.task
        mean, square = self.total[row] / n, self.square[row] / n
        results = {name: mean + self._entropy(n) if is_mi else mean}
        if is_mi and not task.is_gaussian:
            # log p(y) = base(y) + slope . y + constant, so its moments follow from the sums that are kept.
            slope, constant = self._prior(n)
            c = constant.sum()
            outer = self.label_sum.diag() if task.has_classes else self.label_outer
            crossed = (self.base_cross[row] + self.cross[row] @ slope) / n + c * mean
            linear = (self.base_sum.sum() + self.label_sum @ slope) / n
            marginal = (self.base_square + 2 * self.base_label @ slope + slope @ outer @ slope) / n
            mean, square = results[name], square - 2 * crossed + marginal + 2 * c * linear + c.square()
        if not (is_mi and task.is_gaussian):
            results[f"se:{name}"] = ((square - mean.square()).clamp_min(0) / (n - 1).clamp_min(1)).sqrt()
        if task.has_classes:
            value = self.cross[row] / self.label_sum
            results[f"per_class:{name}"] = value - (self.label_sum / n).log() if is_mi else value
        elif task.has_independent_outputs and not task.is_gaussian and not name.startswith("kl"):
            value = self.by_class[row] / n
            results[f"per_class:{name}"] = value + self._output_entropies(n) if is_mi else value
        return results

    def _prior(self, n: Tensor) -> tuple[Tensor, Tensor]:
        """Return slope and constant of log p(y) = log p(y | logits 0) + slope . y + constant, for the labels seen.

        The slope is the natural parameter of the constant prediction. The constant, one per output, does not depend on
        y (likelihoods are exponential families), so that any target can be used to compute it.
        """
        slope = self.task.link(self.label_sum / n)
        example = self._example
        if example is None:  # no batch in this process
            shape = (1,) if self.task.has_classes else (1, self.task.num_outputs)
            example = torch.zeros(shape, dtype=self.task.dtype)
        example = example.to(slope.device)
        difference = self._log_likelihood(slope[None], example) - self._log_likelihood(0 * slope[None], example)
        linear = slope * self.task.one_hot(example, slope.dtype)
        return slope, (difference - (linear if difference.shape[-1] > 1 else linear.sum(-1, keepdim=True)))[0]

    def _log_likelihood(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return ``(B, C)`` per output where outputs are independent, else ``(B, 1)``."""
        if self.task.has_independent_outputs and not self.task.is_gaussian:
            return self.task.per_output_log_likelihood(logits.double(), target)
        return self.task.log_likelihood(logits.double(), target)[:, None]

    def _output_entropies(self, n: Tensor) -> Tensor:
        """Return the entropy of each output, or of all together where they are not independent."""
        slope, constant = self._prior(n)
        linear = slope * self.label_sum
        return -(self.base_sum + (linear if len(constant) > 1 else linear.sum())) / n - constant

    def _entropy(self, n: Tensor) -> Tensor:
        if not self.task.is_gaussian:
            return self._output_entropies(n).sum()
        mean = self.label_sum / n
        return gaussian_entropy(self.label_outer / n - torch.outer(mean, mean))

    def _check(self, logits: Tensor, alone: Mapping[str, Tensor], without: Mapping[str, Tensor]) -> None:
        if logits.ndim != 2 or logits.shape[1] != self.task.num_outputs:
            raise DataError(f"Logits should have shape (B, {self.task.num_outputs}). Found {tuple(logits.shape)}.")
        for m, value in [*alone.items(), *without.items()]:
            if m not in self.modalities:
                raise DataError(f"There is no modality `{m}`. Known: {', '.join(self.modalities)}.")
            if value.shape != logits.shape:
                raise DataError(f"Logits of `{m}` should have shape {tuple(logits.shape)}. Found {tuple(value.shape)}.")
