"""Methods: each fills gradients for one step; whoever owns the loop steps."""

from counterpoise.methods._agm import AGM
from counterpoise.methods._base import Epoch, GradientModulation, Method, Objective
from counterpoise.methods._dropout import Corruption, ModalityDropout
from counterpoise.methods._greedy import Greedy
from counterpoise.methods._joint import Joint
from counterpoise.methods._mla import MLA
from counterpoise.methods._ogm import OGMGE
from counterpoise.methods._pmr import PMR
from counterpoise.methods._probes import ContributionProbes
from counterpoise.methods._uniform import Uniform
from counterpoise.methods._unimodal import Unimodal, UnimodalEnsemble
from counterpoise.methods._valuation import ModalityValuation, SampleValuation
from counterpoise.methods.arm import ARM, AsymmetricFusion, BalancedMinMaxLoss, ContributionResampler
from counterpoise.methods.catalogue import METHODS, make_method

__all__ = [
    "AGM",
    "ARM",
    "METHODS",
    "MLA",
    "OGMGE",
    "PMR",
    "AsymmetricFusion",
    "BalancedMinMaxLoss",
    "ContributionProbes",
    "ContributionResampler",
    "Corruption",
    "Epoch",
    "GradientModulation",
    "Greedy",
    "Joint",
    "Method",
    "ModalityDropout",
    "ModalityValuation",
    "Objective",
    "SampleValuation",
    "Uniform",
    "Unimodal",
    "UnimodalEnsemble",
    "make_method",
]
