"""Methods: each fills gradients for one step; whoever owns the loop steps."""

from counterpoise.methods._base import Epoch, GradientModulation, Method, Objective
from counterpoise.methods._joint import Joint
from counterpoise.methods._ogm import OGMGE
from counterpoise.methods._probes import ContributionProbes
from counterpoise.methods._uniform import Uniform
from counterpoise.methods._unimodal import Unimodal, UnimodalEnsemble
from counterpoise.methods.arm import ARM, AsymmetricFusion, BalancedMinMaxLoss, ContributionResampler
from counterpoise.methods.catalogue import METHODS, make_method

__all__ = [
    "ARM",
    "METHODS",
    "OGMGE",
    "AsymmetricFusion",
    "BalancedMinMaxLoss",
    "ContributionProbes",
    "ContributionResampler",
    "Epoch",
    "GradientModulation",
    "Joint",
    "Method",
    "Objective",
    "Uniform",
    "Unimodal",
    "UnimodalEnsemble",
    "make_method",
]
