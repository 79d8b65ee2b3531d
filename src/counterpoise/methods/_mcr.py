"""MCR: multimodal competition regulariser (Kontras et al., NeurIPS 2025)."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F  # noqa: N812 - the common name
from torch import Tensor, nn

from counterpoise.fusion import Fusion, only_present, same_dimension
from counterpoise.methods.base import (
    Hyperparameter,
    Interval,
    NamedTensors,
    Options,
    by_modality,
    present_rows,
    require_multiclass,
)
from counterpoise.methods.objective import ModulatedObjective
from counterpoise.model import MultimodalClassifier, scale_gradient
from counterpoise.records import Batch, Outputs, Presence, present_mean

__all__ = ["MCR", "class_contrast", "influence", "jensen_shannon"]

GAMES = {"greedy": -1.0, "independent": 0.0, "collaborative": 1.0}
"""Factor k of the other modalities' influence in the gradient of an encoder."""


def jensen_shannon(logits: Tensor, other: Tensor) -> Tensor:
    """Return Jensen–Shannon's divergence of two class distributions in nats, ``(B,)``, at most log 2.

    Example:
        >>> jensen_shannon(torch.tensor([[100.0, 0.0]]), torch.tensor([[0.0, 100.0]]))
        tensor([0.6931])
    """
    log_p, log_q = logits.log_softmax(-1), other.log_softmax(-1)
    middle = torch.logaddexp(log_p, log_q) - math.log(2)
    return 0.5 * (log_p.exp() * (log_p - middle) + log_q.exp() * (log_q - middle)).sum(-1)


def influence(
    fusion: Fusion,
    features: Mapping[str, Tensor],
    permutations: Tensor,
    k: float,
    present: Presence | None = None,
) -> Tensor:
    r"""Return :math:`\mathrm{mean}_i\, \mathrm{JSD}(p_i, \tilde p_{m,i})`, ``(M,)``: the effect of permuting a modality
    on the predictions.

    The gradient that the features of the other modalities get of :math:`m`'s influence is multiplied by k. The heads'
    gradient is that of the sum.

    Args:
        fusion: Fused head.
        features: ``{m: (B, D_m)}``.
        permutations: ``(K, B)`` permutations of the batch.
        k: Factor: -1, 0 or 1.
        present: Which samples have which modality. Pairs of samples of which one lacks the modality do not count.
    """
    times, divergences = len(permutations), []
    for m in features:
        read = {j: h if j == m else scale_gradient(h, k) for j, h in features.items()}
        moved = {j: h[permutations.flatten()] if j == m else h.repeat(times, 1) for j, h in read.items()}
        repeated, valid = None, None
        if present is not None:
            repeated = {j: mask.repeat(times) for j, mask in present.items()}
            valid = repeated[m] & present[m][permutations.flatten()]
        changed = jensen_shannon(fusion.fuse(read, present).repeat(times, 1), fusion.fuse(moved, repeated))
        divergences.append(present_mean(changed, valid))
    return torch.stack(divergences)


def class_contrast(first: Tensor, second: Tensor, target: Tensor, temperature: float) -> Tensor:
    r"""Return the supervised contrastive loss from one modality to another, in nats.

    .. math:: -\mathrm{mean}_i \log \frac{\sum_{j: y_j = y_i} e^{s_{ij}}}{\sum_j e^{s_{ij}}},
        \qquad s_{ij} = \cos(h_{1,i}, h_{2,j}) / \tau

    Args:
        first: Features of the anchors, ``(B, D)``.
        second: Features of the other modality, ``(B, D)``.
        target: ``(B,)``.
        temperature: :math:`\tau`.

    Example:
        >>> class_contrast(torch.eye(2), torch.eye(2), torch.tensor([0, 0]), 0.1)       # one class: all are positive
        tensor(0.)
    """
    similarity = F.normalize(first, dim=-1) @ F.normalize(second, dim=-1).T / temperature
    other_class = target.unsqueeze(1) != target
    return (similarity.logsumexp(1) - similarity.masked_fill(other_class, -math.inf).logsumexp(1)).mean()


