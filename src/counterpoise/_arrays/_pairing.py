"""Arrays that are paired by name and by row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from counterpoise.errors import DataError


def named_arrays(arrays: Any, name: str = "The modalities") -> dict[str, Any]:
    """Return arrays by modality, after checking that they are a mapping from names.

    Raises:
        DataError: If ``arrays`` is not a mapping, or a name is empty or not a string.

    Example:
        >>> named_arrays({0: [1.0]})
        Traceback (most recent call last):
        ...
        counterpoise.errors.DataError: The modalities should have texts as names. Found the name 0.
    """
    if not isinstance(arrays, Mapping):
        raise DataError(
            f"{name} should be a mapping {{name: (N, ...) array}}. Found {type(arrays).__name__}. Write "
            '{"a": first, "b": second}.'
        )
    odd = [key for key in arrays if not isinstance(key, str) or not key.strip()]
    if odd:
        raise DataError(f"{name} should have texts as names. Found the name {odd[0]!r}.")
    return dict(arrays)


def check_index(columns: Mapping[str, Any]) -> None:
    """Check that all pandas objects have the same index, so that no rows are paired by position alone.

    Args:
        columns: Arrays that are paired row by row, by name.

    Raises:
        DataError: If two indexes differ.
    """
    indexed = {k: v.index for k, v in columns.items() if hasattr(v, "index") and not callable(v.index)}
    names = list(indexed)
    for name in names[1:]:
        first, other = indexed[names[0]], indexed[name]
        if len(first) == len(other) and not first.equals(other):
            same = len(first.difference(other)) == 0
            how = "hold the same rows in another order" if same else "hold different rows"
            raise DataError(
                f"`{names[0]}` and `{name}` have indexes that {how}. Align them (`{name}.reindex({names[0]}.index)`), "
                "or pass arrays (`.to_numpy()`) if the rows belong together by position."
            )
