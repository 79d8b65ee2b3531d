"""Conversion of arrays and tables of the user: features as floats, labels, and the task.

pandas, SciPy and torch are not imported here; their objects are recognised by their attributes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

import numpy as np

from counterpoise.errors import DataError

__all__ = [
    "TaskGuess",
    "as_labels",
    "as_matrix",
    "as_numpy",
    "check_index",
    "find_copies",
    "guess_task",
    "missing_entries",
    "named_arrays",
]

FEW_VALUES: Final = 20
"""Whole numbers with at most this number of distinct values count as classes."""
SAMPLES_PER_CLASS: Final = 5
"""Whole numbers with more distinct values count as classes only if they run from 0 or 1 without a gap and each occurs
at least this often on average."""
MIN_DISTINCT: Final = 30
"""With fewer distinct rows, equal rows are values of a discrete variable."""
MAX_REPEATS: Final = 20
"""Rows that repeat more often than this on average are values of a discrete variable."""
CHANCE: Final = 4.0
"""Equal rows count as chance up to this multiple of the number expected from independent columns."""
WIDE: Final = 1 << 14
"""Rows of more bytes than this are hashed as bytes, which is then faster than hashing their numbers."""
COMPARED: Final = 4096
"""Maximum number of columns of an array from which the expected number of equal rows is computed."""
HALF_COLUMNS: Final = 1.2
"""Equal rows count as chance if half of the columns have more equal pairs than this multiple of those of all
columns."""
FREQUENT: Final = 0.05
"""A value that fills more than this share of a continuous column is a placeholder (for missing cells, for example), if
its frequency also exceeds `FREQUENT_RATIO` times the median."""
FREQUENT_RATIO: Final = 10.0
"""Smallest ratio of the frequency of a placeholder to the median frequency of the values of the column."""


@dataclass(frozen=True)
class TaskGuess:
    """The task that labels stand for.

    Attributes:
        task: ``multiclass``, ``multilabel`` or ``regression``.
        notes: Assumptions that were made, for the reader.
    """

    task: str
    notes: tuple[str, ...] = ()


def as_labels(labels: Any, name: str = "Labels") -> np.ndarray:
    """Return labels as a NumPy array of numbers, booleans or strings; ``(N, 1)`` becomes ``(N,)``.

    Args:
        labels: Array, tensor, list, or a pandas object of any dtype.
        name: Name of the arrays in messages.

    Raises:
        DataError: For missing labels (None, NaN, NA, masked), with their rows, and for mixed kinds.

    Example:
        >>> as_labels([["yes"], ["no"]]).tolist()
        ['yes', 'no']
    """
    y = as_numpy(labels)
    if y.ndim == 0:
        raise DataError(f"{name} should be one per sample. Found a single value.")
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    missing = np.flatnonzero(missing_entries(y).reshape(len(y), -1).any(1)) if y.size else np.empty(0, dtype=int)
    if len(missing):
        shown = ", ".join(map(str, missing[:5])) + (", ..." if len(missing) > 5 else "")
        raise DataError(
            f"{name} should not be missing. Found None, NaN or NA in {len(missing)} of {len(y)} samples: {shown}. "
            "Drop these samples."
        )
    return _plain(y, name)


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


def guess_task(labels: Any) -> TaskGuess:
    """Return the task that labels stand for. All parts of the library use this rule.

    - strings, booleans, categories: classes;
    - fractions: regression;
    - ``(N, C)`` zeros and ones: several labels (a note if every sample has exactly one), other columns: regression;
    - whole numbers, stored as integers or floats: classes if there are at most 20 distinct values, or if they run from
      0 or 1 without a gap with five samples each on average; else regression, with a note.

    Args:
        labels: ``(N,)`` or ``(N, C)``; see `as_labels`.

    Raises:
        DataError: For missing labels.

    Example:
        >>> guess_task([0, 1, 2]).task, guess_task([0.5, 1.0]).task, guess_task([[0, 1], [1, 1]]).task
        ('multiclass', 'regression', 'multilabel')
        >>> guess_task(range(20, 60)).task
        'regression'
    """
    y = as_labels(labels)
    if y.dtype.kind not in "fiu":
        return _several(y) if y.ndim == 2 and y.dtype.kind == "b" else TaskGuess("multiclass")
    if y.ndim > 1:
        return _several(y) if np.isin(y, (0, 1)).all() else TaskGuess("regression")
    if y.dtype.kind == "f" and (not np.isfinite(y).all() or (y != np.round(y)).any()):
        return TaskGuess("regression")
    return _guess_whole(y)


def _guess_whole(y: np.ndarray) -> TaskGuess:
    """Return the task of whole numbers ``(N,)``, see `guess_task`."""
    values = np.unique(y)
    stored = "whole numbers stored as floats" if y.dtype.kind == "f" else "whole numbers"
    gapless = len(values) > 0 and values[0] in (0, 1) and values[-1] - values[0] == len(values) - 1
    if len(values) <= FEW_VALUES or (gapless and len(y) >= SAMPLES_PER_CLASS * len(values)):
        note = f"labels are {stored} with {len(values)} distinct values: treated as classes"
        return TaskGuess("multiclass", (note,) if y.dtype.kind == "f" else ())
    note = (
        f"labels are {stored}, {len(values)} distinct values: treated as regression; pass task='multiclass' if they "
        "are classes"
    )
    return TaskGuess("regression", (note,))


def _several(y: np.ndarray) -> TaskGuess:
    one_hot = "every sample has exactly one of the labels: if these are classes, pass class ids (N,)"
    return TaskGuess("multilabel", (one_hot,) if (y.sum(1) == 1).all() else ())


def as_numpy(value: Any) -> np.ndarray:
    """Return a NumPy array of a tensor, a sparse matrix, a list or a pandas object; missing values stay as they are."""
    if isinstance(value, np.ma.MaskedArray):
        plain = value.data.astype(object) if np.ma.is_masked(value) else np.asarray(value.data)
        if np.ma.is_masked(value):
            plain[np.ma.getmaskarray(value)] = None
        return plain
    if hasattr(value, "detach"):  # torch
        value = value.detach().cpu()
        value = value.to_dense() if value.layout.__str__() != "torch.strided" else value
        return np.asarray(value.float() if str(value.dtype) == "torch.bfloat16" else value)
    if hasattr(value, "toarray"):  # SciPy
        return np.asarray(value.toarray())
    if isinstance(value, range):
        value = list(value)
    try:
        return np.asarray(value)
    except ValueError as error:
        raise DataError(
            f"An array should have rows of one shape. Found a {type(value).__name__} that NumPy cannot read: {error}"
        ) from error


def missing_entries(y: np.ndarray) -> np.ndarray:
    """Return which entries are None, NaN, NaT or NA."""
    if y.dtype.kind == "f":
        return np.isnan(y)
    if y.dtype.kind in "mM":
        return np.isnat(y)
    if y.dtype.kind != "O":
        return np.zeros(y.shape, dtype=bool)
    flat = [v is None or type(v).__name__ in ("NAType", "NaTType") or (isinstance(v, float) and v != v) for v in y.flat]
    return np.array(flat, dtype=bool).reshape(y.shape)


_PLAIN_TYPES: Final[tuple[tuple[tuple[type, ...], type], ...]] = (
    ((str,), str),
    ((bool, np.bool_), bool),
    ((int, np.integer, bool, np.bool_), np.int64),
    ((int, float, np.integer, np.floating, Decimal), np.float64),
)
"""Types of Python objects, and the type of the array that holds them."""


def _plain(y: np.ndarray, name: str) -> np.ndarray:
    """Return an object array as numbers, booleans or strings, whichever type all of its entries have."""
    if y.dtype.kind != "O":
        return y
    kinds = {type(v) for v in y.flat}
    for allowed, dtype in _PLAIN_TYPES:
        if all(issubclass(k, allowed) for k in kinds):
            return y.astype(dtype)
    names = ", ".join(sorted(k.__name__ for k in kinds))
    raise DataError(f"`{name}` should hold only numbers or only texts. Found {names}. Convert them to one type.")


def as_matrix(name: str, value: Any) -> np.ndarray:
    """Return the features of a modality as floats ``(N, D)``.

    Numbers stay numbers, for any storage (nullable, object, sparse, bfloat16, negative strides); more than two
    axes are flattened; dates become seconds; booleans 0 and 1; texts and categories become one indicator column per
    value.

    Args:
        name: Name of the modality, for messages.
        value: Array, tensor, list, sparse matrix, or a pandas object.

    Raises:
        DataError: For missing values, NaN or inf (with their samples), complex numbers, and texts that differ in nearly
            every sample.

    Example:
        >>> as_matrix("colour", ["red", "green", "red"]).tolist()
        [[0.0, 1.0], [1.0, 0.0], [0.0, 1.0]]
    """
    if hasattr(value, "columns") and hasattr(value, "dtypes"):
        return _table_columns(name, value)
    if all(hasattr(value, name) for name in ("dtype", "index", "array")):  # a pandas series
        return _column(name, value, len(value))
    array = as_numpy(value)
    if array.ndim == 0:
        raise DataError(f"Modality `{name}` should be an array (N, ...). Found a single number.")
    array = array.reshape(len(array), -1) if len(array) else array.reshape(0, 1)
    if array.dtype.kind in "fiub":
        return _finite(name, array)
    if array.dtype.kind == "V":
        raise DataError(f"Modality `{name}` should hold numbers, texts or dates. Found records of {array.dtype}.")
    return np.concatenate([_column(name, column, len(array)) for column in array.T], 1)


def _table_columns(name: str, table: Any) -> np.ndarray:
    """Return the columns of a table as floats; every column keeps its own type."""
    columns = [_column(f"{name}`, column `{c}", table[c], len(table)) for c in table.columns]
    if not columns:
        raise DataError(f"Modality `{name}` should have at least one column. Found none.")
    return np.concatenate(columns, 1)


def _column(name: str, column: Any, n: int) -> np.ndarray:
    """Return one column as floats: ``(N, 1)``, or one indicator per value."""
    values = as_numpy(column)
    dtype = str(getattr(column, "dtype", ""))
    missing = np.flatnonzero(missing_entries(values))
    if len(missing):
        raise _bad_samples(name, "missing values", missing, n)
    if values.dtype.kind == "c":
        raise DataError(f"Modality `{name}` holds complex numbers. Give real and imaginary parts as two columns.")
    if values.dtype.kind == "O" and hasattr(values.flat[0] if n else None, "timestamp"):
        values = values.astype("datetime64[ns]")
    if values.dtype.kind in "mM":
        return _seconds(values)[:, None]
    if dtype != "category":
        values = _plain(values, name)
        if values.dtype.kind in "fiub":
            return _finite(name, values[:, None])
    return _indicators(name, values, n)


def _indicators(name: str, values: np.ndarray, n: int) -> np.ndarray:
    """Return one indicator column per distinct text."""
    levels, codes = np.unique(values.astype(str), return_inverse=True)
    if 2 * len(levels) > n and len(levels) > 2:
        raise DataError(
            f"Modality `{name}` holds {len(levels)} different texts in {n} samples: names or sentences rather than "
            "categories. Leave it out, or turn it into numbers (for example with an embedding)."
        )
    return np.eye(len(levels))[codes.reshape(-1)]


def _seconds(values: np.ndarray) -> np.ndarray:
    """Return times in seconds since the first of them, so that no digit is lost to the origin."""
    first = values.min() if len(values) else values
    return np.asarray((values - first).astype("timedelta64[us]").astype(np.float64) / 1e6)


def _finite(name: str, x: np.ndarray) -> np.ndarray:
    x = np.ascontiguousarray(x if x.dtype in (np.float32, np.float64) else x.astype(np.float64))
    with np.errstate(invalid="ignore", over="ignore"):  # inf - inf
        bad = np.flatnonzero(~np.isfinite(x.sum(1, dtype=np.float64)))
    bad = bad[~np.isfinite(x[bad]).all(1)]
    if len(bad):
        raise _bad_samples(name, "NaN or inf", bad, len(x))
    return x


def _bad_samples(name: str, what: str, bad: np.ndarray, n: int) -> DataError:
    shown = ", ".join(map(str, bad[:5])) + (", ..." if len(bad) > 5 else "")
    return DataError(f"Modality `{name}` holds {what} in {len(bad)} of {n} samples: {shown}. Remove or impute them.")


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


def find_copies(arrays: Sequence[np.ndarray]) -> np.ndarray | None:
    """Return which samples are copies of each other, as numbers from 0 ``(N,)``, or None if there are no copies.

    Samples are copies if all of their columns are equal and this is unlikely to be chance, because discrete data repeat
    without being copied. Equal rows count as chance in three cases: a few distinct rows make up all samples; the
    frequencies of the values in each column explain as many equal pairs; or half of the columns already have many more
    equal pairs than all columns together. Rows whose continuous columns all hold placeholders (the value that fills
    missing cells, or the zeros of a sensor that is off) are not copies either.

    Args:
        arrays: ``(N, ...)`` each, of the same samples.

    Example:
        >>> x = np.random.default_rng(0).normal(size=(60, 2))
        >>> find_copies([np.repeat(x, 2, axis=0)])[:6].tolist(), find_copies([x])
        ([0, 0, 1, 1, 2, 2], None)
    """
    n = len(arrays[0])
    arrays = [a.reshape(n, -1) for a in arrays]
    code = _row_codes(arrays)
    distinct, first, copies = np.unique(code, return_index=True, return_inverse=True)
    if len(distinct) == n or len(distinct) < MIN_DISTINCT or n >= MAX_REPEATS * len(distinct):
        return None
    arrays = [_some_columns(a) for a in arrays]
    continuous = [_continuous(a[first]) for a in arrays]
    bare = _without_values(np.concatenate([a[:, smooth] for a, smooth in zip(arrays, continuous, strict=True)], 1))
    if bare.any():
        order = np.where(bare, len(distinct) + np.arange(n), copies.reshape(-1))
        copies = np.unique(order, return_inverse=True)[1]
    pairs = _equal_pairs(copies)
    if pairs <= CHANCE * _chance_pairs(arrays, first, continuous):
        return None
    if not any(c.any() for c in continuous) and _half_pairs(arrays) > HALF_COLUMNS * pairs:
        return None
    first = np.unique(copies, return_index=True)[1]
    order = np.argsort(np.argsort(first))
    return order[copies.reshape(-1)]


def _without_values(x: np.ndarray) -> np.ndarray:
    """Return which rows ``(N,)`` hold a placeholder, a value far more frequent than others, in every continuous column.

    Copies alone do not make a value so frequent: if rows are copied, other values are repeated as well.
    """
    bare = np.full(len(x), x.shape[1] > 0)
    for column in x.T:
        _, value, counts = np.unique(column, return_inverse=True, return_counts=True)
        frequent = counts > max(FREQUENT * len(column), FREQUENT_RATIO * np.median(counts))
        bare &= frequent[value.reshape(-1)]
        if not bare.any():
            break
    return bare


def _row_codes(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Return ``(N,)`` hashes of the rows of all arrays together, equal for equal rows."""
    n = len(arrays[0])
    code = np.zeros(n, dtype=np.uint64)
    rng = np.random.default_rng(1)
    for a in arrays:
        if a.shape[1] * a.itemsize > WIDE:
            digests = b"".join(hashlib.blake2b(np.ascontiguousarray(row).data, digest_size=8).digest() for row in a)
            code += np.frombuffer(digests, dtype=np.uint64)
            continue
        weights = rng.integers(1, 2**63, size=a.shape[1], dtype=np.uint64) * np.uint64(2) + np.uint64(1)
        for start in range(0, n, 4096):
            bits = np.ascontiguousarray(a[start : start + 4096] + 0.0, dtype=np.float64).view(np.uint64)  # -0.0 is 0.0
            mixed = (bits ^ (bits >> np.uint64(29))) * weights
            mixed ^= mixed >> np.uint64(32)
            code[start : start + 4096] += (mixed * np.uint64(0x9E3779B97F4A7C15)).sum(1, dtype=np.uint64)
    return code


