"""Whatever a loader yields, the samples are the same."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from counterpoise.diagnosis import adapt
from counterpoise.diagnosis._loader import Samples, collect
from counterpoise.errors import DataError
from counterpoise.records import Batch

A, B, Y = torch.arange(12.0).reshape(6, 2), torch.arange(6.0).reshape(6, 1), torch.tensor([0, 1, 0, 1, 1, 0])
PARTS = [slice(0, 4), slice(4, 6)]


def inputs_of(samples: Samples) -> dict[str, Any]:
    """Return the inputs of all samples, whose batches are of one shape."""
    return next(iter(samples.store.batches(10**6)))[1]


def plus(a: Tensor, b: Tensor) -> Tensor:
    return a + b


LOADERS = {
    "Batch": [Batch({"a": A[r], "b": B[r]}, Y[r], torch.arange(6)[r]) for r in PARTS],
    "(dict, y)": [({"a": A[r], "b": B[r]}, Y[r]) for r in PARTS],
    "((x1, x2), y)": [((A[r], B[r]), Y[r]) for r in PARTS],
    "[[x1, x2], y]": [[[A[r], B[r]], Y[r]] for r in PARTS],
    "(x1, x2, y)": [(A[r], B[r], Y[r]) for r in PARTS],
    "dict with label": [{"a": A[r], "labels": Y[r], "b": B[r]} for r in PARTS],
    "arrays": [({"a": A[r].numpy(), "b": B[r].numpy()}, Y[r].tolist()) for r in PARTS],
}


@pytest.mark.parametrize("kind", list(LOADERS))
def test_all_kinds_give_the_same_samples(kind: str) -> None:
    samples, adapter = collect(LOADERS[kind], adapt(plus))
    assert adapter.modalities == ("a", "b")
    torch.testing.assert_close(inputs_of(samples)["a"], A)
    torch.testing.assert_close(inputs_of(samples)["b"], B)
    assert samples.target.tolist() == Y.tolist()
    assert samples.index.tolist() == list(range(6))
    assert samples.seen == 6


def test_one_batch_a_generator_and_a_torch_loader_are_loaders_too() -> None:
    from torch.utils.data import DataLoader, TensorDataset

    loaders: list[Iterable[Any]] = [
        LOADERS["Batch"][0],
        ((A[r], B[r], Y[r]) for r in PARTS),
        DataLoader(TensorDataset(A, B, Y), batch_size=5),
    ]
    assert [collect(loader, adapt(plus))[0].seen for loader in loaders] == [4, 6, 6]


def test_a_label_key_of_ones_own_and_groups() -> None:
    item = {"ids": torch.ones(3, 2), "mask": torch.ones(3, 2), "pixels": torch.ones(3, 4), "verdict": torch.ones(3)}
    groups = {"text": ["ids", "mask"], "image": ["pixels"]}
    samples, adapter = collect([item], adapt(lambda **k: k, call="kwargs", modalities=groups), label="verdict")
    assert adapter.modalities == ("text", "image")
    assert list(inputs_of(samples)["text"]) == ["ids", "mask"]


def test_the_subset_is_random_the_same_again_and_keeps_rows_together() -> None:
    n = 1000
    x = torch.arange(n, dtype=torch.float64)
    loader = [({"a": x[r], "b": -x[r]}, x[r].long()) for r in torch.arange(n).split(37)]
    first, second = (collect(loader, adapt(plus), limit=100, seed=s)[0] for s in (0, 0))
    assert first.index.tolist() == second.index.tolist()
    assert len(first.index) == 100
    assert first.seen == n
    torch.testing.assert_close(inputs_of(first)["a"].long(), first.index)
    torch.testing.assert_close(-inputs_of(first)["b"].long(), first.index)
    assert first.target.tolist() == first.index.tolist()
    other = collect(loader, adapt(plus), limit=100, seed=1)[0]
    assert other.index.tolist() != first.index.tolist()
    # Every position is as likely: over 200 seeds the mean position is that of a uniform draw.
    mean = np.mean([collect(loader, adapt(plus), limit=20, seed=s)[0].index.float().mean().item() for s in range(50)])
    assert abs(mean - (n - 1) / 2) < 4 * n / 12**0.5 / (20 * 50) ** 0.5


def test_batches_of_different_length_stay_as_the_loader_made_them() -> None:
    loader = [({"a": torch.ones(2, size), "b": torch.ones(2, 1)}, torch.zeros(2)) for size in (3, 5, 5)]
    store = collect(loader, adapt(plus))[0].store
    assert [tuple(inputs["a"].shape) for _, inputs in store.batches(100)] == [(2, 3), (4, 5)]
    assert [tuple(inputs["a"].shape) for _, inputs in store.batches()] == [(2, 3), (2, 5), (2, 5)]


@pytest.mark.parametrize(
    ("loader", "message"),
    [
        ([], "yielded no samples"),
        ([({"a": A[:0], "b": B[:0]}, Y[:0])], "yielded no samples"),
        ([(A, Y)], "one modality"),
        ([A], "Found Tensor"),
        ([{"a": A, "b": B}], "under `label`. Found the keys a, b"),
        ([({"a": A, "b": B[:3]}, Y)], "`a`: 6, `b`: 3"),
        ([({"a": A, "b": B}, Y[:3])], "6 samples should have 6 targets. Found"),
        ([({"a": A, "b": B}, Y), ({"a": A}, Y)], "should hold b. Found a"),
        ([((A, B), Y), ((A, B, B), Y)], "Found 3 inputs"),
    ],
)
def test_what_cannot_be_read_is_refused(loader: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        collect(loader, adapt(plus))
