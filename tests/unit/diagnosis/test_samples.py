"""Samples and classes that rely on each modality."""

from __future__ import annotations

import numpy as np

from counterpoise.evaluation.sample_lists import TELLING, by_class, sample_lists


def test_lists_by_definition_and_by_strength() -> None:
    drop = {
        "a": np.array([0.0, 2.0, 1.0, 2.0, -3.0, 0.4]),
        "b": np.array([0.0, 0.1, 0.1, 1.0, 0.0, 0.0]),
        "c": np.array([0.0, 0.0, 0.0, 0.0, 0.0, 0.0]),
    }
    alone = {
        "a": np.array([0.0, 1.0, -1.0, 1.0, 0.0, 0.0]),
        "b": np.array([0.0, -0.3, 2.0, 1.0, 0.0, 0.0]),
        "c": np.zeros(6),
    }
    lists = sample_lists(alone, drop, np.arange(6) + 100)
    assert lists.relies_on["a"].tolist() == [101, 102]  # the stronger first; 0.4 is just below log 1.5
    assert lists.relies_on["b"].tolist() == lists.relies_on["c"].tolist() == []
    assert lists.need_several.tolist() == [103]
    assert lists.conflict.tolist() == [102]
    assert TELLING > 0.4


def test_lists_of_one_hand_made_world() -> None:
    """In XOR every sample needs both; where b copies a none does; where only a is informative all rely on it."""
    n = 40
    tells, silent = np.full(n, 0.6931472), np.zeros(n)
    xor = sample_lists({"a": silent, "b": silent}, {"a": tells, "b": tells}, np.arange(n))
    assert len(xor.need_several) == n
    copies = sample_lists({"a": tells, "b": tells}, {"a": silent, "b": silent}, np.arange(n))
    assert not len(copies.need_several)
    assert not len(copies.relies_on["a"])
    single = sample_lists({"a": tells, "b": silent}, {"a": tells, "b": silent}, np.arange(n))
    assert len(single.relies_on["a"]) == n


def test_classes_without_two_samples_are_left_out_and_close_calls_are_unsure() -> None:
    rng = np.random.default_rng(0)
    labels = np.array([0] * 50 + [1] * 50 + [2])
    a, b = rng.normal(size=101), rng.normal(size=101)
    a[:50] += 2
    rows = by_class({"a": a, "b": b}, labels, ["x", "y", "z"])
    assert [(row.name, row.n) for row in rows] == [("x", 50), ("y", 50)]
    assert (rows[0].dominant, rows[0].sure, rows[1].sure) == ("a", True, False)
    assert rows[0].mi["a"] == a[:50].mean()
