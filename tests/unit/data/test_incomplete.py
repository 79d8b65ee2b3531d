"""Data sets in which samples lack modalities: splits, masks that are drawn, prepared sets."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import scipy.stats
import torch

from counterpoise.data import BatchLoader, from_arrays, load_npz, load_prepared, prepare, save_prepared
from counterpoise.data.absence import absence_notes, association, pattern_lines
from counterpoise.data.preparation import check_folder
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


# -- arrays ------------------------------------------------------------------------------------------------------------


def arrays(n: int = 300) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    target = rng.integers(0, 3, n)
    return (
        {"sound": rng.normal(size=(n, 8)).astype("f4"), "image": rng.integers(0, 255, (n, 1, 8, 8), np.uint8)},
        target,
        rng.random(n) < 0.5,
    )


def whole(data) -> np.ndarray:
    parts = (data.train, data.val, data.test)
    return np.concatenate([s.present["sound"] for s in parts])


def test_masks_and_rows_of_nan_are_the_same():
    inputs, target, present = arrays()
    masked = from_arrays(inputs, target, present={"sound": present.astype(int)})
    nan = from_arrays({**inputs, "sound": np.where(present[:, None], inputs["sound"], np.nan)}, target)
    rows = [None if not has else row for row, has in zip(inputs["sound"], present, strict=True)]
    listed = from_arrays({**inputs, "sound": rows}, target)
    for data in (masked, nan, listed):
        assert np.array_equal(whole(data), whole(masked))
        assert whole(data).sum() == present.sum()
        assert all(np.array_equal(data.train.arrays[m], masked.train.arrays[m]) for m in inputs)
    assert masked.train.present["image"].all()
    assert not masked.train.arrays["sound"][~masked.train.present["sound"]].any()
    assert sum(map(len, (masked.train, masked.val, masked.test))) == len(target)


def test_arrays_without_a_gap_are_as_before():
    inputs, target, _ = arrays()
    data = from_arrays(inputs, target, present={"sound": np.ones(len(target), bool)})
    assert data.is_complete
    assert data.fingerprint() == from_arrays(inputs, target).fingerprint()


def test_rows_that_are_nan_in_part_are_an_error():
    inputs, target, _ = arrays()
    inputs["sound"][3, 2] = np.nan
    with pytest.raises(DataError, match="samples: 3"):
        from_arrays(inputs, target)


def test_seconds_keep_their_digits_where_some_are_absent():
    inputs, target, present = arrays()
    seconds = 1.7e9 + np.arange(len(target), dtype=float)[:, None]
    data = from_arrays({**inputs, "sound": np.where(present[:, None], seconds, np.nan)}, target)
    kept = data.train.arrays["sound"][data.train.present["sound"]]
    assert len(np.unique(kept)) == len(kept)


@pytest.mark.parametrize("mask", [np.zeros(300, bool), np.ones(299, bool), np.full(300, 2), ["yes"] * 300])
def test_wrong_masks_of_arrays(mask):
    inputs, target, _ = arrays()
    with pytest.raises(DataError):
        from_arrays(inputs, target, present={"sound": mask})


def test_samples_without_anything_are_an_error():
    inputs, target, _ = arrays()
    mask = np.arange(len(target)) > 0
    with pytest.raises(DataError, match="1 of 300 samples: 0"):
        from_arrays(inputs, target, present={"sound": mask, "image": mask})


def test_samples_that_share_what_they_have_are_no_copies():
    """Half of the samples have no sound, and pictures repeat: only samples with both can be copies."""
    rng = np.random.default_rng(0)
    pictures = rng.normal(size=(150, 5)).repeat(2, 0)
    present = np.arange(300) % 2 == 0
    inputs = {"sound": rng.normal(size=(300, 4)), "image": pictures}
    data = from_arrays(inputs, np.arange(300) % 3, present={"sound": present})
    assert not any("copies" in note for note in data.info.notes)


def test_npz(tmp_path):
    inputs, target, present = arrays()
    np.savez(tmp_path / "set.npz", **inputs, label=target, present_sound=present)
    data = load_npz(tmp_path / "set.npz")
    assert set(data.info.names) == {"sound", "image"}
    assert np.array_equal(np.sort(whole(data)), np.sort(present))


@pytest.mark.parametrize("kind", [bool, int, float])
def test_a_mask_of_an_npz_belongs_to_a_modality(tmp_path, kind):
    """A misspelt name would become a modality that tells what is absent."""
    inputs, target, present = arrays()
    np.savez(tmp_path / "set.npz", **inputs, label=target, present_sond=present.astype(kind))
    with pytest.raises(DataError, match="present_sond"):
        load_npz(tmp_path / "set.npz")


# -- what absence tells ------------------------------------------------------------------------------------------------


def test_information_of_absence_is_that_of_the_table():
    """By the definition of mutual information, less the bias of (C - 1) / 2N."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 3000)
    present = rng.random(3000) < np.array([0.2, 0.5, 0.8])[y]
    joint = np.array([[np.mean((present == v) & (y == c)) for c in range(3)] for v in (False, True)])
    product = joint.sum(1, keepdims=True) * joint.sum(0, keepdims=True)
    expected = (joint * np.log(joint / product)).sum() - 2 / 6000
    result = association(present, y, "multiclass")
    assert result.nats == pytest.approx(expected, abs=1e-9)
    assert result.p == pytest.approx(scipy.stats.chi2_contingency(3000 * joint, lambda_="log-likelihood").pvalue)
    assert result.gain == pytest.approx(joint.max(1).sum() - joint.sum(0).max())


