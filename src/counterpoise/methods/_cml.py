"""CML: calibrating multimodal learning (Ma et al., ICML 2023)."""

from __future__ import annotations

import torch
from torch import Tensor

from counterpoise.methods.base import Hyperparameter, Interval, NamedTensors, require_multiclass
from counterpoise.methods.logits import modality_means
from counterpoise.methods.objective import ModulatedObjective
from counterpoise.model import MultimodalClassifier
from counterpoise.records import Batch, Outputs

__all__ = ["CML", "confidence_penalty"]


def confidence_penalty(logits: Tensor, target: Tensor) -> Tensor:
    r"""Return the unwanted rises of confidence, summed over samples and steps of the chain of subsets.

    .. math:: \sum_{i,k} 1[S_k \text{ right}]\, (c_{k+1} - c_k)^+
        + 1[\text{both wrong}]\, (c_{k+1} - \mathrm{sg}\, c_k)^+

    where :math:`c_k` is the confidence of the prediction from :math:`S_k`, its largest probability. A prediction should
    not become more confident when a modality is taken away. If both predictions are wrong, only the confidence of the
    smaller subset is lowered.

    Args:
        logits: ``(K, B, C)`` of nested subsets, the largest first.
        target: ``(B,)``.

    Example:
        >>> z = torch.tensor([[[0.0, 0.1]], [[0.0, 5.0]]])
        >>> confidence_penalty(z, torch.tensor([1])) > 0, confidence_penalty(z.flip(0), torch.tensor([1]))
        (tensor(True), tensor(0.))
    """
    confidence = logits.softmax(-1).amax(-1)
    right = logits.argmax(-1) == target
    larger, smaller = confidence[:-1], confidence[1:]
    wrong = ~right[:-1] & ~right[1:]
    rise = right[:-1] * (smaller - larger).relu() + wrong * (smaller - larger.detach()).relu()
    return rise.sum()


class CML(ModulatedObjective):
    r"""Calibrating multimodal learning: a prediction should not become more confident when a modality is taken away.

    Ma et al., "Calibrating Multimodal Learning", ICML 2023. With a chain of nested subsets :math:`S_0 = \mathrm{all}
    \supset S_1 \supset \ldots` (modalities removed in random order, drawn per step), where the fused head reads zeros
    for the removed ones: :math:`L = \mathrm{mean}_S CE(z_S, y) + \tfrac{\beta}{100}` `confidence_penalty`.

    Known from the authors' code: the penalty is a sum over the batch times :math:`\beta / 100`, with the second term
    for samples where both subsets are wrong. It therefore grows with the batch. Inferred: the default of :math:`\beta`,
    which equals the weight .1 of a published toolkit. The toolkit has no second term and draws the order once per
    epoch.

    Args:
        strength: Factor of everything that is added to joint training, in [0, inf).
        smoothing: Share of the unimodal heads' labels that is spread over all classes, in [0, 1).
        penalty: :math:`\beta`.

    Raises:
        ModelError: (by `prepare`) for a task without classes.

    Example:
        >>> CML(penalty=5.0)
        CML(strength=1.0, smoothing=0.0, penalty=5.0)
    """

    penalty = Hyperparameter(10.0, Interval(0))

    def setup(self, model: MultimodalClassifier, target: Tensor) -> MultimodalClassifier:
        """Check the task."""
        require_multiclass(self, model, "its confidence is the probability of a class")
        return model

    def terms(self, model: MultimodalClassifier, outputs: Outputs, batch: Batch) -> tuple[NamedTensors, NamedTensors]:
        """See `ModulatedObjective.terms`."""
        names = model.modalities
        turn = torch.rand(len(names), device=batch.target.device).argsort()  # when each modality is taken away
        chain, known = [outputs.logits], [torch.ones_like(batch.index, dtype=torch.bool)]
        for k in range(1, len(names)):
            kept = dict(zip(names, turn >= k, strict=True))
            left = None if outputs.present is None else {m: x & kept[m] for m, x in outputs.present.items()}
            chain.append(model.fusion.fuse({m: h * kept[m] for m, h in outputs.features.items()}, left))
            known.append(known[0] if left is None else torch.stack(list(left.values())).any(0))
        logits = torch.stack(chain)
        losses = model.task.losses(logits, batch.target)
        # Samples that have no modality of a subset are left out of its loss.
        nll = losses.mean(-1) if outputs.present is None else modality_means(losses, torch.stack(known))
        return {
            "subsets": self.strength * (nll.mean() - nll[0]),
            "calibration": self.strength * self.penalty / 100 * confidence_penalty(logits, batch.target),
        }, {}
