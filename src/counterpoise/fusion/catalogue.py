"""The fusions by name."""

from counterpoise.catalogue import Catalogue, Entry

__all__ = ["FUSIONS"]

FUSIONS = Catalogue(
    "fusion",
    [
        Entry("concat", "counterpoise.fusion:Concat", "one linear head on the concatenated features"),
        Entry("sum", "counterpoise.fusion:Sum", "sum of one linear head per modality"),
    ],
)
