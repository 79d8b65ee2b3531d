"""ARM: asymmetric reinforcing by contributions on held-out samples, and the library's own recipe built from its
parts.
"""

from counterpoise.methods.arm._arm import ARM, SeparatedExperts
from counterpoise.methods.arm._fusion import AsymmetricFusion, fusion_weights, gradient_shares
from counterpoise.methods.arm._heldout import (
    HeldOutContributions,
    held_out_contributions,
    held_out_experts,
    significance,
)
from counterpoise.methods.arm._minmax import BalancedMinMaxLoss, fused_share, synergy_share
from counterpoise.methods.arm._resampler import (
    ContributionResampler,
    learnable_information,
    sample_frequencies,
    systematic_draw,
)
from counterpoise.methods.arm._states import ModalityState, memorised_share, modality_states, rising, update_scales

__all__ = [
    "ARM",
    "AsymmetricFusion",
    "BalancedMinMaxLoss",
    "ContributionResampler",
    "HeldOutContributions",
    "ModalityState",
    "SeparatedExperts",
    "fused_share",
    "fusion_weights",
    "gradient_shares",
    "held_out_contributions",
    "held_out_experts",
    "learnable_information",
    "memorised_share",
    "modality_states",
    "rising",
    "sample_frequencies",
    "significance",
    "synergy_share",
    "systematic_draw",
    "update_scales",
]
