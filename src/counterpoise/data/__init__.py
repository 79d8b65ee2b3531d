"""Data sets: what a split is, how prepared data are stored, and the sets we know by name."""

from counterpoise.data._core import DataInfo, Modality, MultimodalData, Split, load_prepared, save_prepared

__all__ = ["DataInfo", "Modality", "MultimodalData", "Split", "load_prepared", "save_prepared"]
