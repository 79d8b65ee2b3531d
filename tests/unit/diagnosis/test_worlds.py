"""The four cases are four worlds; the verdict is right in at least 19 of 20 seeds, at n = 1,000."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from counterpoise.data import worlds
from counterpoise.diagnosis import diagnose, diagnose_arrays
from counterpoise.model import MultimodalClassifier

SEEDS = 20

WORLDS = [
    worlds.XOR(flip=0.05, noise_dims=1),
    worlds.Unique(flip=0.05),
    worlds.Gaussian(),
    worlds.Gaussian((0.6, 0.5, 0.4), between=0.2),
    worlds.GaussianClasses(),
    worlds.GaussianClasses((2.0, 1.5), between=0.3),
]


@pytest.mark.parametrize("name", ["balanced", "under-trained", "uninformative", "overfitting"])
def test_verdict_on_a_model_is_right_in_19_of_20_seeds(name: str, world: Callable[[str, int], Any]) -> None:
    overall, of_b = Counter(), Counter()
    for seed in range(SEEDS):
        made = world(name, seed)
        diagnosis = diagnose(made.model, made.held, train=made.train)
        assert diagnosis.valuation.n == 1000
        overall[diagnosis.verdict] += 1
        of_b[diagnosis.findings["b"].verdict] += 1
    assert overall[name] >= 19, overall
    assert of_b[name] >= 19, of_b


@pytest.mark.parametrize("name", ["balanced", "under-trained", "uninformative"])
def test_without_training_samples_the_other_three_verdicts_stand(name: str, world: Callable[[str, int], Any]) -> None:
    made = world(name, 100)
    diagnosis = diagnose(made.model, made.held)
    assert diagnosis.verdict == name
    assert any("overfitting was not measured" in note for note in diagnosis.notes)


@pytest.mark.parametrize(
    ("strength", "dims", "verdict"), [(1.5, 40, "balanced"), (0.0, 40, "uninformative"), (0.0, 500, "uninformative")]
)
def test_verdict_on_arrays_is_right_in_every_seed(strength: float, dims: int, verdict: str) -> None:
    for seed in range(3):
        rng = np.random.default_rng(seed)
        y = rng.integers(2, size=1000)
        b = rng.normal(size=(1000, dims))
        b[:, 0] += strength * y
        diagnosis = diagnose_arrays({"a": rng.normal(size=(1000, 40)) + 1.5 * np.eye(40)[0] * y[:, None], "b": b}, y)
        assert (diagnosis.verdict, diagnosis.findings["a"].verdict) == (verdict, "balanced")


def test_the_number_that_says_so_is_the_one_in_the_sentence(world: Callable[[str, int], Any]) -> None:
    made = world("under-trained", 0)
    diagnosis = diagnose(made.model, made.held)
    finding, evidence = diagnosis.findings["b"], diagnosis.evidence["b"]
    assert evidence.lost is not None
    assert evidence.realised is not None
    assert finding.number == evidence.lost.value
    assert evidence.lost.value == pytest.approx(evidence.mi.value - evidence.realised.value)
    assert f"{evidence.mi.value - finding.number:.3f} nats" in finding.sentence


def test_a_wide_frozen_encoder_that_keeps_everything_is_not_called_under_trained() -> None:
    """What counts is what becomes of the information, not whether weights moved."""
    torch.manual_seed(0)
    y = torch.randint(2, (2000,))
    inputs = {m: torch.randn(2000, 4) + 1.5 * y[:, None] * torch.eye(4)[0] for m in "ab"}
    towers = {m: nn.Linear(4, 32).requires_grad_(False) for m in "ab"}
    head = nn.Linear(64, 2)

    def model(a: Tensor, b: Tensor) -> Tensor:
        return head(torch.cat([towers["a"](a), towers["b"](b)], 1))

    optimiser = torch.optim.Adam(head.parameters(), lr=0.05)
    for _ in range(60):
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(**{m: x[:1000] for m, x in inputs.items()}), y[:1000]).backward()
        optimiser.step()
    diagnosis = diagnose(model, [({m: x[1000:] for m, x in inputs.items()}, y[1000:])])
    assert diagnosis.verdict == "balanced"


def _ideal(world: worlds.World, subset: tuple[str, ...]) -> Callable[[dict[str, Tensor]], Tensor]:
    def model(batch: dict[str, Tensor]) -> Tensor:
        outputs = world.ideal({m: x.numpy() for m, x in batch.items()}, subset)
        return torch.from_numpy(np.clip(outputs, -20, 20))

    return model


@pytest.mark.parametrize("known", WORLDS, ids=repr)
def test_the_best_predictor_is_balanced_and_uses_what_there_is(known: worlds.World) -> None:
    x, y = known.sample(1000, seed=0)
    loader = [({m: torch.from_numpy(v) for m, v in x.items()}, torch.from_numpy(y))]
    diagnosis = diagnose(_ideal(known, known.modalities), loader, call="dict", task=known.task)
    assert diagnosis.verdict == "balanced"
    for m, e in diagnosis.evidence.items():
        assert e.realised is not None
        for estimate, truth in ((e.mi, known.mi([m])), (e.cmi, known.cmi(m)), (e.realised, known.mi([m]))):
            assert abs(estimate.value - truth) < 4 * estimate.se + 0.01
    assert diagnosis.joint_realised is not None
    assert abs(diagnosis.joint_realised.value - known.mi()) < 4 * diagnosis.joint_realised.se + 0.01


@pytest.mark.parametrize("known", WORLDS, ids=repr)
def test_the_best_predictor_from_one_modality_leaves_the_other_unused(known: worlds.World) -> None:
    x, y = known.sample(1000, seed=0)
    loader = [({m: torch.from_numpy(v) for m, v in x.items()}, torch.from_numpy(y))]
    diagnosis = diagnose(_ideal(known, ("a",)), loader, call="dict", task=known.task)
    assert diagnosis.findings["b"].verdict == diagnosis.verdict == "under-trained"
    expected = "under-trained" if known.mi(["a"]) < 0.05 else "balanced"  # in XOR half of the secret is nothing
    assert diagnosis.findings["a"].verdict == expected


def test_redundant_information_that_even_the_best_predictor_leaves_unused_is_named_as_such() -> None:
    """Between these two classes the best weight of b is 0, though b alone says 0.11 nats: unused, and no loss."""
    known = worlds.GaussianClasses((2.0, 1.0), between=0.5)
    assert known.cmi("b") < 1e-9 < 0.1 < known.mi(["b"])
    x, y = known.sample(1000, seed=0)
    loader = [({m: torch.from_numpy(v) for m, v in x.items()}, torch.from_numpy(y))]
    diagnosis = diagnose(_ideal(known, known.modalities), loader, call="dict")
    assert (diagnosis.findings["b"].verdict, diagnosis.findings["b"].role) == ("under-trained", "redundant")
    assert "robustness rather than accuracy" in diagnosis.findings["b"].sentence


def test_joint_training_starves_the_hard_modality_of_the_dominant_world() -> None:
    """No encoder is frozen here: the easy modality is learnt first, and no gradient is left for the other."""
    known = worlds.Dominant(noise_dims=8)
    data = known.data(1500, seed=0)
    torch.manual_seed(0)
    width = {m: array.shape[1] for m, array in data.train.arrays.items()}
    towers = {m: nn.Sequential(nn.Linear(width[m], 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU()) for m in width}
    model = MultimodalClassifier(towers, num_outputs=6, feature_dims=dict.fromkeys(width, 32))
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
    for _ in range(8):
        for rows in torch.randperm(len(data.train)).split(64):
            batch = data.train.batch(rows)
            optimiser.zero_grad()
            nn.functional.cross_entropy(model(batch.inputs).logits, batch.target).backward()
            optimiser.step()
    diagnosis = diagnose(model, data.test.batches(256), train=data.train.batches(256), limit=1000)
    assert {m: f.verdict for m, f in diagnosis.findings.items()} == {"a": "balanced", "b": "under-trained"}
    assert "encoder keeps only" in diagnosis.findings["b"].sentence
    assert abs(diagnosis.evidence["b"].mi.value - known.mi(["b"])) < 4 * diagnosis.evidence["b"].mi.se + 0.05
