"""Your own features, in one ``.npz``."""

from __future__ import annotations

from pathlib import Path

from counterpoise._files import RESERVED, read_npz
from counterpoise._validation import nearest
from counterpoise.data._arrays import from_arrays
from counterpoise.data._core import MultimodalData
from counterpoise.errors import DataError

__all__ = ["load_npz"]


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
    entries = read_npz(path)
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
