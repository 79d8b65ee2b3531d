"""Measures of a model: brute force, axioms, closed forms."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import permutations
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from counterpoise.errors import ConfigError, DataError
from counterpoise.tasks import MultiClass, MultiLabel, Regression
from counterpoise.valuation.model_based import (
    ablation,
    conditional_utilisation,
    discrepancy_ratio,
    gradient_share,
    perceptual_score,
    shapley,
    subset_scores,
)

TASK = MultiClass(3)


def _model(names: str, seed: int = 0) -> Callable[[Mapping[str, Any]], Tensor]:
    """Logits with an interaction, so that Shapley values are not just differences."""
    g = torch.Generator().manual_seed(seed)
    weights = {m: torch.randn(4, 3, generator=g) for m in names}

    def predict(inputs: Mapping[str, Any]) -> Tensor:
        parts = [inputs[m] @ w for m, w in weights.items()]
        return torch.stack(parts).sum(0) + parts[0] * parts[-1]

    return predict


def _data(names: str, n: int = 60, seed: int = 1) -> tuple[dict[str, Tensor], Tensor]:
    g = torch.Generator().manual_seed(seed)
    return {m: torch.randn(n, 4, generator=g) for m in names}, torch.randint(3, (n,), generator=g)


@pytest.mark.parametrize("measure", ["accuracy", "log_likelihood"])
@pytest.mark.parametrize("names", ["ab", "abc", "abcd"])
def test_shapley_equals_the_mean_over_all_orders(names: str, measure: str) -> None:
    inputs, y = _data(names)
    predict = _model(names)
    result = shapley(predict, inputs, y, task=TASK, measure=measure, baseline="zeros")

    def value(present: tuple[str, ...]) -> np.ndarray:
        logits = predict({m: x if m in present else torch.zeros_like(x) for m, x in inputs.items()})
        score = TASK.sample_score(logits, y) if measure == "accuracy" else TASK.log_likelihood(logits.double(), y)
        return score.double().numpy()

    orders = list(permutations(names))
    for m in names:
        gains = [value(o[: o.index(m) + 1]) - value(o[: o.index(m)]) for o in orders]
        np.testing.assert_allclose(result.per_sample[m], np.mean(gains, axis=0), atol=1e-6)
        assert result.values[m].value == pytest.approx(np.mean(gains), abs=1e-6)


@pytest.mark.parametrize("names", ["abc", "abcdefgh"])
@pytest.mark.parametrize("baseline", ["zeros", "mean", "permute"])
def test_shapley_values_sum_to_the_whole(names: str, baseline: str) -> None:
    inputs, y = _data(names)
    result = shapley(_model(names), inputs, y, task=TASK, baseline=baseline, permutations=6)
    assert sum(e.value for e in result.values.values()) == pytest.approx(result.total)
    assert result.permutations == (0 if len(names) <= 6 else 6)


def test_drawn_orders_agree_with_all_subsets_within_their_error(monkeypatch: pytest.MonkeyPatch) -> None:
    from counterpoise.valuation.model_based import _shapley

    inputs, y = _data("abcdef", n=40)
    predict = _model("abcdef")
    exact = shapley(predict, inputs, y, task=TASK)
    monkeypatch.setattr(_shapley, "EXACT", 5)
    drawn = shapley(predict, inputs, y, task=TASK, permutations=40)
    assert drawn.permutations == 40
    distances = []
    for m in "abcdef":
        orders = (drawn.values[m].se ** 2 - drawn.per_sample[m].var(ddof=1) / 40) ** 0.5
        assert orders > 0
        distances.append(abs(drawn.values[m].value - exact.values[m].value) / orders)
    assert max(distances) < 4
    assert np.mean(distances) < 2


def test_a_modality_that_is_not_used_is_worth_nothing_and_equals_are_worth_the_same() -> None:
    x = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
    inputs = {"a": x, "b": x, "idle": torch.randn(50, 3)}
    y = x.argmax(1)
    result = shapley(lambda i: i["a"] + i["b"], inputs, y, task=TASK)
    assert result.values["idle"].value == 0
    assert result.values["a"].value == pytest.approx(result.values["b"].value)
    assert ablation(lambda i: i["a"] + i["b"], inputs, y, task=TASK)["idle"].value == 0


def test_baselines_put_in_what_they_say() -> None:
    seen: dict[str, list[Tensor]] = {"a": [], "b": []}

    def spy(inputs: Mapping[str, Any]) -> Tensor:
        seen["a"].append(inputs["a"])
        seen["b"].append(inputs["b"]["ids"])
        return torch.zeros(len(inputs["a"]), 3)

    x = torch.arange(10.0)[:, None].repeat(1, 2)
    inputs = {"a": x, "b": {"ids": torch.arange(10)[:, None], "mask": torch.ones(10, 1)}}
    y = torch.zeros(10, dtype=torch.long)
    for baseline, expected in {"zeros": torch.zeros(10, 2), "mean": torch.full((10, 2), 4.5)}.items():
        subset_scores(spy, inputs, y, task=TASK, subsets=[("b",)], baseline=baseline, batch=4)
        torch.testing.assert_close(torch.cat(seen["a"][-3:]), expected)
    subset_scores(spy, inputs, y, task=TASK, subsets=[("a",)], baseline="mean", batch=4)
    assert torch.cat(seen["b"][-3:]).sum() == 0  # token ids have no mean
    subset_scores(spy, inputs, y, task=TASK, subsets=[("b",)], baseline="permute", batch=4)
    moved = torch.cat(seen["a"][-3:])
    assert sorted(moved[:, 0].tolist()) == list(range(10))
    assert not torch.equal(moved, x)


def test_ablation_and_perceptual_score_by_hand() -> None:
    """A model that copies a: without it (zeros) it says class 0; permuted it is right by chance."""
    y = torch.arange(3000) % 3
    inputs = {"a": 5.0 * torch.nn.functional.one_hot(y, 3), "b": torch.zeros(3000, 3)}
    lost = ablation(lambda i: i["a"] + i["b"], inputs, y, task=TASK, baseline="zeros")
    assert lost["a"].value == pytest.approx(2 / 3)
    assert lost["b"].value == 0
    score = perceptual_score(lambda i: i["a"] + i["b"], inputs, y, task=TASK, repeats=3)
    assert score["a"].value == pytest.approx(2 / 3, abs=0.02)
    assert score["b"].value == 0


@pytest.mark.parametrize("task", [MultiLabel(2), Regression(2)], ids=lambda t: t.name)
def test_other_tasks(task: Any) -> None:
    g = torch.Generator().manual_seed(0)
    x = torch.randn(80, 2, generator=g)
    y = (x > 0).double() if task.name == "multilabel" else x.double()
    result = shapley(lambda i: 4 * i["a"], {"a": x, "b": x}, y, task=task)
    assert result.values["b"].value == 0
    assert result.values["a"].value == pytest.approx(result.total)


def test_conditional_utilisation() -> None:
    assert conditional_utilisation(0.8, {"a": 0.4, "b": 0.8}) == pytest.approx({"a": 0.5, "b": 0.0})
    with pytest.raises(DataError, match="should be positive"):
        conditional_utilisation(0.0, {"a": 0.1})


def test_gradient_shares() -> None:
    a, b, c = (torch.ones(2, requires_grad=True) for _ in range(3))
    loss = 3 * a.sum() + 4 * b.sum()
    assert gradient_share(loss, {"a": [a], "b": [b]}) == pytest.approx({"a": 3 / 7, "b": 4 / 7})
    assert gradient_share(loss, {"a": [a], "c": [c]}) == {"a": 1.0, "c": 0.0}
    assert a.grad is None
    loss.backward()  # the graph is still there
    with pytest.raises(DataError, match="No gradient"):
        gradient_share(3 * a.sum(), {"c": [c]})


def test_discrepancy_ratio_for_two_and_three() -> None:
    logits = {m: torch.tensor(p).log() for m, p in {"a": [[0.6, 0.4]], "b": [[0.3, 0.7]], "c": [[0.1, 0.9]]}.items()}
    y = torch.tensor([0])
    assert discrepancy_ratio({m: logits[m] for m in "ab"}, y) == pytest.approx({"a": 2.0, "b": 0.5})
    assert discrepancy_ratio(logits, y) == pytest.approx({"a": 3.0, "b": 0.3 / 0.35, "c": 0.1 / 0.45})
    with pytest.raises(DataError, match="at least two"):
        discrepancy_ratio({"a": logits["a"]}, y)


def test_bad_input() -> None:
    inputs, y = _data("ab")
    predict = _model("ab")
    with pytest.raises(ConfigError, match="`baseline`"):
        ablation(predict, inputs, y, task=TASK, baseline="median")
    with pytest.raises(ConfigError, match="`measure`"):
        shapley(predict, inputs, y, task=TASK, measure="f1")
    with pytest.raises(ConfigError, match="`permutations`"):
        shapley(predict, inputs, y, task=TASK, permutations=0)
    with pytest.raises(DataError, match="no modality `c`"):
        subset_scores(predict, inputs, y, task=TASK, subsets=[("c",)])
    with pytest.raises(DataError, match="one target per sample"):
        subset_scores(predict, inputs, y[:3], task=TASK, subsets=[("a",)])
    with pytest.raises(DataError, match="should return logits"):
        subset_scores(lambda i: torch.zeros(3), inputs, y, task=TASK, subsets=[("a",)])
    with pytest.raises(DataError, match="never right"):
        perceptual_score(lambda i: -9.0 * torch.nn.functional.one_hot(y, 3), inputs, y, task=TASK, batch=60)
