"""The state of each modality by its held-out contributions, which decides whether it is reinforced, left alone or
slowed down.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

import torch
from torch import Tensor

from counterpoise.methods.arm._heldout import SIGNIFICANT

__all__ = ["ModalityState", "memorised_share", "modality_states", "rising", "update_scales"]

MIN_INFORMATION: Final = 0.1
"""Share of H(Y) below which training information counts as none."""
EXHAUSTED: Final = 0.9
"""Share of H(Y) above which the training samples count as exhausted."""
MEMORISED: Final = 0.5
"""Memorised share above which a modality is slowed down."""
RISE: Final = 0.1
"""Growth of the held-out information in an epoch, relative to the best epoch before, from which a modality counts as
learning, however much of its training information it has memorised.
"""
MIN_SCALE, MAX_SCALE = 0.05, 8.0


class ModalityState(IntEnum):
    """State of a modality, from its held-out and its training information.

    Attributes:
        LEARNING: The held-out information rises, or the training samples are not exhausted. A weak modality in this
            state is reinforced.
        SATURATED: The held-out information has stopped rising, and most of what was learned generalises. The modality
            is left alone.
        UNINFORMATIVE: There is no held-out information, and little training information. The modality is left alone.
        MEMORISING: More than half of the training information does not generalise, and the held-out information no
            longer grows by a tenth per epoch. The modality is slowed down, unless its marginal contribution is
            significant.
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


def rising(held_out: Tensor, best: Tensor) -> Tensor:
    """Return whether the held-out information of each modality has grown by more than a tenth of its best, ``(M,)``.

    Args:
        held_out: Held-out information of each modality, ``(M,)`` in nats.
        best: Largest held-out information of the epochs before, ``(M,)`` in nats.

    Example:
        >>> rising(torch.tensor([0.5, 0.5, 0.0]), best=torch.tensor([0.4, 0.48, 0.0]))
        tensor([ True, False, False])
    """
    return held_out > (1 + RISE) * best


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
    memorising = (memorised_share(held_out, train, entropy) > MEMORISED) & taught & ~rising(held_out, best)
    return torch.where(memorising, int(ModalityState.MEMORISING), states)


def update_scales(
    states: Tensor, gaps: Tensor, memorised: Tensor, acted_on: Tensor, informative: Tensor, gamma: float
) -> Tensor:
    r"""Return :math:`\lambda_m`, the scale of the update of each encoder, ``(M,)``.

    - For a modality that is learning it is :math:`1 + \gamma\, s_m\, gap_m (1 - 2 \mu_m)^+`: weak modalities take
      larger steps, to the extent that what they learn generalises.
    - For a modality that memorises it is :math:`1 - \min(1, \gamma)\, i_m (2 (\nu_m - \min_k \nu_k) - 1)^+`. It is
      slowed only if it memorises more than others do; if all memorise equally, none is slowed. A modality without
      significant held-out information (:math:`i_m = 0`) is not slowed, because it may not have begun to generalise.
    - For the others it is 1.

    Args:
        states: `modality_states`, ``(M,)``.
        gaps: :math:`s_m\, gap_m`, distance of each modality from the strongest one as a share of H(Y), multiplied by
            its `counterpoise.methods.arm.significance`, ``(M,)``.
        memorised: :math:`\mu`, see `memorised_share`, ``(M,)``.
        acted_on: :math:`\nu`, the part of it that is significant and not compensated by the marginal contribution,
            ``(M,)``.
        informative: :math:`i`, significance of the held-out information, ``(M,)``.
        gamma: Weight of the gap.

    Example:
        >>> states = torch.tensor([ModalityState.SATURATED, ModalityState.LEARNING, ModalityState.MEMORISING])
        >>> gaps, memorised = torch.tensor([0.0, 0.5, 0.7]), torch.tensor([0.0, 0.1, 0.8])
        >>> update_scales(states, gaps, memorised, memorised, torch.ones(3), gamma=1.0)
        tensor([1.0000, 1.4000, 0.4000])
    """
    up = 1 + gamma * gaps.clamp_min(0) * (1 - 2 * memorised).clamp_min(0)
    down = 1 - min(gamma, 1.0) * informative * (2 * (acted_on - acted_on.min()) - 1).clamp_min(0)
    scale = torch.where(states == int(ModalityState.LEARNING), up, torch.ones_like(up))
    scale = torch.where(states == int(ModalityState.MEMORISING), down, scale)
    return scale.clamp(MIN_SCALE, MAX_SCALE)
