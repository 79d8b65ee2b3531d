"""ARM part 3: dynamic sample-level re-sampling."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from counterpoise.errors import ConfigError

__all__ = ["ContributionResampler"]


class ContributionResampler(nn.Module):
    r"""Draw again the samples that hang on one modality.

    Remembers each training sample's pointwise contribution gap :math:`g_i = \max_m \phi_m(i) - \operatorname{mean}_m
    \phi_m(i)` from the last
    time it was seen; a share of each epoch's order is replaced by samples drawn with probability proportional to
    :math:`g_i` (samples not yet seen count as the mean). The length of
    an epoch stays the same. Costs one indexed write per step.

    Args:
        num_samples: size of the training set.
        rate: share of an epoch that is drawn anew, in [0, 1].

    Raises:
        ConfigError: for a rate outside [0, 1].

    Example:
        >>> resampler = ContributionResampler(4, rate=0.5)
        >>> resampler.update(torch.arange(4), torch.tensor([[2.0, 0.0], [0.0, 0.0], [0.0, 0.0], [0.0, 0.0]]))
        >>> resampler(torch.tensor([3, 2, 1, 0]), torch.Generator().manual_seed(0))  # sample 0 hangs on one modality
        tensor([3, 0, 1, 0])
    """

    gap: Tensor

    def __init__(self, num_samples: int, rate: float = 0.2) -> None:
        super().__init__()
        if not 0 <= rate <= 1:
            raise ConfigError(
                f"Parameter `rate` of `ContributionResampler` should be in [0, 1]. Found `rate = {rate}`."
            )
        self.rate = rate
        self.register_buffer("gap", torch.full((num_samples,), -1.0))  # -1: not yet seen

    def update(self, index: Tensor, phi: Tensor) -> None:
        """Remember pointwise contributions ``(B, M)`` of the samples at ``index``."""
        self.gap.index_copy_(0, index, (phi.amax(-1) - phi.mean(-1)).to(self.gap.dtype))

    def forward(self, order: Tensor, generator: torch.Generator) -> Tensor:
        """Return an epoch's order, of the same length, with a share of it replaced."""
        gap = self.gap.cpu()[order]
        seen = gap >= 0
        drawn = int(self.rate * len(order))
        if not drawn or not seen.any() or gap[seen].sum() == 0:
            return order
        weights = torch.where(seen, gap, gap[seen].mean())
        again = torch.multinomial(weights.double(), drawn, replacement=True, generator=generator)
        place = torch.randperm(len(order), generator=generator)[:drawn]
        result = order.clone()
        result[place] = order[again]
        return result
