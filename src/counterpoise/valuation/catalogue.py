"""The estimators of information by name. Each takes a checked input and returns a `Valuation`."""

from __future__ import annotations

from counterpoise.catalogue import Catalogue, Entry

__all__ = ["VALUATIONS"]

_HERE = "counterpoise.valuation.estimators"

VALUATIONS = Catalogue(
    "valuation",
    [
        Entry(
            "variational",
            "counterpoise.valuation.estimators.variational:variational",
            "classifier heads, cross-fitted, out of sample (the default)",
            "Barber and Agakov, NeurIPS 2003",
        ),
        Entry(
            "variational-linear",
            "counterpoise.valuation.estimators.variational:variational_linear",
            "linear heads only, for a model's own features: quick",
            "Barber and Agakov, NeurIPS 2003",
        ),
        Entry(
            "ksg",
            f"{_HERE}.ksg:ksg",
            "nearest neighbours, for a few columns",
            "Kraskov et al., Phys. Rev. E 2004; Ross, PLoS ONE 2014",
        ),
        Entry("gaussian", f"{_HERE}.gaussian:gaussian", "closed forms for Gaussian features"),
        Entry("plugin", f"{_HERE}.plugin:plugin", "frequencies of finite alphabets, bias corrected", "Miller 1955"),
        Entry(
            "plugin_uncorrected", f"{_HERE}.plugin:plugin_uncorrected", "frequencies of finite alphabets as they are"
        ),
        Entry("histogram", f"{_HERE}.plugin:histogram", "equally filled bins, bias corrected, for one or two columns"),
        Entry(
            "infonce",
            f"{_HERE}.neural:infonce",
            "contrastive bound with a learnt critic",
            "van den Oord et al., arXiv 1807.03748",
        ),
        Entry(
            "smile",
            f"{_HERE}.neural:smile",
            "smoothed Donsker-Varadhan estimate with a learnt critic",
            "Song and Ermon, ICLR 2020",
        ),
        Entry(
            "histogram_official",
            "counterpoise.methods.replicas.arm_histograms:histogram_official",
            "WRONG: NMI and NCMI as in ARM's published code, for comparison",
            "Gao et al., AAAI 2025",
        ),
    ],
)
