"""What the families promise to the methods in them, on the smallest method of each."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from counterpoise.methods import Uniform
from counterpoise.methods._families import GradientCombination, Shaped, by_modality, discounted_loss


class Plain(GradientCombination):
    """The sum of the two gradients."""

    def __init__(self, strength: float) -> None:
        super().__init__(strength=strength)

    def combine(self, joint: list[Tensor], own: list[Tensor]) -> tuple[list[Tensor], Tensor]:
        assert not torch.is_grad_enabled()
        return [g + h for g, h in zip(joint, own, strict=True)], torch.tensor(0.3, dtype=joint[0].dtype)


class Loud(Shaped):
    """Modality `a` gets three times its gradient, and the features have a price."""

    def __init__(self, strength: float) -> None:
        super().__init__(strength=strength)

    def scales(self, model: Any, features: Any, batch: Any) -> dict[str, Tensor]:
        assert not torch.is_grad_enabled()
        return {"a": 2 + features["a"].new_ones(())}

    def terms(self, model: Any, outputs: Any, batch: Any) -> Any:
        price = self.strength * torch.stack([h.square().mean() for h in outputs.features.values()]).sum()
        return {"price": price}, {"seen": price.detach()}


@pytest.mark.parametrize("strength", [0.25, 2.0])
def test_the_sum_of_both_gradients_is_uniform_training(
    strength: float, make_model: Any, make_batches: Any, tools: Any
) -> None:
    one, two = (make_model(3, dtype=torch.float64) for _ in range(2))
    batch = make_batches(3, dtype=torch.float64)[0]
    (record,) = Plain(strength).steps(one, batch)
    list(Uniform(strength).steps(two, batch))
    for p, q in zip(one.parameters(), two.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad)
    unimodal = sum(record.parts[m].item() for m in one.modalities)
    assert record.loss.item() == pytest.approx(record.parts["fused"].item() + strength * unimodal)
    assert [v.item() for v in record.coefficients.values()] == [0.3] * 3


def test_a_frozen_encoder_has_no_gradients_to_combine(make_model: Any, make_batches: Any, tools: Any) -> None:
    model, batch = make_model(2, dtype=torch.float64), make_batches(2, dtype=torch.float64)[0]
    model.encoder("b").requires_grad_(False)
    (record,) = Plain(1.0).steps(model, batch)
    assert [record.coefficients[f"alpha:{m}"].item() for m in "ab"] == [0.3, 0.5]
    assert tools.grads(model, "a")
    assert not tools.grads(model, "b")


def test_a_shaped_objective_by_hand(make_model: Any, make_batches: Any, tools: Any) -> None:
    """A factor that is not named is 1; a term acts on the encoders through the factors, too."""
    one, two = (make_model(2, dtype=torch.float64) for _ in range(2))
    batch = make_batches(2, dtype=torch.float64)[0]
    (record,) = Loud(0.7).steps(one, batch)
    features = two.encode(batch.inputs)
    price = 0.7 * sum(h.square().mean() for h in features.values())
    (nn.functional.cross_entropy(two.fusion(features), batch.target) + price).backward()
    for m, factor in (("a", 3.0), ("b", 1.0)):
        for g, e in zip(tools.grads(one, m), tools.grads(two, m), strict=True):
            torch.testing.assert_close(g, factor * e)
    assert record.parts["price"].item() == pytest.approx(price.item())
    assert record.loss.item() == pytest.approx(sum(part.item() for part in record.parts.values()))
    assert set(record.coefficients) == {"kappa:a", "seen"}


def test_discounted_loss_by_numpy(tools: Any) -> None:
    generator = torch.Generator().manual_seed(0)
    own, known = torch.randn(2, 6, 3, generator=generator, dtype=torch.float64)
    own.requires_grad_()
    known.requires_grad_()
    y = torch.tensor([0, 1, 2, 0, 1, 2])
    q = tools.softmax(known.detach().numpy())[np.arange(6), y]
    expected = ((1 - 0.3 * q) * tools.nll(own.detach().numpy(), y.numpy())).mean()
    loss = discounted_loss(own, known, y, 0.3)
    assert loss.item() == pytest.approx(expected)
    loss.backward()
    assert own.grad is not None
    assert known.grad is None


def test_named_coefficients_keep_no_graph(make_model: Any) -> None:
    found = by_modality(make_model(2), "k", torch.tensor([1.0, 2.0], requires_grad=True))
    assert {name: (value.item(), value.requires_grad) for name, value in found.items()} == {
        "k:a": (1, False),
        "k:b": (2, False),
    }
