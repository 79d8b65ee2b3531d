"""What every method should do on a world with a dominant modality: learn, generalise, and lean towards the weak one."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch

from counterpoise.inference import make_rule, predict
from counterpoise.methods import METHODS, Epoch, Method, make_method
from counterpoise.model import MultimodalClassifier
from counterpoise.records import Batch

Make = Callable[..., Any]
EPOCHS = 10


def prepared(name: str, model: MultimodalClassifier, batches: Sequence[Batch], **arguments: Any) -> Method:
    method = make_method(name, {**METHODS[name].early, **arguments})
    method.use_teachers(dict.fromkeys(method.requires, copy.deepcopy(model)))
    method.setup(model, torch.cat([b.target for b in batches]))
    return method


def train(
    method: Method,
    model: MultimodalClassifier,
    batches: Sequence[Batch],
    held_out: Sequence[Batch],
    epochs: int = EPOCHS,
) -> list[dict[str, float]]:
    """Train; return the means of the coefficients by epoch."""
    optimizer = torch.optim.SGD([*model.parameters(), *method.parameters()], lr=0.02, momentum=0.9)
    history = []
    for number in range(epochs):
        torch.manual_seed(number)
        method.on_epoch_start(model, Epoch(number, epochs, train=lambda: batches, held_out=lambda: held_out))
        sums: dict[str, list[float]] = {}
        for batch in batches:
            for record in method.steps(model, batch):
                optimizer.step()
                optimizer.zero_grad()
                for key, value in record.coefficients.items():
                    sums.setdefault(key, []).append(value.item())
        history.append({key: sum(values) / len(values) for key, values in sums.items()})
    return history


@pytest.mark.parametrize("name", sorted(METHODS))
def test_the_loss_falls_and_the_accuracy_on_new_samples_beats_chance(
    name: str, make_model: Make, make_batches: Make
) -> None:
    batches = make_batches(2, batches=9)
    train_set, held_out, test = batches[:4], batches[4:5], batches[5:]
    model = make_model(2)
    method = prepared(name, model, train_set)
    rule = make_rule(method.default_rule, model.modalities, model.task, feature_dims=model.feature_dims)

    def measure(which: Sequence[Batch]) -> tuple[float, float]:
        model.eval()
        logits = torch.cat([predict(model, b.inputs, rule) for b in which])
        target = torch.cat([b.target for b in which])
        model.train()
        return model.task.loss(logits, target).item(), model.task.correct(logits, target).mean().item()

    before, _ = measure(train_set)
    train(method, model, train_set, held_out)
    after, _ = measure(train_set)
    assert after < 0.8 * before
    _, accuracy = measure(test)
    chance = max(torch.cat([b.target for b in test]).bincount().double() / sum(len(b) for b in test)).item()
    assert accuracy > chance + 0.2


def teach(model: MultimodalClassifier, batches: Sequence[Batch]) -> MultimodalClassifier:
    """A unimodal ensemble of the world, for the methods that need teachers."""
    teacher = copy.deepcopy(model)
    train(prepared("unimodal-ensemble", teacher, batches), teacher, batches, batches)
    return teacher


LEANS = {
    "ogm-ge": ("kappa", "down"),
    "g2d": ("kappa", "down"),
    "arl": ("kappa", "down"),
    "opm": ("q", "up"),
    "amco": ("mass", "up"),
    "pmr": ("beta", "down"),
    "pmr-official": ("beta", "down"),
    "inforeg": ("beta", "up"),
    "sample-valuation": ("copies", "down"),
    "modality-valuation": ("copies", "down"),
    "data-remixing": ("shown", "down"),
    "aug": ("blocks", "down"),
    "arm": ("weight", "down"),
}
"""What of the dominant modality is less (more) than that of the weak one. For the others: `test_who_leans_how_is_written_down`."""

ELSEWHERE = {
    "agm": "relative to each modality's own past: test_agm.test_stronger_than_usual_is_slowed_not_sped_up",
    "agm-toolkit": "reversed: test_official",
    "cggm": "by gains, not by levels: test_cggm_mses_qmf",
    "mses": "by its own held-out loss: test_cggm_mses_qmf",
    "mslr": "by learning rates alone: test_mslr",
    "greedy": "by the speed of the transfer: test_greedy",
    "mmpareto": "weight of the joint gradient, per encoder: test_mmpareto",
    "mmpareto-toolkit": "always one half: test_official",
    "qmf": "per sample: test_cggm_mses_qmf",
    "arl-official": "constant: test_official",
    "inforeg-official": "two values by order: test_released_forms",
    "opm-toolkit": "drops both: test_released_forms",
    "aug-official": "as aug",
}


@pytest.mark.parametrize("modalities", [2, 3])
@pytest.mark.parametrize("name", sorted(set(LEANS) - {"arm"}))
def test_it_leans_towards_the_weak_modality(name: str, modalities: int, make_model: Make, make_batches: Make) -> None:
    kind, direction = LEANS[name]
    batches, model = make_batches(modalities), make_model(modalities)
    teacher = teach(model, batches)
    method = make_method(name, METHODS[name].early)
    method.use_teachers(dict.fromkeys(method.requires, teacher))
    method.setup(model, torch.cat([b.target for b in batches]))
    history = train(method, model, batches, batches)
    shown = [{m: h[f"{kind}:{m}"] for m in model.modalities} for h in history if f"{kind}:a" in h]
    shown = shown[len(shown) // 2 :]  # at the start nobody dominates yet
    mean = {m: sum(h[m] for h in shown) / len(shown) for m in model.modalities}
    weak = [mean[m] for m in model.modalities[1:]]
    others = sum(weak) / len(weak)
    assert mean["a"] < others if direction == "down" else mean["a"] > others
    if name == "ogm-ge":
        assert mean["a"] < 1
        assert max(weak) == 1
    if name == "arl":
        assert all(1 <= k <= 2 for k in mean.values())


def test_who_leans_how_is_written_down(make_model: Make, make_batches: Make) -> None:
    """Every method that reports a coefficient per modality is in one of the two lists above."""
    batches = make_batches(2, batches=1)
    for name in METHODS:
        model = make_model(2)
        method = prepared(name, model, batches)
        kinds = {
            key.split(":")[0] for h in train(method, model, batches, batches[:1], epochs=2) for key in h if ":" in key
        }
        assert bool(kinds) == (name in LEANS or name in ELSEWHERE), (name, kinds)
        if name in LEANS and name != "arm":
            assert LEANS[name][0] in kinds, (name, kinds)
