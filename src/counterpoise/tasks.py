"""A task knows its likelihood; every information measure follows from that.

The likelihoods are categorical (multi-class), independent Bernoulli (multi-label) and Gaussian (regression). All
log-likelihoods are in
nats. Models emit *natural outputs* called logits throughout: unnormalised log-probabilities, log-odds, or means.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, Final

import torch
import torch.nn.functional as F  # noqa: N812 - the common name
from torch import Tensor

from counterpoise._validation import unknown
from counterpoise.errors import ConfigError, DataError

__all__ = ["MultiClass", "MultiLabel", "Regression", "Task", "make_task"]

LOG_2PI_E: Final = 2.8378770664093453  # log(2 pi) + 1


class Task(ABC):
    """A likelihood p(y | logits).

    Args:
        num_outputs: C, the number of classes, labels or regression targets.
    """

    name: ClassVar[str]
    score_name: ClassVar[str]
    """The metric by which runs are selected; larger is better."""

    def __init__(self, num_outputs: int) -> None:
        if num_outputs < 1 or (num_outputs < 2 and self.name == "multiclass"):
            raise ConfigError(f"A {self.name} task needs at least 2 outputs (1 for others). Found {num_outputs}.")
        self.num_outputs = num_outputs

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.num_outputs})"

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.num_outputs == getattr(other, "num_outputs", None)

    def __hash__(self) -> int:
        return hash((type(self), self.num_outputs))

    @abstractmethod
    def log_likelihood(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return ``(..., B)``: log p(y_i | logits_i) in nats, for logits ``(..., B, C)`` and one target per sample."""

    def loss(self, logits: Tensor, target: Tensor, smoothing: float = 0.0) -> Tensor:
        """Return the scalar to minimise: the mean negative log-likelihood over the batch, in nats.

        Args:
            logits: ``(B, C)``.
            target: one target per sample.
            smoothing: share of every label that is spread evenly over all classes (label smoothing, Szegedy et al., CVPR 2016). A label of
                several becomes ``smoothing / 2`` or ``1 - smoothing / 2``; real targets stay as they are.
        """
        del smoothing
        return -self.log_likelihood(logits, target).mean()

    @abstractmethod
    def marginal_logits(self, target: Tensor) -> Tensor:
        """Return ``(C,)``: the constant logits with the highest likelihood on ``target`` (class prior, mean)."""

    def entropy(self, target: Tensor) -> Tensor:
        """Return H(Y), the plug-in entropy of the labels in nats (differential for regression)."""
        target = target.long() if self.name == "multiclass" else target.double()
        logits = self.marginal_logits(target).expand(len(target), -1)
        return -self.log_likelihood(logits, target).mean()

    def information_scale(self, target: Tensor) -> float:
        """Return the scale of contributions in nats: H(Y), or one nat per output where H(Y) is differential."""
        return max(self.entropy(target).item(), 1e-6) if self.name != "regression" else float(self.num_outputs)

    @abstractmethod
    def kl(self, logits: Tensor, other: Tensor) -> Tensor:
        """Return ``(..., B)``: KL(p(.|logits) || p(.|other)) in nats."""

    @abstractmethod
    def point(self, logits: Tensor) -> Tensor:
        """Return the point prediction: class ids ``(B,)``, zeros and ones ``(B, C)``, or means ``(B, C)``."""

    @abstractmethod
    def correct(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return ``(..., B)`` in [0, 1]: is the point prediction right (the share of right labels; for regression
        minus the squared error, which is not bounded)."""  # noqa: D209

    @abstractmethod
    def check_target(self, target: Tensor) -> None:
        """Raise `DataError` if the targets are not what this task expects."""


class MultiClass(Task):
    """One of C classes; categorical likelihood.

    Example:
        >>> task = MultiClass(3)
        >>> task.log_likelihood(torch.zeros(1, 3), torch.tensor([2]))   # -log 3
        tensor([-1.0986])
        >>> task.entropy(torch.tensor([0, 0, 1, 1]))                    # log 2
        tensor(0.6931, dtype=torch.float64)
    """

    name = "multiclass"
    score_name = "accuracy"

    def log_likelihood(self, logits: Tensor, target: Tensor) -> Tensor:
        """See `Task.log_likelihood`."""
        index = target.expand(logits.shape[:-1]).unsqueeze(-1)
        return logits.gather(-1, index).squeeze(-1) - logits.logsumexp(-1)

    def loss(self, logits: Tensor, target: Tensor, smoothing: float = 0.0) -> Tensor:
        """Cross-entropy through torch's fused kernel."""
        return F.cross_entropy(logits, target, label_smoothing=smoothing)

    def marginal_logits(self, target: Tensor) -> Tensor:
        """Return log class frequencies; absent classes get -inf replaced by a very small probability."""
        counts = torch.bincount(target.long(), minlength=self.num_outputs).double()
        return (counts / counts.sum()).clamp_min(torch.finfo(torch.float64).tiny).log()

    def kl(self, logits: Tensor, other: Tensor) -> Tensor:
        """See `Task.kl`."""
        log_p, log_q = logits.log_softmax(-1), other.log_softmax(-1)
        return (log_p.exp() * (log_p - log_q)).sum(-1)

    def point(self, logits: Tensor) -> Tensor:
        """Return the class with the largest logit."""
        return logits.argmax(-1)

    def correct(self, logits: Tensor, target: Tensor) -> Tensor:
        """See `Task.correct`."""
        return (logits.argmax(-1) == target).to(logits.dtype)

    def check_target(self, target: Tensor) -> None:
        """See `Task.check_target`."""
        if target.ndim != 1 or target.is_floating_point() or target.dtype == torch.bool:
            raise DataError(
                f"Multi-class targets should be integer class ids of shape (N,). Found shape "
                f"{tuple(target.shape)}, {target.dtype}."
            )
        bad = ((target < 0) | (target >= self.num_outputs)).nonzero().flatten()
        if len(bad):
            raise DataError(
                f"Labels should lie in 0..{self.num_outputs - 1}. Found {target[bad[0]].item()} at sample "
                f"{bad[0].item()} ({len(bad)} such). Number the classes from 0, or raise the number of outputs."
            )


class MultiLabel(Task):
    """Any subset of C labels; independent Bernoulli likelihoods.

    Example:
        >>> MultiLabel(2).log_likelihood(torch.zeros(1, 2), torch.tensor([[1.0, 0.0]]))   # -2 log 2
        tensor([-1.3863])
    """

    name = "multilabel"
    score_name = "accuracy"

    def log_likelihood(self, logits: Tensor, target: Tensor) -> Tensor:
        """See `Task.log_likelihood`."""
        target = target.to(logits.dtype).expand(logits.shape)
        return -F.binary_cross_entropy_with_logits(logits, target, reduction="none").sum(-1)

    def loss(self, logits: Tensor, target: Tensor, smoothing: float = 0.0) -> Tensor:
        """See `Task.loss`."""
        return super().loss(logits, (1 - smoothing) * target.to(logits.dtype) + smoothing / 2)

    def marginal_logits(self, target: Tensor) -> Tensor:
        """Return the log-odds of each label's frequency."""
        eps = torch.finfo(torch.float64).eps
        return torch.logit(target.double().mean(0), eps=eps)

    def kl(self, logits: Tensor, other: Tensor) -> Tensor:
        """See `Task.kl`."""
        p = logits.sigmoid()
        on = F.logsigmoid(logits) - F.logsigmoid(other)
        off = F.logsigmoid(-logits) - F.logsigmoid(-other)
        return (p * on + (1 - p) * off).sum(-1)

    def point(self, logits: Tensor) -> Tensor:
        """Return one where the probability exceeds a half."""
        return (logits > 0).long()

    def correct(self, logits: Tensor, target: Tensor) -> Tensor:
        """See `Task.correct`."""
        return ((logits > 0) == (target > 0.5)).to(logits.dtype).mean(-1)

    def check_target(self, target: Tensor) -> None:
        """See `Task.check_target`."""
        if target.ndim != 2 or target.shape[1] != self.num_outputs:
            raise DataError(
                f"Multi-label targets should have shape (N, {self.num_outputs}). Found {tuple(target.shape)}."
            )
        bad = ((target != 0) & (target != 1)).any(-1).nonzero().flatten()
        if len(bad):
            raise DataError(
                f"Multi-label targets should be 0 or 1. Found {target[bad[0]].tolist()} at sample {bad[0]}."
            )


class Regression(Task):
    """C real targets; Gaussian likelihood with the given standard deviation.

    The standard deviation is what turns squared errors into nats. Trained with ``scale=1`` (half the squared error,
    up to a constant); valuations
    refit it on held-out residuals (see `counterpoise.valuation`).

    Args:
        num_outputs: C.
        scale: standard deviation of the noise, the same for all outputs.

    Example:
        >>> Regression(1).log_likelihood(torch.zeros(1, 1), torch.zeros(1, 1))   # -log(2 pi)/2
        tensor([-0.9189])
    """

    name = "regression"
    score_name = "r2"

    def __init__(self, num_outputs: int = 1, scale: float = 1.0) -> None:
        super().__init__(num_outputs)
        if not scale > 0:
            raise ConfigError(f"Parameter `scale` of `Regression` should be positive. Found `scale = {scale}`.")
        self.scale = scale

    def log_likelihood(self, logits: Tensor, target: Tensor) -> Tensor:
        """See `Task.log_likelihood`."""
        z = (target.to(logits.dtype) - logits) / self.scale
        constant = 0.5 * (LOG_2PI_E - 1) + torch.log(torch.tensor(self.scale, dtype=torch.float64)).item()
        return -(0.5 * z.square() + constant).sum(-1)

    def marginal_logits(self, target: Tensor) -> Tensor:
        """Return the mean of each target."""
        return target.double().mean(0)

    def entropy(self, target: Tensor) -> Tensor:
        """Return the differential entropy of a Gaussian with the targets' covariance (an upper bound of H(Y))."""
        centred = target.double() - target.double().mean(0)
        covariance = centred.T @ centred / len(target)
        return 0.5 * (self.num_outputs * LOG_2PI_E + torch.logdet(covariance))

    def kl(self, logits: Tensor, other: Tensor) -> Tensor:
        """See `Task.kl`."""
        return 0.5 * ((logits - other) / self.scale).square().sum(-1)

    def point(self, logits: Tensor) -> Tensor:
        """Return the means."""
        return logits

    def correct(self, logits: Tensor, target: Tensor) -> Tensor:
        """See `Task.correct`."""
        return -(target.to(logits.dtype) - logits).square().mean(-1)

    def check_target(self, target: Tensor) -> None:
        """See `Task.check_target`."""
        if target.ndim != 2 or target.shape[1] != self.num_outputs or not target.is_floating_point():
            raise DataError(
                f"Regression targets should be floats of shape (N, {self.num_outputs}). Found "
                f"{tuple(target.shape)}, {target.dtype}."
            )
        bad = (~target.isfinite()).any(-1).nonzero().flatten()
        if len(bad):
            raise DataError(f"Regression targets should be finite. Found {target[bad[0]].tolist()} at sample {bad[0]}.")


_TASKS: Final = {task.name: task for task in (MultiClass, MultiLabel, Regression)}


def make_task(name: str | Task, num_outputs: int) -> Task:
    """Return a task by name (``multiclass``, ``multilabel``, ``regression``), or the given one unchanged."""
    if isinstance(name, Task):
        return name
    if name not in _TASKS:
        raise unknown("task", name, _TASKS)
    return _TASKS[name](num_outputs)
