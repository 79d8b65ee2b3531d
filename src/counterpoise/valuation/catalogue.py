"""The estimators of information by name. Each is called with a checked problem and returns a `Valuation`."""

from __future__ import annotations

from counterpoise.catalogue import Catalogue, Entry

__all__ = ["VALUATIONS"]

VALUATIONS = Catalogue(
    "valuation",
    [
        Entry(
            "variational",
            "counterpoise.valuation._variational:variational",
            "classifier heads, cross-fitted, out of sample (the default)",
            "Barber and Agakov, NeurIPS 2003",
        ),
        Entry(
            "variational-linear",
            "counterpoise.valuation._linear:variational_linear",
            "linear heads only, for a model's own features: quick",
            "Barber and Agakov, NeurIPS 2003",
        ),
    ],
)
