"""MSLR: the scaled update is another learning rate, the strategies by hand, and the search."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch

from counterpoise.errors import ConfigError
from counterpoise.methods import MSLR, EpochContext, Joint
from counterpoise.methods._mslr import best_rate
from counterpoise.model import MultimodalClassifier
from counterpoise.records import Batch

RATES = {"a": 0.002, "b": 0.2}  # relative to their geometric mean: 0.1 and 10


def optimizer_of(kind: str, parameters: Any) -> torch.optim.Optimizer:
    if kind == "sgd":
        return torch.optim.SGD(parameters, lr=1e-2, momentum=0.9, weight_decay=0.1)
    return (torch.optim.Adam if kind == "adam" else torch.optim.AdamW)(parameters, lr=1e-3, weight_decay=0.1)


@pytest.mark.parametrize("kind", ["sgd", "adam", "adamw"])
def test_the_scaled_update_is_another_learning_rate_for_the_encoder(
    kind: str, make_model: Any, make_batches: Any, tools: Any
) -> None:
    """Against torch's own parameter groups. Scaled gradients (the usual way) would do nothing under Adam."""
    model, batches = make_model(2, dtype=torch.float64), make_batches(2, dtype=torch.float64)
    reference = copy.deepcopy(model)
    method = tools.prepare(MSLR(rates=RATES), model, batches)
    optimizer = optimizer_of(kind, model.parameters())
    method.on_epoch_start(model, EpochContext(0, 5))
    for batch in batches:
        records = []
        for record in method.steps(model, batch):
            optimizer.step()
            optimizer.zero_grad()
            records.append(record)
    (record,) = records
    assert record.coefficients["rate:a"].item() == pytest.approx(0.1)
    assert record.coefficients["rate:b"].item() == pytest.approx(10)

    groups = [{"params": [*reference.encoder(m).parameters()]} for m in "ab"]
    own = {id(p) for group in groups for p in group["params"]}
    by_groups = optimizer_of(kind, [*groups, {"params": [p for p in reference.parameters() if id(p) not in own]}])
    for group, factor in zip(by_groups.param_groups, (0.1, 10.0, 1.0), strict=True):
        group["lr"] *= factor
    for batch in batches:
        for _ in Joint().steps(reference, batch):
            by_groups.step()
            by_groups.zero_grad()
    for (name, p), q in zip(model.named_parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-5, atol=1e-7, msg=name)


def test_a_loop_that_accumulates_scales_the_one_step_that_it_takes(
    make_model: Any, make_batches: Any, tools: Any
) -> None:
    model, batches = make_model(2, dtype=torch.float64), make_batches(2, dtype=torch.float64)
    start = [p.detach().clone() for p in model.encoder("b").parameters()]
    method = tools.prepare(MSLR(rates=RATES), model, batches)
    method.on_epoch_start(model, EpochContext(0, 5))
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
    for k, batch in enumerate(batches[:2]):
        for _ in method.steps(model, batch, backward=lambda loss: (loss / 2).backward()):
            gradient = [p.grad.clone() for p in model.encoder("b").parameters()]
            if k == 1:
                optimizer.step()
    for p, old, g in zip(model.encoder("b").parameters(), start, gradient, strict=True):
        torch.testing.assert_close(p, old - 10 * 1e-2 * g)


@pytest.mark.parametrize(
    ("strategy", "strength", "expected"),
    [("keep", 1.0, (0.1, 10)), ("keep", 0.5, (0.1**0.5, 10**0.5)), ("smooth", 1.0, (0.1**0.5, 10**0.5))],
)
def test_the_strategies_by_hand(
    strategy: str, strength: float, expected: tuple[float, float], make_model: Any, make_batches: Any, tools: Any
) -> None:
    model, batches = make_model(2), make_batches(2)
    method = tools.prepare(MSLR(strength, strategy=strategy, rates=RATES), model, batches)
    for number in range(2):
        method.on_epoch_start(model, EpochContext(number, 5))
        assert tuple(method.factors.values()) == pytest.approx(expected)


