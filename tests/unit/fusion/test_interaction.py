"""Attention and low-rank tensor fusion, written out in NumPy, for one to four modalities of unequal width."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from counterpoise.errors import ConfigError
from counterpoise.fusion import Attention, LowRankTensor
from counterpoise.model import build_model

DIMS = {"a": 3, "b": 5, "c": 4, "d": 2}


def features(count: int, size: int = 7) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {m: torch.randn(size, d, generator=generator) for m, d in list(DIMS.items())[:count]}


def array(value: Tensor) -> np.ndarray:
    return value.detach().numpy()


def linear(layer: nn.Module, x: np.ndarray) -> np.ndarray:
    return x @ array(layer.weight).T + array(layer.bias)


def normalised(layer: nn.Module, x: np.ndarray) -> np.ndarray:
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
    return x * array(layer.weight) + array(layer.bias)


def transformer_layer(layer: nn.TransformerEncoderLayer, tokens: np.ndarray, heads: int) -> np.ndarray:
    """One pre-norm layer for the tokens of one sample, ``(T, width)``."""
    width = tokens.shape[-1]
    x = normalised(layer.norm1, tokens)
    mapped = x @ array(layer.self_attn.in_proj_weight).T + array(layer.self_attn.in_proj_bias)
    parts = []
    for k in range(heads):
        q, key, v = (
            mapped[:, o + k * (width // heads) : o + (k + 1) * (width // heads)] for o in (0, width, 2 * width)
        )
        score = np.exp(q @ key.T / math.sqrt(width // heads))
        parts.append(score / score.sum(1, keepdims=True) @ v)
    tokens = tokens + linear(layer.self_attn.out_proj, np.concatenate(parts, 1))
    hidden = np.maximum(linear(layer.linear1, normalised(layer.norm2, tokens)), 0)
    return tokens + linear(layer.linear2, hidden)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_attention_by_hand(count: int, training: bool) -> None:
    torch.manual_seed(0)
    x = features(count)
    fusion = Attention({m: h.shape[1] for m, h in x.items()}, 4, layers=2, heads=2).train(training)
    logits = array(fusion(x))
    for i in range(7):
        rows = [
            linear(fusion.projections[f"token_{m}"], array(h[i])) + array(fusion.vectors[f"vector_{m}"])
            for m, h in x.items()
        ]
        tokens = np.stack([array(fusion.class_token), *rows])
        for layer in fusion.layers:
            tokens = transformer_layer(layer, tokens, 2)
        expected = linear(fusion.head, normalised(fusion.norm, tokens[0]))
        np.testing.assert_allclose(logits[i], expected, rtol=1e-4, atol=1e-5)


def test_attention_does_not_depend_on_the_order_of_modalities() -> None:
    torch.manual_seed(0)
    x = features(3)
    fusion = Attention({m: h.shape[1] for m, h in x.items()}, 4)
    turned = Attention({m: x[m].shape[1] for m in ("c", "a", "b")}, 4)
    turned.load_state_dict(fusion.state_dict())
    torch.testing.assert_close(turned(x), fusion(x))


def test_a_missing_modality_has_no_token() -> None:
    torch.manual_seed(0)
    fusion, pair = Attention({"a": 3, "b": 5, "c": 4}, 4), Attention({"a": 3, "b": 5}, 4)
    pair.load_state_dict(
        {k: v for k, v in fusion.state_dict().items() if not k.endswith(("_c.weight", "_c.bias", "_c"))}
    )
    x = features(3)
    del x["c"]
    torch.testing.assert_close(fusion(x), pair(x))


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_low_rank_tensor_is_a_full_tensor_of_that_rank(count: int) -> None:
    torch.manual_seed(0)
    x = features(count)
    fusion = LowRankTensor({m: h.shape[1] for m, h in x.items()}, 4, rank=3)
    with torch.no_grad():
        fusion.mixture.copy_(torch.tensor([0.5, -1.0, 2.0]))
        fusion.bias.normal_()
    letters = "ijkl"[:count]
    factors = [array(fusion.factors[f"factor_{m}"]) for m in x]
    subscripts = ",".join(f"rc{letter}" for letter in letters)
    weight = np.einsum(f"r,{subscripts}->c{letters}", array(fusion.mixture), *factors)
    ones = [np.concatenate([array(h), np.ones((7, 1))], 1) for h in x.values()]
    outer = np.einsum(",".join(f"n{letter}" for letter in letters) + f"->n{letters}", *ones)
    expected = np.tensordot(outer, weight, (range(1, count + 1), range(1, count + 1))) + array(fusion.bias)
    np.testing.assert_allclose(array(fusion(x)), expected, rtol=1e-4, atol=1e-5)


def test_low_rank_tensor_is_affine_in_each_modality_and_keeps_the_scale() -> None:
    torch.manual_seed(0)
    fusion = LowRankTensor({"a": 40, "b": 60, "c": 50}, 30, rank=8)
    generator = torch.Generator().manual_seed(0)
    x = {m: torch.randn(400, d, generator=generator) for m, d in fusion.feature_dims.items()}
    doubled = fusion({**x, "b": 2 * x["b"]}) + fusion({**x, "b": 0 * x["b"]})
    torch.testing.assert_close(doubled, 2 * fusion(x), rtol=1e-4, atol=1e-4)
    assert 0.7 < fusion(x).std().item() < 1.4


@pytest.mark.parametrize("name", ["attention", "attention[layers=2,heads=3]", "low-rank-tensor[rank=2]"])
def test_a_batch_of_one_is_that_sample_of_a_larger_one(name: str) -> None:
    torch.manual_seed(0)
    shapes = {m: ("vector", (d,), 0) for m, d in DIMS.items()}
    model = build_model(shapes, num_outputs=3, fusion=name, width=10).eval()
    x = features(4)
    with torch.no_grad():
        whole, one = model(x).logits, model({m: h[2:3] for m, h in x.items()}).logits
    torch.testing.assert_close(one, whole[2:3])


def test_sizes_are_checked() -> None:
    with pytest.raises(ConfigError, match="`heads`"):
        Attention(DIMS, 3, heads=0)
    with pytest.raises(ConfigError, match="`rank`"):
        LowRankTensor(DIMS, 3, rank=0)
