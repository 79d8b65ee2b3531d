"""Every numbered statement of docs/theory.md on worlds whose information is known exactly."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from counterpoise.data.worlds import XOR, Dominant, Gaussian, Redundant, Unique
from counterpoise.data.worlds._discrete import DiscreteWorld
from counterpoise.methods.arm import synergy_share
from counterpoise.valuation import estimate

WORLDS = [
    Redundant(flip=0.1),
    Unique((2, 3), flip=0.1),
    XOR(flip=0.2),
    Dominant(noise_dims=0),
    XOR(3, flip=0.1),
    Unique((2, 2, 2)),
]
IDS = [repr(w) for w in WORLDS]


def table(world: DiscreteWorld, subset: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return the events' rows in the table of a subset, and that table's p(x_S, y)."""
    symbols, _, _ = world._events
    values, joint = world.joint(subset)
    columns = [world.modalities.index(m) for m in subset]
    keys = {tuple(v): k for k, v in enumerate(values)}
    return np.array([keys[tuple(s)] for s in symbols[:, columns]]), joint


def posterior(joint: np.ndarray) -> np.ndarray:
    return np.asarray(joint / joint.sum(1, keepdims=True))


def cross_entropy(joint: np.ndarray, q: np.ndarray) -> float:
    seen = joint > 0
    return float(-(joint[seen] * np.log(q[seen])).sum())


