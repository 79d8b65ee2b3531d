"""Decision rules, which combine the fused and the unimodal heads into one prediction. No rule has access to targets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from counterpoise._lazy import on_first_use
from counterpoise.inference.catalogue import RULES, make_rule

if TYPE_CHECKING:
    from counterpoise.inference._calibrated import Calibrated
    from counterpoise.inference._dynamic import Dynamic
    from counterpoise.inference._fixed import Ensemble, Fused, FusedUnimodal, UnimodalRule
    from counterpoise.inference._patterns import masked_copies
    from counterpoise.inference._predict import Help, Prediction, predict, what_would_help
    from counterpoise.inference._rule import Rule

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

__getattr__ = on_first_use(
    __name__,
    {
        "_calibrated": ("Calibrated",),
        "_dynamic": ("Dynamic",),
        "_fixed": ("Ensemble", "Fused", "FusedUnimodal", "UnimodalRule"),
        "_patterns": ("masked_copies",),
        "_predict": ("Help", "Prediction", "predict", "what_would_help"),
        "_rule": ("Rule",),
    },
)
