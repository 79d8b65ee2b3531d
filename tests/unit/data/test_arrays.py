"""Your own arrays: what they are taken for, how they are split, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from counterpoise.data import MultimodalData, from_arrays, load_npz
from counterpoise.errors import DataError, NotFoundError

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
        build(Y - 1)
    with pytest.raises(DataError, match="Found 5"):
        build(np.where(Y == 2, 5, Y), num_classes=3)
    assert build(Y, num_classes=7).info.num_outputs == 7


def test_suspicious_labels_leave_a_note() -> None:
    assert any("taken as regression" in note for note in build(Y.astype(float)).info.notes)
    assert any("exactly one label" in note for note in build(np.eye(3, dtype=int)[Y]).info.notes)
    assert not any("regression" in note for note in build(A[:, 0]).info.notes)
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
    ("arrays", "label", "found"),
    [
        ({"a": bad(np.nan, 7, 33), "b": B}, Y, r"`a` holds NaN or inf in 2 of 60 samples: 7, 33"),
        ({"a": A, "b": bad(-np.inf, 59)}, Y, r"`b` holds NaN or inf in 1 of 60 samples: 59"),
        ({"a": A, "b": B * 1e300}, Y, r"`b` holds NaN or inf in 60 of 60 samples"),
        ({"a": A}, Y, "at least two modalities. `arrays` has 1: a"),
        ({}, Y, "at least two modalities. `arrays` has 0: none"),
        ({"a": A, "b": B[:50]}, Y, "one row per sample. Found `a`: 60, `b`: 50, `label`: 60"),
        ({"a": A, "b": B}, Y[:50], "`label`: 50"),
        ({"a": A[:0], "b": B[:0]}, Y[:0], "holds no samples"),
        ({"a": A, "b": np.array(3.0)}, Y, "`b` of `arrays` should have one entry per sample"),
        ({"a": A, "b": np.array(["x"] * N)}, Y, "`b` should hold numbers. Found <U1"),
        ({"a": A, "b": np.array([[1], [1, 2]] * 30, dtype=object)}, Y, "`b` holds Python objects"),
        ({"a": A, "b": np.zeros((N, 1, 1, 1, 1, 1))}, Y, "1 to 5 dimensions"),
        ({"a": A, "b": np.zeros((N, 8, 8, 3))}, Y, r"channels last: \(60, 8, 8, 3\).*transpose\(0, 3, 1, 2\)"),
        ({"a": A, "b": B}, np.zeros(N, int), "All samples have the same label"),
        ({"a": A, "b": B}, np.full((N, 2), 3), "Multi-label targets should be 0 or 1"),
        ({"a": A, "b": B}, np.where(Y == 0, np.nan, 1.0), "Regression targets should be finite"),
        ({"a": A, "b": B}, np.zeros((N, 2, 2)), r"`label` should be class ids .* Found float64 of shape \(60, 2, 2\)"),
        ({"a": A, "b": B}, np.arange(N), "Too few samples"),
    ],
)
def test_bad_input_is_named(arrays: dict[str, np.ndarray], label: np.ndarray, found: str) -> None:
    with pytest.raises(DataError, match=found):
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
    with pytest.raises(DataError, match=r"should hold an array `label`.*Found: a, b, labels. Did you mean `labels`\?"):
        load_npz(tmp_path / "none.npz")
    ragged = np.empty(N, dtype=object)
    ragged[:] = [[1] * (k % 3) for k in range(N)]
    np.savez(tmp_path / "object.npz", a=A, b=ragged, label=Y)
    with pytest.raises(DataError, match=r"Array `b` of `object.npz` holds Python objects"):
        load_npz(tmp_path / "object.npz")
