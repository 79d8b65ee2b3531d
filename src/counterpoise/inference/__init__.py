"""Decision rules: how the fused and the unimodal heads become one prediction. No rule sees a target."""

from counterpoise.inference._dynamic import Dynamic
from counterpoise.inference._predict import Prediction, predict
from counterpoise.inference._rules import Calibrated, Ensemble, Fused, FusedUnimodal, Rule, UnimodalRule
from counterpoise.inference.catalogue import RULES, make_rule

__all__ = [
    "RULES",
    "Calibrated",
    "Dynamic",
    "Ensemble",
    "Fused",
    "FusedUnimodal",
    "Prediction",
    "Rule",
    "UnimodalRule",
    "make_rule",
    "predict",
]
