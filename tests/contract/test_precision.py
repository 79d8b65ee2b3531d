"""bfloat16 autocast, loss scaling and accumulation change what a method does by no more than their rounding."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import pytest
import torch

from counterpoise.methods import METHODS, EpochContext, Joint, Method, make_method
from counterpoise.model import MultimodalClassifier
from counterpoise.records import Batch

Make = Callable[..., Any]
Found = tuple[dict[str, float], dict[str, torch.Tensor]]

JUMPS = {
    "cggm": "gains of accuracy: one sample that changes sides moves them",
    "greedy": "curated is 0 or 1",
    "mslr": "rates are found by trials",
}


def learned(make_model: Make, batches: Sequence[Batch]) -> MultimodalClassifier:
    """A model in which `a` leads, so that modulations are not at their neutral values."""
    model = make_model(2)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    for _ in range(6):
        for batch in batches:
            for _ in Joint().steps(model, batch):
                optimizer.step()
                optimizer.zero_grad()
    return model


def first_step(name: str, model: MultimodalClassifier, batches: Sequence[Batch], *, bf16: bool) -> Found:
    model = copy.deepcopy(model)
    arguments = {"noise": False} if "noise" in METHODS[name].load().declarations else {}
    method: Method = make_method(name, {**METHODS[name].early, **arguments})
    method.use_teachers(dict.fromkeys(method.requires, copy.deepcopy(model)))
    model.fusion = method.prepare(model, torch.cat([b.target for b in batches])).fusion
    for number in (0, 2):
        method.on_epoch_start(model, EpochContext(number, 10, train=lambda: batches, held_out=lambda: batches[:1]))
    torch.manual_seed(0)
    with torch.autocast("cpu", dtype=torch.bfloat16) if bf16 else nullcontext():
        record = next(iter(method.steps(model, batches[0])))
    gradients = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    return {key: value.item() for key, value in record.coefficients.items()}, gradients


@pytest.mark.parametrize("name", sorted(METHODS))
def test_bfloat16_gives_the_same_modulation_and_gradients(name: str, make_model: Make, make_batches: Make) -> None:
    batches = make_batches(2)
    model = learned(make_model, batches)
    (exact, gradients), (rounded, others) = (first_step(name, model, batches, bf16=b) for b in (False, True))
    assert exact.keys() == rounded.keys()
    assert gradients.keys() == others.keys()
    for key, value in exact.items():
        if name not in JUMPS:
            assert rounded[key] == pytest.approx(value, rel=0.05, abs=0.02), key
    flat = [
        torch.cat([g.flatten() for n, g in part.items() if n.startswith("_encoders")]) for part in (gradients, others)
    ]
    if not flat[0].any():  # MSES has stopped both
        assert not flat[1].any()
        return
    assert torch.nn.functional.cosine_similarity(*flat, dim=0) > 0.98
    assert (flat[1].norm() / flat[0].norm()).item() == pytest.approx(1, abs=0.15)


@pytest.mark.parametrize("name", sorted(METHODS))
def test_an_accumulated_micro_batch_has_the_modulation_of_the_batch_by_itself(
    name: str, make_model: Make, make_batches: Make
) -> None:
    """Dividing the loss by k, as accumulation does, divides the gradients by k and leaves the coefficients alone."""
    batches = make_batches(2)
    model = learned(make_model, batches)
    arguments = {"noise": False} if "noise" in METHODS[name].load().declarations else {}
    results: list[Found] = []
    for share in (1, 4):
        clone = copy.deepcopy(model)
        method: Method = make_method(name, {**METHODS[name].early, **arguments})
        method.use_teachers(dict.fromkeys(method.requires, copy.deepcopy(clone)))
        clone.fusion = method.prepare(clone, torch.cat([b.target for b in batches])).fusion
        for number in (0, 2):
            method.on_epoch_start(clone, EpochContext(number, 10, train=lambda: batches, held_out=lambda: batches[:1]))
        torch.manual_seed(0)
        record = next(iter(method.steps(clone, batches[0], backward=lambda loss, k=share: (loss / k).backward())))
        gradients = {n: share * p.grad for n, p in clone.named_parameters() if p.grad is not None}
        results.append(({key: value.item() for key, value in record.coefficients.items()}, gradients))
    (alone, gradients), (part, others) = results
    assert part == pytest.approx(alone, rel=1e-5)
    for n, g in gradients.items():
        torch.testing.assert_close(others[n], g, rtol=1e-4, atol=1e-6)


def scaled_run(
    name: str, model: MultimodalClassifier, batches: Sequence[Batch], scales: Sequence[float]
) -> tuple[list[dict[str, float]], MultimodalClassifier, Method]:
    """Train as a gradient scaler does: scaled backward passes, unscaled steps, and no step where gradients overflow."""
    model = copy.deepcopy(model)
    arguments = {"noise": False} if "noise" in METHODS[name].load().declarations else {}
    method: Method = make_method(name, {**METHODS[name].early, **arguments})
    method.use_teachers(dict.fromkeys(method.requires, copy.deepcopy(model)))
    model = method.prepare(model, torch.cat([b.target for b in batches]))
    optimizer = torch.optim.SGD([*model.parameters(), *method.parameters()], lr=1e-3)
    coefficients = []
    for number, scale in enumerate(scales):
        torch.manual_seed(number)
        method.on_epoch_start(model, EpochContext(number, 10, train=lambda: batches, held_out=lambda: batches[:1]))
        for batch in batches[:2]:
            for record in method.steps(model, batch, backward=lambda loss, k=scale: (k * loss).backward()):
                grads = [p.grad for p in (*model.parameters(), *method.parameters()) if p.grad is not None]
                if all(bool(g.isfinite().all()) for g in grads):
                    for g in grads:
                        g.div_(scale)
                    optimizer.step()
                optimizer.zero_grad()
                coefficients.append({key: value.item() for key, value in record.coefficients.items()})
    return coefficients, model, method


@pytest.mark.parametrize("name", sorted(METHODS))
def test_loss_scaling_changes_nothing(name: str, make_model: Make, make_batches: Make) -> None:
    """Powers of two are exact, so coefficients, states and weights agree; the scale doubles on the way."""
    batches = make_batches(2)
    model = learned(make_model, batches)
    (plain, one, first), (scaled, two, second) = (
        scaled_run(name, model, batches, scales) for scales in ([1.0] * 4, [2.0**14, 2.0**14, 2.0**15, 2.0**15])
    )
    for expected, actual in zip(plain, scaled, strict=True):
        assert actual == pytest.approx(expected, rel=1e-4, abs=1e-6)
    for p, q in zip(one.parameters(), two.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-4, atol=1e-6)
    for key, value in first.state_dict().items():
        torch.testing.assert_close(second.state_dict()[key], value, rtol=1e-3, atol=1e-6, msg=key)


@pytest.mark.parametrize("name", sorted(METHODS))
def test_an_overflowed_step_leaves_no_mark_that_is_not_finite(name: str, make_model: Make, make_batches: Make) -> None:
    batches = make_batches(2)
    coefficients, model, method = scaled_run(name, learned(make_model, batches), batches, [2.0, float("inf"), 2.0])
    assert all(bool(p.isfinite().all()) for p in model.parameters())
    for key, value in method.state_dict().items():
        assert key == "best" or bool(value.isfinite().all()), key  # MSES starts with an infinite best loss
    for values in coefficients[-2:]:
        assert all(torch.isfinite(torch.tensor(v)) for v in values.values())
