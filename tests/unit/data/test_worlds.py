"""The truths of the worlds against independent derivations: formulas by hand, plug-in counts, and Monte Carlo of the
ideal predictor."""

from __future__ import annotations

import math
from collections import Counter
from itertools import combinations

import numpy as np
import pytest
import torch

from counterpoise.data.worlds import (
    XOR,
    DiscreteWorld,
    Dominant,
    Gaussian,
    GaussianClasses,
    ManyLabels,
    Redundant,
    Unique,
    World,
)
from counterpoise.errors import ConfigError, NotFoundError

LOG2 = math.log(2)

WORLDS: list[World] = [
    Redundant(2),
    Redundant(3, classes=3, flip=0.2, noise_dims=2),
    Redundant(4, classes=2, flip=0.1),
    Unique((2, 2)),
    Unique((3, 1), flip=0.1),
    Unique((2, 1, 3), flip=0.2, noise_dims=1),
    Unique((2, 2, 2, 2)),
    XOR(2),
    XOR(3, flip=0.1),
    XOR(4),
    XOR(2, classes=3, flip=0.3, noise_dims=3),
    Dominant(2),
    Dominant(3, classes=3),
    Dominant(4, classes=2, easy=0.1, hard=0.4),
    Gaussian((0.7, 0.4)),
    Gaussian((0.6, 0.3), between=0.5, noise_dims=2),
    Gaussian((0.5, 0.4, 0.3), between=0.2),
    Gaussian((0.4, -0.4, 0.3, 0.1), between=-0.1),
    GaussianClasses((2.0, 1.0)),
    GaussianClasses((1.5, 0.0), between=0.6),
    GaussianClasses((1.0, 2.0, 0.5), between=0.3),
    ManyLabels(2),
    ManyLabels(3, flip=0.1, noise_dims=1),
]


def subsets(world: World) -> list[tuple[str, ...]]:
    return [s for k in range(len(world.modalities) + 1) for s in combinations(world.modalities, k)]


def binary_channel(flip: float) -> float:
    """Information of a fair bit through a symmetric channel."""
    return LOG2 + flip * math.log(flip) + (1 - flip) * math.log(1 - flip)


# --- closed forms derived by hand -----------------------------------------------------------------------------------


@pytest.mark.parametrize("m", [2, 3, 4])
def test_binary_worlds_by_hand(m: int) -> None:
    truth = binary_channel(0.1)
    redundant, unique, xor = Redundant(m, flip=0.1), Unique((2,) * m, flip=0.1), XOR(m, flip=0.1)
    for world in (redundant, xor):
        assert world.entropy() == pytest.approx(LOG2, abs=1e-12)
        assert world.mi() == pytest.approx(truth, abs=1e-12)
    assert unique.entropy() == pytest.approx(m * LOG2, abs=1e-12)
    assert unique.mi() == pytest.approx(m * truth, abs=1e-12)
    for name in redundant.modalities:
        assert redundant.mi([name]) == pytest.approx(truth, abs=1e-12)
        assert redundant.cmi(name) == pytest.approx(0, abs=1e-12)
        assert unique.mi([name]) == pytest.approx(truth, abs=1e-12)
        assert unique.cmi(name) == pytest.approx(truth, abs=1e-12)
        assert xor.mi([name]) == pytest.approx(0, abs=1e-12)
        assert xor.cmi(name) == pytest.approx(truth, abs=1e-12)
    assert redundant.co_information() == pytest.approx(truth, abs=1e-12)
    assert unique.co_information() == pytest.approx(0, abs=1e-12)
    assert xor.co_information() == pytest.approx((-1) ** (m + 1) * truth, abs=1e-12)


def test_symmetric_channel_with_three_symbols_by_hand() -> None:
    # log C - H(flip) - flip log(C - 1)
    flip = 0.2
    truth = math.log(3) + flip * math.log(flip) + (1 - flip) * math.log(1 - flip) - flip * LOG2
    assert Redundant(2, classes=3, flip=flip).mi() == pytest.approx(truth, abs=1e-12)


@pytest.mark.parametrize("m", [2, 3, 4])
def test_dominant_by_hand(m: int) -> None:
    world = Dominant(m, classes=5, easy=0.2, hard=0.3)
    log5 = math.log(5)
    assert world.mi(["a"]) == pytest.approx(0.8 * log5, abs=1e-12)
    assert world.mi(["b"]) == pytest.approx(0.7 * log5, abs=1e-12)
    assert world.mi() == pytest.approx(log5 * (1 - 0.2 * 0.3 ** (m - 1)), abs=1e-12)
    assert world.cmi("b") == pytest.approx(0.2 * 0.3 ** (m - 2) * 0.7 * log5, abs=1e-12)


