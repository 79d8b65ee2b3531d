"""The fusions by name."""

from counterpoise.catalogue import Catalogue, Entry

__all__ = ["FUSIONS"]

FUSIONS = Catalogue(
    "fusion",
    [
        Entry("concat", "counterpoise.fusion:Concat", "one linear head on the concatenated features"),
        Entry("sum", "counterpoise.fusion:Sum", "sum of one linear head per modality"),
        Entry("film", "counterpoise.fusion:FiLM", "the other modalities scale and shift the first (FiLM)"),
        Entry("gated", "counterpoise.fusion:Gated", "gated sum of one projection per modality (GMU)"),
        Entry("shared-head", "counterpoise.fusion:SharedHead", "mean of one linear head that all modalities share"),
        Entry("attention", "counterpoise.fusion:Attention", "a small Transformer over one token per modality"),
        Entry(
            "low-rank-tensor", "counterpoise.fusion:LowRankTensor", "products of linear maps of all modalities (LMF)"
        ),
    ],
    base="counterpoise.fusion:Fusion",
)