def test_dynamic_follows_the_held_out_loss(
    make_model: Any, make_batches: Any, tools: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """a improves, then overfits; b stands still, then falls by more than the bound."""
    losses = iter([[9.0, 1.0, 0.8], [9.0, 0.8, 0.8], [9.0, 1.1, 0.8], [9.0, 0.9, -4.0]])
    monkeypatch.setattr("counterpoise.methods._mslr.head_losses", lambda model, batches: torch.tensor(next(losses)))
    model, batches = make_model(2), make_batches(2)
    method = tools.prepare(MSLR(strategy="dynamic", rates={"a": 1.0, "b": 1.0}, window=2), model, batches)
    factors = []
    for number in range(4):
        method.on_epoch_start(model, EpochContext(number, 9, held_out=lambda: batches))
        factors.append(list(method.factors.values()))
    expected = [[1, 1], [math.exp(0.2), 1], [math.exp(0.9 - 1.1), 1], [math.exp(0.95 - 0.9), 2]]
    for values, wanted in zip(factors, expected, strict=True):
        assert values == pytest.approx(wanted)


def test_dynamic_resumes_with_what_it_has_seen(make_model: Any, make_batches: Any, tools: Any) -> None:
    model, batches = make_model(2), make_batches(2)
    whole = tools.prepare(MSLR(strategy="dynamic", rates=RATES), model, batches)
    tools.run(whole, model, batches, epochs=3, total=6)
    resumed = tools.prepare(MSLR(strategy="dynamic", rates=RATES), model, batches)
    resumed.load_state_dict(whole.state_dict())
    for method in (whole, resumed):
        method.on_epoch_start(model, EpochContext(3, 6, held_out=lambda: batches[:1]))
    assert resumed.factors == whole.factors
    assert whole.factors["a"] not in (0.1, 1.0)


def test_the_search_finds_the_minimum_of_a_parabola_between_its_rates() -> None:
    for wanted in (3e-5, 3e-4, 1e-3, 0.02):
        assert best_rate(lambda rate, w=wanted: math.log(rate / w) ** 2, 1e-3) == pytest.approx(wanted, rel=1e-6)
    assert best_rate(lambda rate: -rate, 1e-3) == pytest.approx(0.1), "the search is bounded"
    assert best_rate(lambda rate: rate, 1e-3) == pytest.approx(1e-5)
    assert best_rate(lambda rate: math.nan if rate > 1e-3 else -rate, 1e-3) <= 2e-3, "what diverges is not chosen"
    assert best_rate(lambda rate: 1.0, 1e-3) == 1e-3
    bumpy = dict.fromkeys(range(-4, 5), 1.0) | {-1: 0.9, 4: 0.1}  # a local minimum below the middle
    assert best_rate(lambda rate: bumpy[round(2 * math.log10(rate / 1e-3))], 1e-3) == pytest.approx(0.1)


def test_a_modality_that_needs_larger_steps_gets_a_larger_rate(make_batches: Any, tools: Any) -> None:
    """b is a in other units, so its encoder moves further. The mean is 1; model and random state are unchanged."""
    batches = [
        Batch({"a": b.inputs["a"], "b": 0.02 * b.inputs["a"]}, b.target, b.index)
        for b in make_batches(2, batches=6, size=100)
    ]
    torch.manual_seed(0)
    encoder = torch.nn.Linear(6, 8)
    model = MultimodalClassifier({"a": encoder, "b": copy.deepcopy(encoder)}, num_outputs=3)
    before = [p.clone() for p in model.parameters()]
    method = tools.prepare(MSLR(), model, batches)
    state = torch.get_rng_state()
    method.on_epoch_start(model, EpochContext(0, 5, train=lambda: batches[:5], held_out=lambda: batches[5:]))
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(p, q) for p, q in zip(before, model.parameters(), strict=True))
    assert method.factors["a"] < 0.8 < 1.25 < method.factors["b"]
    assert method.factors["a"] * method.factors["b"] == pytest.approx(1, rel=1e-5)


@pytest.mark.parametrize("rates", [{"a": 1.0}, {"a": 1.0, "b": 0.0}, {"a": 1.0, "b": "fast"}])
def test_rates_that_are_none_are_refused(rates: Any, make_model: Any) -> None:
    with pytest.raises(ConfigError, match="Parameter `rates` of `MSLR` should hold a positive number"):
        MSLR(rates=rates).prepare(make_model(2), torch.zeros(4, dtype=torch.long))


