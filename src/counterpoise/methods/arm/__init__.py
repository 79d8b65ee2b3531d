"""ARM: asymmetric reinforcing against multimodal representation bias, in three components that can be used alone."""

from counterpoise.methods.arm._arm import ARM
from counterpoise.methods.arm._fusion import AsymmetricFusion, fusion_weights
from counterpoise.methods.arm._minmax import BalancedMinMaxLoss, reinforcement, synergy_share
from counterpoise.methods.arm._resampler import ContributionResampler

__all__ = [
    "ARM",
    "AsymmetricFusion",
    "BalancedMinMaxLoss",
    "ContributionResampler",
    "fusion_weights",
    "reinforcement",
    "synergy_share",
]
