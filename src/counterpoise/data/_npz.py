"""Your own features, in one ``.npz``."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any, Final

import numpy as np

from counterpoise.data._arrays import from_arrays
from counterpoise.data._core import MultimodalData
from counterpoise.errors import DataError, NotFoundError, nearest

__all__ = ["load_npz"]

RESERVED: Final = ("label", "split", "group", "num_classes", "class_names")


def load_npz(path: Path | str) -> MultimodalData:
    """Read a data set of one's own from an ``.npz``.

    Each modality is an array ``(N, ...)`` under its name; beside them ``label`` and, if wanted, ``split`` ('train', 'val' or 'test'
    of each sample), ``group`` (who must not be in two splits: the speaker, the patient), ``num_classes``,
    ``class_names``, and ``rate_<modality>``, one number: samples per second. What the arrays mean is told by `from_arrays`.

    Raises:
        NotFoundError: if there is no such file.
        DataError: if it is no ``.npz``, has no ``label``, or holds what `from_arrays` refuses.
    """
    path = Path(path)
    if not path.is_file():
        raise NotFoundError(
            f"There is no file `{path}`. Give the path of an .npz with one array (N, ...) per modality."
        )
    entries = _read(path)
    if "label" not in entries:
        hint = nearest("label", entries) or nearest("labels", entries)
        raise DataError(
            f"`{path.name}` should hold an array `label` beside its modalities. Found: {', '.join(entries) or 'nothing'}.{hint} "
            "Save it again with `label`: class ids (N,), zeros and ones (N, C), or reals."
        )
    num_classes = entries.get("num_classes")
    names = entries.get("class_names")
    given = [m for m in entries if f"rate_{m}" in entries and entries[f"rate_{m}"].size == 1]
    rates = {m: float(rate) for m in given if (rate := entries.pop(f"rate_{m}").reshape(())).dtype.kind in "iuf"}
    return from_arrays(
        {m: array for m, array in entries.items() if m not in RESERVED},
        entries["label"],
        name=path.stem,
        split=entries.get("split"),
        group=entries.get("group"),
        num_classes=None if num_classes is None else int(num_classes),
        class_names=() if names is None else [str(n) for n in names],
        rates=rates,
        source=path.name,
    )


def _read(path: Path) -> dict[str, np.ndarray]:
    try:
        with path.open("rb") as handle:  # numpy leaves a broken file open
            file = np.load(handle, allow_pickle=False)
            if not isinstance(file, np.lib.npyio.NpzFile):
                raise DataError(
                    f"`{path.name}` holds a single array. Save one array per modality: np.savez(path, a=..., b=..., label=...)."
                )
            return {name: _entry(path, file, name) for name in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"`{path.name}` is no readable .npz: {error}. Write it with np.savez.") from error


def _entry(path: Path, file: Any, name: str) -> np.ndarray:
    try:
        return file[name]
    except ValueError as error:
        raise DataError(
            f"Array `{name}` of `{path.name}` holds Python objects (dtype object), which can run code when they are read. "
            "Save numbers or strings: np.stack ragged rows to one length, or use np.asarray(names, dtype=str)."
        ) from error
