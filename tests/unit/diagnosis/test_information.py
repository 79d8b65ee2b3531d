"""The quick heads against closed forms, and differences against their definition."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from counterpoise.diagnosis._information import independent, linear_information
from counterpoise.valuation.assembly import SubsetEstimate, combine
from counterpoise.valuation.inputs import prepare


def _problem(y: np.ndarray, **options: object):  # type: ignore[no-untyped-def]
    return prepare({"a": np.zeros((len(y), 1)), "b": np.zeros((len(y), 1))}, y, **options)  # type: ignore[arg-type]


def test_a_noisy_copy_holds_what_a_binary_symmetric_channel_holds() -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(2, size=20_000)
    x = np.where(rng.random(20_000) < 0.1, 1 - y, y)
    information = linear_information(_problem(y), torch.from_numpy(x[:, None].astype(float)))
    truth = math.log(2) + 0.1 * math.log(0.1) + 0.9 * math.log(0.9)
    assert information.estimate.low < truth < information.estimate.high
    assert information.estimate.value == pytest.approx(truth, abs=0.01)
    assert information.inside == pytest.approx(truth, abs=0.01)


def test_a_gaussian_target_holds_half_the_log_of_the_variance_ratio() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(20_000, 1))
    y = x + rng.normal(size=(20_000, 1))
    information = linear_information(_problem(y, task="regression"), torch.from_numpy(x))
    assert information.estimate.value == pytest.approx(0.5 * math.log(2), abs=0.015)


def test_noise_holds_nothing_held_out_and_something_inside() -> None:
    """k parameters are worth k / 2n nats inside and cost as many held out."""
    rng = np.random.default_rng(0)
    n, k = 1000, 100
    y = rng.integers(2, size=n)
    information = linear_information(_problem(y), torch.from_numpy(rng.normal(size=(n, k))))
    expected = k / (2 * 0.8 * n)
    assert 0.7 * expected < information.inside < 1.5 * expected
    assert information.estimate.value < -0.7 * expected


def test_what_training_shows_of_a_heavy_tailed_target_is_about_what_is_held_out() -> None:
    r = np.random.default_rng((2, 19))
    a, b, e = r.normal(size=(3, 1000))
    held_in = linear_information(
        _problem((0.5 * a + np.exp(b) * e)[:, None], task="regression"), torch.from_numpy(a[:, None])
    )
    assert held_in.inside == pytest.approx(held_in.estimate.value, abs=0.03)


def test_constant_columns_hold_nothing() -> None:
    y = np.arange(100) % 2
    assert abs(linear_information(_problem(y), torch.ones(100, 2)).estimate.value) < 0.01


def test_groups_widen_the_interval() -> None:
    rng = np.random.default_rng(0)
    group = np.repeat(np.arange(50), 20)
    y = np.repeat(rng.integers(2, size=50), 20)
    x = torch.from_numpy(np.repeat(y[::20] + rng.normal(size=50), 20)[:, None])
    plain = linear_information(_problem(y), x).estimate
    grouped = linear_information(_problem(y, group=group), x).estimate
    assert grouped.se > 3 * plain.se


def test_a_difference_is_paired_and_independent_ones_add() -> None:
    rng = np.random.default_rng(0)
    points = rng.normal(1.0, 1.0, size=(2, 400))
    points[1] = points[0] - 0.5 + 0.1 * points[1]
    first, second = (SubsetEstimate(x, fitted=False) for x in points)
    paired = combine([(1.0, first), (-1.0, second)])
    assert paired.value == pytest.approx(first.value - second.value)
    assert paired.se == pytest.approx((points[0] - points[1]).std(ddof=1) / 20)
    assert paired.low < paired.value < paired.high
    apart = independent(combine([(1.0, first)]), combine([(1.0, second)]))
    assert apart.se == pytest.approx(math.hypot(*(x.std(ddof=1) / 20 for x in points)))
    assert apart.high - apart.low == pytest.approx(2 * 1.959964 * apart.se, rel=1e-5)
    unknown = SubsetEstimate(np.empty(0), correction=first.value, selection=points[0].std(ddof=1) / 20)
    assert combine([(1.0, unknown), (-1.0, second)]).se == pytest.approx(apart.se)
