"""Balance of the modalities from gradients and confidences."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from counterpoise.errors import DataError

__all__ = ["discrepancy_ratio", "gradient_share"]


def gradient_share(loss: Tensor, parts: Mapping[str, Iterable[Tensor]]) -> dict[str, float]:
    """Return the share of each modality in the norm of the gradient, |g_m| / sum of |g_k|, without changing any
    ``.grad``.

    Args:
        loss: A scalar with its graph; the graph is kept.
        parts: Tensors whose gradients are compared (an encoder's parameters, or its features), by modality.

    Raises:
        DataError: If no gradient reaches any of them.

    Example:
        >>> a, b = torch.tensor([3.0], requires_grad=True), torch.tensor([1.0], requires_grad=True)
        >>> gradient_share((3 * a + b).sum(), {"a": [a], "b": [b]})
        {'a': 0.75, 'b': 0.25}
    """
    norms = {}
    for m, tensors in parts.items():
        wanted = [t for t in tensors if t.requires_grad]
        grads = torch.autograd.grad(loss, wanted, retain_graph=True, allow_unused=True) if wanted else ()
        norms[m] = float(sum((g.double().square().sum() for g in grads if g is not None), torch.tensor(0.0))) ** 0.5
    total = sum(norms.values())
    if not total > 0:
        raise DataError(f"No gradient of the loss reaches {', '.join(f'`{m}`' for m in parts)}: the shares are 0 / 0.")
    return {m: norm / total for m, norm in norms.items()}


def discrepancy_ratio(unimodal_logits: Mapping[str, Tensor], target: Tensor) -> dict[str, float]:
    r"""Return OGM's discrepancy ratio: the summed probability of the true class under one modality, over the others'.

    Peng, Wei, Deng, Wang and Hu, "Balanced multimodal learning via on-the-fly gradient modulation", CVPR 2022. For M >
    2 the denominator is the mean over the other modalities. A modality with a ratio above 1 dominates.

    Args:
        unimodal_logits: ``{m: (B, C)}``.
        target: ``(B,)`` class ids.

    Raises:
        DataError: For fewer than two modalities.

    Example:
        >>> logits = {"a": torch.tensor([[0.0, 0.0]]), "b": torch.log(torch.tensor([[0.25, 0.75]]))}
        >>> {m: round(ratio, 4) for m, ratio in discrepancy_ratio(logits, torch.tensor([0])).items()}
        {'a': 2.0, 'b': 0.5}
    """
    if len(unimodal_logits) < 2:
        raise DataError(f"A ratio needs at least two modalities. Found {len(unimodal_logits)}.")
    scores = {
        m: float(logits.detach().double().softmax(-1).gather(1, target[:, None]).sum())
        for m, logits in unimodal_logits.items()
    }
    total, others = sum(scores.values()), len(scores) - 1
    return {m: score * others / max(total - score, 1e-300) for m, score in scores.items()}
