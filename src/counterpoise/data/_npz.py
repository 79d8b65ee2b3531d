"""Reading a data set from one ``.npz`` file."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from counterpoise._files import RESERVED, read_npz
from counterpoise.data._arrays import from_arrays
from counterpoise.data._core import MultimodalData
from counterpoise.errors import DataError

__all__ = ["load_npz"]


def load_npz(path: Path | str) -> MultimodalData:
    """Read a user's data set from an ``.npz`` file.

    Each modality is an array ``(N, ...)`` under its name. Besides them there are ``label`` and, if wanted, ``split``
    ('train', 'val' or 'test' of each sample), ``group`` (the speaker or patient, for example, who must not be in two
    splits), ``task``, ``num_classes``, ``class_names``, ``rate_<modality>``, one number: samples per second, and
    ``present_<modality>``, True or False (1 or 0) for each sample: whether it has the modality. A row that holds only
    NaN is absent as well. `from_arrays` describes the arrays.

    Raises:
        NotFoundError: If the file does not exist.
        DataError: If the file is not an ``.npz`` or has no ``label``, if a mask ``present_<name>`` belongs to no
            modality, or if `from_arrays` refuses the contents.
    """
    path = Path(path)
    entries = read_npz(path, ("label",))
    num_classes, task = entries.get("num_classes"), entries.get("task")
    names = entries.get("class_names")
    rates = _take_rates(entries)
    present = _take_present(entries)
    return from_arrays(
        {m: array for m, array in entries.items() if m not in RESERVED},
        entries["label"],
        name=path.stem,
        split=entries.get("split"),
        group=entries.get("group"),
        task=None if task is None else str(task),
        num_classes=None if num_classes is None else _one_number(path, "num_classes", num_classes),
        class_names=() if names is None else [str(n) for n in names],
        rates=rates,
        present=present,
        source=path.name,
    )


def _take_rates(entries: dict[str, np.ndarray]) -> dict[str, float]:
    """Take the samples per second of the modalities out of the entries."""
    given = [m for m in entries if f"rate_{m}" in entries and entries[f"rate_{m}"].size == 1]
    return {m: float(rate) for m in given if (rate := entries.pop(f"rate_{m}").reshape(())).dtype.kind in "iuf"}


def _take_present(entries: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Take the masks of the modalities out of the entries."""
    given = [m for m in entries if f"present_{m}" in entries and m not in RESERVED]
    masks = {m: entries.pop(f"present_{m}") for m in given}
    stray = sorted(name for name, array in entries.items() if name.startswith("present_") and _is_mask(array))
    if stray:
        raise DataError(
            f"`{stray[0]}` should be named after a modality. Found no array `{stray[0].removeprefix('present_')}`."
        )
    return masks


def _is_mask(array: np.ndarray) -> bool:
    return array.ndim == 1 and array.dtype.kind in "biuf" and bool(np.isin(array, (0, 1)).all())


def _one_number(path: Path, name: str, value: np.ndarray) -> int:
    if value.size != 1 or value.dtype.kind not in "iuf" or value.reshape(()) != np.floor(value.reshape(())):
        raise DataError(
            f"`{name}` of `{path.name}` should be one whole number. Found {value.dtype} of shape {value.shape}."
        )
    return int(value.reshape(()))
