"""Data sets: splits, storage of prepared data, and the catalogue.

Names are imported on first use, so that the catalogue can be read without torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from counterpoise.data.datasets.catalogue import DATASETS, open_data, prepare, split_of_seed

if TYPE_CHECKING:
    from counterpoise.data._arrays import from_arrays
    from counterpoise.data._augmentation import ClipAugmentation
    from counterpoise.data._core import DataInfo, Kind, Modality, MultimodalData, Split
    from counterpoise.data._mapped import MappedRows
    from counterpoise.data._npz import load_npz
    from counterpoise.data._prepared import load_prepared, save_prepared
    from counterpoise.data._sampling import BatchLoader, Plan, epoch_generator, epoch_order, holdout_split

__all__ = [
    "DATASETS",
    "BatchLoader",
    "ClipAugmentation",
    "DataInfo",
    "Kind",
    "MappedRows",
    "Modality",
    "MultimodalData",
    "Plan",
    "Split",
    "epoch_generator",
    "epoch_order",
    "from_arrays",
    "holdout_split",
    "load_npz",
    "load_prepared",
    "open_data",
    "prepare",
    "save_prepared",
    "split_of_seed",
]

_HOME = {
    "_arrays": ("from_arrays",),
    "_augmentation": ("ClipAugmentation",),
    "_core": ("DataInfo", "Kind", "Modality", "MultimodalData", "Split"),
    "_mapped": ("MappedRows",),
    "_npz": ("load_npz",),
    "_prepared": ("load_prepared", "save_prepared"),
    "_sampling": ("BatchLoader", "Plan", "epoch_generator", "epoch_order", "holdout_split"),
}


def __getattr__(name: str) -> Any:
    for module, names in _HOME.items():
        if name in names:
            return getattr(importlib.import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
