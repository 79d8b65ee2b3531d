"""The base class of tasks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from counterpoise.errors import ConfigError


class Task(ABC):
    """A likelihood p(y | logits) with C natural outputs per sample.

    A subclass defines `name`, `score_name`, `mean`, `link`, `per_output_log_likelihood`, `kl` and `check_target`. It
    overrides other members if their defaults do not fit.

    Args:
        num_outputs: C, the number of classes, labels or regression targets.

    Example:
        A count per output with a Poisson likelihood; the logits are log-rates.

        >>> from counterpoise.errors import DataError
        >>> class Poisson(Task):
        ...     name, score_name = "poisson", "deviance_explained"
        ...     def mean(self, logits): return logits.exp()
        ...     def link(self, mean): return mean.clamp_min(1e-6).log()
        ...     def per_output_log_likelihood(self, logits, target):
        ...         return target * logits - logits.exp() - torch.lgamma(target + 1.0)
        ...     def kl(self, logits, other):
        ...         return (logits.exp() * (logits - other) - logits.exp() + other.exp()).sum(-1)
        ...     def check_target(self, target):
        ...         if (target < 0).any(): raise DataError("Counts should not be negative.")
        >>> Poisson(1).log_likelihood(torch.zeros(1, 1), torch.tensor([[0.0]]))    # rate 1, no event
        tensor([-1.])
    """

    name: ClassVar[str]
    """Name in configurations, records and reports."""
    score_name: ClassVar[str]
    """Name of the metric that `score` computes and by which runs are selected; larger is better."""
    dtype: ClassVar[torch.dtype] = torch.float32
    """Data type of targets."""
    min_outputs: ClassVar[int] = 1
    """Smallest allowed C."""
    has_classes: ClassVar[bool] = False
    """Whether a target is one class id per sample, so that tables per class and stratified folds are possible."""
    has_independent_outputs: ClassVar[bool] = True
    """Whether the C outputs have a likelihood each, whose product is the likelihood of the sample."""
    has_discrete_entropy: ClassVar[bool] = True
    """Whether H(Y) is the entropy of a discrete variable; False if it is differential and may be negative."""
    is_gaussian: ClassVar[bool] = False
    """Whether the likelihood is Gaussian: least squares fits it, and its noise is estimated from residuals."""
    curvature: ClassVar[float] = 1.0
    """Upper bound of the curvature of the negative log-likelihood in a logit (a typical value if it has no bound).

    It scales the preconditioner of linear heads: a poor value slows convergence but does not affect the result."""

    def __init__(self, num_outputs: int) -> None:
        if isinstance(num_outputs, bool) or not isinstance(num_outputs, (int, np.integer)):
            raise ConfigError(f"The number of outputs should be a whole number. Found {num_outputs!r}.")
        if num_outputs < self.min_outputs:
            raise ConfigError(f"A {self.name} task needs at least {self.min_outputs} outputs. Found {num_outputs}.")
        self.num_outputs = int(num_outputs)

    def __repr__(self) -> str:
        options = (f", {key}={value}" for key, value in vars(self).items() if key != "num_outputs" and value)
        return f"{type(self).__name__}({self.num_outputs}{''.join(options)})"

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash((type(self), *vars(self).values()))

    # -- targets -------------------------------------------------------------------------------------------------------

    @abstractmethod
    def check_target(self, target: Tensor) -> None:
        """Raise `DataError` if the targets are not what this task expects."""

    @classmethod
    def count_outputs(cls, target: Tensor) -> int:
        """Return C for given targets: their number of columns (of classes, if targets are class ids)."""
        return target.shape[1] if target.ndim > 1 else 1

    def one_hot(self, target: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """Return ``(B, C)`` numbers whose expectation `mean` predicts: one-hot rows, labels or values."""
        return target.to(dtype)

    def describe(self, values: Tensor, names: Sequence[str] = ()) -> list[str]:
        """Return targets or point predictions as one text per sample.

        Args:
            values: Targets, or the result of `point`.
            names: C names of classes, labels or outputs; empty for none.

        Example:
            >>> from counterpoise.tasks import MultiClass
            >>> MultiClass(2).describe(torch.tensor([1]), ["cat", "dog"])
            ['dog']
        """
        del names
        rows = values.reshape(len(values), -1).tolist()
        return [", ".join(f"{v:.3g}" for v in row[:4]) + (", …" if len(row) > 4 else "") for row in rows]

    def in_units(self, values: Tensor) -> Tensor:
        """Return targets or point predictions in the user's unit; they differ for standardised regression targets."""
        return values

    # -- likelihood ----------------------------------------------------------------------------------------------------

    @abstractmethod
    def mean(self, logits: Tensor) -> Tensor:
        """Return the expectation of `one_hot` under p(. | logits): probabilities or means, of the logits' shape."""

    @abstractmethod
    def link(self, mean: Tensor) -> Tensor:
        """Return the logits whose `mean` is given (for classes: log-probabilities). It is finite at the edges."""

    @abstractmethod
    def per_output_log_likelihood(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return ``(..., B, C)`` log-likelihoods in nats that sum to `log_likelihood` over the last axis.

        The last axis has length 1 unless the task `has_independent_outputs`.
        """

    @abstractmethod
    def kl(self, logits: Tensor, other: Tensor) -> Tensor:
        """Return ``(..., B)``: KL(p(.|logits) || p(.|other)) in nats."""

    def log_likelihood(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return ``(..., B)``: log p(y_i | logits_i) in nats, for logits ``(..., B, C)`` and one target per sample."""
        return self.per_output_log_likelihood(logits, target).sum(-1)

    def losses(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return ``(..., B)``: each sample's part of `loss`, of which that is the mean."""
        return -self.log_likelihood(logits, target)

    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the scalar to minimise: the mean negative log-likelihood over the batch, in nats."""
        return self.losses(logits, target).mean()

    def sample_weights(self, target: Tensor) -> Tensor | None:
        """Return the factor of each sample in `losses`, ``(...)`` for targets ``(...)``; None if all are 1."""
        del target
        return None

    def with_class_weights(self, weights: Sequence[float]) -> Task:
        """Return the task whose losses are weighted by the weights of the classes.

        Raises:
            ConfigError: If the task has no classes, or there is not one positive weight or zero per class.
        """
        del weights
        raise ConfigError(f"Class weights need one class per sample. Found a {self.name} task; leave them out.")

    def balanced_weights(self, target: Tensor) -> tuple[float, ...]:
        r"""Return weights with which all classes count equally, :math:`N / (K n_c)`; their mean over samples is 1.

        K is the number of classes that occur, and a class that does not occur has the weight 1. These are the weights
        of scikit-learn's ``class_weight="balanced"``.

        Args:
            target: Targets of the training set.

        Raises:
            ConfigError: If the task has no classes.
        """
        if not self.has_classes:
            self.with_class_weights(())
        counts = torch.bincount(target.long(), minlength=self.num_outputs).double()
        share = len(target) / (int((counts > 0).sum()) * counts.clamp_min(1))
        return tuple(torch.where(counts > 0, share, torch.ones_like(share)).tolist())

    def residual(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return ``(..., B, C)``: the gradient of each sample's negative log-likelihood in its logits."""
        mean = self.mean(logits)
        return mean - self.one_hot(target, mean.dtype)

    def with_smoothing(self, smoothing: float) -> Task:
        """Return the task with that label smoothing, or this task if its targets are not labels."""
        del smoothing
        return self

    # -- distributions as logits ---------------------------------------------------------------------------------------

    def normalise(self, logits: Tensor) -> Tensor:
        """Return equivalent logits in their standard form: log-probabilities of classes, else unchanged."""
        return logits

    def combine(self, experts: Tensor, weights: Tensor) -> Tensor:
        r"""Return the logits of a product of experts, :math:`p(y) \propto \prod_k p_k(y)^{a_k}` (up to `normalise`).

        Args:
            experts: ``(K, B, C)`` logits.
            weights: ``(K,)`` or ``(K, B)`` exponents a_k.
        """
        weights = weights[:, None] if weights.ndim == 1 else weights
        return (weights.to(experts.dtype)[..., None] * experts).sum(0)

    def mix(self, logits: Tensor, other: Tensor, share: float) -> Tensor:
        """Return the logits of the mixture (1 - share) p(.|logits) + share p(.|other).

        If the mixture is not of the task's family, the result has the mixture's mean.
        """
        return self.link((1 - share) * self.mean(logits) + share * self.mean(other))

    def prior_logits(self, target: Tensor, smoothing: float = 0.0, weight: Tensor | None = None) -> Tensor:
        """Return the constant logits with the highest likelihood on ``target`` (class frequencies, means), in float64.

        Args:
            target: N targets.
            smoothing: Pseudo-observations of every class (of both values of a label) added to the counts.
            weight: ``(..., N)`` weights of the samples; None weighs them equally.

        Returns:
            ``(C,)``, or ``(..., C)`` with weights.
        """
        values = self.one_hot(target, torch.float64)
        weight = values.new_ones(len(values)) if weight is None else weight.to(values.dtype)
        return self.link(self._prior_mean(weight @ values, weight.sum(-1, keepdim=True), smoothing))

    def _prior_mean(self, total: Tensor, size: Tensor, smoothing: float) -> Tensor:
        """Return the mean of ``size`` observations with the sum ``total`` and of pseudo-observations."""
        del smoothing
        return total / size

    # -- information ---------------------------------------------------------------------------------------------------

    def entropy(self, target: Tensor) -> Tensor:
        """Return H(Y), the plug-in entropy of the targets in nats (differential unless `has_discrete_entropy`)."""
        target = target.double() if self.dtype.is_floating_point else target.to(self.dtype)
        return -self.log_likelihood(self.prior_logits(target).expand(len(target), -1), target).mean()

    def information_scale(self, target: Tensor) -> float:
        """Return the scale of contributions in nats: H(Y), or one nat per output where H(Y) is differential."""
        return max(self.entropy(target).item(), 1e-6) if self.has_discrete_entropy else float(self.num_outputs)

    # -- predictions and scores ----------------------------------------------------------------------------------------

    def point(self, logits: Tensor) -> Tensor:
        """Return the point prediction: class ids ``(B,)``, zeros and ones ``(B, C)``, or means ``(B, C)``."""
        return self.mean(logits)

    def confidence(self, logits: Tensor) -> Tensor | None:
        """Return the probability that `point` is right, of the shape of `point`, or None for continuous targets."""
        del logits
        return None

    def sample_score(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return ``(..., B)``, one number per sample; larger is better. The default is minus the mean squared error."""
        return -(target.to(logits.dtype) - self.mean(logits)).square().mean(-1)

    def score(self, logits: Tensor, target: Tensor) -> float:
        """Return the metric `score_name` of predictions ``(N, C)``; larger is better.

        The default is the share of the deviance of the constant prediction that the logits explain; it is 1 for
        predictions as good as the targets themselves, and 0 for the constant.
        """
        target = target.to(logits.device)
        values = logits.double()
        best = self.log_likelihood(self.link(self.one_hot(target, values.dtype)), target)
        prior = self.log_likelihood(self.prior_logits(target).expand_as(values), target)
        spread = (best - prior).sum()
        return (1 - (best - self.log_likelihood(values, target)).sum() / spread).item() if spread > 0 else 0.0
