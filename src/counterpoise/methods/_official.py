"""What releases compute where it is not what their papers say, for comparison. Each is another row, never the method itself."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from counterpoise.errors import Interval
from counterpoise.methods._agm import AGM
from counterpoise.methods._arl import ARL
from counterpoise.methods._base import STRENGTH
from counterpoise.methods._families import GradientCombination, Named
from counterpoise.methods._lfm import LFM
from counterpoise.methods._mla import MLA
from counterpoise.methods._pmr import PMR
from counterpoise.model import MultimodalClassifier
from counterpoise.records import Batch

__all__ = ["AGMToolkit", "ARLOfficial", "LFMOfficial", "MLAOfficial", "MMParetoToolkit", "PMROfficial"]


class PMROfficial(PMR):
    r"""`PMR` as the authors' code has it: :math:`\beta_m` is 1 for all modalities but the strongest, and there is no entropy term.

    Args:
        strength: :math:`\alpha`, in [0, inf).
        momentum: share of the old prototypes that stays.
        share: share of the training set that prototypes are computed on.

    Example:
        >>> PMROfficial()
        PMROfficial(strength=1.0, momentum=0.2, share=0.1)
    """

    constraints: ClassVar = {
        "strength": STRENGTH,
        "momentum": Interval(0, 1, "[]"),
        "share": Interval(0, 1, "(]"),
    }

    def __init__(self, strength: float = 1.0, *, momentum: float = 0.2, share: float = 0.1) -> None:
        super().__init__(strength, momentum=momentum, share=share, entropy=0.0, entropy_epochs=0)
        self.hyperparameters = {"strength": strength, "momentum": momentum, "share": share}

    def boost(self, scores: Tensor) -> Tensor:
        """Return the hard switch."""
        return (scores < scores.max()).to(scores.dtype)


class AGMToolkit(AGM):
    r"""`AGM` as BalanceBenchmark has it: the sign in the exponent of the ratio is reversed, so the stronger modality is sped up.

    Args:
        strength: :math:`\alpha`, in [0, inf); the toolkit uses 0.1.
        cap: largest difference of ratios.

    Example:
        >>> AGMToolkit()
        AGMToolkit(strength=0.1, cap=7.0)
    """

    def __init__(self, strength: float = 0.1, *, cap: float = 7.0) -> None:
        super().__init__(strength, cap=cap)

    def coefficients(self, scores: Tensor) -> Tensor:
        """Return the factors, from the reversed ratio."""
        count = len(scores)

        def ratio(s: Tensor) -> Tensor:
            return (count / (count - 1) * (s - s.mean())).exp()

        return (self.strength * (ratio(self.usual) - ratio(scores)).clamp_max(self.cap)).exp()


class MLAOfficial(MLA):
    """`MLA` as the authors' code has it in training: the head's gradient is never projected.

    Its entropies over the batch are not reproduced, for here no prediction depends on other samples.

    Example:
        >>> MLAOfficial()
        MLAOfficial()
    """

    constraints: ClassVar = {}

    def __init__(self) -> None:
        super().__init__(project=False)
        self.hyperparameters = {}


class MMParetoToolkit(GradientCombination):
    r"""MMPareto as BalanceBenchmark has it: both gradients are their sum, so the result is :math:`2 \gamma (g_J + g_m)`.

    That is `Uniform` with a factor of 3 on the encoders' gradients.

    Args:
        strength: weight of the unimodal losses, in [0, inf).
        gamma: :math:`\gamma`.

    Example:
        >>> MMParetoToolkit()
        MMParetoToolkit(strength=1.0, gamma=1.5)
    """

    constraints: ClassVar = {"strength": STRENGTH, "gamma": Interval(0, ends="()")}
    gamma: float

    def __init__(self, strength: float = 1.0, *, gamma: float = 1.5) -> None:
        super().__init__(strength=strength, gamma=gamma)

    def combine(self, joint: list[Tensor], own: list[Tensor]) -> tuple[list[Tensor], Tensor]:
        """See `GradientCombination.combine`."""
        combined = [2 * self.gamma * (a + b) for a, b in zip(joint, own, strict=True)]
        return combined, torch.full((), 0.5, device=combined[0].device)


class LFMOfficial(LFM):
    r"""`LFM` as the authors' code has it: the divergence is :math:`\frac1M \sum_m KL(\bar p \Vert p_m)`, which has no upper bound; heuristic schedule.

    Args:
        strength: from joint training (0) to the method (1).

    Example:
        >>> LFMOfficial()
        LFMOfficial(strength=1.0)
    """

    constraints: ClassVar = {"strength": STRENGTH}

    def __init__(self, strength: float = 1.0) -> None:
        super().__init__(strength)
        self.hyperparameters = {"strength": strength}

    def divergence(self, logits: Tensor) -> Tensor:
        """Return the reverse divergence."""
        log_p = logits.log_softmax(-1)
        log_mean = log_p.logsumexp(0) - math.log(len(logits))
        return (log_mean.exp() * (log_mean - log_p)).sum(-1).mean()


class ARLOfficial(ARL):
    r"""`ARL` as the authors' code has it: the weights are never assigned, every encoder's gradient is multiplied by :math:`1 + 1/M`.

    Args:
        strength: multiplies everything that is added to joint training, in [0, inf).
        gamma: :math:`\gamma`.

    Example:
        >>> ARLOfficial()
        ARLOfficial(strength=1.0, gamma=4.0)
    """

    constraints: ClassVar = {"strength": STRENGTH, "gamma": Interval(0)}

    def __init__(self, strength: float = 1.0, *, gamma: float = 4.0) -> None:
        super().__init__(strength, gamma=gamma, start=0)
        self.hyperparameters = {"strength": strength, "gamma": gamma}

    def scales(self, model: MultimodalClassifier, features: Mapping[str, Tensor], batch: Batch) -> Named:
        """Return the constant factor."""
        one = torch.ones((), device=batch.target.device)
        return {m: one + self.strength / len(features) for m in features}
