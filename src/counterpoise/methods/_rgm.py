"""RGM: reconciled gradient modulation (AAAI 2026)."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from counterpoise.fusion import same_dimension
from counterpoise.methods.base import (
    Backward,
    Hyperparameter,
    Interval,
    Method,
    Options,
    backward,
    by_modality,
    detached,
    joint_step,
    unimodal_losses,
)
from counterpoise.methods.objective import keep_finite
from counterpoise.model import MultimodalClassifier
from counterpoise.records import Batch, StepRecord

__all__ = ["RGM", "aligned_blocks", "balance_of", "conflict_corrections", "non_conflict_of", "reconciled"]


def pair_shares(energy: Tensor) -> Tensor:
    """Return :math:`w_i = E_i / (E_i + E_j)` for every pair, ``(M, M)``; it is one half if both are 0."""
    total = energy.unsqueeze(1) + energy.unsqueeze(0)
    shares = energy.unsqueeze(1) / total.clamp_min(1e-30)
    return torch.where(total > 0, shares, torch.full_like(shares, 0.5))


def _other_pairs(matrix: Tensor) -> Tensor:
    """Return the mean over ordered pairs of different modalities of ``(M, M)``."""
    count = len(matrix)
    return (matrix.sum() - matrix.diagonal().sum()) / (count * (count - 1))


def balance_of(energy: Tensor) -> Tensor:
    r"""Return the balance :math:`8 w_i w_j - 1` of gradient energies, in [-1, 1], the mean over pairs.

    Args:
        energy: Sums of squared norms of gradients, ``(M,)``.

    Example:
        >>> balance_of(torch.tensor([2.0, 2.0])), balance_of(torch.tensor([1.0, 0.0]))
        (tensor(1.), tensor(-1.))
    """
    shares = pair_shares(energy)
    return _other_pairs(8 * shares * shares.T - 1)


def cosines_of(gradients: Tensor) -> Tensor:
    """Return the cosine of every pair of gradients, ``(M, M)``, for flattened gradients ``(M, K)``."""
    norms = gradients.norm(dim=1).clamp_min(1e-30)
    return gradients @ gradients.T / (norms.unsqueeze(1) * norms.unsqueeze(0)).clamp_min(1e-30)


def non_conflict_of(gradients: Tensor) -> Tensor:
    """Return the non-conflict of gradients, in [-1, 1]: the mean cosine over pairs, for ``(M, K)``.

    Example:
        >>> non_conflict_of(torch.tensor([[1.0, 0.0], [-2.0, 0.0]]))
        tensor(-1.)
    """
    return _other_pairs(cosines_of(gradients))


def aligned_blocks(gradients: Tensor, shares: Tensor, blocks: int) -> Tensor:
    r"""Return gradients whose blocks have squared norms in proportion to the shares, with the same total.

    Block k of :math:`g_i` is scaled by :math:`\sqrt{w_i \sum_j \lVert g_j^{(k)} \rVert^2} / \lVert g_i^{(k)} \rVert`.

    Args:
        gradients: ``(M, B, D)``.
        shares: :math:`w`, ``(M,)``, with the sum 1.
        blocks: Number of blocks into which the D channels are divided.

    Example:
        >>> aligned_blocks(torch.tensor([[[3.0]], [[4.0]]]), torch.tensor([0.5, 0.5]), blocks=1).flatten()
        tensor([3.5355, 3.5355])
    """
    parts = []
    for part in gradients.tensor_split(min(blocks, gradients.shape[-1]), dim=-1):
        squared = part.square().sum((1, 2))
        wanted = (shares * squared.sum()).sqrt()
        parts.append(part * (wanted / squared.sqrt().clamp_min(1e-12)).view(-1, 1, 1))
    return torch.cat(parts, dim=-1)


def conflict_corrections(gradients: Tensor, shares: Tensor, *, printed: bool = False) -> Tensor:
    r"""Return the corrections :math:`O_i` that remove conflicts to first order, ``(M, K)``.

    For each pair with :math:`s = g_i \cdot g_j < 0`, they minimise :math:`w_i \lVert O_i \rVert^2 + w_j \lVert O_j
    \rVert^2` subject to :math:`g_i \cdot O_j + g_j \cdot O_i = -s`:

    .. math:: O_i = -\frac{w_j\, s}{w_i \lVert g_i \rVert^2 + w_j \lVert g_j \rVert^2}\, g_j

    Args:
        gradients: ``(M, K)``.
        shares: :math:`w_i` of every pair, ``(M, M)``, see `pair_shares`.
        printed: Whether the norms in the denominator are exchanged, as in a public summary of the paper. That form
            meets the condition for equal norms or equal shares only.

    Example:
        >>> g = torch.tensor([[1.0, 0.0], [-1.0, 1.0]])
        >>> o = conflict_corrections(g, torch.full((2, 2), 0.5))
        >>> g[0] @ o[1] + g[1] @ o[0] + g[0] @ g[1]
        tensor(0.)
    """
    inner = gradients @ gradients.T
    squared = inner.diagonal()
    own, other = shares, shares.T
    norms = (squared.unsqueeze(0), squared.unsqueeze(1)) if printed else (squared.unsqueeze(1), squared.unsqueeze(0))
    denominator = (own * norms[0] + other * norms[1]).clamp_min(1e-30)
    factor = -other * inner.clamp_max(0) / denominator
    return (factor - factor.diagonal().diag()) @ gradients


def reconciled(gradients: Tensor, energy: Tensor, blocks: int, *, printed: bool = False) -> Tensor:
    r"""Return the modulated gradients, ``(M, B, D)``.

    :math:`f_i\, (G\, a_i \odot g_i + (1 - G)(g_i + O_i))`, with the gate :math:`G = \sigma(q \cos)`, :math:`q = 1 +
    |\mathrm{balance}|`, and the rebalancing factor :math:`f_i = \sqrt{\bar E / E_i}` in [1/2, 2].

    Args:
        gradients: ``(M, B, D)``.
        energy: ``(M,)``.
        blocks: Number of blocks.
        printed: See `conflict_corrections`.
    """
    flat = gradients.flatten(1)
    shares = pair_shares(energy)
    total = energy.sum()
    overall = torch.where(total > 0, energy / total.clamp_min(1e-30), torch.full_like(energy, 1 / len(energy)))
    scaled = aligned_blocks(gradients, overall, blocks).flatten(1)
    corrected = flat + conflict_corrections(flat, shares, printed=printed)
    gate = ((1 + balance_of(energy).abs()) * non_conflict_of(flat)).sigmoid()
    factor = (energy.mean() / energy.clamp_min(1e-30)).sqrt().clamp(0.5, 2)
    return (factor.unsqueeze(1) * (gate * scaled + (1 - gate) * corrected)).view_as(gradients)


class RGM(Method):
    r"""Reconciled gradient modulation: the gradients of the encoders are balanced in size, and their conflict is
    removed.

    By the authors of ARM, AAAI 2026. :math:`g_m` is the gradient of the fused loss by the features of m, and
    :math:`E_m` its energy, the sum of :math:`\lVert g_m \rVert^2` over the steps. The gradient that enters encoder m is
    `reconciled`: a mixture, by gates, of `aligned_blocks` and of the gradient with `conflict_corrections`. Training is
    described by two numbers in [-1, 1] that are recorded: ``balance`` (`balance_of`) and ``non-conflict``
    (`non_conflict_of`).

    The paper was not accessible, and no code was found. Known from a public summary: the energies, both axes of the
    plane, and the scaling of the blocks. Differs from the summary: the denominator of the correction, which as printed
    does not meet its own condition (``correction="printed"`` uses it). Inferred: gradients by features replace those of
    parameters, because encoders share none; the gates; the rebalancing factor; blocks are groups of channels; the
    energies leave the learning rate out; more than two modalities.

    Args:
        strength: From joint training (0) to the method (1), in [0, 1].
        blocks: Number of groups of channels, each scaled separately.
        correction: "derived" or "printed".

    Raises:
        ModelError: (by `prepare`) if the features of the modalities have different widths.

    Example:
        >>> RGM(blocks=4)
        RGM(strength=1.0, blocks=4, correction='derived')
    """

    family = "gradient combination"
    strength = Hyperparameter(1.0, Interval(0, 1, "[]"))
    blocks = Hyperparameter(8, Interval(1, integer=True))
    correction = Hyperparameter("derived", Options(("derived", "printed")))
    energy: Tensor

    def setup(self, model: MultimodalClassifier, target: Tensor) -> MultimodalClassifier:
        """Check the widths, and register the energies."""
        if self.strength:
            same_dimension(model.feature_dims, type(self).__name__)
        self.register_buffer("energy", torch.zeros(len(model.modalities)))
        return model

    def steps(
        self, model: MultimodalClassifier, batch: Batch, *, backward: Backward = backward
    ) -> Iterator[StepRecord]:
        """See `Method.steps`."""
        if not self.strength:
            yield from joint_step(model, batch, backward)
            return
        features = model.encode(batch.inputs, batch.present)
        leaves = {m: h.detach().requires_grad_() for m, h in features.items()}
        outputs = model.decode(leaves, 0.0, batch.present, fused_features=leaves)
        fused = model.task.loss(outputs.logits, batch.target)
        gradients = torch.autograd.grad(fused, list(leaves.values()), retain_graph=True)
        with torch.no_grad():
            g = torch.stack(gradients).to(self.energy.dtype)
            self.energy.copy_(keep_finite(self.energy, g.square().sum((1, 2))))
            modulated = reconciled(g, self.energy, self.blocks, printed=self.correction == "printed")
            entering = torch.lerp(g, modulated, self.strength)
            axes = {"balance": balance_of(self.energy), "non-conflict": non_conflict_of(g.flatten(1))}
        unimodal = unimodal_losses(model, outputs, batch.target)
        loss = fused + torch.stack(list(unimodal.values())).sum()
        # The surrogate <h, sg(d)> has the gradient d at the features; fusion and heads learn from detached features.
        surrogate = [(h * d.to(h.dtype)).sum() for h, d in zip(features.values(), entering, strict=True)]
        backward(loss + torch.stack(surrogate).sum())
        shares = self.energy / self.energy.sum().clamp_min(1e-30)
        yield StepRecord(
            loss.detach(), detached({"fused": fused, **unimodal}), by_modality(model, "energy", shares) | axes
        )
