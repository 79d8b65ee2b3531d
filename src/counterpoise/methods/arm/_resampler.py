"""Third component of ARM: dynamic sample-level re-sampling."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn

from counterpoise.records import present_mean
from counterpoise.tasks import Task

__all__ = ["ContributionResampler", "learnable_information", "sample_frequencies", "systematic_draw"]

PRIOR_SAMPLES: Final = 2
"""Weight of the mean over all classes in that of each class, in held-out samples."""


def learnable_information(
    task: Task, information: Tensor, held_out: Tensor, target: Tensor, masks: Tensor | None = None
) -> Tensor:
    """Return the information that each modality can have about each sample, according to held-out samples of its class,
    ``(N, M)``.

    It is the mean held-out information of the sample's class, shrunk towards the mean over all classes by
    `PRIOR_SAMPLES` samples. Without classes it is the mean over all samples.

    Args:
        task: The likelihood.
        information: Information of each modality about each held-out sample, ``(n, M)`` in nats.
        held_out: Targets of the held-out samples, n.
        target: Targets of the training samples, N.
        masks: Which held-out samples have which modality, ``(n, M)``; None if nothing is missing.
    """
    if masks is not None:
        information = information.masked_fill(~masks, 0)
    mean = information.mean(0) if masks is None else present_mean(information.T, masks.T)
    if not task.has_classes:
        return mean.expand(len(target), -1)
    sums = information.new_zeros(task.num_outputs, information.shape[1]).index_add_(0, held_out, information)
    if masks is None:
        counts = torch.bincount(held_out, minlength=task.num_outputs).to(information)[:, None]
    else:
        counts = torch.zeros_like(sums).index_add_(0, held_out, masks.to(information))
    by_class = (sums + PRIOR_SAMPLES * mean) / (counts + PRIOR_SAMPLES)
    return by_class[target]


def sample_frequencies(known: Tensor, learnable: Tensor, reinforced: Tensor, entropy: float, rate: float) -> Tensor:
    r"""Return the frequency of each sample relative to a sample that is not reinforced, ``(N,)``.

    .. math:: f_i = 1 + \mathrm{rate} \cdot \max_m r_m \min\left(1, \frac{(\ell_{im} - k_{im})^+}{H(Y)}\right)

    for information :math:`k_{im}` that modality m has about sample i in training, and :math:`\ell_{im}` that it can
    have according to held-out samples. A sample is drawn more often if a weak modality has less information about it
    than about similar samples; memorised samples are not.

    Args:
        known: :math:`k`, ``(N, M)`` in nats.
        learnable: :math:`\ell`, ``(N, M)`` in nats, see `learnable_information`.
        reinforced: :math:`r`, ``(M,)``, in [0, 1]: 0 for modalities that are not weak, or not learning.
        entropy: H(Y) in nats.
        rate: Largest addition to a sample's frequency.

    Example:
        >>> known, learnable = torch.tensor([[0.1], [0.9]]), torch.tensor([[0.6], [0.6]])
        >>> sample_frequencies(known, learnable, torch.ones(1), entropy=1.0, rate=1.0)
        tensor([1.5000, 1.0000])
    """
    deficit = ((learnable - known) / entropy).clamp(0, 1)
    return 1 + rate * (reinforced * deficit).amax(1)


def systematic_draw(order: Tensor, frequency: Tensor, generator: torch.Generator) -> Tensor:
    r"""Return N samples, drawn in proportion to their frequencies, in random order.

    Sample i occurs the integer below or above :math:`N f_i / \sum_j f_j` times. Equal frequencies leave the order
    unchanged.

    Args:
        order: Shuffled positions of the epoch, ``(n,)``.
        frequency: Frequency of each of them, ``(n,)``, positive.
        generator: Source of randomness.

    Example:
        >>> order, g = torch.tensor([3, 0, 1, 2]), torch.Generator().manual_seed(0)
        >>> systematic_draw(order, torch.tensor([3.0, 1.0, 1.0, 1.0]), g).bincount()
        tensor([0, 1, 1, 2])
    """
    weights = frequency.double().cpu()
    if bool((weights == weights[0]).all()):
        return order
    size = len(order)
    edges = (size * weights / weights.sum()).cumsum(0)
    points = torch.arange(size, dtype=torch.float64) + torch.rand((), generator=generator, dtype=torch.float64)
    places = torch.searchsorted(edges, points, right=True).clamp_max(size - 1)
    return order[places.to(order.device)][torch.randperm(size, generator=generator).to(order.device)]


class ContributionResampler(nn.Module):
    """Draw training samples more often if a weak modality has less information about them than it could have.

    It stores the information of each modality about each training sample in its latest step, compares it with held-out
    samples of the same class between epochs, and changes the order of the next epoch (`draw`).

    The paper's formula was not accessible; this one follows its stated aim, a re-sampling of samples by their own
    contributions.

    Args:
        samples: N, the number of training samples.
        modalities: M.
        rate: Largest addition to the frequency of a sample; 0 leaves every epoch unchanged.

    Example:
        >>> resampler = ContributionResampler(4, 2, rate=1.0)
        >>> resampler.draw(torch.arange(4), torch.Generator())
        tensor([0, 1, 2, 3])
    """

    known: Tensor
    frequency: Tensor
    largest: Tensor

    def __init__(self, samples: int, modalities: int, rate: float) -> None:
        super().__init__()
        self.rate = rate
        self.register_buffer("known", torch.zeros(samples, modalities))
        self.register_buffer("frequency", torch.ones(samples))
        self.register_buffer("largest", torch.ones(()))

    @torch.no_grad()
    def observe(self, index: Tensor, information: Tensor) -> None:
        """Store the information ``(B, M)`` in nats of a step about the samples ``index`` ``(B,)``."""
        self.known.index_copy_(0, index, information.to(self.known.dtype))

    @torch.no_grad()
    def update(self, learnable: Tensor, reinforced: Tensor, entropy: float) -> None:
        """Compute the frequencies of the next epoch; see `sample_frequencies`."""
        self.frequency.copy_(sample_frequencies(self.known, learnable, reinforced, entropy, self.rate))
        self.largest.copy_(self.frequency.max())

    def draw(self, order: Tensor, generator: torch.Generator) -> Tensor:
        """Return the order of the next epoch; see `systematic_draw`."""
        if not self.rate:
            return order
        return systematic_draw(order, self.frequency[order.to(self.frequency.device)], generator)
