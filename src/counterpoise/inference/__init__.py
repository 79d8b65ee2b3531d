"""Decision rules: how the fused and the unimodal heads become one prediction. No rule sees a target."""

from counterpoise.inference._dynamic import Dynamic
from counterpoise.inference._patterns import masked_copies
from counterpoise.inference._predict import Help, Prediction, predict, what_would_help
from counterpoise.inference._rules import Calibrated, Ensemble, Fused, FusedUnimodal, Rule, UnimodalRule
from counterpoise.inference.catalogue import RULES, make_rule

__all__ = [
    "RULES",
    "Calibrated",
    "Dynamic",
    "Ensemble",
    "Fused",
    "FusedUnimodal",
    "Help",
    "Prediction",
    "Rule",
    "UnimodalRule",
    "make_rule",
    "masked_copies",
    "predict",
    "what_would_help",
]
