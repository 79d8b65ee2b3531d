"""Any subset of several labels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812 - the common name
from torch import Tensor

from counterpoise.errors import DataError
from counterpoise.tasks._labels import LabelTask


class MultiLabel(LabelTask):
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
