"""Methods: each fills gradients for one step; whoever owns the loop steps."""

from counterpoise.methods._agm import AGM
from counterpoise.methods._amco import AMCo
from counterpoise.methods._arl import ARL
from counterpoise.methods._aug import AUG
from counterpoise.methods._cggm import CGGM
from counterpoise.methods._cml import CML
from counterpoise.methods._dgl import DGL
from counterpoise.methods._dropout import Corruption, ModalityDropout
from counterpoise.methods._early_stop import MSES
from counterpoise.methods._gblending import GBlending
from counterpoise.methods._greedy import Greedy
from counterpoise.methods._inforeg import InfoReg
from counterpoise.methods._joint import Joint
from counterpoise.methods._lfm import LFM
from counterpoise.methods._mbsd import MBSD
from counterpoise.methods._mla import MLA
from counterpoise.methods._mmcosine import MMCosine
from counterpoise.methods._mmpareto import MMPareto
from counterpoise.methods._mslr import MSLR
from counterpoise.methods._ogm import OGMGE
from counterpoise.methods._opm import OPM
from counterpoise.methods._pmr import PMR
from counterpoise.methods._probes import ContributionProbes
from counterpoise.methods._qmf import QMF
from counterpoise.methods._reconboost import ReconBoost
from counterpoise.methods._relearning import Relearning
from counterpoise.methods._remixing import DataRemixing
from counterpoise.methods._teachers import G2D, UMT
from counterpoise.methods._uniform import Uniform
from counterpoise.methods._unimodal import Unimodal, UnimodalEnsemble
from counterpoise.methods._valuation import ModalityValuation, SampleValuation
from counterpoise.methods.arm import ARM, ARMOfficial, AsymmetricFusion, BalancedMinMaxLoss, ContributionResampler
from counterpoise.methods.base import Epoch, GradientModulation, Method, Objective
from counterpoise.methods.catalogue import METHODS, make_method
from counterpoise.methods.replicas.official import (
    ARLOfficial,
    AUGOfficial,
    InfoRegOfficial,
    LFMOfficial,
    MLAOfficial,
    MMCosineOfficial,
    PMROfficial,
)
from counterpoise.methods.replicas.toolkit import AGMToolkit, GBlendingToolkit, MBSDToolkit, MMParetoToolkit, OPMToolkit

__all__ = [
    "AGM",
    "ARL",
    "ARM",
    "AUG",
    "CGGM",
    "CML",
    "DGL",
    "G2D",
    "LFM",
    "MBSD",
    "METHODS",
    "MLA",
    "MSES",
    "MSLR",
    "OGMGE",
    "OPM",
    "PMR",
    "QMF",
    "UMT",
    "AGMToolkit",
    "AMCo",
    "ARLOfficial",
    "ARMOfficial",
    "AUGOfficial",
    "AsymmetricFusion",
    "BalancedMinMaxLoss",
    "ContributionProbes",
    "ContributionResampler",
    "Corruption",
    "DataRemixing",
    "Epoch",
    "GBlending",
    "GBlendingToolkit",
    "GradientModulation",
    "Greedy",
    "InfoReg",
    "InfoRegOfficial",
    "Joint",
    "LFMOfficial",
    "MBSDToolkit",
    "MLAOfficial",
    "MMCosine",
    "MMCosineOfficial",
    "MMPareto",
    "MMParetoToolkit",
    "Method",
    "ModalityDropout",
    "ModalityValuation",
    "OPMToolkit",
    "Objective",
    "PMROfficial",
    "ReconBoost",
    "Relearning",
    "SampleValuation",
    "Uniform",
    "Unimodal",
    "UnimodalEnsemble",
    "make_method",
]
