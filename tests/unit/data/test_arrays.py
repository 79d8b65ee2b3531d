"""Your own arrays: what they are taken for, how they are split, and what is refused."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch

from counterpoise._arrays import guess_task
from counterpoise.data import MultimodalData, from_arrays, load_npz
from counterpoise.errors import ConfigError, DataError, NotFoundError

N = 60
RNG = np.random.default_rng(0)
A = RNG.normal(size=(N, 4)).astype(np.float32)
B = RNG.normal(size=(N, 6))
Y = np.arange(N) % 3


def build(label: Any = Y, **options: Any) -> MultimodalData:
    return from_arrays({"a": A, "b": B}, label, **options)


def everything(data: MultimodalData, what: str = "a") -> np.ndarray:
    parts = (data.train, data.val, data.test)
    return np.concatenate(
        [p.target if what == "target" else p.group if what == "group" else p.arrays[what] for p in parts]
    )


# --- kinds ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("array", "kind", "shape", "dtype"),
    [
        (np.zeros(N), "vector", (1,), np.float32),
        (np.zeros((N, 5)), "vector", (5,), np.float32),
        (np.zeros((N, 5), np.int64), "vector", (5,), np.float32),
        (np.zeros((N, 5), np.uint8), "vector", (5,), np.float32),
        (np.zeros((N, 5), bool), "vector", (5,), np.float32),
        (np.zeros((N, 5), np.float16), "vector", (5,), np.float16),
        (np.zeros((N, 9, 3)), "sequence", (9, 3), np.float32),
        (np.zeros((N, 6, 6)), "sequence", (6, 6), np.float32),
        (np.zeros((N, 8, 8)), "image", (1, 8, 8), np.float32),
        (np.zeros((N, 9, 3), np.uint8), "image", (1, 9, 3), np.uint8),
        (np.zeros((N, 3, 8, 9), np.uint8), "image", (3, 8, 9), np.uint8),
        (np.zeros((N, 3, 8, 9)), "image", (3, 8, 9), np.float32),
        (np.zeros((N, 2, 1, 4, 4), np.uint8), "video", (2, 1, 4, 4), np.uint8),
    ],
)
def test_kind_follows_from_shape(array: np.ndarray, kind: str, shape: tuple[int, ...], dtype: Any) -> None:
    data = from_arrays({"x": array, "b": B}, Y)
    modality = data.info.modalities[0]
    assert (modality.kind, modality.shape) == (kind, shape)
    assert data.train.arrays["x"].dtype == dtype


def test_integers_are_tokens_by_name_or_when_said() -> None:
    ids = RNG.integers(0, 30, size=(N, 7))
    ids[0, 0] = 29
    by_name = from_arrays({"tokens": ids, "title_tokens": ids, "plain": ids}, Y)
    assert [m.kind for m in by_name.info.modalities] == ["tokens", "tokens", "vector"]
    assert by_name.info.modalities[0].vocabulary == 30
    said = from_arrays({"plain": ids, "b": B}, Y, kinds={"plain": "tokens"})
    assert said.info.modalities[0].kind == "tokens"
    with pytest.raises(DataError, match=r"`plain` should hold token ids: integers from 0 .* with -1"):
        from_arrays({"plain": ids - 1, "b": B}, Y, kinds={"plain": "tokens"})


def test_values_are_kept_by_sample() -> None:
    data = build(split=np.array(["train", "val", "test"] * 20))
    assert np.array_equal(data.val.arrays["a"], A[1::3])
    assert np.allclose(data.test.arrays["b"], B[2::3])
    assert np.array_equal(data.train.target, Y[0::3])


# --- labels ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("label", "task", "outputs", "names"),
    [
        (Y, "multiclass", 3, ()),
        (Y.astype(np.uint8)[:, None], "multiclass", 3, ()),
        (Y == 0, "multiclass", 2, ()),
        (Y * 10 + 5, "multiclass", 3, ("5", "15", "25")),
        (Y + 1, "multiclass", 3, ("1", "2", "3")),
        (Y - 1, "multiclass", 3, ("-1", "0", "1")),
        (Y.astype(float), "multiclass", 3, ()),
        (np.eye(3)[Y], "multilabel", 3, ()),
        (np.arange(N) + 20, "regression", 1, ()),
        (np.array(["no", "yes"])[Y % 2], "multiclass", 2, ("no", "yes")),
        (np.array(["no", "yes"], dtype=object)[Y % 2], "multiclass", 2, ("no", "yes")),
        (np.stack([Y == 0, Y > 0, Y == 2], 1).astype(int), "multilabel", 3, ()),
        (np.stack([Y == 0, Y > 0], 1), "multilabel", 2, ()),
        (A[:, 0], "regression", 1, ()),
        (B, "regression", 6, ()),
    ],
)
def test_task_follows_from_labels(label: np.ndarray, task: str, outputs: int, names: tuple[str, ...]) -> None:
    data = build(label)
    assert (data.info.task, data.info.num_outputs, data.info.class_names) == (task, outputs, names)


def test_mapped_labels_keep_their_meaning() -> None:
    label = np.array(["pear", "apple", "fig"])[Y]
    data = build(label, split=np.array(["train", "val", "test"] * 20)[RNG.permutation(N)])
    named = np.array(data.info.class_names)[everything(data, "target")]
    origin = {row.tobytes(): word for row, word in zip(A, label, strict=True)}
    assert [origin[row.tobytes()] for row in everything(data)] == named.tolist()


def test_class_names_give_the_order() -> None:
    data = build(np.array(["low", "high"])[Y % 2], class_names=["low", "mid", "high"])
    assert data.info.num_outputs == 3
    assert set(np.unique(everything(data, "target"))) == {0, 2}
    with pytest.raises(DataError, match="`label` holds `high`, which is not in `class_names`: low"):
        build(np.array(["low", "high"])[Y % 2], class_names=["low"])


def test_labels_outside_are_refused_and_not_renumbered() -> None:
    with pytest.raises(DataError, match=r"Labels should lie in 0..1. Found 2"):
        build(Y, num_classes=2)
    with pytest.raises(DataError, match="Found -1"):
        build(Y - 1, num_classes=3)
    with pytest.raises(DataError, match="Found 5"):
        build(np.where(Y == 2, 5, Y), num_classes=3)
    assert build(Y, num_classes=7).info.num_outputs == 7


def test_suspicious_labels_leave_a_note() -> None:
    assert any("treated as classes" in note for note in build(Y.astype(float)).info.notes)
    assert any("exactly one of the labels" in note for note in build(np.eye(3, dtype=int)[Y]).info.notes)
    assert not any("regression" in note for note in build(A[:, 0]).info.notes)
    assert any("treated as regression" in note for note in build(np.arange(N) + 20).info.notes)
    rare = np.where(np.arange(N) == N - 1, 3, Y)
    split = np.array(["train"] * 40 + ["val"] * 10 + ["test"] * 10)
    assert any("without a training sample: 3" in note for note in build(rare, split=split).info.notes)


# --- splits ---------------------------------------------------------------------------------------------------------


def test_drawn_split_is_stratified_seeded_and_a_partition() -> None:
    data = build()
    assert [len(data.train), len(data.val), len(data.test)] == [42, 6, 12]
    assert {row.tobytes() for row in everything(data)} == {row.tobytes() for row in A}
    for part in (data.train, data.val, data.test):
        assert np.bincount(part.target, minlength=3).tolist() == [len(part) // 3] * 3
    assert data.fingerprint() == build().fingerprint()
    assert data.fingerprint() != build(seed=1).fingerprint()


def test_drawn_split_keeps_groups_whole() -> None:
    who = np.array([f"p{k}" for k in np.arange(N) // 3])
    data = build(group=who)
    sets = [set(part.group) for part in (data.train, data.val, data.test) if part.group is not None]
    assert len(sets) == 3
    assert not (sets[0] & sets[1] | sets[0] & sets[2] | sets[1] & sets[2])
    assert [len(s) for s in sets] == [14, 2, 4]
    with pytest.raises(DataError, match=r"at least three groups, one for each of train, val and test. Found 2"):
        build(group=np.arange(N) % 2)


def test_given_split_knows_other_words_and_refuses_strange_ones() -> None:
    data = build(split=["train", "valid", "test"] * 20)
    assert len(data.val) == 20
    with pytest.raises(DataError, match=r"Found `tset`. Did you mean `test`\?"):
        build(split=["train", "val", "tset"] * 20)
    with pytest.raises(DataError, match="Split `val` of `arrays` is empty"):
        build(split=["train", "train", "test"] * 20)


# --- refused --------------------------------------------------------------------------------------------------------


def bad(value: float, *rows: int) -> np.ndarray:
    array = A.copy()
    array[list(rows), 1] = value
    return array


@pytest.mark.parametrize(
    ("arrays", "label", "message"),
    [
        ({"a": bad(np.nan, 7, 33), "b": B}, Y, r"`a` holds NaN or inf in 2 of 60 samples: 7, 33"),
        ({"a": A, "b": bad(-np.inf, 59)}, Y, r"`b` holds NaN or inf in 1 of 60 samples: 59"),
        ({"a": A, "b": B * 1e300}, Y, r"`b` holds NaN or inf in 60 of 60 samples"),
        ({"a": A}, Y, "at least two modalities. `arrays` has 1: a"),
        ({}, Y, "at least two modalities. `arrays` has 0: none"),
        ({"a": A, "b": B[:50]}, Y, "one row per sample. Found `a`: 60, `b`: 50, `label`: 60"),
        ({"a": A, "b": B}, Y[:50], "`label`: 50"),
        ({"a": A, "b": B[:, :0]}, Y, "`b` .* no columns"),
        ({"a": A[:0], "b": B[:0]}, Y[:0], "holds no samples"),
        ({"a": A, "b": np.array(3.0)}, Y, "`b` of `arrays` should have one entry per sample"),
        ({"a": A, "b": np.array(["x"] * N)}, Y, "`b` should hold numbers. Found <U1"),
        ({"a": A, "b": np.array([[1], [1, 2]] * 30, dtype=object)}, Y, "`b` holds Python objects"),
        ({"a": A, "b": np.zeros((N, 1, 1, 1, 1, 1))}, Y, "1 to 5 dimensions"),
        ({"a": A, "b": np.zeros((N, 8, 8, 3))}, Y, r"channels last: \(N, 8, 8, 3\).*transpose\(0, 3, 1, 2\)"),
        ({"a": A, "b": B}, np.zeros(N, int), "All samples have the same label"),
        ({"a": A, "b": B}, np.full((N, 2), 3), "regression target should vary"),
        ({"a": A, "b": B}, np.where(Y == 0, np.nan, 1.0), "Labels should not be missing.*20 of 60"),
        ({"a": A, "b": B}, np.zeros((N, 2, 2)), r"`label` should be class ids .* Found float64 of shape \(60, 2, 2\)"),
        ({"a": A, "b": B}, np.arange(N).astype(str), "Too few samples"),
        ({"a.x": A, "b": B}, Y, "dots. Found `a.x`"),
        ({"": A, "b": B}, Y, "should have texts as names"),
    ],
)
def test_bad_input_is_named(arrays: dict[str, np.ndarray], label: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=message):
        from_arrays(arrays, label)


# --- npz ------------------------------------------------------------------------------------------------------------


def test_npz_gives_what_the_arrays_give(tmp_path: Path) -> None:
    split = np.array(["train", "val", "test"] * 20)
    np.savez(
        tmp_path / "mine.npz",
        a=A,
        b=B,
        label=Y,
        split=split,
        group=np.arange(N),
        class_names=["x", "y", "z"],
        num_classes=3,
    )
    data = load_npz(tmp_path / "mine.npz")
    assert data.info.name == "mine"
    assert data.info.names == ("a", "b")
    assert data.info.class_names == ("x", "y", "z")
    direct = build(name="mine", split=split, group=np.arange(N), class_names=["x", "y", "z"], source="mine.npz")
    assert data.fingerprint() == direct.fingerprint()


def test_npz_num_classes_is_a_promise(tmp_path: Path) -> None:
    np.savez(tmp_path / "mine.npz", a=A, b=B, label=Y, num_classes=2)
    with pytest.raises(DataError, match=r"Labels should lie in 0..1. Found 2"):
        load_npz(tmp_path / "mine.npz")


def test_npz_that_is_not_there_or_none(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"There is no file .*nothing.npz"):
        load_npz(tmp_path / "nothing.npz")
    (tmp_path / "text.npz").write_text("hello")
    with pytest.raises(DataError, match=r"`text.npz` is not a readable .npz archive"):
        load_npz(tmp_path / "text.npz")
    np.savez(tmp_path / "cut.npz", a=A, b=B, label=Y)
    content = (tmp_path / "cut.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=r"`cut.npz` is not a readable .npz archive"):
        load_npz(tmp_path / "cut.npz")
    with (tmp_path / "one.npz").open("wb") as file:
        np.save(file, A)
    with pytest.raises(DataError, match=r"`one.npz` should be an .npz archive. Found a single array"):
        load_npz(tmp_path / "one.npz")


def test_npz_without_label_or_with_objects(tmp_path: Path) -> None:
    np.savez(tmp_path / "none.npz", a=A, b=B, labels=Y)
    with pytest.raises(DataError, match=r"should hold label.*Found: a, b, labels. Did you mean `labels`\?"):
        load_npz(tmp_path / "none.npz")
    ragged = np.empty(N, dtype=object)
    ragged[:] = [[1] * (k % 3) for k in range(N)]
    np.savez(tmp_path / "object.npz", a=A, b=ragged, label=Y)
    with pytest.raises(DataError, match=r"Array `b` of `object.npz` holds Python objects"):
        load_npz(tmp_path / "object.npz")


# --- one rule, many kinds of arrays ---------------------------------------------------------------------------------


LABELS = {
    "classes": Y,
    "classes as floats": Y.astype(float),
    "names": np.array(["no", "yes", "may"])[Y],
    "booleans": Y > 0,
    "minus and plus one": np.where(Y > 0, 1, -1),
    "one-hot integers": np.eye(3, dtype=int)[Y],
    "one-hot floats": np.eye(3)[Y],
    "ages": np.arange(N) % 50 + 20,
    "ages as floats": np.arange(N) % 50 + 20.0,
    "fractions": A[:, 0],
}


@pytest.mark.parametrize("label", LABELS.values(), ids=LABELS)
def test_the_task_is_that_of_the_one_rule(label: np.ndarray, tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", a=A, b=B, label=label)
    assert build(label).info.task == load_npz(tmp_path / "d.npz").info.task == guess_task(label).task


@pytest.mark.parametrize("task", ["multiclass", "regression"])
def test_a_task_that_is_given_is_taken(task: str, tmp_path: Path) -> None:
    label = np.arange(N) % 30
    np.savez(tmp_path / "d.npz", a=A, b=B, label=label, task=task)
    assert build(label, task=task).info.task == load_npz(tmp_path / "d.npz").info.task == task
    with pytest.raises(ConfigError, match="`task`"):
        build(label, task="multi")


@pytest.mark.parametrize("shape", [(16, 24, 3), (24, 16, 3), (16, 16, 4), (16, 24, 1), (4, 16, 16, 3), (9, 9, 9, 1)])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_channels_last_are_refused_with_advice(shape: tuple[int, ...], dtype: type) -> None:
    with pytest.raises(DataError, match=r"channels last.*transpose\("):
        from_arrays({"x": np.zeros((N, *shape), dtype), "b": B}, Y)


@pytest.mark.parametrize("shape", [(3, 16, 3), (1, 9, 4), (2, 16, 24), (4, 3, 16, 24), (4, 1, 9, 3)])
def test_channels_first_are_taken(shape: tuple[int, ...]) -> None:
    data = from_arrays({"x": np.zeros((N, *shape)), "b": B}, Y)
    assert data.info.modalities[0].shape == shape


@pytest.mark.parametrize(
    "convert",
    [
        torch.tensor,
        lambda x: torch.tensor(x).bfloat16(),
        lambda x: torch.tensor(x, requires_grad=True),
        scipy.sparse.csr_array,
        scipy.sparse.coo_matrix,
        lambda x: torch.tensor(x).to_sparse(),
        lambda x: x.astype(">f8"),
        lambda x: x.astype(np.longdouble),
        lambda x: np.flip(x, 0)[::-1],
        lambda x: x.tolist(),
        lambda x: pd.DataFrame(x),
        lambda x: x.astype(object),
    ],
)
def test_every_kind_of_array_gives_the_same_numbers(convert: Any) -> None:
    data = from_arrays({"a": A, "b": convert(B)}, Y)
    assert np.allclose(everything(data, "b"), everything(build(), "b"), rtol=0.01, atol=0.01)
    assert data.train.arrays["b"].dtype == np.float32


@pytest.mark.parametrize("dtype", [np.uint16, np.int8, np.uint64, np.int32])
def test_integers_of_every_width(dtype: type) -> None:
    values = RNG.integers(0, 100, size=(N, 2)).astype(dtype)
    assert np.array_equal(everything(from_arrays({"a": A, "b": values}, Y, split=["train", "val", "test"] * 20), "b"),
                          np.concatenate([values[k::3] for k in range(3)]))  # fmt: skip


def test_a_missing_group_is_named() -> None:
    group = [None if k == 7 else f"p{k // 6}" for k in range(N)]
    with pytest.raises(DataError, match=r"1 of 60 samples: 7"):
        build(group=group)


@pytest.mark.parametrize("offset", [1.7e9, 1.7e12, 2.0**53])
@pytest.mark.parametrize("shape", [(N, 3), (N, 7, 2)])
def test_offsets_keep_their_digits(offset: float, shape: tuple[int, ...]) -> None:
    values = offset + np.round(RNG.normal(size=shape) * 1000)
    data = from_arrays({"a": values, "b": B}, Y, split=["train", "val", "test"] * 20)
    stored = everything(data)
    order = np.concatenate([np.arange(N)[k::3] for k in range(3)])
    for column in range(shape[-1]):
        expected = values[order, ..., column]
        assert np.corrcoef(stored[..., column].ravel(), expected.ravel())[0, 1] > 0.99999
    assert any("`a`" in note and "standardised" in note for note in data.info.notes)


def test_tiny_numbers_do_not_become_zero() -> None:
    data = from_arrays({"a": A.astype(float) * 1e-160, "b": B}, Y)
    assert np.abs(everything(data)).max() > 0.1


def test_ordinary_numbers_are_left_as_they_are() -> None:
    data = from_arrays({"a": B * 1000 + 30, "b": B}, Y, split=["train", "val", "test"] * 20)
    assert np.array_equal(data.train.arrays["a"], (B * 1000 + 30).astype(np.float32)[::3])
    assert not any("standardised" in note for note in data.info.notes)


@pytest.mark.parametrize(("scale", "offset"), [(1e9, 3e9), (9, 50), (1e-6, 0), (1, 20)])
def test_targets_in_any_unit_become_learnable(scale: float, offset: float) -> None:
    target = RNG.normal(size=N)
    data = build(scale * target + offset, split=["train", "val", "test"] * 20)
    assert np.abs(data.train.target.mean()) < 1e-4
    assert data.train.target.std() == pytest.approx(1, abs=1e-3)
    order = np.concatenate([np.arange(N)[k::3] for k in range(3)])
    assert np.corrcoef(everything(data, "target")[:, 0], target[order])[0, 1] > 0.99999
    assert any("targets are standardised" in note for note in data.info.notes)


def test_targets_of_an_ordinary_size_are_left_alone() -> None:
    data = build(A[:, 0], split=["train", "val", "test"] * 20)
    assert np.array_equal(data.train.target[:, 0], A[::3, 0])


# --- copies and groups ----------------------------------------------------------------------------------------------


def test_copies_stay_in_one_drawn_part() -> None:
    rows = RNG.permutation(np.repeat(np.arange(50), 4))
    data = from_arrays({"a": A[rows], "b": B[rows]}, RNG.integers(2, size=200))
    parts = [{row.tobytes() for row in part.arrays["a"]} for part in (data.train, data.val, data.test)]
    assert not (parts[0] & parts[1] | parts[0] & parts[2] | parts[1] & parts[2])
    assert len(data.train) + len(data.val) + len(data.test) == 200
    assert any("150 of 200 samples are copies" in note for note in data.info.notes)


def test_copies_in_given_parts_are_a_warning() -> None:
    rows = np.r_[np.arange(40), np.arange(20)]
    data = from_arrays({"a": A[rows], "b": B[rows]}, Y, split=["train"] * 40 + ["val"] * 10 + ["test"] * 10)
    assert any("10 of 10 samples of test are copies of training samples" in note for note in data.info.notes)


def test_equal_rows_of_few_values_are_no_copies() -> None:
    eye = np.eye(4)
    data = from_arrays({"a": eye[RNG.integers(4, size=300)], "b": eye[RNG.integers(4, size=300)]}, np.arange(300) % 2)
    assert not any("copies" in note for note in data.info.notes)
    assert [len(data.train), len(data.val), len(data.test)] == [210, 30, 60]


def test_groups_in_two_given_parts_are_a_warning() -> None:
    split = ["train", "val", "test"] * 20
    assert any(
        "groups are in train and test" in note for note in build(split=split, group=np.arange(N) // 6).info.notes
    )
    assert not any("groups are in" in note for note in build(split=split, group=np.arange(N) % 3).info.notes)


# --- sizes that an archive promises -----------------------------------------------------------------------------------


def test_npz_that_unpacks_to_a_thousand_times_its_size_is_refused_unread(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "bomb.npz", a=np.zeros((N, 200_000)), b=B, label=Y)
    assert (tmp_path / "bomb.npz").stat().st_size < 300_000
    with pytest.raises(DataError, match=r"`a` of `bomb.npz` unpacks"):
        load_npz(tmp_path / "bomb.npz")


def test_npz_whose_header_promises_more_than_there_is_is_refused(tmp_path: Path) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (10**12,)})
    np.savez(tmp_path / "d.npz", b=B, label=Y)
    with zipfile.ZipFile(tmp_path / "d.npz", "a") as archive:
        archive.writestr("a.npy", header.getvalue() + b"\0" * 80)
    with pytest.raises(DataError, match=r"`a` of `d.npz` should have 8,000,000,000,000 bytes"):
        load_npz(tmp_path / "d.npz")
