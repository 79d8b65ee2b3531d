"""One of several classes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812 - the common name
from torch import Tensor

from counterpoise._validation import Interval
from counterpoise.errors import ConfigError, DataError
from counterpoise.tasks._labels import LabelTask


class MultiClass(LabelTask):
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
        super().__init__(num_outputs, smoothing)
        self.class_weights = tuple(float(w) for w in class_weights)
        if self.class_weights and len(self.class_weights) != self.num_outputs:
            raise ConfigError(
                f"There should be one class weight for each of the {self.num_outputs} classes. Found "
                f"{len(self.class_weights)}."
            )
        for weight in self.class_weights:
            Interval(0).check(type(self).__name__, "class_weights", weight)

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
