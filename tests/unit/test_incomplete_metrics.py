"""Scores over patterns and rates of absence: closed forms and properties."""

from __future__ import annotations

import math
from itertools import combinations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from counterpoise.evaluation.incomplete import (
    configuration_scores,
    modality_equity,
    modality_learning,
    pattern_equity,
    pattern_scores,
    severity_curve,
)
from counterpoise.inference import make_rule
from counterpoise.model import build_model
from counterpoise.records import Outputs
from counterpoise.tasks import MultiClass, Regression

TASK = MultiClass(2)


def additive(worth: dict[str, float]) -> dict[frozenset[str], float]:
    names = list(worth)
    every = [frozenset(s) for size in range(len(names) + 1) for s in combinations(names, size)]
    return {s: 0.2 + sum(worth[m] for m in s) for s in every}


def test_equity_of_equal_and_of_lonely_contributions() -> None:
    assert modality_equity(additive({"a": 0.1, "b": 0.1, "c": 0.1}), "abc") == pytest.approx(1)
    assert modality_equity(additive({"a": 0.3, "b": 0.0, "c": 0.0}), "abc") == pytest.approx(0)
    assert modality_equity(additive({"a": 0.2, "b": 0.2, "c": 0.0}), "abc") == pytest.approx(math.log(2) / math.log(3))
    assert math.isnan(modality_equity(additive({"a": 0.0, "b": -0.1}), "ab"))


@given(st.lists(st.floats(0.01, 10), min_size=2, max_size=6), st.floats(0.1, 10))
def test_indices_are_shares(amounts: list[float], factor: float) -> None:
    worth = {str(k): a for k, a in enumerate(amounts)}
    equity, learning = modality_equity(additive(worth), list(worth)), modality_learning(worth)
    assert 0 <= equity <= 1 + 1e-9
    assert learning == pytest.approx(1 - equity, abs=1e-6)  # the same shares
    assert modality_learning({m: factor * a for m, a in worth.items()}) == pytest.approx(learning, abs=1e-9)


def test_pattern_equity_is_one_only_for_equal_gains() -> None:
    equal = {s: 0.5 if not s else 0.8 for s in additive({"a": 1, "b": 1})}
    assert pattern_equity(equal) == pytest.approx(1)
    one = {s: 0.8 if s == frozenset("ab") else 0.5 for s in equal}
    assert pattern_equity(one) == pytest.approx(1 / 3)


def test_pattern_scores_partition_the_samples() -> None:
    generator = torch.Generator().manual_seed(0)
    logits, target = torch.randn(300, 2, generator=generator), torch.randint(2, (300,), generator=generator)
    a = torch.rand(300, generator=generator) < 0.6
    present = {"a": a, "b": ~a | (torch.rand(300, generator=generator) < 0.5)}
    rows = pattern_scores(TASK, logits, target, present, ("a", "b"))
    assert sum(row.n for row in rows) == 300
    assert [row.n for row in rows] == sorted((row.n for row in rows), reverse=True)
    mean = sum(row.n * row.score for row in rows) / 300
    assert mean == pytest.approx(TASK.score(logits, target))
    assert all(row.low <= row.score <= row.high for row in rows)
    (whole,) = pattern_scores(TASK, logits, target, None, ("a", "b"))
    assert whole.present == ("a", "b")


def test_intervals_are_wilsons() -> None:
    from scipy.stats import binomtest

    logits, target = torch.eye(2)[[0] * 8 + [1] * 2], torch.zeros(10, dtype=torch.long)
    (row,) = pattern_scores(TASK, logits, target, None, ("a", "b"))
    expected = binomtest(8, 10).proportion_ci(method="wilson")
    assert (row.low, row.high) == pytest.approx((expected.low, expected.high), abs=1e-3)


def test_a_score_that_is_no_mean_has_no_interval() -> None:
    y = torch.randn(20, 1)
    (row,) = pattern_scores(Regression(1), y + 0.1, y, None, ("a", "b"))
    assert math.isnan(row.low)


@pytest.fixture
def trained() -> tuple[object, Outputs, torch.Tensor]:
    """Return a model whose only informative modality is `a`, and its outputs."""
    torch.manual_seed(0)
    model = build_model({"a": ("vector", (2,), 0), "b": ("vector", (2,), 0)}, num_outputs=2, width=8).eval()
    y = torch.randint(2, (400,), generator=torch.Generator().manual_seed(0))
    inputs = {"a": 2.0 * torch.nn.functional.one_hot(y, 2).float(), "b": torch.randn(400, 2)}
    optimizer = torch.optim.Adam(model.parameters(), 0.02)
    for _ in range(60):
        outputs = model(inputs)
        loss = TASK.loss(outputs.logits, y) + sum(TASK.loss(z, y) for z in outputs.unimodal_logits.values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        return model, model(inputs), y


def test_severity_falls_with_the_informative_modality_only(trained: tuple) -> None:
    model, outputs, y = trained
    rule = make_rule("ensemble", ("a", "b"), TASK)
    rows = severity_curve(model, rule, outputs, y)
    curve = {(row.modality, row.rate): row.score for row in rows}
    assert curve[("a", 0.0)] == curve[("b", 0.0)] == curve[(None, 0.0)]
    assert curve[("a", 0.9)] < curve[("a", 0.3)] < curve[("a", 0.0)]
    assert curve[("b", 0.9)] > 0.95
    assert rows == severity_curve(model, rule, outputs, y)


def test_configurations(trained: tuple) -> None:
    model, outputs, y = trained
    values = configuration_scores(model, make_rule("ensemble", ("a", "b"), TASK), outputs, y)
    assert set(values) == {frozenset(), frozenset("a"), frozenset("b"), frozenset("ab")}
    assert values[frozenset("a")] > 0.95
    assert values[frozenset()] == pytest.approx(max(y.float().mean(), 1 - y.float().mean()))
    whole, a, b, none = (values[frozenset(s)] for s in ("ab", "a", "b", ""))
    gains = [(a - none + whole - b) / 2, (b - none + whole - a) / 2]
    shares = [gain / sum(gains) for gain in gains]
    entropy = -sum(p * math.log(p) for p in shares if p > 0)
    assert modality_equity(values, ("a", "b")) == pytest.approx(entropy / math.log(2))


def test_configurations_use_complete_samples_only(trained: tuple) -> None:
    model, outputs, y = trained
    mask = torch.arange(400) % 2 == 0
    present = {"a": torch.ones(400, dtype=torch.bool), "b": mask}
    partial = Outputs(outputs.features, outputs.logits, outputs.unimodal_logits, present)
    rule = make_rule("ensemble", ("a", "b"), TASK)
    half = Outputs(
        {m: z[mask] for m, z in outputs.features.items()},
        outputs.logits[mask],
        {m: z[mask] for m, z in outputs.unimodal_logits.items()},
    )
    assert configuration_scores(model, rule, partial, y) == configuration_scores(model, rule, half, y[mask])
