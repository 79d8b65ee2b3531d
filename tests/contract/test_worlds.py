"""What every method should do on a world with a dominant modality: learn, generalise, and lean towards the weak one."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch

from counterpoise.inference import make_rule, predict
from counterpoise.methods import METHODS, EpochContext, Method, make_method
from counterpoise.model import MultimodalClassifier
from counterpoise.records import Batch

Make = Callable[..., Any]
EPOCHS = 10


def prepared(name: str, model: MultimodalClassifier, batches: Sequence[Batch], **arguments: Any) -> Method:
    method = make_method(name, {**METHODS[name].early, **arguments})
    method.use_teachers(dict.fromkeys(method.requires, copy.deepcopy(model)))
    model.fusion = method.prepare(model, torch.cat([b.target for b in batches])).fusion
    return method


def train(
    method: Method,
    model: MultimodalClassifier,
    batches: Sequence[Batch],
    held_out: Sequence[Batch],
    epochs: int = EPOCHS,
    adam: bool = False,
) -> list[dict[str, float]]:
    """Train; return the means of the coefficients by epoch."""
    parameters = [*model.parameters(), *method.parameters()]
    optimizer: torch.optim.Optimizer = (
        torch.optim.Adam(parameters, lr=1e-2) if adam else torch.optim.SGD(parameters, lr=0.02, momentum=0.9)
    )
    history = []
    for number in range(epochs):
        torch.manual_seed(number)
        method.on_epoch_start(model, EpochContext(number, epochs, train=lambda: batches, held_out=lambda: held_out))
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
        return model.task.loss(logits, target).item(), model.task.sample_score(logits, target).mean().item()

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
    "arm": ("lambda", "down"),
    "mlb": ("kappa", "down"),
    "uncertainty-weighting": ("weight", "up"),
    "gradnorm": ("weight", "down"),
    "mcr": ("influence", "up"),
    "amss": ("share", "down"),
    "m-sam": ("share", "up"),
    "pdf": ("confidence", "up"),
    "pdmp": ("rate", "up"),
    "miles": ("rate", "down"),
}
"""Quantity of the dominant modality that is less (more) than the weak one's.

`test_who_leans_how_is_written_down` covers the others.
"""

ELSEWHERE = {
    "agm": "relative to each modality's own past: test_agm.test_stronger_than_usual_is_slowed_not_sped_up",
    "agm-toolkit": "reversed: test_official",
    "cggm": "by gains, not by levels: test_cggm_mses_qmf",
    "mses": "by its own held-out loss: test_cggm_mses_qmf",
    "mslr": "by learning rates alone: test_mslr",
    "greedy": "by the speed of the transfer: test_greedy",
    "mmpareto": "weight of the joint gradient, per encoder: test_mmpareto",
    "pcgrad": "weight of the joint gradient, per encoder: test_balancing_rows",
    "mmpareto-toolkit": "always one half: test_official",
    "qmf": "per sample: test_cggm_mses_qmf",
    "arl-official": "constant: test_official",
    "inforeg-official": "two values by order: test_released_forms",
    "opm-toolkit": "drops both: test_released_forms",
    "aug-official": "as aug",
    "midas": "by the weakest in a batch: test_mixing_rows",
    "rgm": "energy of gradients, which falls once a modality is learned: test_gradient_rows",
    "crmt": "means over classes move in the second part only: test_mixing_rows",
    "separated-experts": "holds memorising modalities back, whichever dominates: tests/reference/test_arm.py",
}


@pytest.mark.parametrize("modalities", [2, 3])
@pytest.mark.parametrize("name", sorted(LEANS))
def test_it_leans_towards_the_weak_modality(name: str, modalities: int, make_model: Make, make_batches: Make) -> None:
    kind, direction = LEANS[name]
    batches, model = make_batches(modalities), make_model(modalities)
    teacher = teach(model, batches)
    method = make_method(name, METHODS[name].early)
    method.use_teachers(dict.fromkeys(method.requires, teacher))
    model.fusion = method.prepare(model, torch.cat([b.target for b in batches])).fusion
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
        if name in LEANS:
            assert LEANS[name][0] in kinds, (name, kinds)


def parity(size: int, seed: int) -> list[Batch]:
    """Two modalities with one clear bit each in noise; the class is their parity."""
    generator = torch.Generator().manual_seed(seed)
    bits = torch.randint(2, (size, 2), generator=generator)
    inputs = {}
    for k, m in enumerate("ab"):
        x = 0.3 * torch.randn(size, 6, generator=generator)
        x[:, 0] += 2.0 * bits[:, k] - 1
        inputs[m] = x
    target, index = bits.sum(1) % 2, torch.arange(size)
    return [Batch({m: x[rows] for m, x in inputs.items()}, target[rows], rows) for rows in index.split(32)]


@pytest.mark.parametrize(("fusion", "seed"), [("film", 0), ("film", 1), ("gated", 0), ("gated", 1)])
def test_the_recipe_lets_the_fused_gradient_in_where_only_all_modalities_together_know(
    fusion: str, seed: int, make_model: Make
) -> None:
    """Encoders that learn from their own losses alone stay behind; those of joint training, ARM, the recipe do not."""
    train_set, held_out, test = parity(512, 0), parity(256, 2), parity(2048, 1)
    accuracy, share = {}, 0.0
    for name in ("joint", "separated-gradients", "arm", "separated-experts"):
        model = make_model(2, fusion=fusion, outputs=2, seed=seed)
        history = train(prepared(name, model, train_set), model, train_set, held_out, epochs=20, adam=True)
        share = history[-1].get("rho", share)
        model.eval()
        with torch.no_grad():
            hits = [model.task.sample_score(model(b.inputs).logits, b.target) for b in test]
        accuracy[name] = torch.cat(hits).mean().item()
    assert accuracy["joint"] > 0.95
    assert accuracy["arm"] > 0.95
    assert accuracy["separated-experts"] > 0.95
    assert share > 0.5
    assert accuracy["separated-gradients"] < 0.9


def test_the_recipe_keeps_the_fused_gradient_out_where_a_sum_over_modalities_says_it_all(
    make_model: Make, make_batches: Make
) -> None:
    batches, model = make_batches(2, batches=8), make_model(2)
    history = train(prepared("separated-experts", model, batches[:4]), model, batches[:4], batches[4:], epochs=20)
    assert max(h["rho"] for h in history) < 0.1
