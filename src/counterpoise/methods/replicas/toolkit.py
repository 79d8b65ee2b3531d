"""Methods of BalanceBenchmark where they differ from the papers, for comparison. Each has its own row."""

from __future__ import annotations

from itertools import combinations

import torch
from torch import Tensor

from counterpoise.methods._agm import AGM, adaptive_coefficients
from counterpoise.methods._gblending import GBlending
from counterpoise.methods._mbsd import MBSD
from counterpoise.methods._opm import OPM, _probability
from counterpoise.methods.base import EpochContext, Hyperparameter, Interval, NamedTensors
from counterpoise.methods.logits import unimodal_logits
from counterpoise.methods.objective import GradientCombination
from counterpoise.methods.passes import INNER_BATCH, iterate_batches
from counterpoise.model import MultimodalClassifier
from counterpoise.records import Batch, Outputs

__all__ = ["AGMToolkit", "GBlendingToolkit", "MBSDToolkit", "MMParetoToolkit", "OPMToolkit", "aliased_ratio"]


class AGMToolkit(AGM):
    r"""`AGM` as in BalanceBenchmark: the sign of the exponent is reversed, so that the stronger modality is sped up.

    Args:
        strength: :math:`\alpha`, in [0, inf); the toolkit uses 0.1.
        cap: Largest difference of ratios.

    Example:
        >>> AGMToolkit()
        AGMToolkit(strength=0.1, cap=7.0)
    """

    strength = AGM.strength.with_default(0.1)
    cap = AGM.cap.with_default(7.0)

    def coefficients(self, scores: Tensor) -> Tensor:
        """Return the factors, from the reversed ratio, in which the scores have the opposite sign."""
        return adaptive_coefficients(-scores, -self.usual, self.strength, self.cap)


class MMParetoToolkit(GradientCombination):
    r"""MMPareto as in BalanceBenchmark: both gradients are their sum.

    The result is :math:`2 \gamma (g_J + g_m)`. That is `Uniform` with a factor of 3 on the encoders' gradients.

    Args:
        strength: Weight of the unimodal losses, in [0, inf).
        gamma: :math:`\gamma`.

    Example:
        >>> MMParetoToolkit()
        MMParetoToolkit(strength=1.0, gamma=1.5)
    """

    smoothing = GradientCombination.smoothing.fixed(0.0)

    gamma = Hyperparameter(1.5, Interval(0, ends="()"))

    def combine(self, joint: list[Tensor], own: list[Tensor]) -> tuple[list[Tensor], Tensor]:
        """See `GradientCombination.combine`."""
        combined = [2 * self.gamma * (a + b) for a, b in zip(joint, own, strict=True)]
        return combined, torch.full((), 0.5, device=combined[0].device)


def aliased_ratio(scores: Tensor) -> Tensor:
    """Return each score over the sum of the others, where the earlier ones have already been replaced by ratios.

    Args:
        scores: ``(M,)``.

    Example:
        >>> aliased_ratio(torch.tensor([3.0, 2.0]))        # s1 / s2 and then s2 / (s1 / s2)
        tensor([1.5000, 1.3333])
    """
    ratios = list(scores.unbind())
    for k, score in enumerate(ratios):
        ratios[k] = score / torch.stack([s for j, s in enumerate(ratios) if j != k]).sum()
    return torch.stack(ratios)


class OPMToolkit(OPM):
    r"""`OPM` as in BalanceBenchmark: ratios are divided in place, so that the second is :math:`s_2^2 / s_1`.

    More than two modalities are compared with the sum of the others. Scores are sums over the batch, so that the second
    modality is dropped in nearly every batch, strong or weak. Samples that lose all modalities stay in the loss here
    (there they are left out).

    Args:
        strength: :math:`q_0`, in [0, 1].
        sensitivity: :math:`\lambda`.
        probability: Share of the batches that are modulated.
        start: First epoch of modulation, from 0.

    Example:
        >>> OPMToolkit(start=0)
        OPMToolkit(strength=0.5, sensitivity=0.5, probability=0.7, start=0)
    """

    smoothing = OPM.smoothing.fixed(0.0)

    def probabilities(self, scores: Tensor) -> Tensor:
        """Return the probabilities, from the aliased ratios."""
        return _probability(aliased_ratio(scores), self.strength, self.sensitivity)


class MBSDToolkit(MBSD):
    r"""`MBSD` as in BalanceBenchmark: :math:`\sum_c p_s (\log p_s - p_w)` instead of a divergence.

    Gradient flows through everything. The squared distance is one of logits for two modalities, of probabilities for
    more. Inferred: the stronger distribution is the target.

    Args:
        strength: Factor of everything that is added to joint training, in [0, inf).

    Example:
        >>> MBSDToolkit()
        MBSDToolkit(strength=1.0)
    """

    incomplete = "the toolkit compares all modalities of every sample"
    smoothing = MBSD.smoothing.fixed(0.0)

    def terms(self, model: MultimodalClassifier, outputs: Outputs, batch: Batch) -> tuple[NamedTensors, NamedTensors]:
        """See `ModulatedObjective.terms`."""
        logits = unimodal_logits(model, outputs.features, sliced=False, present=outputs.present)
        compared = logits if len(logits) == 2 else logits.softmax(-1)
        losses = []
        for j, k in combinations(range(len(logits)), 2):
            p = logits[[j, k]].softmax(-1)
            true = p.gather(-1, batch.target.expand(2, -1).unsqueeze(-1)).squeeze(-1)
            right = (p.argmax(-1) == batch.target).any(0)
            stronger = (true[0] >= true[1]).unsqueeze(-1)
            strong, weak = torch.where(stronger, p[0], p[1]), torch.where(stronger, p[1], p[0])
            misread = (strong * (strong.clamp_min(1e-12).log() - weak)).sum(-1)
            omega = (true[0] - true[1]).abs() * right
            losses.append((omega * (misread + (compared[j] - compared[k]).square().mean(-1))).mean())
        return {"distillation": self.strength * torch.stack(losses).mean()}, {}


class GBlendingToolkit(GBlending):
    """`GBlending` as in BalanceBenchmark: losses are sums over batches, and gains are absolute.

    The measure of overfitting is therefore mostly the number of batches. The held-out samples are training samples
    here, too (there the test set).

    Args:
        strength: From joint training (0) to the method (1), in [0, 1].
        super_epoch: Number of epochs between two estimates.
        online: Whether to estimate again; otherwise only at the start.
        inner_epochs: Number of epochs that each snapshot is trained.
        inner_lr: Learning rate of the snapshots.

    Example:
        >>> GBlendingToolkit(online=False)
        GBlendingToolkit(strength=1.0, super_epoch=10, online=False, inner_epochs=2, inner_lr=0.001)
    """

    smoothing = GBlending.smoothing.fixed(0.0)

    def blend(self, gain: Tensor, overfit: Tensor) -> Tensor:
        """Return the weights; here a loss counts as a gain."""
        return super().blend(gain.abs(), overfit)

    def _measure(self, model: MultimodalClassifier, epoch: EpochContext) -> Tensor:
        """Return training and held-out losses, summed over batches of 64, ``(2, M + 1)``."""
        sizes = [sum(len(b) for b in iterate_batches(self, epoch, which)) for which in ("train", "held_out")]
        batches = torch.tensor([-(-size // INNER_BATCH) for size in sizes])
        return super()._measure(model, epoch) * batches.unsqueeze(1)
