"""Splits, their checks, and the round trip through prepared data."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from counterpoise.data import DATASETS, DataInfo, Modality, MultimodalData, Split, load_prepared, save_prepared
from counterpoise.errors import DataError, NotFoundError, OutputError

MODALITIES = (
    Modality("vec", "vector", (5,)),
    Modality("seq", "sequence", (7, 3)),
    Modality("img", "image", (2, 6, 4)),
    Modality("vid", "video", (3, 1, 4, 4)),
    Modality("tok", "tokens", (6,), vocabulary=11),
)


def make_split(n: int, seed: int, task: str = "multiclass", group: np.ndarray | None = None) -> Split:
    rng = np.random.default_rng(seed)
    arrays = {
        "vec": rng.normal(size=(n, 5)).astype(np.float32),
        "seq": rng.normal(size=(n, 7, 3)).astype(np.float16),
        "img": rng.integers(256, size=(n, 2, 6, 4)).astype(np.uint8),
        "vid": rng.integers(256, size=(n, 3, 1, 4, 4)).astype(np.uint8),
        "tok": rng.integers(11, size=(n, 6)).astype(np.int32),
    }
    target = {
        "multiclass": rng.integers(4, size=n),
        "multilabel": rng.integers(2, size=(n, 4)),
        "regression": rng.normal(size=(n, 4)).astype(np.float32),
    }[task]
    return Split(arrays, target, group)


def make_data(task: str = "multiclass", **changes: Split) -> MultimodalData:
    info = DataInfo(
        "toy",
        MODALITIES,
        task,
        4,
        class_names=("w", "x", "y", "z"),
        source="made up",
        notes=("one", "two"),
        recipe={"fit": {"epochs": 3}},
    )
    parts = {part: make_split(n, k, task) for k, (part, n) in enumerate({"train": 20, "val": 8, "test": 8}.items())}
    return MultimodalData(info, **{**parts, **changes})


# --- splits ---------------------------------------------------------------------------------------------------------


def test_batch_has_the_samples_asked_for_in_the_types_of_the_model() -> None:
    split = make_split(20, 0)
    batch = split.batch(torch.tensor([3, 3, 19]))
    assert batch.index.tolist() == [3, 3, 19]
    assert torch.equal(batch.target, torch.from_numpy(split.target[[3, 3, 19]]))
    assert torch.allclose(batch.inputs["img"], torch.from_numpy(split.arrays["img"][[3, 3, 19]]).float() / 255)
    assert torch.equal(batch.inputs["seq"], torch.from_numpy(split.arrays["seq"][[3, 3, 19]]).float())
    dtypes = {m: x.dtype for m, x in batch.inputs.items()}
    assert dtypes == {m: torch.int64 if m == "tok" else torch.float32 for m in dtypes}
    for m, x in batch.inputs.items():
        assert torch.isfinite(x.double()).all(), m


def test_batch_is_a_copy() -> None:
    split = make_split(4, 0)
    before = {m: array.copy() for m, array in split.arrays.items()}
    batch = split.batch([0, 1, 2, 3])
    for x in (*batch.inputs.values(), batch.target):
        x.zero_()
    for m, array in split.arrays.items():
        assert np.array_equal(array, before[m])


def test_batches_cover_a_split_in_order_and_subset_renumbers() -> None:
    split = make_split(10, 0, group=np.arange(10))
    assert [len(b) for b in split.batches(4)] == [4, 4, 2]
    assert torch.cat([b.index for b in split.batches(4)]).tolist() == list(range(10))
    part = split.subset(np.array([7, 2]))
    assert np.array_equal(part.arrays["vec"], split.arrays["vec"][[7, 2]])
    assert part.group is not None
    assert part.group.tolist() == [7, 2]
    assert part.batch([0]).index.tolist() == [0]


# --- checks ---------------------------------------------------------------------------------------------------------


def spoil(m: str, change: Callable[[np.ndarray], np.ndarray]) -> Split:
    split = make_split(20, 0)
    return Split({**split.arrays, m: change(split.arrays[m].copy())}, split.target)


def with_value(value: float, *rows: int) -> Callable[[np.ndarray], np.ndarray]:
    def change(array: np.ndarray) -> np.ndarray:
        array[list(rows)] = value
        return array

    return change


@pytest.mark.parametrize(
    ("train", "message"),
    [
        (
            spoil("vec", with_value(np.nan, 3, 17)),
            r"`vec` of `toy` \(train\) holds NaN or inf in 2 of 20 samples: 3, 17",
        ),
        (spoil("seq", with_value(np.inf, *range(6))), r"`seq` .* in 6 of 20 samples: 0, 1, 2, 3, 4, \.\.\."),
        (
            spoil("seq", lambda a: a[:, :5]),
            r"`seq` of `toy` \(train\) should have shape \(20, 7, 3\). Found \(20, 5, 3\)",
        ),
        (spoil("vec", lambda a: a[:19]), r"`vec` .* should have shape \(20, 5\). Found \(19, 5\)"),
        (spoil("tok", with_value(11, 0)), r"`tok` .* token ids in 0..10. Found int32 in 0..11"),
        (spoil("tok", with_value(-1, 0)), r"`tok` .* Found int32 in -1..10"),
        (spoil("tok", lambda a: a.astype(np.float32)), r"`tok` .* token ids in 0..10. Found float32"),
        (spoil("vec", lambda a: a.astype(np.int64)), r"`vec` .* should hold floats, or uint8 pixels. Found int64"),
        (make_split(0, 0), "Split `train` of `toy` is empty"),
        (Split(make_split(20, 0).arrays, np.full(20, 4)), r"\(train\): Labels should lie in 0..3. Found 4 at sample 0"),
        (Split(make_split(20, 0).arrays, np.full(20, -1)), "Labels should lie in 0..3. Found -1"),
        (Split({"vec": np.zeros((20, 5), np.float32)}, np.zeros(20, np.int64)), "should have the modalities vec, seq"),
        (make_split(20, 0, group=np.zeros(3)), "one group per sample. Found 3 for 20 samples"),
    ],
)
def test_bad_input_is_named(train: Split, message: str) -> None:
    with pytest.raises(DataError, match=message):
        make_data(train=train)


def test_one_modality_is_refused() -> None:
    data = make_data()
    info = dataclasses.replace(data.info, modalities=MODALITIES[:1])
    with pytest.raises(DataError, match=r"at least two modalities. `toy` has 1: vec"):
        MultimodalData(info, data.train, data.val, data.test)


@pytest.mark.parametrize("order", [np.arange(8), np.arange(8)[::-1]], ids=["same order", "shuffled"])
def test_validation_equal_to_test_is_refused(order: np.ndarray) -> None:
    test = make_split(8, 2)
    with pytest.raises(DataError, match="The validation set of `toy` is its test set"):
        make_data(val=test.subset(order), test=test)


def test_equal_counts_of_a_few_discrete_values_are_no_leak() -> None:
    ones = np.ones((8, 1), np.float32)
    info = DataInfo("bits", (Modality("a", "vector", (1,)), Modality("b", "vector", (1,))), "multiclass", 2)
    first = Split({"a": ones, "b": ones}, np.array([0, 1] * 4))
    second = Split({"a": ones, "b": ones}, np.array([1, 0] * 4))
    assert len(MultimodalData(info, first, first, second).test) == 8


def test_fingerprint_tells_data_apart_and_not_their_recipe() -> None:
    data = make_data()
    assert data.fingerprint() == make_data().fingerprint()
    assert data.fingerprint() == dataclasses.replace(data, info=dataclasses.replace(data.info, recipe={})).fingerprint()
    others = [
        make_data(train=make_split(20, 5)),
        make_data(train=make_split(21, 0)),
        make_data(train=make_split(20, 0, group=np.arange(20))),
        dataclasses.replace(data, info=dataclasses.replace(data.info, name="other")),
        make_data("multilabel"),
    ]
    assert len({data.fingerprint(), *(other.fingerprint() for other in others)}) == 1 + len(others)


# --- prepared data --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", ["multiclass", "multilabel", "regression"])
@pytest.mark.parametrize("group", [None, np.arange(20), np.array(["anna", "bo"] * 10)], ids=["none", "ids", "names"])
def test_round_trip(tmp_path: Path, task: str, group: np.ndarray | None) -> None:
    data = make_data(task, train=make_split(20, 0, task, group))
    save_prepared(data, tmp_path / "out")
    again = load_prepared(tmp_path / "out")
    assert again.info == data.info
    for part in ("train", "val", "test"):
        old, new = data.split(part), again.split(part)
        assert old.target.dtype == new.target.dtype
        assert np.array_equal(old.target, new.target)
        for m in old.arrays:
            assert old.arrays[m].dtype == new.arrays[m].dtype
            assert np.array_equal(old.arrays[m], new.arrays[m])
            assert new.arrays[m].flags.c_contiguous
        assert (old.group is None) == (new.group is None)
        assert old.group is None or np.array_equal(old.group, new.group)
    assert again.fingerprint() == data.fingerprint()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_prepared_data_are_a_hugging_face_dataset(tmp_path: Path) -> None:
    import datasets

    save_prepared(make_data(), tmp_path / "out")
    parts = datasets.load_from_disk(str(tmp_path / "out"))
    assert set(parts) == {"train", "val", "test"}
    assert parts["train"][3]["label"] == make_data().train.target[3]
    assert np.allclose(parts["train"][3]["vec"], make_data().train.arrays["vec"][3])


def test_saving_twice_replaces(tmp_path: Path) -> None:
    save_prepared(make_data(), tmp_path / "out")
    save_prepared(make_data("multilabel"), tmp_path / "out")
    assert load_prepared(tmp_path / "out").info.task == "multilabel"


def test_what_is_there_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(OutputError, match="exists and is not"):
        save_prepared(make_data(), tmp_path)
    with pytest.raises(OutputError, match="exists and is not"):
        save_prepared(make_data(), tmp_path / "thesis.tex")
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(file: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match=r"No space left on device"):
        save_prepared(make_data(), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_unwritable_place(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="Could not write"):
        save_prepared(make_data(), tmp_path / "file" / "out")


def test_missing_and_damaged_folders(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no prepared data set"):
        load_prepared(tmp_path / "nowhere")
    save_prepared(make_data(), tmp_path / "out")
    next((tmp_path / "out" / "val").glob("*.arrow")).write_bytes(b"cut")
    with pytest.raises(DataError, match=r"is damaged .* prepare it again"):
        load_prepared(tmp_path / "out")
    (tmp_path / "out" / "counterpoise.json").write_text(json.dumps({"name": "x"})[:-3])
    with pytest.raises(DataError, match="is damaged"):
        load_prepared(tmp_path / "out")


# --- a prepared set of somebody else's ----------------------------------------------------------------------------


def description(tmp_path: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    save_prepared(make_data(), tmp_path / "out")
    file = tmp_path / "out" / "counterpoise.json"
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))
    return tmp_path / "out"


@pytest.mark.parametrize(
    "recipe",
    [
        {"model": {"fusion": "subprocess.Popen"}},
        {"model": {"fusion": "logging:FileHandler"}},
        {"model": {"encoders": {"a": "os.system"}}},
        {"model": {"encoders": {"a": "text[name=../../evil]"}}},
        {"model": {"encoders": ["os.system"]}},
        {"model": {"fusion": ["concat"]}},
        {"method": "subprocess.Popen"},
        {"method_args": {"args": "touch x"}},
        {"rule": "os.getcwd"},
        {"fit": {"accelerator": "evil.Accelerator"}},
        {"fit": {"epochs": 10**12}},
        {"fit": {"epochs": "many"}},
        {"model": {"width": 10**9}},
        {"optim": {"name": "torch.optim.SGD"}},
        {"optim": {"lr": float("inf")}},
        {"fit": 3},
        "os.system",
    ],
)
def test_a_recipe_names_entries_of_catalogues_and_plain_values(recipe: Any, tmp_path: Path) -> None:
    folder = description(tmp_path, lambda content: content.update(recipe=recipe))
    with pytest.raises(DataError, match=r"cannot be used"):
        load_prepared(folder)


@pytest.mark.parametrize("recipe", [{}, *(row.recipe for row in DATASETS.values())])
def test_recipes_of_the_catalogue_pass(recipe: Any, tmp_path: Path) -> None:
    assert load_prepared(description(tmp_path, lambda content: content.update(recipe=recipe))).info.recipe == recipe


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", 3),
        ("modalities", []),
        ("modalities", "ab"),
        ("modalities", [3]),
        ("task", "os.system"),
        ("num_outputs", -1),
        ("num_outputs", 2**70),
        ("num_outputs", True),
        ("class_names", ["only one"]),
        ("class_names", [1, 2, 3]),
        ("notes", "text"),
        ("source", None),
        ("augment", {"visual": "a", "smallest": 0}),
        ("augment", {"code": "x"}),
        ("more", "x"),
    ],
)
def test_every_field_of_a_description_is_checked(field: str, value: Any, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot be used"):
        load_prepared(description(tmp_path, lambda content: content.update({field: value})))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("kind", "code"),
        ("shape", [-1]),
        ("shape", [2**20, 2**20]),
        ("shape", []),
        ("words", [1]),
        ("rate", -1),
        ("x", 1),
    ],
)
def test_every_field_of_a_modality_is_checked(field: str, value: Any, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot be used"):
        load_prepared(description(tmp_path, lambda content: content["modalities"][0].update({field: value})))


@pytest.mark.parametrize("field", ["name", "modalities", "task", "num_outputs"])
def test_missing_fields_are_named(field: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"lacks `{field}`"):
        load_prepared(description(tmp_path, lambda content: content.pop(field)))
