"""Tasks. Each defines a likelihood p(y | logits), from which losses, scores and information measures follow.

The built-in likelihoods are categorical (`MultiClass`), independent Bernoulli (`MultiLabel`) and Gaussian
(`Regression`). Models emit *natural outputs*, called logits throughout: unnormalised log-probabilities, log-odds or
means. Log-likelihoods are in nats.

All of them are generalised linear models with a canonical link. For a task of your own, subclass `Task`; methods,
decision rules, valuations, diagnosis and report then work with it, because no other code compares names of tasks.
"""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Final, TypeVar

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the common name
from torch import Tensor

from counterpoise._validation import Interval, unknown
from counterpoise.errors import ConfigError, DataError

__all__ = ["TASKS", "MultiClass", "MultiLabel", "Regression", "Task", "make_task", "task_type"]

LOG_2PI: Final = math.log(2 * math.pi)


class Task(ABC):
    """A likelihood p(y | logits) with C natural outputs per sample.

    A subclass defines `name`, `score_name`, `mean`, `link`, `per_output_log_likelihood`, `kl` and `check_target`. It
    overrides other members if their defaults do not fit.

    Args:
        num_outputs: C, the number of classes, labels or regression targets.

    Example:
        A count per output with a Poisson likelihood; the logits are log-rates.

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


class MultiClass(Task):
    """One of C classes; categorical likelihood.

    Args:
        num_outputs: C, at least 2.
        smoothing: Share of every label that `loss` spreads evenly over all classes (label smoothing, Szegedy et al.,
            "Rethinking the Inception Architecture", CVPR 2016).
        class_weights: Factor of the samples of each class in `loss`; empty for 1. The mean is that over all samples,
            so that weights whose mean over the training set is 1 leave the scale of the loss unchanged (torch divides
            by the sum of a batch's weights instead). Likelihoods and scores have no weights.

    Example:
        >>> task = MultiClass(3)
        >>> task.log_likelihood(torch.zeros(1, 3), torch.tensor([2]))   # -log 3
        tensor([-1.0986])
        >>> task.entropy(torch.tensor([0, 0, 1, 1]))                    # log 2
        tensor(0.6931, dtype=torch.float64)
    """

    name = "multiclass"
    score_name = "accuracy"
    dtype = torch.int64
    min_outputs = 2
    has_classes = True
    has_independent_outputs = False
    curvature = 0.5  # Boehning (1992): the Hessian is at most (I - 11'/C) / 2

    def __init__(self, num_outputs: int, smoothing: float = 0.0, class_weights: Sequence[float] = ()) -> None:
        super().__init__(num_outputs)
        self.smoothing = _checked_smoothing(self, smoothing)
        self.class_weights = tuple(float(w) for w in class_weights)
        if self.class_weights and len(self.class_weights) != self.num_outputs:
            raise ConfigError(
                f"There should be one class weight for each of the {self.num_outputs} classes. Found "
                f"{len(self.class_weights)}."
            )
        for weight in self.class_weights:
            Interval(0).check(type(self).__name__, "class_weights", weight)

    def with_smoothing(self, smoothing: float) -> MultiClass:
        """See `Task.with_smoothing`."""
        return _smoothed(self, smoothing)

    def with_class_weights(self, weights: Sequence[float]) -> MultiClass:
        """See `Task.with_class_weights`."""
        return MultiClass(self.num_outputs, self.smoothing, weights)

    def sample_weights(self, target: Tensor) -> Tensor | None:
        """See `Task.sample_weights`."""
        if not self.class_weights:
            return None
        return torch.tensor(self.class_weights, device=target.device)[target.long()]

    @classmethod
    def count_outputs(cls, target: Tensor) -> int:
        """Return the largest class id plus 1, at least 2."""
        return max(int(target.max()) + 1, cls.min_outputs)

    def one_hot(self, target: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """Return one-hot rows."""
        return F.one_hot(target.long(), self.num_outputs).to(dtype)

    def describe(self, values: Tensor, names: Sequence[str] = ()) -> list[str]:
        """Return the names of classes."""
        return [str(names[k]) if names else str(k) for k in values.long().tolist()]

    def mean(self, logits: Tensor) -> Tensor:
        """Return probabilities."""
        return logits.softmax(-1)

    def link(self, mean: Tensor) -> Tensor:
        """Return log-probabilities; a class of probability 0 gets the smallest positive one."""
        return mean.clamp_min(torch.finfo(mean.dtype).tiny).log()

    def per_output_log_likelihood(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return ``(..., B, 1)``: classes exclude each other."""
        return self.log_likelihood(logits, target).unsqueeze(-1)

    def log_likelihood(self, logits: Tensor, target: Tensor) -> Tensor:
        """See `Task.log_likelihood`."""
        index = target.long().expand(logits.shape[:-1]).unsqueeze(-1)
        return logits.gather(-1, index).squeeze(-1) - logits.logsumexp(-1)

    def losses(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the weighted cross-entropy of the smoothed label of each sample."""
        losses = -self.log_likelihood(logits, target)
        if self.smoothing:
            losses = (1 - self.smoothing) * losses - self.smoothing * logits.log_softmax(-1).mean(-1)
        weights = self.sample_weights(target)
        return losses if weights is None else weights.to(losses.dtype) * losses

    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the cross-entropy, through torch's fused kernel unless classes have weights."""
        if self.class_weights:
            return self.losses(logits, target).mean()
        try:
            return F.cross_entropy(logits, target, label_smoothing=self.smoothing)
        except (IndexError, RuntimeError):
            self.check_target(target)
            raise

    def kl(self, logits: Tensor, other: Tensor) -> Tensor:
        """See `Task.kl`."""
        log_p, log_q = logits.log_softmax(-1), other.log_softmax(-1)
        return (log_p.exp() * (log_p - log_q)).sum(-1)

    def normalise(self, logits: Tensor) -> Tensor:
        """Return log-probabilities."""
        return logits.log_softmax(-1)

    def mix(self, logits: Tensor, other: Tensor, share: float) -> Tensor:
        """Return the log-probabilities of the mixture, which stay finite where probabilities underflow."""
        first = logits.log_softmax(-1) + math.log1p(-share)
        return torch.logaddexp(first, other.to(logits.dtype).log_softmax(-1) + math.log(share))

    def _prior_mean(self, total: Tensor, size: Tensor, smoothing: float) -> Tensor:
        return (total + smoothing) / (size + self.num_outputs * smoothing)

    def point(self, logits: Tensor) -> Tensor:
        """Return the class with the largest logit."""
        return logits.argmax(-1)

    def confidence(self, logits: Tensor) -> Tensor:
        """Return ``(B,)``, the largest probability."""
        return logits.softmax(-1).amax(-1)

    def sample_score(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return 1 where the predicted class is right, else 0."""
        return (logits.argmax(-1) == target).to(logits.dtype)

    def score(self, logits: Tensor, target: Tensor) -> float:
        """Return the accuracy."""
        return self.sample_score(logits.double(), target).mean().item()

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

    Args:
        num_outputs: C.
        smoothing: Share of every label that `loss` spreads over both values: 0 and 1 become ``smoothing / 2`` and
            ``1 - smoothing / 2`` (see `MultiClass`).

    Example:
        >>> MultiLabel(2).log_likelihood(torch.zeros(1, 2), torch.tensor([[1.0, 0.0]]))   # -2 log 2
        tensor([-1.3863])
    """

    name = "multilabel"
    score_name = "accuracy"
    curvature = 0.25

    def __init__(self, num_outputs: int, smoothing: float = 0.0) -> None:
        super().__init__(num_outputs)
        self.smoothing = _checked_smoothing(self, smoothing)

    def with_smoothing(self, smoothing: float) -> MultiLabel:
        """See `Task.with_smoothing`."""
        return _smoothed(self, smoothing)

    def describe(self, values: Tensor, names: Sequence[str] = ()) -> list[str]:
        """Return the names of the labels of each sample, or ``none``."""
        known = [str(name) for name in names] or [str(c) for c in range(self.num_outputs)]
        rows = (values > 0.5).tolist()
        return [", ".join(name for name, on in zip(known, row, strict=True) if on) or "none" for row in rows]

    def mean(self, logits: Tensor) -> Tensor:
        """Return probabilities."""
        return logits.sigmoid()

    def link(self, mean: Tensor) -> Tensor:
        """Return log-odds, of at least epsilon to one."""
        return torch.logit(mean, eps=torch.finfo(mean.dtype).eps)

    def per_output_log_likelihood(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return ``(..., B, C)``, one log-likelihood per label."""
        target = target.to(logits.dtype).expand(logits.shape)
        return -F.binary_cross_entropy_with_logits(logits, target, reduction="none")

    def losses(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the negative log-likelihood of the smoothed labels of each sample."""
        return super().losses(logits, (1 - self.smoothing) * target.to(logits.dtype) + self.smoothing / 2)

    def kl(self, logits: Tensor, other: Tensor) -> Tensor:
        """See `Task.kl`."""
        p = logits.sigmoid()
        on = F.logsigmoid(logits) - F.logsigmoid(other)
        off = F.logsigmoid(-logits) - F.logsigmoid(-other)
        return (p * on + (1 - p) * off).sum(-1)

    def _prior_mean(self, total: Tensor, size: Tensor, smoothing: float) -> Tensor:
        return (total + smoothing) / (size + 2 * smoothing)

    def point(self, logits: Tensor) -> Tensor:
        """Return one where the probability exceeds a half."""
        return (logits > 0).long()

    def confidence(self, logits: Tensor) -> Tensor:
        """Return ``(B, C)``, the probability of the predicted value of each label."""
        return logits.abs().sigmoid()

    def sample_score(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the share of right labels of each sample."""
        return ((logits > 0) == (target > 0.5)).to(logits.dtype).mean(-1)

    def score(self, logits: Tensor, target: Tensor) -> float:
        """Return the share of right labels."""
        return self.sample_score(logits.double(), target).mean().item()

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

    The standard deviation turns squared errors into nats. Models are trained with ``scale=1`` (half the squared error,
    up to a constant); valuations estimate it from held-out residuals (see `counterpoise.valuation`).

    Args:
        num_outputs: C.
        scale: Standard deviation of the noise, the same for all outputs.
        offset: Values in the user's unit at which the C targets are 0; empty for targets that were not standardised.
        unit: Sizes in the user's unit of a difference of 1 in the C targets; empty for targets that were not
            standardised.

    Example:
        >>> Regression(1).log_likelihood(torch.zeros(1, 1), torch.zeros(1, 1))   # -log(2 pi)/2
        tensor([-0.9189])
    """

    name = "regression"
    score_name = "r2"
    has_discrete_entropy = False
    is_gaussian = True

    def __init__(
        self, num_outputs: int = 1, scale: float = 1.0, offset: Sequence[float] = (), unit: Sequence[float] = ()
    ) -> None:
        super().__init__(num_outputs)
        Interval(0, math.inf, "()").check("Regression", "scale", scale)
        if len(offset) != len(unit) or len(unit) not in (0, num_outputs):
            raise ConfigError(
                f"A regression of {num_outputs} targets should have as many offsets and units, or none. Found "
                f"{len(offset)} and {len(unit)}."
            )
        self.scale, self.offset, self.unit = scale, tuple(offset), tuple(unit)

    def in_units(self, values: Tensor) -> Tensor:
        """Return ``values * unit + offset`` in float64, or the values themselves without units."""
        if not self.unit:
            return values
        values = values.double()
        return values * values.new_tensor(self.unit) + values.new_tensor(self.offset)

    def describe(self, values: Tensor, names: Sequence[str] = ()) -> list[str]:
        """Return values in the user's unit."""
        return super().describe(self.in_units(values), names)

    def mean(self, logits: Tensor) -> Tensor:
        """Return the means, which the logits are."""
        return logits

    def link(self, mean: Tensor) -> Tensor:
        """Return the means."""
        return mean

    def per_output_log_likelihood(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return ``(..., B, C)``, one log-density per output."""
        z = (target.to(logits.dtype) - logits) / self.scale
        return -(0.5 * z.square() + 0.5 * LOG_2PI + math.log(self.scale))

    def residual(self, logits: Tensor, target: Tensor) -> Tensor:
        """See `Task.residual`."""
        return super().residual(logits, target) / self.scale**2

    def combine(self, experts: Tensor, weights: Tensor) -> Tensor:
        """Return the weighted mean: a product of Gaussians of equal variance has this mean."""
        return super().combine(experts, weights / weights.sum(0))

    def entropy(self, target: Tensor) -> Tensor:
        """Return the differential entropy of a Gaussian with the targets' covariance (an upper bound of H(Y))."""
        centred = target.double() - target.double().mean(0)
        covariance = centred.T @ centred / len(target)
        return 0.5 * (self.num_outputs * (LOG_2PI + 1) + torch.logdet(covariance))

    def kl(self, logits: Tensor, other: Tensor) -> Tensor:
        """See `Task.kl`."""
        return 0.5 * ((logits - other) / self.scale).square().sum(-1)

    def score(self, logits: Tensor, target: Tensor) -> float:
        """Return R², the mean over outputs of the share of their variance that is explained.

        Every output counts equally (``multioutput="uniform_average"`` in scikit-learn), so that outputs with a large
        variance do not dominate. As in scikit-learn, an output that does not vary counts as 1 if predicted exactly and
        as 0 otherwise.
        """
        target = target.double()
        residual = (target - logits.double()).square().sum(0)
        spread = (target - target.mean(0)).square().sum(0)
        rounding = len(target) * (1e-12 * target.abs().amax(0)).square()
        exact = (residual <= rounding).to(residual.dtype)
        return torch.where(spread > rounding, 1 - residual / spread, exact).mean().item()

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


_LabelledT = TypeVar("_LabelledT", MultiClass, MultiLabel)


def _checked_smoothing(task: Task, smoothing: float) -> float:
    Interval(0, 1).check(type(task).__name__, "smoothing", smoothing)
    return smoothing


def _smoothed(task: _LabelledT, smoothing: float) -> _LabelledT:
    """Return a copy of a task with another label smoothing."""
    result = copy.copy(task)
    result.smoothing = _checked_smoothing(task, smoothing)
    return result


TASKS: Final[dict[str, type[Task]]] = {task.name: task for task in (MultiClass, MultiLabel, Regression)}
"""The built-in tasks by name."""


def task_type(task: str | Task) -> type[Task]:
    """Return the class of a task that is given by name or as an object.

    Raises:
        NotFoundError: For an unknown name. A task of your own is given as an object.
    """
    if isinstance(task, Task):
        return type(task)
    if not isinstance(task, str):
        raise ConfigError(f"A task should be a name or a `Task`. Found {task!r}.")
    if task not in TASKS:
        raise unknown("task", task, TASKS)
    return TASKS[task]


def make_task(task: str | Task, num_outputs: int) -> Task:
    """Return the given task, or the built-in task of a name with C outputs.

    Raises:
        ConfigError: If the given task has another number of outputs.
    """
    if not isinstance(task, Task):
        return task_type(task)(num_outputs)
    if task.num_outputs != num_outputs:
        raise ConfigError(f"The task {task!r} has {task.num_outputs} outputs. Found `num_outputs = {num_outputs}`.")
    return task