def test_rates_of_another_modality_are_refused(make_model: Any) -> None:
    with pytest.raises(ConfigError, match="Unknown key `c`"):
        MSLR(rates={"a": 1.0, "c": 1.0}).prepare(make_model(2), torch.zeros(4, dtype=torch.long))


@pytest.mark.parametrize("modalities", [2, 3])
def test_the_search_trains_each_modality_and_reads_its_own_held_out_loss(
    modalities: int, make_model: Any, make_batches: Any, tools: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With given losses, the best rates are .02, .002 and .001; the fused head's would be another."""
    best = [0.5, 0.02, 0.002, 0.001][: modalities + 1]
    tried: list[tuple[str, float]] = []

    def trained(model: Any, batches: Any, m: str, *, lr: float, seed: int) -> Any:
        assert len(list(batches)) == 3
        tried.append((m, lr))
        return model

    monkeypatch.setattr("counterpoise.methods._mslr.trained_alone", trained)
    monkeypatch.setattr(
        "counterpoise.methods._mslr.head_losses",
        lambda model, batches: torch.tensor([math.log10(tried[-1][1] / b) ** 2 for b in best]).double(),
    )
    model, batches = make_model(modalities), make_batches(modalities)
    method = tools.prepare(MSLR(inner_epochs=3, inner_lr=2e-3), model, batches)
    method.on_epoch_start(model, EpochContext(0, 5, train=lambda: batches, held_out=lambda: batches))
    assert [m for m, _ in tried] == [m for m in model.modalities for _ in range(9)]
    assert [rate for _, rate in tried[:9]] == pytest.approx([2e-3 * 10 ** (k / 2) for k in range(-4, 5)])
    mean = math.prod(best[1:]) ** (1 / modalities)
    assert list(method.factors.values()) == pytest.approx([b / mean for b in best[1:]], rel=1e-4)


def test_a_factor_of_zero_keeps_an_encoder_where_it_is_and_two_doubles_its_step(
    make_model: Any, make_batches: Any, tools: Any
) -> None:
    one, two = (make_model(2, dtype=torch.float64) for _ in range(2))
    batches = make_batches(2, dtype=torch.float64)
    start = {m: [p.detach().clone() for p in one.encoder(m).parameters()] for m in "ab"}
    method = tools.prepare(MSLR(rates=RATES), one, batches)
    method.on_epoch_start(one, EpochContext(0, 5))
    method.factors = {"a": 0.0, "b": 2.0}
    for model, stepping in ((one, method), (two, Joint())):
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
        for _ in stepping.steps(model, batches[0]):
            optimizer.step()
    for m, factor in method.factors.items():
        for p, q, old in zip(one.encoder(m).parameters(), two.encoder(m).parameters(), start[m], strict=True):
            torch.testing.assert_close(p - old, factor * (q - old))
    assert torch.equal(one.encoder("a")[0].weight, start["a"][0])


def test_without_a_search_in_its_first_epoch_a_training_keeps_the_loops_rate(
    make_model: Any, make_batches: Any, tools: Any
) -> None:
    """As one that goes on from a model which another method has trained."""
    model, batches = make_model(2), make_batches(2)
    method = tools.prepare(MSLR(), model, batches)
    method.on_epoch_start(model, EpochContext(3, 5, train=lambda: batches, held_out=lambda: batches))
    assert method.factors == {"a": 1, "b": 1}


def test_without_strength_nothing_is_searched(make_model: Any, make_batches: Any, tools: Any) -> None:
    model, batches = make_model(2), make_batches(2)
    method = tools.prepare(MSLR(0.0), model, batches)
    method.on_epoch_start(model, EpochContext(0, 5))  # reads no samples
    assert method.factors == {}


@pytest.mark.parametrize(
    ("settings", "needed"),
    [
        ({}, True),
        ({"rates": {"a": 1.0, "b": 2.0}}, False),
        ({"rates": {"a": 1.0, "b": 2.0}, "strategy": "smooth"}, False),
        ({"rates": {"a": 1.0, "b": 2.0}, "strategy": "dynamic"}, True),
    ],
    ids=["search", "keep", "smooth", "dynamic"],
)
def test_samples_are_held_out_only_where_something_reads_them(settings: Any, needed: bool) -> None:
    assert MSLR(**settings).needs_held_out is needed
    assert MSLR.needs_held_out, "its defaults search"