@pytest.mark.parametrize("world", [w for w in WORLDS if isinstance(w, Gaussian)], ids=repr)
def test_gaussian_by_determinants(world: Gaussian) -> None:
    covariance = world.covariance()
    last = len(covariance) - 1
    for s in subsets(world)[1:]:
        rows = [world.modalities.index(m) for m in s]
        both = [*rows, last]
        truth = 0.5 * math.log(
            np.linalg.det(covariance[np.ix_(rows, rows)]) / np.linalg.det(covariance[np.ix_(both, both)])
        )
        assert world.mi(s) == pytest.approx(truth, abs=1e-10)


def test_two_gaussian_classes_far_apart_and_together() -> None:
    assert GaussianClasses((0.0, 0.0)).mi() == pytest.approx(0, abs=1e-9)
    assert GaussianClasses((14.0, 0.0)).mi() == pytest.approx(LOG2, abs=1e-9)
    # small separation: I = d^2 / 8 + O(d^4), from log(1 + e^-L) to second order
    assert GaussianClasses((0.02, 0.0)).mi() == pytest.approx(0.02**2 / 8, rel=1e-3)


def test_gaussian_classes_by_two_dimensional_integration() -> None:
    delta, rho = np.array([1.3, 0.4]), 0.5
    world = GaussianClasses(tuple(delta), between=rho)
    axis = np.linspace(-8, 8, 801)
    x = np.stack(np.meshgrid(axis, axis, indexing="ij"), -1)
    precision = np.linalg.inv([[1, rho], [rho, 1]])

    def density(mean: np.ndarray) -> np.ndarray:
        z = x - mean
        quadratic = np.einsum("...i,ij,...j", z, precision, z)
        return np.exp(-quadratic / 2) * np.sqrt(np.linalg.det(precision)) / (2 * np.pi)

    p0, p1 = density(-delta / 2), density(delta / 2)
    mixture = (p0 + p1) / 2
    area = (axis[1] - axis[0]) ** 2
    truth = 0.5 * area * ((p0 * np.log(p0 / mixture)).sum() + (p1 * np.log(p1 / mixture)).sum())
    assert world.mi() == pytest.approx(truth, abs=1e-6)


# --- against samples ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "world", [w for w in WORLDS if isinstance(w, DiscreteWorld) and len(w.modalities) < 4], ids=repr
)
def test_enumeration_against_counts_of_samples(world: DiscreteWorld) -> None:
    """Plug-in information of the *inputs* as bytes, noise dimensions cut off: knows nothing of the table."""
    n = 60_000
    inputs, target = world.sample(n, seed=1)
    width = {m: inputs[m].shape[1] - world.noise_dims for m in world.modalities}
    code = {m: [row.tobytes() for row in inputs[m][:, : width[m]].astype(np.int8)] for m in world.modalities}

    def entropy(*columns: list[object]) -> float:
        counts = np.array(list(Counter(zip(*columns, strict=True)).values()))
        return float(-(counts / n * np.log(counts / n)).sum())

    y = target.tolist()
    for s in subsets(world)[1:]:
        columns = [code[m] for m in s]
        plug_in = entropy(*columns) + entropy(y) - entropy(*columns, y)
        cells = len(set(zip(*columns, strict=True))) * world.num_outputs
        # The plug-in's bias is at most about cells / 2n. Log-ratios have a deviation below 1, so 5 / sqrt(n) = 0.02.
        assert plug_in - cells / (2 * n) == pytest.approx(world.mi(s), abs=0.02 + cells / (2 * n))


@pytest.mark.parametrize("world", WORLDS, ids=repr)
def test_ideal_predictor_attains_the_information(world: World) -> None:
    """E[log p(y | x_S) - log p(y)] = I(X_S; Y), with the library's own likelihoods, within five standard errors."""
    inputs, target = world.sample(20_000, seed=2)
    data = world.data(40, seed=0)
    task = data.info.make_task()
    y = torch.from_numpy(target)

    def pointwise(s: tuple[str, ...]) -> torch.Tensor:
        logits = torch.from_numpy(world.ideal(inputs, s))
        if isinstance(world, Gaussian):
            task.scale = world.scale(s)  # type: ignore[attr-defined]
        return task.log_likelihood(logits, y).double()

    none = pointwise(())
    assert -none.mean().item() == pytest.approx(
        world.entropy(), abs=5 * max(none.std().item(), 1e-6) / math.sqrt(len(y)) + 1e-6
    )
    for s in subsets(world)[1:]:
        gain = pointwise(s) - none
        assert gain.mean().item() == pytest.approx(world.mi(s), abs=5 * gain.std().item() / math.sqrt(len(y)) + 1e-6)


