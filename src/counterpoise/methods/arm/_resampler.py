"""Third component of ARM: dynamic sample-level re-sampling."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from counterpoise.errors import ConfigError

__all__ = ["ContributionResampler"]


class ContributionResampler(nn.Module):
    r"""For a random share of the samples, hide one modality from the fused head: rather one that contributes much.

    Each of the samples drawn (probability ``rate``) loses one modality m, drawn with probability

    .. math:: P(m) \propto \phi_m^+ + \epsilon H(Y),

    and the fused head reads the mean of the batch in its place. The fused head is thereby trained not to depend on a
    single modality; the features themselves, and the unimodal heads on them, are unchanged. No gradient flows into the
    hidden features.

    The paper's formula could not be obtained. An earlier form here drew whole samples repeatedly, in proportion to
    their contribution gap, and had no measurable effect; hiding modalities uniformly instead of by contribution had
    less (``benchmarks/arm/NOTES.md``).

    Args:
        rate: Share of the samples that lose a modality, in [0, 1].
        eps: Floor of a contribution as a share of H(Y).

    Raises:
        ConfigError: For a rate outside [0, 1].

    Example:
        >>> resampler = ContributionResampler(rate=1.0)
        >>> torch.manual_seed(0)  # doctest: +ELLIPSIS
        <torch._C.Generator object at ...>
        >>> resampler.draw(6, torch.tensor([1.0, 0.0]), entropy=1.0).int()  # nearly always the first modality
        tensor([[1, 0],
                [1, 0],
                [1, 0],
                [1, 0],
                [1, 0],
                [1, 0]], dtype=torch.int32)
    """

    def __init__(self, rate: float = 0.3, eps: float = 0.02) -> None:
        super().__init__()
        if not 0 <= rate <= 1:
            raise ConfigError(
                f"Parameter `rate` of `ContributionResampler` should be in [0, 1]. Found `rate = {rate}`."
            )
        self.rate = rate
        self.eps = eps

    @torch.no_grad()
    def draw(self, size: int, phi: Tensor, entropy: float) -> Tensor:
        """Return the modality that each sample loses, ``(B, M)`` booleans with at most one true per row.

        Args:
            size: B.
            phi: ``(M,)``, or ``(B, M)`` for contributions to each sample, in nats.
            entropy: H(Y) in nats.
        """
        hit = torch.rand(size, device=phi.device) < self.rate
        which = torch.multinomial((phi.clamp_min(0) + self.eps * entropy).expand(size, -1), 1)  # (B, 1)
        return hit[:, None] & (which == torch.arange(phi.shape[-1], device=phi.device))

    def forward(self, features: Mapping[str, Tensor], phi: Tensor, *, entropy: float) -> dict[str, Tensor]:
        """Return the features that the fused head reads, ``{m: (B, D_m)}``; a lone sample loses nothing."""
        size = len(next(iter(features.values())))
        if size < 2 or not self.rate:
            return dict(features)
        lost = self.draw(size, phi, entropy)
        return {m: torch.where(lost[:, k, None], z.detach().mean(0), z) for k, (m, z) in enumerate(features.items())}
