"""Arrays that cannot be read, valued or diagnosed, and wrong settings of those calls."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
from bad_outcomes import BadInput


def _array_faults() -> dict[str, Callable[[dict[str, Any]], dict[str, Any]]]:
    """Return what can be wrong with ``{"a": ..., "b": ..., "label": ...}``, by name."""
    n = 60

    def put(key: str, value: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
        return lambda good: {**good, key: value(good[key]) if callable(value) else value}

    def at(value: float) -> Callable[[np.ndarray], np.ndarray]:
        return lambda x: np.where(np.arange(x.size).reshape(x.shape) == 7, value, x.astype(float))

    faults: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
        "one modality": lambda good: {k: v for k, v in good.items() if k != "b"},
        "an empty name": lambda good: {**good, "": good["a"]},
        "a name that is a number": lambda good: {**good, 3: good["a"]},
        "labels of one class": put("label", np.zeros(n, int)),
        "labels with NaN": put("label", at(np.nan)),
        "labels with None": put("label", np.array([None, *range(n - 1)], dtype=object)),
        "labels of three axes": put("label", np.zeros((n, 2, 2))),
        "labels of mixed kinds": put("label", np.array(["x", 1] * (n // 2), dtype=object)),
        "a label per letter": put("label", np.array([f"name{k}" for k in range(n)])),
        "complex labels": put("label", np.arange(n) * 1j),
        "dates as labels": put("label", np.arange(n).astype("M8[D]")),
        "one label": put("label", 3),
        "a label too few": put("label", lambda y: y[:-1]),
        "no labels": put("label", None),
        "a constant target": put("label", np.full((n, 1), 2.5)),
        "infinite targets": put("label", np.where(np.arange(n) == 3, np.inf, np.arange(n) / 7)),
    }
    for m in "ab":
        faults |= {
            f"{m} with NaN": put(m, at(np.nan)),
            f"{m} with inf": put(m, at(np.inf)),
            f"{m} a row too few": put(m, lambda x: x[:-1]),
            f"{m} without rows": put(m, lambda x: x[:0]),
            f"{m} without columns": put(m, lambda x: x[:, :0]),
            f"{m} of one number": put(m, np.float64(3)),
            f"{m} is None": put(m, None),
            f"{m} of complex numbers": put(m, lambda x: x.astype(complex)),
            f"{m} of dates": put(m, np.arange(n).astype("M8[s]")),
            f"{m} of records": put(m, np.zeros(n, [("u", float), ("v", int)])),
            f"{m} of ragged lists": put(m, [[1.0], [1.0, 2.0]] * (n // 2)),
            f"{m} of objects": put(m, np.array([object()] * n, dtype=object)),
        }
    return faults


def bad_arrays() -> Iterator[BadInput]:
    from counterpoise import diagnose_arrays
    from counterpoise.data import from_arrays
    from counterpoise.valuation import decompose, estimate

    rng = np.random.default_rng(0)
    y = np.arange(60) % 2
    good = {"a": rng.normal(size=(60, 2)) + y[:, None], "b": rng.normal(size=(60, 3)), "label": y}
    calls = {"from_arrays": from_arrays, "estimate": estimate, "diagnose_arrays": diagnose_arrays}
    for name, function in calls.items():
        for what, spoil in _array_faults().items():
            if name != "from_arrays" and what.endswith(("without columns", "of dates")):
                continue  # such modalities are valued
            bad = spoil(good)
            arrays = {k: v for k, v in bad.items() if k != "label"}
            yield BadInput(name, what, call=partial(function, arrays, bad["label"]))
        for what, value in {"None": None, "a list": [good["a"]], "an array": good["a"], "a text": "good"}.items():
            yield BadInput(name, f"arrays: {what}", call=partial(function, value, y))
    both = {m: good[m] for m in "ab"}
    settings: dict[str, Sequence[Any]] = {
        "folds": (0, 1, -2, 2.5, "5", None, 10**6),
        "seed": (-1, 1.5, "x", None),
        "estimator": ("nope", None, 3),
        "confidence": (0, 1, 2, "x", None),
        "group": (3, [1, 2], [None] * 60, [0] * 60, "x"),
        "task": ("nope", 3),
        "num_outputs": (0, 1, -3, 2.5, "x"),
    }
    for name, values in settings.items():
        for value in values:
            given = {name: value}
            yield BadInput("estimate", f"{name}={value!r:.20}", call=partial(estimate, both, y, **given))
    for value in ("nope", None, 3):
        yield BadInput("decompose", f"definition={value!r}", call=partial(decompose, both, y, definition=value))
    more: dict[str, Sequence[Any]] = {
        "split": (["train"] * 60, ["trian"] * 60, ["train"] * 59, 3, [1] * 60),
        "group": (3, [1, 2], [None] * 60),
        "kinds": ({"a": "nope"}, {"a": "video"}, {"a": "tokens"}, {"zz": "vector"}),
        "task": ("nope", "multilabel", 3),
        "num_classes": (0, 1, -1, 2.5, "x"),
        "class_names": (["only"], ["a", "b", "c", "a"], [1, 2]),
        "rates": ({"a": -1}, {"a": "x"}, {"zz": 8}),
        "seed": (-1, 1.5, "x", None),
        "recipe": ({"nope": 1}, {"fit": {"nope": 1}}, 3),
    }
    for name, values in more.items():
        for value in values:
            given = {name: value}
            yield BadInput("from_arrays", f"{name}={value!r:.30}", call=partial(from_arrays, both, y, **given))