# --- properties -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("world", WORLDS, ids=repr)
def test_information_is_monotone_bounded_and_chains(world: World) -> None:
    assert world.mi(()) == 0
    for s in subsets(world):
        for m in world.modalities:
            assert world.mi({*s, m}) >= world.mi(s) - 1e-12
        if world.task != "regression":
            assert -1e-12 <= world.mi(s) <= world.entropy() + 1e-12
    for m in world.modalities:
        rest = [other for other in world.modalities if other != m]
        assert world.mi(rest) + world.cmi(m) == pytest.approx(world.mi(), abs=1e-12)


@pytest.mark.parametrize("world", WORLDS, ids=repr)
def test_samples_repeat_and_splits_differ(world: World) -> None:
    first, again = world.sample(50, seed=3), world.sample(50, seed=3)
    for m in world.modalities:
        assert np.array_equal(first[0][m], again[0][m])
        assert first[0][m].dtype == np.float32
    assert np.array_equal(first[1], again[1])
    data = world.data(200, seed=3)
    assert [len(data.train), len(data.val), len(data.test)] == [200, 50, 200]
    assert data.info.num_outputs == world.num_outputs
    assert not np.array_equal(data.train.target, data.test.target)
    assert repr(eval(repr(world))) == repr(world)


def test_noise_dimensions_change_no_truth_and_no_symbol() -> None:
    plain, noisy = XOR(2), XOR(2, noise_dims=5)
    inputs, target = noisy.sample(500, seed=0)
    assert inputs["a"].shape == (500, 7)
    assert noisy.mi() == plain.mi()
    assert (noisy.ideal(inputs).argmax(1) == target).all()
    assert abs(np.corrcoef(inputs["a"][:, 2], target)[0, 1]) < 0.2


def test_hard_modality_cannot_be_read_linearly() -> None:
    """E[x_b | y] is the same for all classes: every linear read-out of b is at chance, though b tells about y."""
    world = Dominant(2, classes=4, noise_dims=0, hard=0.0)
    inputs, target = world.sample(40_000, seed=0)
    means = {m: np.stack([inputs[m][target == c].mean(0) for c in range(4)]) for m in "ab"}
    assert np.abs(means["b"] - means["b"].mean(0)).max() < 0.03
    assert np.abs(means["a"] - means["a"].mean(0)).max() > 0.4
    assert world.mi(["b"]) == pytest.approx(math.log(4), abs=1e-12)


def test_many_labels_by_hand() -> None:
    world = ManyLabels(3, flip=0.1)
    c = binary_channel(0.1)
    # a alone: the shared label and its own; with b: two own; all: also the exclusive or
    for subset, labels in ((["a"], 2), (["a", "b"], 3), (["a", "b", "c"], 5)):
        assert world.mi(subset) == pytest.approx(labels * c, abs=1e-12)
    assert world.cmi("b") == pytest.approx(2 * c, abs=1e-12)
    assert world.entropy() == pytest.approx(5 * LOG2, abs=1e-12)


def test_many_labels_against_counts() -> None:
    world = ManyLabels(2, flip=0.2)
    n = 100_000
    inputs, target = world.sample(n, seed=4)
    bits = {m: inputs[m].reshape(n, 4, 2).argmax(2) @ np.array([1, 2, 4, 8]) for m in "ab"}
    y = target @ np.array([1, 2, 4, 8])

    def entropy(code: np.ndarray) -> float:
        counts = np.bincount(code)
        p = counts[counts > 0] / n
        return float(-(p * np.log(p)).sum())

    for code, size, subset in ((bits["a"], 16, ["a"]), (bits["a"] + 16 * bits["b"], 256, ["a", "b"])):
        plug_in = entropy(code) + entropy(y) - entropy(code + size * y)
        # Miller-Madow: the plug-in is high by (cells of x - 1)(cells of y - 1) / 2n where all cells are met
        cells = len(np.unique(code + size * y)) - len(np.unique(code)) - 15
        assert plug_in - cells / (2 * n) == pytest.approx(world.mi(subset), abs=0.02)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: Redundant(1), "2 to 26 modalities"),
        (lambda: Redundant(2, flip=1.5), "flip = 1.5"),
        (lambda: XOR(2, classes=1), "classes = 1"),
        (lambda: Unique((1, 1)), "product of states"),
        (lambda: Gaussian((0.8, 0.8)), "explained to 128 %"),
        (lambda: Gaussian((0.1, 0.1), between=1.0), "between = 1.0"),
        (lambda: GaussianClasses((1.0, 1.0, 1.0), between=-0.6), "between = -0.6"),
        (lambda: XOR(2, noise_dims=-1), "noise_dims = -1"),
    ],
)
def test_impossible_worlds_are_refused(make: object, match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        make()  # type: ignore[operator]


def test_unknown_modality() -> None:
    with pytest.raises(NotFoundError, match="Unknown modality `z`"):
        XOR(2).mi(["z"])
    with pytest.raises(NotFoundError, match="Unknown modality `z`"):
        XOR(2).cmi("z")
