"""Multi-view feature sets: handwritten digits, plant leaves, scenes, Wikipedia articles."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np

from counterpoise._files import read_npz
from counterpoise.data._core import DataInfo, Modality, MultimodalData, Split
from counterpoise.data._sampling import holdout_split
from counterpoise.errors import DataError

__all__ = ["multiview"]

VALIDATION: Final = 1 / 8
FILES: Final = {"wikipedia": "wikipedia_img_text"}


def multiview(source: Path, name: str) -> MultimodalData:
    """Build one of the multi-view sets.

    Test is the first of the file's five stratified splits, or Wikipedia's own; validation is a seeded stratified
    eighth of the rest. Views are float32 as they are (the encoders standardise).

    Args:
        source: Raw data folder.
        name: ``handwritten``, ``leaves100``, ``scene15`` or ``wikipedia``.

    Raises:
        DataError: If the file is not laid out as published.
    """
    raw = read_npz(source / "multiview" / f"{FILES.get(name, name)}.npz", ("label", "view_names", "view_0", "view_1"))
    if "test_mask" in raw:
        test, own = raw["test_mask"][0], "split 0 of the file (stratified 80/20)"
    elif "is_test" in raw:
        test, own = raw["is_test"], "the published test set"
    else:
        raise DataError(
            f"`multiview/{FILES.get(name, name)}.npz` should hold a mask of the test samples: `test_mask` or `is_test`."
        )
    target = raw["label"].astype(np.int64)
    # The names end in the number of features, which is that of the shape.
    names = [str(view).rstrip("0123456789") for view in raw["view_names"]]
    whole = Split({m: raw[f"view_{k}"].astype(np.float32) for k, m in enumerate(names)}, target)
    rest = np.flatnonzero(~test)
    kept, held = holdout_split(target[rest], None, VALIDATION, seed=0)
    info = DataInfo(
        name=name,
        modalities=tuple(Modality(m, "vector", array.shape[1:]) for m, array in whole.arrays.items()),
        task="multiclass",
        num_outputs=int(target.max()) + 1,
        source=str(raw["source"].flat[0]) if "source" in raw else "",
        notes=(f"test: {own}", "validation: a stratified eighth of the rest, seed 0"),
    )
    return MultimodalData(info, whole.subset(rest[kept]), whole.subset(rest[held]), whole.subset(np.flatnonzero(test)))
