"""Exponents of a product of experts for every pattern of presence, fitted together with shrinkage towards a common
part.
"""

from __future__ import annotations

from itertools import combinations
from typing import Final

import torch
from torch import Tensor, nn

from counterpoise.coalitions import subsets
from counterpoise.records import Outputs
from counterpoise.tasks import Task

__all__ = ["PatternWeights", "draw_masks", "expert_mask", "masked_copies", "with_masks"]

MAX_LATTICE: Final = 6
"""Up to this number of modalities, every pattern has parameters of its own; with more, only patterns that lack at most
one modality and patterns of one modality have."""
COPIES: Final = 4
"""Number of masked copies of the held-out samples."""
MAX_NUMBERS: Final = 4_000_000
"""Maximum number of logits in a fit; with more samples, a random subset is used."""
STEPS, RATE = 250, 0.05


def expert_mask(outputs: Outputs) -> Tensor:
    """Return which experts of each sample are used, ``(M + 1, B)`` booleans. The fused head is always used.

    Example:
        >>> present = {"a": torch.tensor([True, False]), "b": torch.tensor([True, True])}
        >>> zeros = torch.zeros(2, 3)
        >>> expert_mask(Outputs({}, zeros, {"a": zeros, "b": zeros}, present)).tolist()
        [[True, True], [True, False], [True, True]]
    """
    assert outputs.present is not None
    fused = torch.ones(len(outputs.logits), dtype=torch.bool, device=outputs.logits.device)
    return torch.stack([fused, *(outputs.present[m] for m in outputs.unimodal_logits)])


def draw_masks(mask: Tensor, generator: torch.Generator) -> Tensor:
    """Return ``(M, B)`` masks that take modalities away from samples: each pattern size is equally likely.

    Args:
        mask: ``(M, B)`` booleans, which modalities samples have. At least one of them is kept.
        generator: Generator on the CPU.
    """
    rank = torch.rand(mask.shape, generator=generator).masked_fill(~mask, 2.0).argsort(0).argsort(0)
    count = mask.sum(0)
    kept = 1 + (torch.rand(count.shape, generator=generator) * (count - 1).clamp_min(1)).long()
    return mask & (rank < kept)


def with_masks(outputs: Outputs, masks: Tensor) -> Outputs:
    """Return outputs whose unimodal predictions are those of the masks ``(M, B)``; the fused logits stay."""
    present = dict(zip(outputs.unimodal_logits, masks, strict=True))
    unimodal = {m: z.masked_fill(~present[m][:, None], 0) for m, z in outputs.unimodal_logits.items()}
    return Outputs(outputs.features, outputs.logits, unimodal, present)


def masked_copies(outputs: Outputs, seed: int = 0, copies: int = COPIES) -> tuple[Outputs, Tensor]:
    """Return masked copies of outputs one after the other, and the sample ``(N,)`` that each row comes from.

    The fused logits are those of the unmasked samples.
    """
    generator = torch.Generator().manual_seed(seed)
    count = len(outputs.logits)
    rows = torch.arange(count).repeat(copies)
    given = torch.ones(len(outputs.unimodal_logits), count, dtype=torch.bool)
    given = given if outputs.present is None else expert_mask(outputs)[1:].cpu()
    masks = draw_masks(given[:, rows], generator)
    unimodal = {m: z[rows] for m, z in outputs.unimodal_logits.items()}
    return with_masks(Outputs({}, outputs.logits[rows], unimodal), masks), rows


def _table(modalities: int) -> list[tuple[int, ...]]:
    """Return the patterns that have parameters of their own, as positions of the present modalities."""
    if modalities <= MAX_LATTICE:
        return [s for s in subsets(modalities) if s]
    sizes = (1, modalities - 1, modalities)
    return [s for size in sizes for s in combinations(range(modalities), size)]


