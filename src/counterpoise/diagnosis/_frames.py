"""Tables as features: every column by its own type, missing numbers with an indicator, texts hashed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from counterpoise._extras import extra
from counterpoise.diagnosis._matrices import hashed_texts

__all__ = ["encoded_texts", "filled", "is_frame"]


def is_frame(value: Any) -> bool:
    """Tell whether a value is a pandas DataFrame, without importing pandas."""
    return hasattr(value, "iloc") and hasattr(value, "columns")


def filled(frame: Any) -> tuple[Any, list[str]]:
    """Return a table in which missing numbers have the column's mean, and an indicator column says where.

    Args:
        frame: The columns of one modality.

    Returns:
        The table, and a note for each column that had missing numbers.

    Example:
        >>> import pandas as pd
        >>> table, notes = filled(pd.DataFrame({"age": [20.0, None, 40.0]}))
        >>> table.to_numpy().tolist()
        [[20.0, 0.0], [30.0, 1.0], [40.0, 0.0]]
        >>> notes
        ['1 of 3 values of `age` are missing; that counts as information of its own']
    """
    notes = []
    for name in list(frame.columns):
        column = frame[name]
        missing = column.isna().to_numpy()
        if column.dtype.kind not in "fiu" or not missing.any() or missing.all():
            continue
        values = column.to_numpy(dtype=np.float64, na_value=np.nan)
        values = np.where(missing, values[~missing].mean(), values)
        frame = frame.assign(**{name: values, f"{name} is missing": missing.astype(np.float64)})
        share = f"{int(missing.sum())} of {len(column)} values"
        notes.append(f"{share} of `{name}` are missing; that counts as information of its own")
    return frame, notes


def encoded_texts(frame: Any, texts: Sequence[str]) -> Any:
    """Return a table with free texts replaced by counts of hashed words and letter triples.

    Args:
        frame: The columns of one modality.
        texts: Names of the columns with free text.
    """
    with extra("data"):
        import pandas as pd

    parts = [frame.drop(columns=list(texts))]
    for name in texts:
        counts = hashed_texts(frame[name].fillna("").astype(str).tolist()).numpy()
        counts = counts[:, (counts != counts[:1]).any(0)]
        parts.append(pd.DataFrame(counts, index=frame.index, columns=[f"{name} {k}" for k in range(counts.shape[1])]))
    return pd.concat(parts, axis=1)
