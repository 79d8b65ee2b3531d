"""Conditional information is measured against the best classifier on the other modalities."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from counterpoise.diagnosis import diagnose
from counterpoise.model import MultimodalClassifier


class Product(nn.Module):
    """Reads what no linear head can: the product of two signs."""

    feature_dim = 1

    def forward(self, x: Tensor) -> Tensor:
        return x[:, :1] * x[:, 1:]


class Same(nn.Module):
    feature_dim = 1

    def forward(self, x: Tensor) -> Tensor:
        return x


def test_a_model_that_uses_everything_is_not_blamed_for_what_a_poor_reader_misses_in_the_others() -> None:
    """Linear heads find nothing in the raw b, so all of a adds to it. The model reads b and needs little of a."""
    generator = torch.Generator().manual_seed(0)
    y = torch.randint(2, (1500,), generator=generator)
    sign = 2.0 * y - 1
    a = sign[:, None] + torch.randn(1500, 1, generator=generator)
    flip = torch.where(torch.rand(1500, generator=generator) < 0.95, 1.0, -1.0)
    first = torch.where(torch.rand(1500, generator=generator) < 0.5, 1.0, -1.0)
    b = torch.stack([first, first * sign * flip], 1)

    model = MultimodalClassifier({"a": Same(), "b": Product()}, num_outputs=2)
    with torch.no_grad():  # the posterior: log-odds 2 a + log(.95/.05) b1 b2
        head = model.fusion.head
        head.weight.copy_(torch.tensor([[-1.0, -0.5 * np.log(19)], [1.0, 0.5 * np.log(19)]]))
        head.bias.zero_()
    diagnosis = diagnose(model, [({"a": a, "b": b}, y)], estimator="variational-linear")
    assert diagnosis.findings["a"].verdict == "balanced", diagnosis.findings["a"].sentence
    beside = diagnosis.evidence["a"].cmi
    assert beside.low <= diagnosis.valuation.cmi["a"].value <= beside.high
    assert beside.value < 0.1
