"""MLA: multimodal learning with alternating unimodal adaptation (Zhang et al., CVPR 2024)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from counterpoise.fusion import Fusion, SharedHead, only_present
from counterpoise.methods.base import (
    Backward,
    EpochContext,
    Hyperparameter,
    Interval,
    backward,
    detached,
    present_rows,
    require_fusion,
    require_multiclass,
)
from counterpoise.methods.logits import presence_masks
from counterpoise.methods.objective import Alternation
from counterpoise.model import MultimodalClassifier
from counterpoise.records import Batch, Presence, StepRecord

__all__ = ["MLA", "EntropyWeightedHead", "entropy_weights", "update_projection"]


def entropy_weights(logits: Tensor, masks: Tensor | None = None) -> Tensor:
    r"""Return :math:`w_m(i) \propto \exp(\max_j H_j(i) - H_m(i))`, ``(M, B)``: confident modalities count more.

    Args:
        logits: ``(M, B, C)``; H is the entropy over the C classes of one sample, in nats.
        masks: Which samples have which modality, ``(M, B)``; the others have no weight.

    Example:
        >>> entropy_weights(torch.tensor([[[0.0, 0.0]], [[50.0, 0.0]]])).flatten()    # entropies log 2 and 0
        tensor([0.3333, 0.6667])
    """
    log_p = logits.log_softmax(-1)
    sureness = (log_p.exp() * log_p).sum(-1)
    if masks is not None:
        sureness = sureness.masked_fill(~masks, torch.finfo(sureness.dtype).min)
    return sureness.softmax(0)


def update_projection(projection: Tensor, mean: Tensor, ridge: float) -> Tensor:
    r"""Return :math:`P - k k^T / (\lambda + \bar r^T k)` with :math:`k = P \bar r`, scaled to unit Frobenius norm.

    A gradient that is projected with it hardly changes the head's outputs in the direction :math:`\bar r`.

    Args:
        projection: P, ``(D, D)``, symmetric.
        mean: :math:`\bar r`, ``(D,)``, the mean feature of a batch.
        ridge: :math:`\lambda`.

    Example:
        >>> update_projection(torch.eye(2), torch.tensor([1.0, 0.0]), ridge=0.0)
        tensor([[0., 0.],
                [0., 1.]])
    """
    k = projection @ mean
    updated = projection - torch.outer(k, k) / (ridge + mean @ k).clamp_min(1e-12)
    return updated / updated.norm().clamp_min(1e-12)


class EntropyWeightedHead(SharedHead):
    r"""One linear head for all modalities, mixed per sample by `entropy_weights`.

    :math:`z = \sum_m w_m(x)\, (K h_m + b)`.

    Example:
        >>> EntropyWeightedHead({"a": 3, "b": 3}, num_outputs=4)({"a": torch.ones(5, 3), "b": torch.ones(5, 3)}).shape
        torch.Size([5, 4])
    """

    def forward(self, features: Mapping[str, Tensor], present: Presence | None = None) -> Tensor:
        """See `Fusion.forward`."""
        logits = torch.stack([only_present(self.head(features[m]), m, present) for m in self.feature_dims])
        masks = presence_masks(tuple(self.feature_dims), present)
        return (entropy_weights(logits, masks).unsqueeze(-1) * logits).sum(0)

    def slice_logits(self, features: Mapping[str, Tensor], present: Presence | None = None) -> dict[str, Tensor]:
        """Raise `ModelError`, because weights that depend on all modalities make the logits no sum over modalities."""
        return Fusion.slice_logits(self, features)


class MLA(Alternation):
    r"""Alternating unimodal adaptation: one optimizer step per modality, with a shared head whose gradient is projected
    to limit forgetting.

    Zhang, Yoon, Bansal, Yao, "Multimodal Representation Learning by Alternating Unimodal Adaptation", CVPR 2024. For
    each modality in turn: :math:`L_m = CE(K h_m, y)`, the head's gradient becomes :math:`G P^T` with
    `update_projection` (:math:`\lambda = 0.1^{1 + b/N_b}`, b the batch within the epoch), step. Predictions mix the
    modalities by `entropy_weights`.

    Differs from the authors' code, in which the projection is never applied (it looks for a parameter of another name),
    the denominator is an element-wise one, and the entropies run over the batch axis. A published toolkit adds the
    projected gradient to the unprojected one. Differs from the paper: the head's bias is not projected (the paper has
    none); the shared head starts as the mean of the model's unimodal heads; :math:`N_b` is computed from the size of
    the training set.

    The model to train has the fusion `EntropyWeightedHead`. There is no strength, because alternation has no limit that
    is joint training.

    Args:
        ridge: Base of :math:`\lambda`, in (0, 1].
        project: Whether the head's gradient is projected.

    Raises:
        ModelError: (by `prepare`) if the modalities' feature dimensions differ, or for a task without classes.

    Example:
        >>> MLA(project=False)
        MLA(ridge=0.1, project=False)
    """

    ridge = Hyperparameter(0.1, Interval(0, 1, "(]"))
    project = Hyperparameter(True)
    projection: Tensor

    batch = largest = 0

    def setup(self, model: MultimodalClassifier, target: Tensor) -> MultimodalClassifier:
        """Replace the fusion by the shared head, and start with P = I."""
        require_multiclass(self, model, "its prediction is weighted by entropies over classes")
        self.samples = len(target)
        if not isinstance(model.fusion, EntropyWeightedHead):
            with torch.random.fork_rng(devices=[]):
                fusion = EntropyWeightedHead(model.feature_dims, model.task.num_outputs)
            heads = [model.head(m) for m in model.modalities]
            fusion = fusion.to(next(heads[0].parameters()))
            with torch.no_grad():
                for name, p in fusion.head.named_parameters():
                    p.copy_(torch.stack([head.get_parameter(name) for head in heads]).mean(0))
            model = model.with_fusion(fusion)
        dimension = next(iter(model.feature_dims.values()))
        self.register_buffer("projection", torch.eye(dimension))
        return model

    def on_epoch_start(self, model: MultimodalClassifier, epoch: EpochContext) -> None:
        """Count batches from zero again."""
        self.batch = 0

    def steps(
        self, model: MultimodalClassifier, batch: Batch, *, backward: Backward = backward
    ) -> Iterator[StepRecord]:
        """See `Method.steps`."""
        head = require_fusion(self, model, EntropyWeightedHead).head
        self.largest = max(self.largest, len(batch))  # the last batch of an epoch may be a small one
        progress = min(self.batch / max(1, math.ceil(self.samples / self.largest)), 1.0)
        self.batch += 1
        for m in sorted(model.modalities):
            encoded = model.features(batch.inputs, m, batch.present)
            features, target = present_rows(batch.mask(m), encoded, batch.target)
            if not len(target):
                continue
            handle = None
            if self.project:
                with torch.no_grad(), _full_precision(features.device):
                    mean = features.mean(0).to(self.projection.dtype)
                    self.projection.copy_(update_projection(self.projection, mean, self.ridge ** (1 + progress)))
                p = self.projection.clone()
                handle = head.weight.register_hook(_projected(p))
            try:
                shared = model.task.loss(head(features), target)
                unimodal = model.task.loss(model.head(m)(features.detach()), target)
                backward(shared + unimodal)
            finally:
                if handle is not None:
                    handle.remove()
            yield StepRecord(shared.detach(), detached({f"shared:{m}": shared, m: unimodal}))


def _full_precision(device: torch.device) -> AbstractContextManager[object]:
    """Switch autocast off, where the device has it: the projection is a running product."""
    if not torch.amp.is_autocast_available(device.type):
        return nullcontext()
    return torch.autocast(device.type, enabled=False)


def _projected(projection: Tensor) -> Callable[[Tensor], Tensor]:
    def hook(grad: Tensor) -> Tensor:
        with _full_precision(grad.device):
            return grad @ projection.T.to(grad.dtype)

    return hook