@pytest.mark.parametrize("task", ["multiclass", "multilabel", "regression"])
def test_false_alarms_are_rare(task):
    rng = np.random.default_rng(0)
    p = []
    for _ in range(200):
        target = rng.integers(0, 4, 60) if task == "multiclass" else rng.normal(size=(60, 2))
        target = (target > 0).astype(int) if task == "multilabel" else target
        p.append(association(rng.random(60) < 0.3, target, task, seed=1).p)
    assert np.mean(np.array(p) <= 0.05) <= 0.1


@pytest.mark.parametrize("task", ["multiclass", "multilabel", "regression"])
def test_informative_absence_is_found(task):
    rng = np.random.default_rng(0)
    present = rng.random(400) < 0.5
    target = {
        "multiclass": present.astype(int) + 2 * rng.integers(0, 2, 400),
        "multilabel": np.stack([rng.integers(0, 2, 400), present], 1),
        "regression": np.stack([rng.normal(size=400), rng.normal(size=400) + present], 1),
    }[task]
    result = association(present, target, task)
    assert result.p < 1e-4
    assert result.nats > 0.05


def test_notes_warn_and_correct():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 1000)
    present = {"a": rng.random(1000) < 0.2 + 0.6 * y, "b": rng.random(1000) < 0.5, "c": np.ones(1000, bool)}
    notes = absence_notes(present, y, "multiclass")
    assert sum(note.startswith("warning") for note in notes) == 1
    assert any("absence of a" in note for note in notes)
    assert absence_notes({"c": present["c"]}, y, "multiclass") == absence_notes(None, y, "multiclass") == []


def test_patterns_are_counted_by_split_and_class():
    masks = {"a": np.array([True, True, False, True]), "b": np.array([True, False, True, True])}
    lines = pattern_lines(masks, np.array([0, 0, 1, 1]), ["train", "train", "train", "test"], ["cat", "dog"])
    assert lines[:2] == ["patterns, train: 1 a+b, 1 a, 1 b", "patterns, test: 1 a+b"]
    assert {"patterns, class cat: 1 a+b, 1 a", "patterns, class dog: 1 b, 1 a+b"} == set(lines[2:])


# -- tables ------------------------------------------------------------------------------------------------------------


def table(path, n: int = 90):
    rng = np.random.default_rng(0)
    title = [f"w{k % 3} and {k % 7}" if k % 3 else "" for k in range(n)]
    x = [f"{v:.2f}" if k % 4 else "" for k, v in enumerate(rng.normal(size=n))]
    frame = pd.DataFrame({"s.x": x, "s.y": x, "title": title, "label": ["a", "b", "c"] * (n // 3)})
    frame.to_csv(path, index=False)
    return path


def test_rows_with_empty_cells_are_kept(tmp_path):
    """Every twelfth row has nothing at all; every other row stays, with what it has."""
    summary = prepare("own", table(tmp_path / "m.csv"), tmp_path / "out", jobs=1)
    assert summary.left_out == 8
    assert sum(summary.samples.values()) == 82
    data = load_prepared(tmp_path / "out")
    parts = (data.train, data.val, data.test)
    assert sum(int(s.present["s"].sum()) for s in parts) == 67
    assert sum(int(s.present["title"].sum()) for s in parts) == 60
    assert all((s.arrays["title"][~s.present["title"]] == 0).all() for s in parts)
    again = prepare("own", table(tmp_path / "m.csv"), tmp_path / "out", jobs=1)
    assert again.samples == summary.samples
    assert load_prepared(tmp_path / "out").fingerprint() == data.fingerprint()


def test_the_doctor_counts_patterns_of_tables_and_prepared_sets(tmp_path):
    lines, findings, well = check_folder(table(tmp_path / "m.csv"))
    assert not well  # the rows with nothing at all
    assert sum(f.kind == "absent" for f in findings) == 23 - 8 + 30 - 8
    assert any("absence of title is informative about the label" in line for line in lines)  # it depends on k % 3
    prepare("own", table(tmp_path / "m.csv"), tmp_path / "out", jobs=1)
    prepared, _, _ = check_folder(tmp_path / "out")
    assert sum(line.startswith("patterns, class") for line in prepared) == 3
    inputs, target, present = arrays()
    np.savez(tmp_path / "set.npz", **inputs, label=target, present_sound=present)
    described, _, well = check_folder(tmp_path / "set.npz")
    assert well
    assert any(line.startswith("patterns, train:") for line in described)
