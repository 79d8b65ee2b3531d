"""Modality dropout and input corruption: rates, what stays, what is touched."""

from __future__ import annotations

from typing import Any

import pytest
import torch

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
