"""Corruptions of inputs: closed forms of every kind, tokens and masks, and the draws for training."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from counterpoise.corruptions import KINDS, TEST_CORRUPTIONS, Corruption, applicable, apply, corrupt_one, moments
from counterpoise.errors import DataError

SCALES = torch.tensor([1.0, 10.0, 0.1])


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def columns(n: int = 20_000) -> Tensor:
    return torch.randn(n, 3, generator=generator(5)) * SCALES + 7


def as_tensor(value: object) -> Tensor:
    assert isinstance(value, Tensor)
    return value


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_by_its_definition(kind: str) -> None:
    x = columns()
    before = x.clone()
    result = as_tensor(apply(x, Corruption(kind, 0.5), generator=generator()))
    torch.testing.assert_close(x, before, rtol=0, atol=0)
    again = as_tensor(apply(x, Corruption(kind, 0.5), generator=generator()))
    torch.testing.assert_close(result, again, rtol=0, atol=0)
    order = torch.randperm(len(x), generator=generator())
    if kind == "noise":  # in standard deviations of each column
        torch.testing.assert_close((result - x).std(0), 0.5 * SCALES, rtol=0.03, atol=0)
    elif kind == "dropout":
        assert ((result == 0) | (result == x)).all()
        assert (result == 0).double().mean().item() == pytest.approx(0.5, abs=0.01)
    else:
        expected = {
            "zeros": torch.zeros_like(x),
            "mean": x.mean(0).expand_as(x),
            "permute": x[order],
            "mix": x + 0.5 * x[order],
        }[kind]
        torch.testing.assert_close(result, expected)


def test_noise_on_images_has_one_scale() -> None:
    x = torch.randn(50, 1, 20, 20, generator=generator())
    x[..., 0] *= 100
    result = as_tensor(apply(x, Corruption("noise", 2.0), generator=generator(1)))
    noise = (result - x).std((0, 1, 2))
    torch.testing.assert_close(noise, torch.full_like(noise, 2 * x.std(correction=0).item()), rtol=0.15, atol=0)


def test_tokens_take_zeros_and_permutation_only_and_masks_stay() -> None:
    value = {"input_ids": torch.arange(1, 16).reshape(5, 3), "attention_mask": torch.ones(5, 3, dtype=torch.long)}
    assert [kind for kind in KINDS if applicable(value, kind)] == ["zeros", "permute", "dropout"]
    zeros: Any = apply(value, Corruption("zeros"))
    assert not zeros["input_ids"].any()
    assert zeros["attention_mask"] is value["attention_mask"]
    for kind in ("noise", "mean", "mix"):
        with pytest.raises(DataError, match="real numbers"):
            apply(value, Corruption(kind))


def test_another_samples_mask_comes_with_its_tokens() -> None:
    ids = torch.tensor([[5, 6], [7, 0], [3, 0], [4, 8]])
    result: Any = apply({"ids": ids, "mask": (ids > 0).long()}, Corruption("permute"), generator=generator(3))
    assert torch.equal(result["mask"], (result["ids"] > 0).long())


def test_known_moments_replace_those_of_the_batch() -> None:
    value = {"x": columns(), "mask": torch.ones(20_000, 3)}
    known = moments(value)
    assert list(known) == ["x"]
    part: Any = apply({k: v[:4] for k, v in value.items()}, Corruption("mean"), statistics=known)
    torch.testing.assert_close(part["x"], value["x"].mean(0).expand(4, 3))


def test_the_corruptions_of_the_test_set_are_distinct() -> None:
    assert len(set(map(str, TEST_CORRUPTIONS))) == len(TEST_CORRUPTIONS)


@pytest.mark.parametrize("rate", [0.0, 0.4, 1.0])
def test_one_modality_of_a_share_of_the_samples_is_corrupted(rate: float) -> None:
    inputs = {m: torch.randn(4000, 40, generator=generator(k)) + 5 for k, m in enumerate("abc")}
    result = corrupt_one(inputs, rate, generator())
    touched = torch.stack([(as_tensor(result[m]) != inputs[m]).any(1) for m in inputs])
    assert touched.sum(0).max() <= 1
    assert touched.any(0).double().mean().item() == pytest.approx(rate, abs=0.03)


def test_kinds_for_training_have_their_probabilities_and_strengths() -> None:
    n = 40_000
    x = torch.randn(n, 40, generator=generator(1)) + 100
    result = as_tensor(corrupt_one({"a": x}, 1.0, generator())["a"])
    zero = (result == 0).all(1)
    partly = (result == 0).any(1) & ~zero
    ratio = (result / x).mean(1)
    mixed = ratio > 1.25
    assert zero.double().mean().item() == pytest.approx(0.15, abs=0.01)
    assert partly.double().mean().item() == pytest.approx(0.15, abs=0.01)
    assert mixed.double().mean().item() == pytest.approx(0.25, abs=0.01)
    assert (ratio[mixed] - 1).min().item() == pytest.approx(0.3, abs=0.01)
    assert (ratio[mixed] - 1).max().item() == pytest.approx(3.0, abs=0.05)


def test_training_on_tokens_takes_another_samples_input_where_noise_has_no_meaning() -> None:
    ids = torch.arange(1, 3001).reshape(1000, 3)
    result: Any = corrupt_one({"text": {"ids": ids, "mask": torch.ones(1000, 3)}}, 1.0, generator())["text"]
    assert result["ids"].dtype == torch.int64
    rows = {tuple(row) for row in ids.tolist()}
    other = [tuple(row) in rows for row in result["ids"].tolist()]
    assert 0.6 < sum(other) / 1000 < 0.85  # noise .3, permute .15, mix .25