def kl(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(p > 0, p * np.log(p / q), 0.0).sum(-1)


def some_heads(joint: np.ndarray, seed: int) -> np.ndarray:
    """Return any conditional distribution q(y|x), far from the right one."""
    return np.random.default_rng(seed).dirichlet(np.ones(joint.shape[1]), size=len(joint))


@pytest.mark.parametrize("world", WORLDS, ids=IDS)
def test_1_a_head_gives_a_lower_bound_that_its_divergence_closes(world: DiscreteWorld) -> None:
    for subset in itertools.combinations(world.modalities, len(world.modalities) - 1):
        joint = world.joint(subset)[1]
        for seed in range(5):
            q = some_heads(joint, seed)
            bound = world.entropy() - cross_entropy(joint, q)
            gap = float(joint.sum(1) @ kl(posterior(joint), q))
            assert bound < world.mi(subset)
            assert bound + gap == pytest.approx(world.mi(subset))
        exact = world.entropy() - cross_entropy(joint, posterior(joint))
        assert exact == pytest.approx(world.mi(subset))


@pytest.mark.parametrize("world", WORLDS, ids=IDS)
def test_2_a_difference_of_two_bounds_errs_on_either_side(world: DiscreteWorld) -> None:
    whole = world.joint()[1]
    m = world.modalities[0]
    rest = world.joint(world.modalities[1:])[1]
    right, wrong = (posterior(whole), posterior(rest)), (some_heads(whole, 0), some_heads(rest, 0))
    truth = world.cmi(m)

    def phi(q_all: np.ndarray, q_rest: np.ndarray) -> float:
        return cross_entropy(rest, q_rest) - cross_entropy(whole, q_all)

    assert phi(*right) == pytest.approx(truth)
    assert phi(wrong[0], right[1]) < truth < phi(right[0], wrong[1])
    errors = [float(j.sum(1) @ kl(posterior(j), q)) for j, q in ((rest, wrong[1]), (whole, wrong[0]))]
    assert phi(*wrong) - truth == pytest.approx(errors[0] - errors[1])


@pytest.mark.parametrize("world", WORLDS, ids=IDS)
def test_3_the_chain_rule_adds_up_in_every_order(world: DiscreteWorld) -> None:
    for order in itertools.permutations(world.modalities):
        total = 0.0
        for k, m in enumerate(order):
            gain = world.mi([*order[:k], m]) - (world.mi(order[:k]) if k else 0.0)
            assert gain > -1e-12
            total += gain
        assert total == pytest.approx(world.mi())
        assert gain == pytest.approx(world.cmi(order[-1]))


@pytest.mark.parametrize("world", WORLDS, ids=IDS)
def test_4_a_marginal_contribution_needs_no_label(world: DiscreteWorld) -> None:
    _, _, probability = world._events
    for m in world.modalities:
        rest = tuple(k for k in world.modalities if k != m)
        rows, whole = table(world, world.modalities)
        fewer, without = table(world, rest)
        distance = kl(posterior(whole)[rows], posterior(without)[fewer])
        assert float(probability @ distance) == pytest.approx(world.cmi(m))


def test_5_co_information_is_what_the_two_contributions_differ_by() -> None:
    for world in (w for w in WORLDS if len(w.modalities) == 2):
        for m in world.modalities:
            assert world.mi([m]) - world.cmi(m) == pytest.approx(world.co_information())
    assert Redundant(flip=0.1).co_information() > 0.1
    assert XOR(flip=0.1).co_information() < -0.1
    assert Unique((2, 3)).co_information() == pytest.approx(0, abs=1e-12)


def test_6_leave_one_out_contributions_vanish_through_redundancy() -> None:
    world = Redundant(3, flip=0.1)
    assert world.mi() > 0.3
    for m in world.modalities:
        assert world.cmi(m) == pytest.approx(0, abs=1e-12)
        assert world.mi([m]) == pytest.approx(world.mi())


def coarsened(joint: np.ndarray, a: list[int], b: list[int]) -> tuple[float, float, float]:
    """Return I(f(A), g(B); Y), I(f(A); Y | g(B)) and I(g(B); Y | f(A)) for p(a, b, y) and maps of the symbols."""
    merged = np.zeros((max(a) + 1, max(b) + 1, joint.shape[2]))
    for i, j in np.ndindex(joint.shape[:2]):
        merged[a[i], b[j]] += joint[i, j]

    def h(p: np.ndarray) -> float:
        p = p[p > 0]
        return float(-(p * np.log(p)).sum())

    def mi(p: np.ndarray) -> float:
        flat = p.reshape(-1, p.shape[-1])
        return h(flat.sum(0)) + h(flat.sum(1)) - h(flat)

    whole = mi(merged)
    return whole, whole - mi(merged.sum(0)), whole - mi(merged.sum(1))


def cube(world: DiscreteWorld) -> np.ndarray:
    symbols, target, probability = world._events
    joint = np.zeros((*(s.max() + 1 for s in symbols.T), world.num_outputs))
    np.add.at(joint, (*symbols.T, target), probability)
    return joint


@pytest.mark.parametrize("world", [w for w in WORLDS if len(w.modalities) == 2], ids=repr)
def test_7_an_encoder_that_keeps_more_never_loses(world: DiscreteWorld) -> None:
    """All maps of a's symbols, and every map that refines it, b's encoder fixed."""
    joint = cube(world)
    size, other = min(joint.shape[0], 4), list(np.arange(joint.shape[1]) // 2)
    joint = joint[:size] / joint[:size].sum()
    maps = [list(f) for f in itertools.product(range(size), repeat=size)]
    maps = [[sorted(set(f)).index(v) for v in f] for f in maps]
    value = {tuple(f): coarsened(joint, f, other)[0] for f in maps}
    compared = 0
    for f, g in itertools.product(set(map(tuple, maps)), repeat=2):
        refines = all(f[i] == f[j] for i, j in itertools.combinations(range(size), 2) if g[i] == g[j])
        if refines:
            compared += 1
            assert value[g] >= value[f] - 1e-12
    assert compared > len(set(map(tuple, maps)))


def test_8_contributions_can_be_balanced_by_destroying() -> None:
    """Blinding b raises what a contributes given b, and the joint information never rises."""
    joint = cube(Redundant(flip=0.1))
    keep, blind = [0, 1], [0, 0]
    whole, given, _ = coarsened(joint, keep, keep)
    after, more, _ = coarsened(joint, keep, blind)
    assert given == pytest.approx(0, abs=1e-12)
    assert more == pytest.approx(after)
    assert more > 0.3
    assert after <= whole + 1e-12
    unequal = cube(Unique((2, 4)))
    whole, a, b = coarsened(unequal, keep, [0, 1, 2, 3])
    after, a_after, b_after = coarsened(unequal, keep, [0, 0, 1, 1])
    assert abs(a_after - b_after) < 1e-12 < abs(a - b)
    assert after < whole - 0.5


def through_one_number(angle: float, world: Gaussian, noise: float) -> float:
    """Return I(h; Y) in nats for h = cos(angle) x_a + sin(angle) x_b + noise."""
    w = np.array([np.cos(angle), np.sin(angle), 0.0])
    covariance = world.covariance()
    spread = w @ covariance @ w + noise**2
    return float(-0.5 * np.log(1 - (w @ covariance[:, 2]) ** 2 / spread))


def test_9_through_a_bottleneck_reinforcing_beyond_its_share_loses() -> None:
    world, noise = Gaussian((0.7, 0.4)), 0.5
    best = np.arctan2(0.4, 0.7)
    angles = np.linspace(best, np.pi / 2, 30)
    values = [through_one_number(a, world, noise) for a in angles]
    assert (np.diff(values) < 0).all()  # ever more of the weak modality, ever less information
    toward = [through_one_number(a, world, noise) for a in np.linspace(0, best, 30)]
    assert (np.diff(toward) > 0).all()  # up to its share it gains
    rng = np.random.default_rng(0)
    x, y = world.sample(20_000, 0)
    for angle in (best, 1.2):
        h = np.cos(angle) * x["a"][:, 0] + np.sin(angle) * x["b"][:, 0] + noise * rng.normal(size=20_000)
        valuation = estimate({"h": h, "none": rng.normal(size=20_000)}, y, task="regression", estimator="gaussian")
        assert valuation.mi["h"].value == pytest.approx(
            through_one_number(angle, world, noise), abs=4 * valuation.mi["h"].se
        )


def test_10_at_the_best_joint_information_every_gain_of_one_is_a_loss_of_the_rest() -> None:
    """All pairs of encoders with two symbols: where I(Z; Y) is largest, more phi_CMI(m) means less I(Z_-m; Y)."""
    joint = cube(Unique((2, 2), flip=0.05))
    choices = {}
    for f, g in itertools.product(([0, 0], [0, 1]), repeat=2):
        if max(f) + max(g) <= 1:  # room for one bit
            whole, a, b = coarsened(joint, f, g)
            choices[tuple(f), tuple(g)] = whole, a, whole - a, b
    top = max(v[0] for v in choices.values())
    for whole, a, rest, _ in choices.values():
        if whole == pytest.approx(top):
            for other, more, fewer, _ in choices.values():
                if more > a + 1e-9:
                    assert fewer <= rest - (more - a) + 1e-9
                    assert other <= top + 1e-12


@pytest.mark.parametrize("seed", range(20))
def test_11_a_rule_that_gains_from_a_modality_loses_once_that_looks_as_ever_and_says_nothing(seed: int) -> None:
    """Any p(a, b, y); then b is drawn again given a: the same inputs, the same p(a, y), and any rule at all."""
    rng = np.random.default_rng(seed)
    before = rng.dirichlet(np.full(3 * 4 * 3, 0.5)).reshape(3, 4, 3)
    inputs, given_a = before.sum(2), before.sum(1)
    after = inputs[:, :, None] * (given_a / given_a.sum(1, keepdims=True))[:, None]
    np.testing.assert_allclose(after.sum(2), inputs)
    np.testing.assert_allclose(after.sum(1), given_a)
    assert coarsened(after, [0, 1, 2], [0, 1, 2, 3])[2] == pytest.approx(0, abs=1e-12)

    def accuracy(joint: np.ndarray, rule: np.ndarray) -> float:
        return float(np.take_along_axis(joint, rule[:, :, None], 2).sum())

    alone = np.repeat(given_a.argmax(1)[:, None], 4, axis=1)
    best = before.argmax(2)
    gain = accuracy(before, best) - accuracy(before, alone)
    assert gain > 0
    for rule in (best, *rng.integers(3, size=(10, 3, 4))):
        loss = accuracy(after, alone) - accuracy(after, rule)
        preference = np.sort(given_a, 1)[:, -1] - np.sort(given_a, 1)[:, -2]
        least = (inputs * (rule != alone) * (preference / given_a.sum(1))[:, None]).sum()
        assert loss >= least - 1e-12
        assert least > 0
    assert accuracy(after, alone) == pytest.approx(accuracy(before, alone))


def test_12_a_gate_trusts_what_it_cannot_tell_from_the_usual() -> None:
    """Every gate on eight symbols, and random laws of usual and damaged inputs."""
    rng = np.random.default_rng(0)
    for usual, damaged in rng.dirichlet(np.ones(8), size=(50, 2)):
        distance = np.abs(usual - damaged).sum() / 2
        gates = np.array(list(itertools.product([0, 1], repeat=8)))
        slack = gates @ damaged - (gates @ usual - distance)
        assert slack.min() == pytest.approx(0, abs=1e-12)  # a bound, and one gate reaches it


def best_additive(world: DiscreteWorld) -> float:
    """Return what the best logits that are a sum of one table per modality know, H - CE in nats (a convex problem)."""
    symbols, target, p = world._events
    tables = [torch.zeros(int(column.max()) + 1, int(target.max()) + 1, dtype=torch.float64) for column in symbols.T]
    for t in tables:
        t.requires_grad_()
    rows, y, weight = (torch.from_numpy(np.asarray(x)) for x in (symbols.T, target, p))
    optimizer = torch.optim.LBFGS(tables, max_iter=500, line_search_fn="strong_wolfe", tolerance_change=1e-14)

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        logits = sum(t[r] for t, r in zip(tables, rows, strict=True))
        value = (weight * torch.nn.functional.cross_entropy(logits, y, reduction="none")).sum()
        value.backward()
        return value

    optimizer.step(loss)
    return world.entropy() - float(loss().detach())


@pytest.mark.parametrize("world", WORLDS, ids=IDS)
def test_13_synergy_is_the_part_that_no_sum_over_modalities_says(world: DiscreteWorld) -> None:
    additive = torch.tensor(best_additive(world), dtype=torch.float64)
    share = synergy_share(additive, torch.tensor(world.mi(), dtype=torch.float64), world.entropy(), eps=0.0)
    if isinstance(world, XOR):
        assert share.item() == pytest.approx(1, abs=1e-6)
        for m in world.modalities:
            assert world.mi([m]) == pytest.approx(0, abs=1e-12), "so its own loss has nothing to teach"
    else:
        assert share.item() == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize("seed", range(10))
def test_13_independent_given_the_class_each_encoder_needs_its_own_loss_only(seed: int) -> None:
    """Any p(y) and p(x_m|y): encoders that merge symbols of the same p(y|x_m) lose nothing of I(X; Y)."""
    rng = np.random.default_rng(seed)
    prior, a, b = rng.dirichlet(np.ones(3)), rng.dirichlet(np.ones(3), size=3), rng.dirichlet(np.ones(4), size=3)
    a, b = np.repeat(a, 2, axis=1) / 2, np.repeat(b, 2, axis=1) / 2  # two symbols each with the same posterior
    joint = np.einsum("y,ya,yb->aby", prior, a, b)
    alone_a, alone_b = (posterior(joint.sum(k)) for k in (1, 0))
    product = alone_a[:, None] * alone_b[None] / prior
    np.testing.assert_allclose(
        product / product.sum(-1, keepdims=True), posterior(joint.reshape(-1, 3)).reshape(joint.shape)
    )
    whole = coarsened(joint, list(range(6)), list(range(8)))[0]
    merged = coarsened(joint, [k // 2 for k in range(6)], [k // 2 for k in range(8)])[0]
    assert merged == pytest.approx(whole)


def test_inputs_that_never_occur_get_the_distribution_of_the_labels() -> None:
    world = Redundant(flip=0.1)  # a and b always show the same
    impossible = {"a": np.array([[1.0, 0.0]]), "b": np.array([[0.0, 1.0]])}
    np.testing.assert_allclose(np.exp(world.ideal(impossible)), [[0.5, 0.5]])


def test_the_page_names_these_tests_and_no_others() -> None:
    page = (Path(__file__).parents[3] / "docs" / "theory.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(test_\d+_\w+)`", page))
    here = {name for name in globals() if re.match(r"test_\d+_", name)}
    assert named == here
