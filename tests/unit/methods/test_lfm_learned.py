"""LFM's learned schedule: the meta-gradient against finite differences of an independent unrolled step."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch

from counterpoise.methods import LFM, EpochContext
from counterpoise.methods._lfm import meta_gradient
from counterpoise.records import Batch


def rows(batch: Batch, step: slice) -> Batch:
    return Batch({m: x[step] for m, x in batch.inputs.items()}, batch.target[step], batch.index[step])


def unrolled(model: Any, inner: Batch, outer: Batch, a1: float, lookahead: float, strength: float) -> float:
    """The classification loss after one step of torch's SGD on a copy; divergence and loss by their definitions."""
    clone = copy.deepcopy(model)
    outputs = clone(inner.inputs)
    slices = clone.fusion.slice_logits(outputs.features)
    p = torch.stack([(len(slices) * z).softmax(-1) for z in slices.values()])
    mean = p.mean(0)
    js = (p * (p / mean).log()).sum(-1).mean()
    ce = torch.nn.functional.cross_entropy(outputs.logits, inner.target)
    ((1 + strength * (1 - 2 * a1)) * ce + 2 * strength * a1 * js).backward()
    torch.optim.SGD(clone.parameters(), lr=lookahead).step()
    return torch.nn.functional.cross_entropy(clone(outer.inputs).logits, outer.target).item()


@pytest.mark.parametrize("strength", [1.0, 0.6])
@pytest.mark.parametrize("modalities", [2, 3])
def test_the_meta_gradient_is_the_derivative_of_one_unrolled_step(
    modalities: int, strength: float, make_model: Any, make_batches: Any, tools: Any
) -> None:
    model, (batch,) = (
        make_model(modalities, dtype=torch.float64),
        make_batches(modalities, batches=1, size=16, dtype=torch.float64),
    )
    method = tools.prepare(LFM(strength, schedule="learned", lookahead=0.3), model, [batch])
    method.alignment.fill_(0.7)
    before = [p.clone() for p in model.parameters()]
    derivative, cosine = method.hypergradient(model, EpochContext(1, 10, train=lambda: [batch]))
    halves, h = (rows(batch, slice(0, None, 2)), rows(batch, slice(1, None, 2))), 1e-4
    up, down = (unrolled(model, *halves, 0.7 + d, 0.3, strength) for d in (h, -h))
    expected = (up - down) / (2 * h)
    assert abs(expected) > 1e-3
    assert derivative.item() == pytest.approx(expected, rel=1e-5)
    assert np.sign(cosine.item()) == np.sign(expected)
    assert abs(cosine.item()) <= 1
    assert all(torch.equal(p, q) for p, q in zip(before, model.parameters(), strict=True)), "the model is untouched"
    assert all(p.grad is None for p in model.parameters())


def test_the_first_tensor_only_as_released_is_another_number(make_model: Any, make_batches: Any, tools: Any) -> None:
    model, (batch,) = make_model(2, dtype=torch.float64), make_batches(2, batches=1, size=16, dtype=torch.float64)
    method = tools.prepare(LFM(schedule="learned"), model, [batch])
    inner, outer = rows(batch, slice(0, None, 2)), rows(batch, slice(1, None, 2))

    def losses() -> tuple[torch.Tensor, torch.Tensor]:
        outputs = model(inner.inputs)
        return model.task.loss(outputs.logits, inner.target), method._divergence(model, outputs)

    first = [next(iter(model.parameters()))]
    released, _ = meta_gradient(
        first, losses, lambda: model.task.loss(model(outer.inputs).logits, outer.target), 0.95, 0.01
    )
    ours, _ = method.hypergradient(model, EpochContext(1, 10, train=lambda: [batch]))
    assert abs(released.item() - ours.item()) > 0.2 * abs(ours.item())


