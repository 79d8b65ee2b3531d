"""DGL: disentangled gradient learning (Wei et al., ICCV 2025), and its form with separate heads."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.func import functional_call

from counterpoise.methods.base import Hyperparameter, Interval, NamedTensors, present_loss
from counterpoise.methods.objective import ModulatedObjective
from counterpoise.model import MultimodalClassifier, scale_gradient
from counterpoise.records import Batch, Outputs

__all__ = ["DGL", "SeparatedGradients"]


class _Separated(ModulatedObjective):
    """Base of both forms: the fused loss reaches the encoders only in part, or not at all."""

    strength = Hyperparameter(1.0, Interval(0, 1, "[]"))

    def modulate(
        self, model: MultimodalClassifier, features: Mapping[str, Tensor], batch: Batch
    ) -> tuple[Mapping[str, Tensor], NamedTensors]:
        """Return the features with their gradient cut, or scaled by 1 - strength."""
        return {m: scale_gradient(h, 1.0 - self.strength) for m, h in features.items()}, {}


class DGL(_Separated):
    r"""Disentangled gradients: encoders learn from unimodal losses, the fused head from the fused loss.

    Wei, Luo, Luo, "Boosting Multimodal Learning via Disentangled Gradient Learning", ICCV 2025 (arXiv 2507.10213). With
    :math:`z(\{m\})` the output of the fused head when the features of all other modalities are zeros (its bias whole),

    .. math:: L = CE(z(\mathrm{sg}\, h), y) + \alpha \sum_m CE(z_{\mathrm{sg}\,\theta}(\{m\}), y),

    where the fused head :math:`\theta` gets no gradient of the second term and the encoders none of the first.

    The implementation follows the authors' code. Inferred: fusions other than concatenation, which read zeros in the
    same way. The model's unimodal heads are trained on detached features; the authors' network has none. See
    `SeparatedGradients` for the form with separate heads.

    Args:
        strength: Strength s, in [0, 1]; the fused gradient that enters the encoders is multiplied by :math:`1 - s` and
            the unimodal one by s.
        smoothing: Share of the unimodal heads' labels that is spread over all classes, in [0, 1).
        alpha: :math:`\alpha`, in [0, inf); the authors use 4 and 5 (CREMA-D), 2 and 3 (Kinetics-Sounds).

    Example:
        >>> DGL(alpha=3.0)
        DGL(strength=1.0, smoothing=0.0, alpha=3.0)
    """

    alpha = Hyperparameter(4.0, Interval(0))

    def terms(self, model: MultimodalClassifier, outputs: Outputs, batch: Batch) -> tuple[NamedTensors, NamedTensors]:
        """See `ModulatedObjective.terms`."""
        terms = {}
        for m in model.modalities:
            loss = present_loss(model.task, self._alone(model, outputs, m), batch.target, outputs.mask(m))
            terms[f"unimodal:{m}"] = self.strength * self.alpha * loss
        return terms, {}

    @staticmethod
    def _alone(model: MultimodalClassifier, outputs: Outputs, m: str) -> Tensor:
        """Return the logits of the fused head for one modality; its parameters get no gradient.

        Where samples lack modalities, the head reads the other modalities as absent ones.
        """
        frozen = {name: p.detach() for name, p in model.fusion.named_parameters()}
        alone: Mapping[str, Tensor] = {k: h if k == m else torch.zeros_like(h) for k, h in outputs.features.items()}
        if outputs.present is None:
            logits: Tensor = functional_call(model.fusion, frozen, (alone,))
            return logits
        only = {k: x if k == m else torch.zeros_like(x) for k, x in outputs.present.items()}
        if model.fusion.skips:
            logits = functional_call(model.fusion, frozen, (alone, only))
        else:
            filled = {k: h if k == m else h.detach() for k, h in model.fusion.filled(alone, only).items()}
            logits = functional_call(model.fusion, frozen, (filled,))
        return logits


class SeparatedGradients(_Separated):
    r"""Encoders learn from separate unimodal heads only, and the fused head learns on top of them.

    :math:`L = CE(z(\mathrm{sg}\, h), y) + \sum_m CE(u_m, y)`. At full strength the encoders are those of
    `UnimodalEnsemble` bit for bit (a test), and a fused head is trained on their features. It shares the idea of `DGL`,
    whose unimodal losses go through the fused head instead of heads of their own. It is a baseline of this library.

    Args:
        strength: Strength s, in [0, 1]; the fused gradient that enters the encoders is multiplied by :math:`1 - s` and
            the unimodal one by s.
        smoothing: Share of the unimodal heads' labels that is spread over all classes, in [0, 1).

    Example:
        >>> SeparatedGradients(strength=0.5)
        SeparatedGradients(strength=0.5, smoothing=0.0)
    """

    head_scale = 1.0
