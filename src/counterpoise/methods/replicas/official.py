"""Released code of authors where it differs from their papers, for comparison. Each has its own row."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from counterpoise.fusion import only_present
from counterpoise.methods._arl import ARL
from counterpoise.methods._aug import AUG, BoostedFusion
from counterpoise.methods._inforeg import InfoReg, anchor_weights
from counterpoise.methods._lfm import LFM, log_mean_probability, mean_divergence
from counterpoise.methods._mla import MLA
from counterpoise.methods._mmcosine import CosineHead, MMCosine
from counterpoise.methods._pmr import PMR
from counterpoise.methods.base import NamedTensors
from counterpoise.model import MultimodalClassifier
from counterpoise.records import Batch, Presence

__all__ = [
    "ARLOfficial",
    "AUGOfficial",
    "InfoRegOfficial",
    "LFMOfficial",
    "MLAOfficial",
    "MMCosineOfficial",
    "PMROfficial",
]


class PMROfficial(PMR):
    r"""`PMR` as released: :math:`\beta_m` is 1 for all modalities but the strongest, and there is no entropy term.

    Args:
        strength: :math:`\alpha`, in [0, inf).
        momentum: Share of the old prototypes that is kept.
        share: Share of the training set that prototypes are computed on.

    Example:
        >>> PMROfficial()
        PMROfficial(strength=1.0, momentum=0.2, share=0.1)
    """

    smoothing = PMR.smoothing.fixed(0.0)

    entropy = PMR.entropy.fixed(0.0)
    entropy_epochs = PMR.entropy_epochs.fixed(0)

    def boost(self, scores: Tensor) -> Tensor:
        """Return the hard switch."""
        return (scores < scores.max()).to(scores.dtype)


class MLAOfficial(MLA):
    """`MLA` as released, in training: the head's gradient is never projected.

    Its entropies over the batch are not reproduced, because no prediction here may depend on other samples.

    Example:
        >>> MLAOfficial()
        MLAOfficial()
    """

    ridge = MLA.ridge.fixed(0.1)
    project = MLA.project.fixed(False)


class LFMOfficial(LFM):
    r"""`LFM` as released, with the heuristic schedule: the divergence has no upper bound.

    It is :math:`\frac1M \sum_m KL(\bar p \Vert p_m)`.

    Args:
        strength: From joint training (0) to the method (1).

    Example:
        >>> LFMOfficial()
        LFMOfficial(strength=1.0)
    """

    smoothing = LFM.smoothing.fixed(0.0)

    schedule = LFM.schedule.fixed("heuristic")
    rate = LFM.rate.fixed(0.03)
    lookahead = LFM.lookahead.fixed(0.01)
    samples = LFM.samples.fixed(16)

    def divergence(self, logits: Tensor, masks: Tensor | None = None) -> Tensor:
        """Return the reverse divergence."""
        log_p = logits.log_softmax(-1)
        log_mean = log_mean_probability(log_p, masks)
        return mean_divergence((log_mean.exp() * (log_mean - log_p)).sum(-1), masks)


class ARLOfficial(ARL):
    r"""`ARL` as released: the weights are never assigned.

    From the start on, every encoder's gradient is multiplied by :math:`1 + 1/M`.

    Args:
        strength: Factor of everything that is added to joint training, in [0, inf).
        gamma: :math:`\gamma`.
        start: First epoch of modulation, from 0.

    Example:
        >>> ARLOfficial()
        ARLOfficial(strength=1.0, gamma=4.0, start=6)
    """

    smoothing = ARL.smoothing.fixed(0.0)

    temperature = ARL.temperature.fixed(8.0)

    def scales(self, model: MultimodalClassifier, features: Mapping[str, Tensor], batch: Batch) -> NamedTensors:
        """Return the constant factor, from the start on."""
        if self.epoch < self.start:
            return {}
        one = torch.ones((), device=batch.target.device)
        return {m: one + self.strength / len(features) for m in features}


class InfoRegOfficial(InfoReg):
    r"""`InfoReg` as released: tanh of sums over the batch, one window for all, two values of :math:`\beta`.

    The first modality in alphabetical order (audio, before video and visual) has the role of theirs: its trace opens
    and closes the window of all, and its :math:`\beta` is .95, that of the others .1. With scores summed over a batch,
    tanh is near 1 as soon as one modality leads clearly, so that the factor is :math:`\beta e` (2.58 and .27). The
    unimodal heads are separate (there slices).

    Args:
        strength: Factor of everything that is added to joint training, in [0, inf).
        window: Number of epochs per mean of the trace.
        threshold: Relative growth that counts as fast.

    Example:
        >>> InfoRegOfficial()
        InfoRegOfficial(strength=1.0, window=10, threshold=0.05)
    """

    smoothing = InfoReg.smoothing.fixed(0.0)

    beta = InfoReg.beta.fixed(0.95)

    def watched(self, model: MultimodalClassifier, k: int) -> int:
        """Return the first modality's place."""
        return model.modalities.index(min(model.modalities))

    def pull(self, model: MultimodalClassifier, scores: Tensor, count: int) -> Tensor:
        """Return the factors, from sums."""
        first = min(model.modalities)
        own = scores.new_tensor([self.beta if m == first else 0.1 for m in model.modalities])
        return own * anchor_weights(scores, 1.0)


