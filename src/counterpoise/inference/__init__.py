"""Rules of inference: how the fused and the unimodal heads become one prediction. No rule sees a target."""

from counterpoise.inference._predict import predict
from counterpoise.inference._rules import Calibrated, Ensemble, Fused, FusedUnimodal, Rule, UnimodalRule
from counterpoise.inference.catalogue import RULES, make_rule

__all__ = [
    "RULES",
    "Calibrated",
    "Ensemble",
    "Fused",
    "FusedUnimodal",
    "Rule",
    "UnimodalRule",
    "make_rule",
    "predict",
]
