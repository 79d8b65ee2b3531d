"""Modality dropout and input corruption: rates, what stays, what is touched."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from counterpoise.corruptions import corrupt
from counterpoise.methods import Corruption, ModalityDropout
from counterpoise.methods._dropout import drop_modalities


@pytest.mark.parametrize("modalities", [2, 3, 4])
@pytest.mark.parametrize("rate", [0.2, 0.7])
def test_rates_are_as_stated_and_one_modality_always_stays(modalities: int, rate: float) -> None:
    n = 40_000
    dropped = drop_modalities(torch.rand(n, modalities, generator=torch.Generator().manual_seed(0)), rate)
    assert not dropped.all(-1).any()
    # P(drop m) = rate - P(all below the rate) / M, because then one of M stays
    expected = rate - rate**modalities / modalities
    assert dropped.double().mean().item() == pytest.approx(expected, abs=4 * (0.25 / n / modalities) ** 0.5)


def test_a_draw_equal_to_the_rate_drops_nothing() -> None:
    """So that a rate of 0 never does, whatever is drawn."""
    assert drop_modalities(torch.tensor([[0.5, 0.9], [0.5, 0.4]]), 0.5).tolist() == [[False, False], [False, True]]
    assert not drop_modalities(torch.zeros(3, 2), 0.0).any()


class Spy(torch.nn.Module):
    def __init__(self, inner: torch.nn.Module) -> None:
        super().__init__()
        self.inner, self.seen = inner, torch.empty(0)
        self.feature_dim = 8

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.seen = x
        return self.inner(x)


def spied(model: Any) -> Any:
    for m in model.modalities:
        model._encoders[f"encoder_{m}"] = Spy(model.encoder(m))
    return model


def test_a_dropped_input_is_all_zero_and_a_kept_one_untouched(make_model: Any, make_batches: Any) -> None:
    model, batch = spied(make_model(3)), make_batches(3, size=200)[0]
    torch.manual_seed(0)
    list(ModalityDropout(strength=0.4).steps(model, batch))
    for m in "abc":
        seen = model.encoder(m).seen
        zero = (seen == 0).all(1)
        assert 0.2 < zero.double().mean() < 0.55
        assert torch.equal(seen[~zero], batch.inputs[m][~zero])


def test_at_most_one_modality_of_a_sample_is_damaged(make_model: Any, make_batches: Any) -> None:
    model, batch = spied(make_model(3)), make_batches(3, size=400)[0]
    torch.manual_seed(0)
    list(Corruption(strength=0.6).steps(model, batch))
    changed = torch.stack([(model.encoder(m).seen != batch.inputs[m]).any(1) for m in "abc"])
    assert changed.sum(0).max() == 1
    assert changed.any(0).double().mean().item() == pytest.approx(0.6, abs=0.1)


def test_each_kind_of_damage() -> None:
    torch.manual_seed(0)
    x = torch.randn(20_000, 4) * 5
    partner = torch.randperm(len(x))
    n = len(x)

    def damaged(kind: int, level: float) -> torch.Tensor:
        found = corrupt(x, torch.full((n,), kind), torch.full((n,), level), partner)
        assert isinstance(found, torch.Tensor)
        return found

    assert (damaged(0, 0.0) - x).std().item() == pytest.approx(0.3 * x.std().item(), rel=0.02)
    assert (damaged(0, 1.0) - x).std().item() == pytest.approx(3.0 * x.std().item(), rel=0.02)
    assert (damaged(1, 0.3) == 0).all()
    assert (damaged(2, 0.3) == 0).double().mean().item() == pytest.approx(0.3, abs=0.01)
    assert torch.equal(damaged(3, 0.3), x[partner])
    assert torch.allclose(damaged(4, 0.0), x + 0.3 * x[partner])
    assert torch.allclose(damaged(4, 1.0), x + 3 * x[partner])


def test_tokens_and_nested_inputs_keep_their_type() -> None:
    value = {"ids": torch.arange(15).reshape(5, 3), "mask": torch.ones(5, 3)}
    found = corrupt(value, torch.tensor([0, 1, 2, 3, 4]), torch.full((5,), 0.5), torch.tensor([1, 2, 3, 4, 0]))
    assert not isinstance(found, torch.Tensor)
    assert found["ids"].dtype == torch.int64
    assert torch.equal(found["ids"][0], value["ids"][1]), "noise on tokens is a swap"
    assert torch.equal(found["ids"][4], value["ids"][0]), "and so is a mix"
    assert (found["ids"][1] == 0).all()
