"""ARM: asymmetric reinforcing against multimodal representation bias, in three parts that can be used alone."""

from counterpoise.methods.arm._arm import ARM
from counterpoise.methods.arm._fusion import AsymmetricFusion, fusion_weights
from counterpoise.methods.arm._minmax import BalancedMinMaxLoss, reinforcement, synergy_share
from counterpoise.methods.arm._resampler import ContributionResampler
from counterpoise.methods.replicas.arm import ARMOfficial, ReleasedFusion, released_weights

__all__ = [
    "ARM",
    "ARMOfficial",
    "AsymmetricFusion",
    "BalancedMinMaxLoss",
    "ContributionResampler",
    "ReleasedFusion",
    "fusion_weights",
    "reinforcement",
    "released_weights",
    "synergy_share",
]
