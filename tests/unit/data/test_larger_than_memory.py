"""Data that stay in their files: what is read, in which order, and what it costs in memory."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from counterpoise.data import BatchLoader, MappedRows, Split, epoch_order, from_arrays, load_prepared, save_prepared
from counterpoise.evaluation.collect import collect
from counterpoise.evaluation.robustness import corrupted_outputs
from counterpoise.model import MultimodalClassifier

ROW, ROWS = 1 << 14, 1 << 13
"""A file of 128 MiB."""


def resident(kind: str) -> float:
    """Return resident memory of this process in MiB: all of it, of files, or its own."""
    match = re.search(rf"{kind}:\s+(\d+)", Path("/proc/self/status").read_text())
    assert match
    return int(match[1]) / 1024


@pytest.fixture
def on_disk(tmp_path: Path) -> np.memmap:
    """Rows in a file with holes: every 1,000th holds its number."""
    array = np.memmap(tmp_path / "rows", np.uint8, "w+", shape=(ROWS, ROW))
    array[::1000] = (np.arange(0, ROWS, 1000) // 1000 + 1).astype(np.uint8)[:, None]
    array.flush()
    return np.memmap(tmp_path / "rows", np.uint8, "r", shape=(ROWS, ROW))


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_what_was_read_does_not_stay_in_the_memory_of_the_process(
    on_disk: np.memmap, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("counterpoise.data._mapped.RESIDENT", 1 << 23)
    rows = MappedRows([on_disk[: ROWS // 2], on_disk[ROWS // 2 :]])
    before = {kind: resident(kind) for kind in ("RssFile", "RssAnon")}
    largest, ones = 0.0, 0
    for index in np.array_split(np.random.default_rng(0).permutation(ROWS), 64):
        ones += int((rows[index][:, 0] > 0).sum())
        largest = max(largest, resident("RssFile"))
    assert ones == len(range(0, ROWS, 1000))
    assert largest - before["RssFile"] < 32, "of 128 MiB"
    assert resident("RssAnon") - before["RssAnon"] < 32
    assert rows[[0, 7000]][:, 0].tolist() == [1, 8], "dropped pages are read again"


def test_memory_that_is_no_file_is_never_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("counterpoise.data._mapped.RESIDENT", 1)
    values = np.random.default_rng(0).integers(0, 255, (64, 1 << 16)).astype(np.uint8)
    expected = values.copy()
    rows = MappedRows([values[:32], values[32:]])
    for k in range(64):
        np.testing.assert_array_equal(rows[k], expected[k])
    np.testing.assert_array_equal(values, expected)


@pytest.mark.parametrize(
    "index", [slice(2, 9, 3), slice(None, None, -2), np.array([5, 0, -1]), [1], np.arange(10) % 3 == 0, slice(4, 4), 3]
)
def test_rows_are_indexed_as_those_of_an_array(index: object) -> None:
    array = np.arange(30).reshape(10, 3)
    np.testing.assert_array_equal(MappedRows([array[:4], array[4:]])[index], array[index])  # type: ignore[index]


def test_a_position_beyond_the_rows_is_an_error() -> None:
    with pytest.raises(IndexError):
        MappedRows([np.zeros((3, 1))])[np.array([3])]


def test_an_epoch_shuffled_by_blocks_is_a_local_permutation() -> None:
    n, block, window = 50_000, 10, 256
    order = epoch_order(n, seed=3, epoch=1, block=block)
    assert order.sort().values.equal(torch.arange(n))
    assert order.equal(epoch_order(n, seed=3, epoch=1, block=block))
    assert not order.equal(epoch_order(n, seed=3, epoch=2, block=block))
    first = order[: block * window]
    assert len((first // block).unique()) == window, "the first window holds whole blocks"
    assert (first.diff() == 1).float().mean() < 0.02, "neighbours are mixed"
    thirds = torch.stack([part.double().mean() for part in order.tensor_split(3)]) / n
    assert ((thirds - 0.5).abs() < 0.08).all(), "every part of the epoch sees all of the file"
    assert epoch_order(7, seed=0, epoch=0).equal(epoch_order(7, seed=0, epoch=0, block=0))


def mapped(split: Split) -> Split:
    half = len(split) // 2
    arrays: dict[str, Any] = {m: MappedRows([array[:half], array[half:]]) for m, array in split.arrays.items()}
    return Split(arrays, split.target, split.group, split.augmentation, split.captions, split.present)


@pytest.fixture
def split() -> Split:
    rng = np.random.default_rng(0)
    y = rng.integers(3, size=200)
    arrays = {"a": (rng.normal(size=(200, 5)) + y[:, None]).astype("f4"), "b": rng.normal(size=(200, 4)).astype("f4")}
    return Split(arrays, y)


def test_the_loader_reads_ahead_and_gives_every_sample_once(split: Split) -> None:
    loader = BatchLoader(mapped(split), 16, seed=0)
    batches = list(loader)
    index = torch.cat([batch.index for batch in batches])
    assert index.equal(loader.order())
    assert index.sort().values.equal(torch.arange(200))
    for batch in batches:
        assert batch.inputs["a"].equal(torch.from_numpy(split.arrays["a"][batch.index]))
    partial = iter(loader)
    next(partial)
    partial.close()  # type: ignore[attr-defined]


def test_an_error_of_the_reader_reaches_the_training(split: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    loader = BatchLoader(mapped(split), 16, seed=0)
    monkeypatch.setattr(MappedRows, "__getitem__", lambda self, index: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        list(loader)


def test_large_samples_are_evaluated_a_few_at_a_time() -> None:
    pictures = np.zeros((300, 3, 224, 224), np.uint8)
    split = Split({"image": pictures, "number": np.zeros((300, 1), np.float32)}, np.zeros(300, int))
    sizes = [len(batch.target) for batch in split.batches(512)]
    assert sum(sizes) == 300
    assert max(sizes) * 3 * 224 * 224 * 4 <= 1 << 24
    small = Split({"a": np.zeros((600, 2), np.float32)}, np.zeros(600, int))
    assert [len(batch.target) for batch in small.batches(512)] == [512, 88]


def test_data_above_the_limit_stay_in_their_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    arrays = {"a": rng.normal(size=(300, 40)).astype("f4"), "b": rng.normal(size=(300, 2)).astype("f4")}
    data = from_arrays(arrays, rng.integers(2, size=300))
    save_prepared(data, tmp_path / "set")
    assert not load_prepared(tmp_path / "set").train.is_mapped
    monkeypatch.setattr("counterpoise.data._prepared.IN_MEMORY", 10_000)
    monkeypatch.setattr("counterpoise.data._mapped.COPIED", 3_000)
    large = load_prepared(tmp_path / "set")
    assert isinstance(large.train.arrays["a"], MappedRows)
    assert isinstance(large.train.arrays["b"], np.ndarray), "little is copied"
    assert large.fingerprint() == data.fingerprint()


def test_robustness_of_mapped_data_is_that_of_data_in_memory(split: Split) -> None:
    torch.manual_seed(0)
    encoders = {m: nn.Sequential(nn.Linear(d, 8), nn.ReLU()) for m, d in (("a", 5), ("b", 4))}
    model = MultimodalClassifier(encoders, num_outputs=3, feature_dims={"a": 8, "b": 8}).eval()
    clean, _ = collect(model, split.batches(512))
    whole = list(corrupted_outputs(model, split, clean, ("a", "b")))
    parts = list(corrupted_outputs(model, mapped(split), clean, ("a", "b")))
    assert [(m, c) for m, c, _ in whole] == [(m, c) for m, c, _ in parts]
    for (_, corruption, one), (_, _, other) in zip(whole, parts, strict=True):
        torch.testing.assert_close(other.logits, one.logits)
        assert corruption.kind in ("noise", "zeros", "permute")
