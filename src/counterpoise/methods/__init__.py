"""Training methods. Each computes the gradients of one step; the training loop calls the optimizer.

Names are imported on first use, so that the catalogue (`counterpoise.methods.catalogue`) can be read without torch.
Replicas of released code are in `counterpoise.methods.replicas`; the tools for authors of a method are in
`counterpoise.methods.base`, `.objective`, `.logits` and `.passes`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from counterpoise.methods._agm import AGM
    from counterpoise.methods._amco import AMCo
    from counterpoise.methods._amss import AMSS
    from counterpoise.methods._arl import ARL
    from counterpoise.methods._aug import AUG
    from counterpoise.methods._cggm import CGGM
    from counterpoise.methods._cml import CML
    from counterpoise.methods._crmt import CRMT
    from counterpoise.methods._dgl import DGL, SeparatedGradients
    from counterpoise.methods._dropout import Corruption, ModalityDropout
    from counterpoise.methods._early_stop import MSES
    from counterpoise.methods._gblending import GBlending
    from counterpoise.methods._gradnorm import GradNorm
    from counterpoise.methods._greedy import Greedy
    from counterpoise.methods._inforeg import InfoReg
    from counterpoise.methods._joint import Joint
    from counterpoise.methods._lfm import LFM
    from counterpoise.methods._mbsd import MBSD
    from counterpoise.methods._mcr import MCR
    from counterpoise.methods._midas import MIDAS
    from counterpoise.methods._miles import MILES
    from counterpoise.methods._mla import MLA
    from counterpoise.methods._mlb import MLB
    from counterpoise.methods._mmcosine import MMCosine
    from counterpoise.methods._mmpareto import MMPareto
    from counterpoise.methods._msam import MSAM
    from counterpoise.methods._mslr import MSLR
    from counterpoise.methods._ogm import OGMGE
    from counterpoise.methods._opm import OPM
    from counterpoise.methods._pcgrad import PCGrad
    from counterpoise.methods._pdf import PDF
    from counterpoise.methods._pdmp import PDMP
    from counterpoise.methods._pmr import PMR
    from counterpoise.methods._qmf import QMF
    from counterpoise.methods._reconboost import ReconBoost
    from counterpoise.methods._relearning import Relearning
    from counterpoise.methods._remixing import DataRemixing
    from counterpoise.methods._rgm import RGM, balance_of, non_conflict_of
    from counterpoise.methods._tcmax import TCMax
    from counterpoise.methods._teachers import G2D, UMT
    from counterpoise.methods._uncertainty import UncertaintyWeighting
    from counterpoise.methods._uniform import Uniform
    from counterpoise.methods._unimodal import Unimodal, UnimodalEnsemble
    from counterpoise.methods._valuation import ModalityValuation, SampleValuation
    from counterpoise.methods.arm import (
        ARM,
        AsymmetricFusion,
        BalancedMinMaxLoss,
        ContributionResampler,
        HeldOutContributions,
        SeparatedExperts,
    )
    from counterpoise.methods.base import EpochContext, Method
    from counterpoise.methods.catalogue import METHODS, make_method
    from counterpoise.methods.hyperparameters import Hyperparameter
    from counterpoise.methods.objective import Alternation, GradientCombination, ModulatedObjective

__all__ = [
    "AGM",
    "AMSS",
    "ARL",
    "ARM",
    "AUG",
    "CGGM",
    "CML",
    "CRMT",
    "DGL",
    "G2D",
    "LFM",
    "MBSD",
    "MCR",
    "METHODS",
    "MIDAS",
    "MILES",
    "MLA",
    "MLB",
    "MSAM",
    "MSES",
    "MSLR",
    "OGMGE",
    "OPM",
    "PDF",
    "PDMP",
    "PMR",
    "QMF",
    "RGM",
    "UMT",
    "AMCo",
    "Alternation",
    "AsymmetricFusion",
    "BalancedMinMaxLoss",
    "ContributionResampler",
    "Corruption",
    "DataRemixing",
    "EpochContext",
    "GBlending",
    "GradNorm",
    "GradientCombination",
    "Greedy",
    "HeldOutContributions",
    "Hyperparameter",
    "InfoReg",
    "Joint",
    "MMCosine",
    "MMPareto",
    "Method",
    "ModalityDropout",
    "ModalityValuation",
    "ModulatedObjective",
    "PCGrad",
    "ReconBoost",
    "Relearning",
    "SampleValuation",
    "SeparatedExperts",
    "SeparatedGradients",
    "TCMax",
    "UncertaintyWeighting",
    "Uniform",
    "Unimodal",
    "UnimodalEnsemble",
    "balance_of",
    "make_method",
    "non_conflict_of",
]

_HOMES = {
    "GradNorm": "_gradnorm",
    "MCR": "_mcr",
    "AMSS": "_amss",
    "MIDAS": "_midas",
    "MSAM": "_msam",
    "PDF": "_pdf",
    "RGM": "_rgm",
    "balance_of": "_rgm",
    "non_conflict_of": "_rgm",
    "CRMT": "_crmt",
    "PDMP": "_pdmp",
    "MILES": "_miles",
    "UncertaintyWeighting": "_uncertainty",
    "PCGrad": "_pcgrad",
    "TCMax": "_tcmax",
    "MLB": "_mlb",
    "AGM": "_agm",
    "AMCo": "_amco",
    "ARL": "_arl",
    "ARM": "arm",
    "AUG": "_aug",
    "Alternation": "objective",
    "AsymmetricFusion": "arm",
    "BalancedMinMaxLoss": "arm",
    "CGGM": "_cggm",
    "CML": "_cml",
    "ContributionResampler": "arm",
    "Corruption": "_dropout",
    "DGL": "_dgl",
    "DataRemixing": "_remixing",
    "EpochContext": "base",
    "G2D": "_teachers",
    "GBlending": "_gblending",
    "GradientCombination": "objective",
    "Greedy": "_greedy",
    "HeldOutContributions": "arm",
    "Hyperparameter": "hyperparameters",
    "InfoReg": "_inforeg",
    "Joint": "_joint",
    "LFM": "_lfm",
    "MBSD": "_mbsd",
    "METHODS": "catalogue",
    "MLA": "_mla",
    "MMCosine": "_mmcosine",
    "MMPareto": "_mmpareto",
    "MSES": "_early_stop",
    "MSLR": "_mslr",
    "Method": "base",
    "ModalityDropout": "_dropout",
    "ModalityValuation": "_valuation",
    "ModulatedObjective": "objective",
    "OGMGE": "_ogm",
    "OPM": "_opm",
    "PMR": "_pmr",
    "QMF": "_qmf",
    "ReconBoost": "_reconboost",
    "Relearning": "_relearning",
    "SampleValuation": "_valuation",
    "SeparatedExperts": "arm",
    "SeparatedGradients": "_dgl",
    "UMT": "_teachers",
    "Uniform": "_uniform",
    "Unimodal": "_unimodal",
    "UnimodalEnsemble": "_unimodal",
    "make_method": "catalogue",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module `{__name__}` has no attribute `{name}`")


def __dir__() -> list[str]:
    return sorted(__all__)
