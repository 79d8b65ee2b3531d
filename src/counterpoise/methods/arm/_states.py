"""The state of each modality by its held-out contributions, which decides whether it is reinforced, left alone or
slowed down.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

import torch
from torch import Tensor

from counterpoise.methods.arm._heldout import SIGNIFICANT

__all__ = ["ModalityState", "memorised_share", "modality_states", "update_scales"]

MIN_INFORMATION: Final = 0.1
"""Share of H(Y) below which training information counts as none."""
EXHAUSTED: Final = 0.9
"""Share of H(Y) above which the training samples count as exhausted."""
MEMORISED: Final = 0.5
"""Memorised share above which a modality is slowed down."""
MIN_SCALE, MAX_SCALE = 0.05, 8.0


class ModalityState(IntEnum):
    """State of a modality, from its held-out and its training information.

    Attributes:
        LEARNING: The held-out information rises, or the training samples are not exhausted. A weak modality in this
            state is reinforced.
        SATURATED: The held-out information has stopped rising, and most of what was learned generalises. The modality
            is left alone.
        UNINFORMATIVE: There is no held-out information, and little training information. The modality is left alone.
        MEMORISING: More than half of the training information does not generalise. The modality is slowed down, unless
            its marginal contribution is significant.
    """

    LEARNING = 0
    SATURATED = 1
    UNINFORMATIVE = 2
    MEMORISING = 3


def memorised_share(held_out: Tensor, train: Tensor, entropy: float) -> Tensor:
    r"""Return :math:`\mu_m = 1 - \phi_\text{held-out}(m) / \phi_\text{train}(m)`, in [0, 1], ``(M,)``.

    Args:
        held_out: Held-out information of each modality, ``(M,)`` in nats.
        train: Unimodal information on training samples, ``(M,)`` in nats; below a tenth of H(Y) it counts as that.
        entropy: H(Y) in nats.

    Example:
        >>> memorised_share(torch.tensor([0.9, 0.2]), torch.tensor([1.0, 0.8]), entropy=1.0)
        tensor([0.1000, 0.7500])
    """
    return (1 - held_out.clamp_min(0) / train.clamp_min(MIN_INFORMATION * entropy)).clamp(0, 1)


def modality_states(held_out: Tensor, error: Tensor, train: Tensor, best: Tensor, entropy: float) -> Tensor:
    """Return the `ModalityState` of each modality as integers ``(M,)``.

    Args:
        held_out: Held-out information of each modality, ``(M,)`` in nats.
        error: Standard errors of ``held_out``, ``(M,)``.
        train: Unimodal information on training samples, ``(M,)`` in nats.
        best: Largest held-out information of the epochs before, ``(M,)`` in nats.
        entropy: H(Y) in nats.

    Example:
        >>> states = modality_states(
        ...     held_out=torch.tensor([0.5, 0.9, 0.0, 0.2]),
        ...     error=torch.full((4,), 0.05),
        ...     train=torch.tensor([0.6, 0.95, 0.05, 0.8]),
        ...     best=torch.tensor([0.4, 0.91, 0.0, 0.3]),
        ...     entropy=1.0,
        ... )
        >>> [ModalityState(s).name for s in states.tolist()]
        ['LEARNING', 'SATURATED', 'UNINFORMATIVE', 'MEMORISING']
    """
    taught = train >= MIN_INFORMATION * entropy
    learning = (held_out > best) | (train < EXHAUSTED * entropy)
    states = torch.full_like(held_out, int(ModalityState.SATURATED), dtype=torch.long)
    states = torch.where(learning, int(ModalityState.LEARNING), states)
    states = torch.where((held_out < SIGNIFICANT * error) & ~taught, int(ModalityState.UNINFORMATIVE), states)
    memorising = (memorised_share(held_out, train, entropy) > MEMORISED) & taught
    return torch.where(memorising, int(ModalityState.MEMORISING), states)


def update_scales(states: Tensor, share: Tensor, gaps: Tensor, significant: Tensor, gamma: float) -> Tensor:
    r"""Return :math:`\lambda_m`, the scale of the update of each encoder, ``(M,)``.

    It is :math:`1 + \gamma\, s_m\, gap_m (1 - 2 \mu_m)^+` for a modality that is learning, :math:`1 - \min(1,
    \gamma/2) (2 (\mu_m - \min_k \mu_k) - 1)^+` for one that memorises, and 1 for the others. The strongest modality has
    no gap, and it is slowed only if it memorises more than others; if all memorise equally, none is slowed.

    Args:
        states: `modality_states`, ``(M,)``.
        share: :math:`\mu`, see `memorised_share`, ``(M,)``.
        gaps: Distance of each modality from the strongest one, as a share of H(Y), ``(M,)``.
        significant: `counterpoise.methods.arm.significance` of the gaps, ``(M,)``.
        gamma: Weight of the gap.

    Example:
        >>> states = torch.tensor([ModalityState.SATURATED, ModalityState.LEARNING, ModalityState.MEMORISING])
        >>> share, gaps = torch.tensor([0.0, 0.1, 0.8]), torch.tensor([0.0, 0.5, 0.7])
        >>> update_scales(states, share, gaps, torch.ones(3), gamma=2.0)
        tensor([1.0000, 1.8000, 0.4000])
    """
    up = 1 + gamma * significant * gaps.clamp_min(0) * (1 - 2 * share).clamp_min(0)
    down = 1 - min(gamma / 2, 1.0) * (2 * (share - share.min()) - 1).clamp_min(0)
    scale = torch.where(states == int(ModalityState.LEARNING), up, torch.ones_like(up))
    scale = torch.where(states == int(ModalityState.MEMORISING), down, scale)
    return scale.clamp(MIN_SCALE, MAX_SCALE)