class PatternWeights(nn.Module):
    r"""Exponents of experts that depend on the pattern of presence.

    .. math:: \log a_k(P) = \theta_k + \delta_{P,k} + t + t_P - \log |P|

    for the experts k of a pattern P, and :math:`a_k(P) = 0` for the others. All parameters are fitted together by the
    cross-entropy of the product, plus :math:`\frac{2}{n}` times the square of :math:`\theta, \delta` and :math:`t_P`: a
    pattern with many samples has its own temperature and exponents (above all its own trust in the fused head), a rare
    one those of all patterns. A pattern without parameters of its own (`MAX_LATTICE`) has :math:`\delta_P = t_P = 0`.

    Args:
        modalities: Number of modalities M.
        fused: Whether the fused head is an expert.
    """

    theta: Tensor
    temperature: Tensor
    own: Tensor
    own_temperature: Tensor
    codes: Tensor

    def __init__(self, modalities: int, *, fused: bool) -> None:
        super().__init__()
        self.fused = fused
        patterns = _table(modalities)
        experts = modalities + 1
        self.register_buffer("theta", torch.zeros(experts))
        self.register_buffer("temperature", torch.zeros(()))
        self.register_buffer("own", torch.zeros(len(patterns) + 1, experts))  # the last row is that of other patterns
        self.register_buffer("own_temperature", torch.zeros(len(patterns) + 1))
        codes = torch.zeros(len(patterns), modalities, dtype=torch.bool)
        for row, pattern in zip(codes, patterns, strict=True):
            row[list(pattern)] = True
        self.register_buffer("codes", codes, persistent=False)

    def _experts(self, mask: Tensor) -> Tensor:
        """Return the mask ``(M + 1, B)`` of the experts in use."""
        return mask if self.fused else torch.cat([torch.zeros_like(mask[:1]), mask[1:]])

    def _pattern(self, mask: Tensor) -> Tensor:
        """Return the row ``(B,)`` of each sample's pattern in the table."""
        unique, which = mask[1:].T.unique(dim=0, return_inverse=True)
        equal = (unique[:, None] == self.codes[None]).all(-1)
        rows = torch.where(equal.any(1), equal.float().argmax(1), len(self.codes))
        return rows[which]

    def forward(self, mask: Tensor) -> Tensor:
        """Return the exponents ``(M + 1, B)`` of samples whose experts are given as ``(M + 1, B)`` booleans."""
        return self.logarithm(mask).exp() * self._experts(mask)

    def logarithm(self, mask: Tensor) -> Tensor:
        """Return the logarithms of the exponents ``(M + 1, B)``; the values for absent experts are undefined."""
        parameters = (self.theta, self.temperature, self.own, self.own_temperature)
        return self._logarithm(parameters, self._pattern(mask), self._experts(mask))

    def _logarithm(self, parameters: tuple[Tensor, ...], pattern: Tensor, experts: Tensor) -> Tensor:
        theta, temperature, own, own_temperature = parameters
        shared = theta[:, None] + temperature - experts.sum(0).clamp_min(1).to(theta.dtype).log()
        return shared + own[pattern].T + own_temperature[pattern]

    @torch.enable_grad()
    def fit(self, task: Task, outputs: Outputs, target: Tensor, *, samples: int | None = None, seed: int = 0) -> None:
        """Fit the exponents on held-out samples that lack modalities.

        Args:
            task: The likelihood.
            outputs: Outputs for these samples, with their presence.
            target: Targets of the samples.
            samples: Number of distinct samples n, if several rows are masked copies of one; all of them by default.
            seed: Seed of the choice of samples where there are too many.
        """
        experts, mask = outputs.experts().detach().cpu().double(), expert_mask(outputs).cpu()
        distinct = min(samples or len(target), len(target))
        limit = max(MAX_NUMBERS // (experts.shape[0] * experts.shape[2]), 200)
        rows = torch.randperm(len(target), generator=torch.Generator().manual_seed(seed))[:limit]
        experts, mask, target = task.normalise(experts[:, rows]), mask[:, rows], target.cpu()[rows]
        pattern, used = self._pattern(mask), self._experts(mask)
        experts = experts.masked_fill(~used[..., None], 0)
        start = (self.theta, self.temperature, self.own, self.own_temperature)
        parameters = tuple(torch.zeros_like(p, dtype=torch.float64, requires_grad=True) for p in start)
        theta, _, own, own_temperature = parameters
        optimizer = torch.optim.Adam(parameters, lr=RATE)
        for _ in range(STEPS):
            optimizer.zero_grad()
            weights = self._logarithm(parameters, pattern, used).exp() * used
            penalty = theta.square().sum() + own.square().sum() + own_temperature.square().sum()
            (task.loss(task.combine(experts, weights), target) + 2 / distinct * penalty).backward()
            optimizer.step()
        for buffer, value in zip(start, parameters, strict=True):
            buffer.copy_(value.detach())


def entropy(task: Task, logits: Tensor) -> Tensor:
    """Return the entropy ``(B,)`` of predictions of classes, in nats."""
    log_p = task.normalise(logits)
    return -(log_p.exp() * log_p).sum(-1)
