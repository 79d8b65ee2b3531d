"""The four cases are four worlds; the verdict is right in at least 19 of 20 seeds, at n = 1,000."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from counterpoise.diagnosis import diagnose, diagnose_arrays

SEEDS = 20


@pytest.mark.parametrize("name", ["balanced", "under-trained", "uninformative", "overfitting"])
def test_verdict_on_a_model_is_right_in_19_of_20_seeds(name: str, world: Callable[[str, int], Any]) -> None:
    overall, of_b = Counter(), Counter()
    for seed in range(SEEDS):
        made = world(name, seed)
        found = diagnose(made.model, made.held, train=made.train)
        assert found.valuation.n == 1000
        overall[found.verdict] += 1
        of_b[found.findings["b"].verdict] += 1
    assert overall[name] >= 19, overall
    assert of_b[name] >= 19, of_b


@pytest.mark.parametrize("name", ["balanced", "under-trained", "uninformative"])
def test_without_training_samples_the_other_three_verdicts_stand(name: str, world: Callable[[str, int], Any]) -> None:
    made = world(name, 100)
    found = diagnose(made.model, made.held)
    assert found.verdict == name
    assert any("overfitting was not looked at" in note for note in found.notes)


ARRAYS = {"balanced": (1.5, 40), "uninformative": (0.0, 40), "overfitting": (0.0, 500)}


@pytest.mark.parametrize("name", list(ARRAYS))
def test_verdict_on_arrays_is_right_in_every_seed(name: str) -> None:
    strength, dims = ARRAYS[name]
    for seed in range(3):
        rng = np.random.default_rng(seed)
        y = rng.integers(2, size=1000)
        b = rng.normal(size=(1000, dims))
        b[:, 0] += strength * y
        found = diagnose_arrays({"a": rng.normal(size=(1000, 40)) + 1.5 * np.eye(40)[0] * y[:, None], "b": b}, y)
        assert (found.verdict, found.findings["a"].verdict) == (name, "balanced")


def test_the_number_that_says_so_is_the_one_in_the_sentence(world: Callable[[str, int], Any]) -> None:
    made = world("under-trained", 0)
    found = diagnose(made.model, made.held)
    finding, evidence = found.findings["b"], found.evidence["b"]
    assert evidence.lost is not None
    assert evidence.realised is not None
    assert finding.number == evidence.lost.value
    assert evidence.lost.value == pytest.approx(evidence.mi.value - evidence.realised.value)
    assert f"{finding.number:.3f}" in finding.sentence


def test_a_wide_frozen_encoder_that_keeps_everything_is_not_called_under_trained() -> None:
    """What counts is what becomes of the information, not whether weights moved."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    y = torch.randint(2, (2000,))
    inputs = {m: torch.randn(2000, 4) + 1.5 * y[:, None] * torch.eye(4)[0] for m in "ab"}
    towers = {m: nn.Linear(4, 32).requires_grad_(False) for m in "ab"}
    head = nn.Linear(64, 2)

    def model(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return head(torch.cat([towers["a"](a), towers["b"](b)], 1))

    optimiser = torch.optim.Adam(head.parameters(), lr=0.05)
    for _ in range(60):
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(**{m: x[:1000] for m, x in inputs.items()}), y[:1000]).backward()
        optimiser.step()
    found = diagnose(model, [({m: x[1000:] for m, x in inputs.items()}, y[1000:])])
    assert found.verdict == "balanced"
