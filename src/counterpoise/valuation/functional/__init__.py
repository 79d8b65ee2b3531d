"""Pure functions of valuation from tensors or arrays to nats."""

from counterpoise.valuation.functional.entropy import entropy, gaussian_entropy, label_entropy, miller_madow
from counterpoise.valuation.functional.information import (
    co_information,
    label_free_contribution,
    mi_lower_bound,
    phi_cmi,
    phi_mi,
    pointwise_cmi,
    pointwise_mi,
)
from counterpoise.valuation.functional.pid import Decomposition, broja, imin

__all__ = [
    "Decomposition",
    "broja",
    "co_information",
    "entropy",
    "gaussian_entropy",
    "imin",
    "label_entropy",
    "label_free_contribution",
    "mi_lower_bound",
    "miller_madow",
    "phi_cmi",
    "phi_mi",
    "pointwise_cmi",
    "pointwise_mi",
]