def test_the_weight_starts_high_moves_by_the_rule_and_stays_within_its_limits(
    make_model: Any, make_batches: Any, tools: Any
) -> None:
    model, batches = make_model(2), make_batches(2)
    method = LFM(schedule="learned", rate=0.03)
    model.fusion = method.prepare(model, torch.cat([b.target for b in batches])).fusion
    epochs, weights = 20, []
    for number in range(epochs):
        old = method.alignment.item()
        _, cosine = method.hypergradient(model, EpochContext(number, epochs, train=lambda: batches))
        method.on_epoch_start(model, EpochContext(number, epochs, train=lambda: batches))
        eta = 0.03 * 10 * 0.5 ** (number // 2)  # a tenth of the authors' epochs; halved every tenth of the run
        expected = min(max(old - eta * cosine.item(), 0.05), 0.95) if number else 0.95
        assert method.alignment.item() == pytest.approx(expected, abs=1e-6)
        assert method.a0 == pytest.approx(1 - expected, abs=1e-6)
        weights.append(method.a0)
        for batch in batches:
            for _ in method.steps(model, batch):
                with torch.no_grad():
                    for p in model.parameters():
                        p.sub_(0.05 * p.grad)
                model.zero_grad()
    assert weights[0] == pytest.approx(0.05)
    assert weights[-1] > 2 * weights[0], "classification counts more later on"
    js = method._divergence(model, model(batches[0].inputs)).item()
    (record,) = method.steps(model, batches[0])
    assert record.parts["alignment"].item() == pytest.approx(2 * (1 - method.a0) * js)


def test_the_samples_are_fixed_spread_over_the_training_set_and_part_of_the_state(
    make_model: Any, make_batches: Any, tools: Any
) -> None:
    model, batches = make_model(2), make_batches(2)  # 128 samples
    method = tools.prepare(LFM(schedule="learned", samples=4), model, batches)
    assert method._meta_batch(EpochContext(1, 9, train=lambda: batches)).index.tolist() == [0, 42, 85, 127]
    assert method._meta_batch(EpochContext(2, 9, train=lambda: batches[:1])).index.tolist() == [0, 42, 85, 127]
    resumed = tools.prepare(LFM(schedule="learned", samples=4), model, batches)
    resumed.load_state_dict(method.state_dict())
    more = [*batches, Batch(batches[0].inputs, batches[0].target, batches[0].index + 128)]  # a hold-out was released
    again = resumed._meta_batch(EpochContext(2, 9, train=lambda: more))
    assert again.index.tolist() == [0, 42, 85, 127]
    assert torch.equal(again.inputs["a"], method._meta_batch(EpochContext(1, 9)).inputs["a"])


@pytest.mark.parametrize("fusion", ["concat", "gated"])
def test_resuming_equals_going_on(fusion: str, make_model: Any, make_batches: Any, tools: Any) -> None:
    batches, states = make_batches(2), []
    for cut in (None, 3):
        model = make_model(2, fusion=fusion)
        method = tools.prepare(LFM(schedule="learned"), model, batches)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
        for number in range(6):
            if number == cut:
                saved = copy.deepcopy([model.state_dict(), method.state_dict(), optimizer.state_dict()])
                model, method = make_model(2, fusion=fusion), tools.prepare(LFM(schedule="learned"), model, batches)
                optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
                for part, state in zip((model, method, optimizer), saved, strict=True):
                    part.load_state_dict(state)
            method.on_epoch_start(model, EpochContext(number, 6, train=lambda: batches))
            for batch in batches:
                for _ in method.steps(model, batch):
                    optimizer.step()
                    optimizer.zero_grad()
        states.append([*model.state_dict().values(), method.alignment])
    assert states[0][-1] < 0.95
    assert all(torch.equal(p, q) for p, q in zip(*states, strict=True))


def test_no_samples_are_read_without_strength_or_before_the_second_epoch(make_model: Any, make_batches: Any) -> None:
    model, batches = make_model(2), make_batches(2)
    for method, number, reads in (
        (LFM(0.0, schedule="learned"), 3, False),
        (LFM(schedule="learned"), 0, False),
        (LFM(schedule="learned"), 3, True),
    ):
        asked = []
        model.fusion = method.prepare(model, torch.cat([b.target for b in batches])).fusion
        method.on_epoch_start(model, EpochContext(number, 9, train=lambda asked=asked: asked.append(1) or batches))
        assert bool(asked) == reads


def test_the_weights_before_the_first_epoch_are_those_of_its_start(
    make_model: Any, make_batches: Any, tools: Any
) -> None:
    """1 + s (2 a_0 - 1), with a_0 of .2046 or of .05."""
    model, batches = make_model(2), make_batches(2)
    for method, weight in (
        (LFM(), 2 * 0.2046),
        (LFM(0.5), 1 + 0.5 * (2 * 0.2046 - 1)),
        (LFM(schedule="learned"), 2 * 0.05),
    ):
        assert tools.prepare(method, model, batches).fused_weight() == pytest.approx(weight)


@pytest.mark.parametrize(("cosine", "limit"), [(1.0, 0.05), (-1.0, 0.95)])
def test_the_learned_weight_stops_at_its_limits(
    cosine: float, limit: float, make_model: Any, make_batches: Any, tools: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, batches = make_model(2), make_batches(2)
    method = tools.prepare(LFM(schedule="learned", rate=10.0), model, batches)
    monkeypatch.setattr(method, "hypergradient", lambda model, epoch: (torch.tensor(9.0), torch.tensor(cosine)))
    method.on_epoch_start(model, EpochContext(1, 10))
    assert method.alignment.item() == pytest.approx(limit)


def test_a_partial_strength_shrinks_the_alignment(make_model: Any, make_batches: Any, tools: Any) -> None:
    model, batches = make_model(2), make_batches(2)
    terms = []
    for strength in (1.0, 0.25):
        (record,) = tools.prepare(LFM(strength), model, batches).steps(model, batches[0])
        terms.append(record.parts["alignment"].item())
    assert terms[0] > 0
    assert terms[1] == pytest.approx(0.25 * terms[0])


def test_where_nothing_is_left_to_learn_the_cosine_is_zero() -> None:
    w = torch.nn.Parameter(torch.tensor([1.0, 1.0]))
    gradient = meta_gradient([w], lambda: (w[0] ** 2, w[1] ** 2), lambda: 0 * w[0], alignment=0.9, lookahead=0.1)
    assert [x.item() for x in gradient] == [0, 0]