class MCR(ModulatedObjective):
    r"""Competition regulariser: every encoder raises its own influence on the prediction and lowers that of the others.

    Kontras et al., "Balancing Multimodal Training Through Game-Theoretic Regularization", NeurIPS 2025 (arXiv
    2411.07335): :math:`L = CE(z, y) + \lambda_u \sum_m CE(u_m, y) - \lambda_M \sum_m I_m + \lambda_c L_{con} +
    \lambda_b L_{CEB}`. :math:`I_m` is the `influence` of modality m. In the game, encoder i receives the gradient of
    :math:`I_i + k \sum_{j \ne i} I_j` with k = -1 (greedy), 0 (independent) or 1 (collaborative).
    :math:`L_{con}` is `class_contrast` over ordered pairs of modalities. :math:`L_{CEB} = \mathrm{mean}_i \lVert [h_1,
    \ldots, h_M] - g(y_i) \rVert^2` with a learned vector g per class.

    Known from the paper and the authors' code: these terms; the command in their README has :math:`\lambda_M =
    \lambda_u = .01` and 32 permutations, their configuration :math:`\lambda_M = .1`, :math:`\lambda_u = 1` and 6, which
    are the defaults here. Inferred: the fused head gets the gradient of :math:`\sum_m I_m`; cosine and temperature .1
    of the contrast; more than two modalities. The paper finds that :math:`L_{CEB}` hurts encoders that start untrained,
    so it is off by default. The encoders start untrained (the paper: from unimodal training).

    Args:
        strength: Factor of everything that is added to joint training, in [0, inf).
        smoothing: Share of the unimodal heads' labels that is spread over all classes, in [0, 1).
        unimodal: :math:`\lambda_u`.
        influence: :math:`\lambda_M`.
        contrast: :math:`\lambda_c`; 0 for encoders of unequal width.
        bottleneck: :math:`\lambda_b`.
        permutations: Number of permutations of the batch per step.
        game: "greedy", "independent" or "collaborative".

    Raises:
        ModelError: (by `prepare`) for a task without classes, or for features of unequal width with a contrast.

    Example:
        >>> MCR(game="independent").game
        'independent'
    """

    unimodal = Hyperparameter(1.0, Interval(0))
    influence = Hyperparameter(0.1, Interval(0))
    contrast = Hyperparameter(1.0, Interval(0))
    bottleneck = Hyperparameter(0.0, Interval(0))
    permutations = Hyperparameter(6, Interval(1, integer=True))
    game = Hyperparameter("greedy", Options(tuple(GAMES)))
    temperature = 0.1
    centres: nn.Parameter

    def setup(self, model: MultimodalClassifier, target: Tensor) -> MultimodalClassifier:
        """Check task and widths, and register the vectors of the classes if they are used."""
        require_multiclass(self, model, "it compares class distributions")
        if self.strength and self.contrast:
            same_dimension(model.feature_dims, type(self).__name__)
        if self.bottleneck:
            self.centres = nn.Parameter(torch.zeros(model.task.num_outputs, sum(model.feature_dims.values())))
        return model

    def head_gradient(self, model: MultimodalClassifier, batch: Batch) -> float:
        """See `ModulatedObjective.head_gradient`."""
        return self.strength * self.unimodal

    def terms(self, model: MultimodalClassifier, outputs: Outputs, batch: Batch) -> tuple[NamedTensors, NamedTensors]:
        """See `ModulatedObjective.terms`."""
        features = outputs.features
        # The same permutations for every modality: equal modalities have equal influences.
        drawn = torch.rand(self.permutations, len(batch), device=batch.target.device).argsort(-1)
        shares = influence(model.fusion, features, drawn, GAMES[self.game], outputs.present)
        terms = {"influence": -self.strength * self.influence * shares.sum()}
        if self.contrast:
            contrasts = [self._contrast(outputs, batch, m, j) for m in features for j in features if j != m]
            terms["contrast"] = self.strength * self.contrast * torch.stack(contrasts).sum()
        if self.bottleneck:
            joined = torch.cat([features[m] for m in model.modalities], dim=-1)
            squared = (joined - self.centres[batch.target]).square()
            if outputs.present is not None:
                parts = squared.split([features[m].shape[1] for m in model.modalities], -1)
                squared = torch.cat(
                    [only_present(x, m, outputs.present) for m, x in zip(model.modalities, parts, strict=True)], -1
                )
            terms["bottleneck"] = self.strength * self.bottleneck * squared.sum(-1).mean()
        return terms, by_modality(model, "influence", shares)

    def _contrast(self, outputs: Outputs, batch: Batch, m: str, other: str) -> Tensor:
        """Return `class_contrast` on the samples that have both modalities."""
        both = None if outputs.present is None else outputs.present[m] & outputs.present[other]
        first, second, target = present_rows(both, outputs.features[m], outputs.features[other], batch.target)
        if not len(target):
            return (0 * outputs.features[m]).sum()
        return class_contrast(first, second, target, self.temperature)