def _some_columns(a: np.ndarray) -> np.ndarray:
    """Return at most `COMPARED` columns, evenly spaced, which is enough to estimate how many rows are equal by
    chance.
    """
    if a.shape[1] <= COMPARED:
        return a
    return a[:, np.linspace(0, a.shape[1] - 1, COMPARED).astype(int)]


def _equal_pairs(codes: np.ndarray) -> float:
    sizes = np.bincount(codes.reshape(-1)).astype(float)
    return float((sizes * (sizes - 1)).sum() / 2)


def _half_pairs(arrays: Sequence[np.ndarray]) -> float:
    """Return the number of equal pairs in half of the columns, averaged over five draws of columns."""
    rng = np.random.default_rng(0)
    pairs = []
    for _ in range(5):
        # At least one column of each array would favour arrays of few columns, so that all columns are drawn together.
        dims = [a.shape[1] for a in arrays]
        chosen = np.zeros(sum(dims), dtype=bool)
        chosen[rng.permutation(sum(dims))[: (sum(dims) + 1) // 2]] = True
        parts = np.split(chosen, np.cumsum(dims)[:-1])
        codes = _row_codes([a[:, part] for a, part in zip(arrays, parts, strict=True) if part.any()])
        pairs.append(_equal_pairs(np.unique(codes, return_inverse=True)[1]))
    return float(np.mean(pairs))


def _chance_pairs(arrays: Sequence[np.ndarray], first: np.ndarray, continuous: Sequence[np.ndarray]) -> float:
    """Return how many equal pairs independent columns of the same frequencies would have.

    The frequencies of continuous columns are those in distinct rows: if rows are copied, so are their values.
    """
    n = len(arrays[0])
    pairs = n * (n - 1) / 2
    for a, smooth in zip(arrays, continuous, strict=True):
        for k, column in enumerate(a.T):
            sizes = np.unique(column[first] if smooth[k] else column, return_counts=True)[1].astype(float)
            count = sizes.sum()
            pairs *= float((sizes * (sizes - 1)).sum()) / max(count * (count - 1), 1)
            if pairs < 1e-3:
                return pairs
    return pairs


def _continuous(x: np.ndarray) -> np.ndarray:
    """Return which columns of distinct rows ``(U, D)`` hold fractions that differ in nearly every row."""
    mask = (x != np.round(x)).any(0)
    mask[mask] = [2 * len(np.unique(column)) > len(x) for column in x[:, mask].T]
    return np.asarray(mask)
