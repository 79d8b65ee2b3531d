"""The default estimator against worlds of known information: error at n = 10,000, and coverage of its intervals."""

from __future__ import annotations

import numpy as np
import pytest

from counterpoise.data.worlds import XOR, Gaussian, GaussianClasses, ManyLabels, Redundant, Unique, World
from counterpoise.valuation import estimate

WORLDS: list[World] = [
    Redundant(flip=0.1),
    Redundant(3, classes=4, flip=0.2),
    Unique((2, 3, 2), flip=0.1),
    XOR(flip=0.1),
    XOR(4, flip=0.05),
    XOR(flip=0.1, noise_dims=4),
    GaussianClasses((2.0, 1.5)),
    Gaussian((0.7, 0.5)),
    Gaussian((0.6, 0.4, 0.3), between=0.2),
    ManyLabels(flip=0.1),
]


@pytest.mark.parametrize("world", WORLDS, ids=repr)
def test_error_at_ten_thousand(world: World) -> None:
    """The error is below 5 %, or two standard errors where sampling alone is wider. No information gives no value."""
    x, y = world.sample(10_000, 3)
    valuation = estimate(x, y, task=world.task)
    pairs = [(valuation.joint_mi, world.mi())]
    pairs += [(valuation.mi[m], world.mi([m])) for m in world.modalities]
    pairs += [(valuation.cmi[m], world.cmi(m)) for m in world.modalities]
    for e, truth in pairs:
        allowed = max(0.05 * truth, 0.002) if truth > 0.2 else max(2.5 * e.se, 0.002)
        assert abs(e.value - truth) < allowed, f"{e} for {truth:.4f}"


def _mixed(n: int, seed: int) -> tuple[dict[str, np.ndarray], np.ndarray, float, float]:
    """A symbol and a real that are independent given the class; truths by quadrature."""
    rng = np.random.default_rng(seed)
    y = rng.integers(2, size=n)
    x = {"symbol": np.where(rng.random(n) < 0.2, 1 - y, y), "real": rng.normal(size=n) + 1.5 * y}
    grid = np.linspace(-10, 12, 20001)
    density = np.exp(-((grid[None] - 1.5 * np.arange(2)[:, None]) ** 2) / 2) / np.sqrt(2 * np.pi)  # (Y, x)
    symbol = np.array([[0.8, 0.2], [0.2, 0.8]])  # (Y, s)
    joint = 0.5 * symbol[:, :, None] * density[:, None]  # (Y, s, x)

    def mi(p: np.ndarray) -> float:
        return float(np.trapezoid((p * np.log(p / (p.sum(0) * 0.5))).sum(0), grid).sum())

    return x, y, mi(joint), mi(0.5 * density[:, None])


def test_mixed_features_by_quadrature() -> None:
    x, y, joint, real = _mixed(10_000, 0)
    valuation = estimate(x, y)
    assert valuation.joint_mi.value == pytest.approx(joint, abs=max(0.05 * joint, 2.5 * valuation.joint_mi.se))
    assert valuation.mi["real"].value == pytest.approx(real, abs=max(0.05 * real, 2.5 * valuation.mi["real"].se))
    assert valuation.cmi["symbol"].value == pytest.approx(
        joint - real, abs=max(0.05 * joint, 2.5 * valuation.cmi["symbol"].se)
    )


@pytest.mark.parametrize(
    ("world", "draws"), [(XOR(flip=0.1), 200), (Unique((2, 2), flip=0.1), 200), (Gaussian((0.7, 0.4)), 40)], ids=repr
)
def test_intervals_hold_the_truth(world: World, draws: int) -> None:
    """At n = 400; the limits are 90-99 % widened by two standard errors of the share itself."""
    inside = np.zeros(2)
    for seed in range(draws):
        x, y = world.sample(400, (seed, 5))
        valuation = estimate(x, y, task=world.task, seed=seed)
        truths = (world.mi(), world.cmi("a"))
        inside += [e.low <= t <= e.high for e, t in zip((valuation.joint_mi, valuation.cmi["a"]), truths, strict=True)]
    share = inside / draws
    slack = 2 * (0.95 * 0.05 / draws) ** 0.5
    assert (share >= 0.90 - slack).all(), share
    assert (share <= 0.99 + slack).all(), share
