r"""Valuation: estimates of the contribution of each modality in nats, out of sample.

With features :math:`z_m` of the modalities m and a label y:

- :math:`I(Z; Y)`, the joint contribution of all modalities;
- :math:`I(Z_m; Y)`, the unimodal information of m;
- :math:`I(Z_m; Y | Z_{-m})`, the marginal contribution: the information that m adds to all others;
- the co-information, for two modalities redundancy minus synergy.

`estimate` measures them from arrays; `Contributions` does so for a stream of a model's logits; `functional` holds the
pure functions, `model_based` the measures of a model's predictions, `decompose` the partial information
decomposition. Intervals respect the limits of information, 0 and H(Y); an estimate of zero may be slightly
negative.

Names are imported on first use: the streaming metric needs torchmetrics, which takes longer to import than torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from counterpoise._lazy import on_first_use
from counterpoise.valuation.catalogue import VALUATIONS

if TYPE_CHECKING:
    from counterpoise.valuation import functional, model_based
    from counterpoise.valuation._decompose import PartialInformation, decompose, decompose_samples
    from counterpoise.valuation._estimate import estimate
    from counterpoise.valuation._predictions import PredictionEstimate, estimate_predictions, value_predictions
    from counterpoise.valuation._streaming import Contributions
    from counterpoise.valuation._valuation import TOO_FEW, Estimate, Valuation
    from counterpoise.valuation.heads.linear import linear_probe

__all__ = [
    "TOO_FEW",
    "VALUATIONS",
    "Contributions",
    "Estimate",
    "PartialInformation",
    "PredictionEstimate",
    "Valuation",
    "decompose",
    "decompose_samples",
    "estimate",
    "estimate_predictions",
    "functional",
    "linear_probe",
    "model_based",
    "value_predictions",
]

__getattr__ = on_first_use(
    __name__,
    {
        "_decompose": ("PartialInformation", "decompose", "decompose_samples"),
        "_estimate": ("estimate",),
        "_predictions": ("PredictionEstimate", "estimate_predictions", "value_predictions"),
        "_streaming": ("Contributions",),
        "_valuation": ("TOO_FEW", "Estimate", "Valuation"),
        "functional": ("functional",),
        "heads.linear": ("linear_probe",),
        "model_based": ("model_based",),
    },
)
