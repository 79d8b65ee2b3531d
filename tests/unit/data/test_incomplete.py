"""Data sets in which samples lack modalities: splits, masks that are drawn, prepared sets."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from counterpoise.data import BatchLoader, from_arrays, load_prepared, save_prepared
from counterpoise.errors import ConfigError, DataError


def small(n: int = 400, modalities: int = 3):
    rng = np.random.default_rng(0)
    arrays = {"abc"[k]: rng.normal(size=(n, 4)).astype(np.float32) for k in range(modalities)}
    return from_arrays(arrays, np.arange(n) % 4)


def test_masks_depend_on_data_seed_and_modality_alone():
    data = small()
    first = data.with_missing({"a": 0.5, "b": 0.3}, seed=1)
    again = small().with_missing({"b": 0.3, "a": 0.5}, seed=1)
    other = data.with_missing({"a": 0.5, "b": 0.3}, seed=2)
    assert all(np.array_equal(first.train.present[m], again.train.present[m]) for m in "abc")
    assert not np.array_equal(first.train.present["a"], other.train.present["a"])
    assert not np.array_equal(first.train.present["a"], first.train.present["b"])
    alone = data.with_missing({"a": 0.5}, seed=1)
    assert np.array_equal(first.train.present["a"], alone.train.present["a"])


def test_higher_rates_take_more_of_the_same():
    data = small()
    low, high = data.with_missing({"a": 0.3}), data.with_missing({"a": 0.7})
    assert not (high.train.present["a"] & ~low.train.present["a"]).any()
    assert low.train.rates()["a"] == pytest.approx(0.7, abs=0.08)
    assert high.train.rates()["a"] == pytest.approx(0.3, abs=0.08)


@pytest.mark.parametrize("rates", [{"a": 1.0, "b": 1.0, "c": 1.0}, {"a": 0.7, "b": 0.7, "c": 0.7}, {"b": 1}])
def test_nobody_loses_everything(rates):
    data = small(900).with_missing(rates)
    for split in (data.train, data.val, data.test):
        masks = np.stack(list(split.present.values()))
        assert masks.any(0).all()
    if min(rates.values()) == 1 and len(rates) == 3:  # each sample keeps one at random
        assert all(share == pytest.approx(1 / 3, abs=0.07) for share in data.train.rates().values())


def test_what_was_missing_stays_missing():
    data = small().with_missing({"a": 0.5})
    twice = data.with_missing({"b": 1.0, "c": 1.0})
    assert not (twice.train.present["a"] & ~data.train.present["a"]).any()
    assert np.stack(list(twice.train.present.values())).any(0).all()


def test_where():
    data = small()
    train, test = data.with_missing({"a": 0.5}, where="train"), data.with_missing({"a": 0.5}, where="test")
    assert train.test.present is None
    assert train.train.present is not None
    assert train.val.present is not None
    assert test.train is data.train
    assert test.val is data.val
    assert test.test.present is not None
    both = data.with_missing({"a": 0.5})
    assert np.array_equal(both.test.present["a"], test.test.present["a"])
    assert data.is_complete
    assert not test.is_complete
    assert data.with_missing({"a": 0.0}).is_complete


def test_fingerprints_differ():
    data = small()
    fingerprints = {data.fingerprint(), *(data.with_missing({"a": rate}).fingerprint() for rate in (0.3, 0.5))}
    assert len(fingerprints) == 3


@pytest.mark.parametrize("arguments", [({"x": 0.5},), ({"a": 1.5},), ({"a": float("nan")},)])
def test_wrong_rates(arguments):
    with pytest.raises(ConfigError):
        small().with_missing(*arguments)


def test_wrong_split():
    with pytest.raises(ConfigError):
        small().with_missing({"a": 0.5}, where="validation")


def test_batches_hide_absent_values():
    data = small().with_missing({"a": 0.5})
    batch = data.train.batch(torch.arange(50))
    mask = batch.present["a"]
    assert not batch.inputs["a"][~mask].any()
    assert batch.inputs["a"][mask].any(1).all()
    assert (data.train.arrays["a"] != 0).all()  # the arrays stay


def test_loader_and_subsets_carry_masks():
    data = small().with_missing({"a": 0.5})
    seen = torch.zeros(len(data.train), dtype=torch.bool)
    for batch in BatchLoader(data.train, 32, seed=0):
        seen[batch.index] = batch.present["a"]
    assert np.array_equal(seen.numpy(), data.train.present["a"])
    rows = np.arange(5, 25)
    assert np.array_equal(data.train.subset(rows).present["a"], data.train.present["a"][rows])
    complete = np.flatnonzero(data.train.present["a"])
    assert data.train.subset(complete).present is None


def test_prepared_sets_keep_masks(tmp_path):
    data = small().with_missing({"a": 0.5, "b": 0.2}, where="test")
    save_prepared(data, tmp_path / "set")
    read = load_prepared(tmp_path / "set")
    assert read.train.present is None
    assert read.val.present is None
    assert all(np.array_equal(read.test.present[m], data.test.present[m]) for m in "abc")
    assert read.fingerprint() == data.fingerprint()


def test_complete_prepared_sets_have_no_further_columns(tmp_path):
    import datasets

    save_prepared(small(), tmp_path / "set")
    assert not any(":" in name for name in datasets.load_from_disk(str(tmp_path / "set"))["train"].column_names)


def test_masks_of_a_split_are_checked():
    data = small()
    with pytest.raises(DataError):
        replace(data, test=replace(data.test, present={"a": np.zeros(len(data.test), bool)}))
    with pytest.raises(DataError):
        replace(data, test=replace(data.test, present={m: np.zeros(len(data.test), bool) for m in "abc"}))
