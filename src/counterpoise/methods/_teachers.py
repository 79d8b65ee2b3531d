"""Methods that distil trained unimodal models: UMT and G2D."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from counterpoise.errors import ModelError
from counterpoise.methods.base import (
    STRENGTH,
    EpochContext,
    Hyperparameter,
    Interval,
    Method,
    NamedTensors,
    by_modality,
    present_rows,
)
from counterpoise.methods.logits import target_scale, true_scores
from counterpoise.methods.objective import ModulatedObjective
from counterpoise.model import MultimodalClassifier
from counterpoise.records import Batch, Outputs, present_mean

__all__ = ["G2D", "UMT", "Taught", "prioritised"]

TEACHER = "unimodal-ensemble"


class Taught(Method):
    """Base class of methods with a frozen teacher, whose encoders and unimodal heads were trained alone."""

    requires = (TEACHER,)

    def use_teachers(self, teachers: Mapping[str, MultimodalClassifier]) -> None:
        """Set the trained unimodal ensemble, which is not part of this module's parameters and state.

        Raises:
            ModelError: If the ensemble is not among the teachers.
        """
        if TEACHER not in teachers:
            raise ModelError(
                f"`{type(self).__name__}` needs a trained `{TEACHER}`. Found {', '.join(teachers) or 'none'}."
            )
        self._teachers = {TEACHER: teachers[TEACHER].eval()}

    def setup(self, model: MultimodalClassifier, target: Tensor) -> MultimodalClassifier:
        """Check that the teacher's features can be compared with the model's."""
        teacher = getattr(self, "_teachers", {}).get(TEACHER)
        if teacher is not None and teacher.feature_dims != model.feature_dims:
            raise ModelError(
                f"The teacher of `{type(self).__name__}` should have features of the model's dimensions "
                f"{model.feature_dims}. Found {teacher.feature_dims}. Train it with the same encoders."
            )
        return model

    @torch.no_grad()
    def teach(self, batch: Batch) -> Outputs:
        """Return the teacher's outputs, in evaluation mode.

        Raises:
            ModelError: If there is no teacher.
        """
        teacher = getattr(self, "_teachers", {}).get(TEACHER)
        if teacher is None:
            raise ModelError(
                f"`{type(self).__name__}` needs a trained `{TEACHER}`. Found none. Call `use_teachers` first."
            )
        outputs: Outputs = teacher.to(batch.target.device)(batch.inputs, present=batch.present)
        return outputs

    @staticmethod
    def feature_distance(outputs: Outputs, taught: Outputs) -> NamedTensors:
        """Return the mean squared distance of each modality's features from the teacher's, where it is present."""
        distances = {}
        for m, h in outputs.features.items():
            own, other = present_rows(outputs.mask(m), h, taught.features[m])
            distances[f"feature:{m}"] = (own - other).square().mean() if len(own) else (0 * h).sum()
        return distances


class UMT(Taught, ModulatedObjective):
    r"""Unimodal teachers: the features of each encoder are kept near those of an encoder that was trained alone.

    Du, Teng, Li, Liu, Yuan, Wang, Yuan, Zhao, "On Uni-Modal Feature Learning in Supervised Multi-Modal Learning", ICML
    2023: :math:`L = CE(z, y) + \lambda \sum_m \mathrm{MSE}(h_m, h_m^T)`, the teachers frozen. No code of the authors
    was found.

    Args:
        strength: :math:`\lambda`, in [0, inf); a published toolkit uses 10.
        smoothing: Share of the unimodal heads' labels that is spread over all classes, in [0, 1).

    Raises:
        ModelError: (by `prepare`) if the teacher's features have other dimensions.

    Example:
        >>> UMT(), UMT.requires
        (UMT(strength=10.0, smoothing=0.0), ('unimodal-ensemble',))
    """

    strength = Hyperparameter(10.0, STRENGTH)

    def terms(self, model: MultimodalClassifier, outputs: Outputs, batch: Batch) -> tuple[NamedTensors, NamedTensors]:
        """See `ModulatedObjective.terms`."""
        distance = self.feature_distance(outputs, self.teach(batch))
        return {name: self.strength * value for name, value in distance.items()}, {}


def prioritised(scores: Tensor, count: int) -> Tensor:
    """Return 1 for the ``count`` modalities with the lowest scores and 0 for the others; ties all count as low.

    Args:
        scores: ``(M,)``.
        count: Number of modalities.

    Example:
        >>> prioritised(torch.tensor([3.0, 1.0, 2.0]), 1)
        tensor([0., 1., 0.])
    """
    return (scores <= scores.sort().values[count - 1]).to(scores.dtype)


class G2D(Taught, ModulatedObjective):
    r"""Gradient-guided distillation: distillation from unimodal teachers, in which the encoders with weak teachers are
    trained first.

    Rakib, Bagavathi, "G2D: Boosting Multimodal Learning with Gradient-Guided Distillation", ICCV 2025: :math:`L = CE(z,
    y) + \lambda \sum_m [KL(p^T_m \Vert p) + \mathrm{MSE}(h_m, h_m^T)]`. In the first half of the epochs, the gradient
    of an encoder whose teacher has the larger :math:`\sum_i p^T_m(y_i)` is 0 (sequential modality prioritisation). With
    M modalities that half has M - 1 stages: first only the weakest trains, then the two weakest, and so on.

    Known from the authors' code: KL from teacher to student at T = 1, MSE as a mean. Differs from it: all gradients of
    a suppressed encoder are 0 (the code: convolution weights); teachers are loaded once. Inferred: the stages for M >
    2, and :math:`\lambda` (theirs is 1).

    Args:
        strength: :math:`\lambda`, in [0, inf).
        smoothing: Share of the unimodal heads' labels that is spread over all classes, in [0, 1).
        share: Share of the epochs with prioritisation; the authors use 150 of 300.

    Raises:
        ModelError: (by `prepare`) if the teacher's features have other dimensions.

    Example:
        >>> G2D(share=0.25)
        G2D(strength=1.0, smoothing=0.0, share=0.25)
    """

    share = Hyperparameter(0.5, Interval(0, 1, "[]"))

    scale: Tensor
    progress = 1.0

    def setup(self, model: MultimodalClassifier, target: Tensor) -> MultimodalClassifier:
        """Check the teacher, and store the scale of real targets."""
        self.register_buffer("scale", target_scale(model.task, target), persistent=False)
        return super().setup(model, target)

    def on_epoch_start(self, model: MultimodalClassifier, epoch: EpochContext) -> None:
        """Store the progress of the training."""
        self.progress = epoch.number / epoch.total

    def scales(self, model: MultimodalClassifier, features: Mapping[str, Tensor], batch: Batch) -> NamedTensors:
        """See `ModulatedObjective.scales`."""
        if self.progress >= self.share:
            return {}
        count = 1 + int(self.progress / self.share * (len(features) - 1))
        taught = self.teach(batch)
        logits = torch.stack([taught.unimodal_logits[m] for m in features])
        scores = true_scores(model, logits, batch.target, self.scale, batch.present)
        return dict(zip(features, prioritised(scores, count), strict=True))

    def terms(self, model: MultimodalClassifier, outputs: Outputs, batch: Batch) -> tuple[NamedTensors, NamedTensors]:
        """See `ModulatedObjective.terms`."""
        taught = self.teach(batch)
        distance = self.feature_distance(outputs, taught)
        for m in model.modalities:
            divergence = model.task.kl(taught.unimodal_logits[m], outputs.logits)
            distance[f"distil:{m}"] = present_mean(divergence, outputs.mask(m))
        scores = torch.stack([taught.unimodal_logits[m] for m in model.modalities])
        confidence = true_scores(model, scores, batch.target, self.scale, batch.present) / len(batch)
        terms = {name: self.strength * value for name, value in distance.items()}
        return terms, by_modality(model, "teacher", confidence)
