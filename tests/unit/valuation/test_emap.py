"""The additive projection against its definition, written out as loops."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from counterpoise.errors import DataError
from counterpoise.tasks import MultiClass, Regression
from counterpoise.valuation.model_based import emap

G = torch.Generator().manual_seed(0)
A, B, C = (torch.randn(12, 2, generator=G, dtype=torch.float64) for _ in range(3))
Y = torch.arange(12) % 3
W = torch.randn(2, 2, 3, generator=G, dtype=torch.float64)


def bilinear(x: dict[str, Tensor]) -> Tensor:
    return torch.einsum("ni,nj,ijc->nc", x["a"], x["b"], W) + x["a"].sum(1, keepdim=True) * torch.tensor(
        [1.0, 0.0, -1.0]
    )


def test_two_modalities_equal_the_definition() -> None:
    projection = emap(bilinear, {"a": A, "b": B}, Y, task=MultiClass(3))
    n = len(A)
    f = np.array([[bilinear({"a": A[i : i + 1], "b": B[j : j + 1]})[0].numpy() for j in range(n)] for i in range(n)])
    f -= f.mean(2, keepdims=True)
    wanted = np.array([f[i].mean(0) + f[:, i].mean(0) - f.mean((0, 1)) for i in range(n)])
    np.testing.assert_allclose(projection.logits.numpy(), wanted, atol=1e-12)
    assert projection.additive.value == pytest.approx((wanted.argmax(1) == Y.numpy()).mean())
    assert projection.interaction.value == pytest.approx(projection.model.value - projection.additive.value)
    own = f[np.arange(n), np.arange(n)]
    share = np.square(own - wanted).sum() / np.square(own - own.mean(0)).sum()
    assert projection.interaction_share == pytest.approx(share)


def test_a_sum_of_unimodal_functions_is_its_own_projection() -> None:
    def additive(x: dict[str, Tensor]) -> Tensor:
        return x["a"].square().sum(1, keepdim=True) + x["b"].exp().sum(1, keepdim=True) - x["c"].sum(1, keepdim=True)

    inputs = {"a": A, "b": B, "c": C}
    projection = emap(additive, inputs, torch.randn(12, 1, generator=G), task=Regression(1), measure="log_likelihood")
    torch.testing.assert_close(projection.logits, additive(inputs))
    assert projection.interaction_share == pytest.approx(0, abs=1e-12)
    assert projection.interaction.value == pytest.approx(0, abs=1e-12)


def test_parity_is_all_interaction() -> None:
    a, b = (torch.randint(2, (200, 1), generator=G).double() * 2 - 1 for _ in "ab")
    y = (a * b < 0).long().flatten()
    projection = emap(
        lambda x: torch.cat([x["a"] * x["b"], -x["a"] * x["b"]], 1), {"a": a, "b": b}, y, task=MultiClass(2)
    )
    assert projection.model.value == 1
    assert projection.additive.value < 0.75
    assert projection.interaction_share > 0.95


def test_bad_input_is_refused() -> None:
    with pytest.raises(DataError, match="two modalities"):
        emap(lambda x: x["a"], {"a": A}, Y, task=MultiClass(3))
    with pytest.raises(DataError, match="one target"):
        emap(bilinear, {"a": A, "b": B}, Y[:5], task=MultiClass(3))
