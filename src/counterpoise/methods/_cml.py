"""CML: calibrating multimodal learning (Ma et al., ICML 2023)."""

from __future__ import annotations

import torch
from torch import Tensor

from counterpoise.methods.base import Hyperparameter, Interval, NamedTensors, require_multiclass
from counterpoise.methods.objective import ModulatedObjective
from counterpoise.model import MultimodalClassifier
from counterpoise.records import Batch, Outputs

__all__ = ["CML", "confidence_penalty"]


def confidence_penalty(logits: Tensor, target: Tensor) -> Tensor:
    r"""Return :math:`\sum_k \frac1B \sum_i 1[S_k \text{ right}] \max(0, \mathrm{conf}_i(S_{k+1}) - \mathrm{conf}_i(S_k))`.

    The confidence is the largest probability. Losing a modality should not make a right prediction surer.

    Args:
        logits: ``(K, B, C)`` of nested subsets, the largest first.
        target: ``(B,)``.

    Example:
        >>> z = torch.tensor([[[0.0, 0.1]], [[0.0, 5.0]]])
        >>> confidence_penalty(z, torch.tensor([1])) > 0, confidence_penalty(z.flip(0), torch.tensor([1]))
        (tensor(True), tensor(0.))
    """
    confidence = logits.softmax(-1).amax(-1)
    right = logits[:-1].argmax(-1) == target
    return (right * (confidence[1:] - confidence[:-1]).relu()).mean(-1).sum()


class CML(ModulatedObjective):
    r"""Calibrating multimodal learning: a prediction should not become surer when a modality is taken away.

    Ma et al., "Calibrating Multimodal Learning", ICML 2023: a chain of nested subsets
    :math:`S_0 = \mathrm{all} \supset S_1 \supset \dots` (removed in random order, drawn per step), the fused head reading zeros for what is
    outside: :math:`L = \mathrm{mean}_S CE(z_S, y) + \lambda` `confidence_penalty`.

    Differs from a published toolkit: the penalty is a mean over the batch (there a sum), and the order is drawn for every step
    (there once per epoch).

    Args:
        strength: multiplies everything that is added to joint training, in [0, inf).
        penalty: :math:`\lambda`.

    Raises:
        ModelError: (at setup) for a task without classes.

    Example:
        >>> CML(penalty=0.2)
        CML(strength=1.0, penalty=0.2)
    """

    penalty = Hyperparameter(0.1, Interval(0))

    def setup(self, model: MultimodalClassifier, target: Tensor) -> MultimodalClassifier:
        """Check the task."""
        require_multiclass(self, model, "its confidence is the probability of a class")
        return model

    def terms(self, model: MultimodalClassifier, outputs: Outputs, batch: Batch) -> tuple[NamedTensors, NamedTensors]:
        """See `ModulatedObjective.terms`."""
        names = model.modalities
        turn = torch.rand(len(names), device=batch.target.device).argsort()  # when each modality is taken away
        chain = [outputs.logits]
        for k in range(1, len(names)):
            kept = dict(zip(names, turn >= k, strict=True))
            chain.append(model.fusion({m: h * kept[m] for m, h in outputs.features.items()}))
        logits = torch.stack(chain)
        nll = -model.task.log_likelihood(logits, batch.target).mean(-1)
        return {
            "subsets": self.strength * (nll.mean() - nll[0]),
            "calibration": self.strength * self.penalty * confidence_penalty(logits, batch.target),
        }, {}