class FrozenBoost(BoostedFusion):
    """`BoostedFusion` whose added blocks keep their initial weights; only the first block and the shared head are
    trained.

    Example:
        >>> fusion = FrozenBoost({"a": 2, "b": 3}, num_outputs=4, blocks=3)
        >>> [tuple(w.shape) for w in fusion.weights.values()], fusion.added_a.shape
        ([(1, 3, 2), (1, 3, 3)], torch.Size([2, 3, 2]))
    """

    def __init__(self, feature_dims: Mapping[str, int], num_outputs: int, blocks: int) -> None:
        super().__init__(feature_dims, num_outputs, blocks)
        for m in feature_dims:
            weight, bias = self.weights[f"weight_{m}"], self.biases[f"bias_{m}"]
            self.register_buffer(f"added_{m}", weight[1:].detach().clone())
            self.weights[f"weight_{m}"] = nn.Parameter(weight[:1].clone())
            self.biases[f"bias_{m}"] = nn.Parameter(bias[:1].clone())

    def block_weights(self, m: str) -> tuple[Tensor, Tensor]:
        """See `BoostedFusion.block_weights`."""
        weight, bias = super().block_weights(m)
        added: Tensor = getattr(self, f"added_{m}")
        return torch.cat([weight, added]), torch.cat([bias, bias.new_zeros(len(added), bias.shape[1])])


class AUGOfficial(AUG):
    r"""`AUG` as released: the added blocks are not passed to the optimizer, so that they keep their random initial
    values.

    Modalities are merged with equal weights here, too (there .4 and .6).

    Args:
        discount: :math:`\delta` of `boosting_loss`.
        tolerance: Excess of the largest ratio of scores over 1 above which a block is added.
        blocks: Largest number of blocks per modality.

    Example:
        >>> AUGOfficial()
        AUGOfficial(discount=0.5, tolerance=0.01, blocks=11)
    """

    fusion_type = FrozenBoost


class PlainAtTest(CosineHead):
    """`CosineHead` in training; otherwise the plain sum of products.

    Example:
        >>> head = PlainAtTest({"a": torch.eye(2), "b": torch.eye(2)}).eval()
        >>> head({"a": torch.tensor([[9.0, 0.0]]), "b": torch.tensor([[0.0, 2.0]])})
        tensor([[9., 2.]], grad_fn=<SumBackward1>)
    """

    def slice_logits(self, features: Mapping[str, Tensor], present: Presence | None = None) -> dict[str, Tensor]:
        """See `CosineHead.slice_logits`."""
        if self.training:
            return super().slice_logits(features, present)
        return {m: only_present(features[m] @ self.weights[f"weight_{m}"].T, m, present) for m in self.feature_dims}


class MMCosineOfficial(MMCosine):
    """`MMCosine` as released: predictions come from the head without its normalisation.

    Args:
        scale: Factor s of the cosines, in (0, inf).

    Example:
        >>> MMCosineOfficial()
        MMCosineOfficial(scale=10.0)
    """

    head_type = PlainAtTest
