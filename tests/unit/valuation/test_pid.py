"""Partial information decomposition: the classical gates, another library, the lattice's equations."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from counterpoise.errors import ConfigError, DataError
from counterpoise.valuation import decompose
from counterpoise.valuation.functional import Decomposition, broja, imin

LOG2 = float(np.log(2))


def _gate(rule: dict[tuple[int, int, int], float], shape: tuple[int, int, int]) -> np.ndarray:
    table = np.zeros(shape)
    for event, p in rule.items():
        table[event] += p
    return table


BITS = [(a, b) for a in (0, 1) for b in (0, 1)]
GATES = {
    "xor": _gate({(a, b, a ^ b): 0.25 for a, b in BITS}, (2, 2, 2)),
    "and": _gate({(a, b, a & b): 0.25 for a, b in BITS}, (2, 2, 2)),
    "rdn": _gate({(0, 0, 0): 0.5, (1, 1, 1): 0.5}, (2, 2, 2)),
    "unq": _gate({(a, b, 2 * a + b): 0.25 for a, b in BITS}, (2, 2, 4)),
}


def _parts(d: Decomposition) -> list[float]:
    return [d.redundant / LOG2, d.unique_a / LOG2, d.unique_b / LOG2, d.synergistic / LOG2]


@pytest.mark.parametrize(
    ("gate", "expected"),
    # In bits: redundant, unique, unique, synergistic. AND: R = I(A; Y) = 0.811 - 0.5, S = 0.5.
    [("xor", [0, 0, 0, 1]), ("and", [0.3113, 0, 0, 0.5]), ("rdn", [1, 0, 0, 0]), ("unq", [0, 1, 1, 0])],
)
def test_gates(gate: str, expected: list[float]) -> None:
    decomposition = broja(GATES[gate])
    assert _parts(decomposition) == pytest.approx(expected, abs=1e-4)
    assert decomposition.gap < 1e-5


@pytest.mark.parametrize(
    ("gate", "expected"),
    # UNQ is where the two definitions part: equally much about each y counts as redundant.
    [("xor", [0, 0, 0, 1]), ("and", [0.3113, 0, 0, 0.5]), ("rdn", [1, 0, 0, 0]), ("unq", [1, 0, 0, 1])],
)
def test_gates_by_specific_information(gate: str, expected: list[float]) -> None:
    assert _parts(imin(GATES[gate])) == pytest.approx(expected, abs=1e-4)


def _information(pair: np.ndarray) -> float:
    outer = pair.sum(1, keepdims=True) * pair.sum(0, keepdims=True)
    return float((pair * np.log(pair / outer)).sum())


@pytest.mark.parametrize("definition", [broja, imin])
@pytest.mark.parametrize("seed", range(3))
def test_parts_add_up_and_sources_are_exchangeable(definition: object, seed: int) -> None:
    table = np.random.default_rng(seed).dirichlet(np.ones(18)).reshape(3, 2, 3)
    assert callable(definition)
    decomposition, mirrored = definition(table), definition(table.transpose(1, 0, 2))
    assert decomposition.redundant + decomposition.unique_a == pytest.approx(_information(table.sum(1)), abs=1e-6)
    assert decomposition.redundant + decomposition.unique_b == pytest.approx(_information(table.sum(0)), abs=1e-6)
    total = decomposition.redundant + decomposition.unique_a + decomposition.unique_b + decomposition.synergistic
    assert total == pytest.approx(_information(table.reshape(6, 3)), abs=1e-6)
    assert mirrored.unique_b == pytest.approx(decomposition.unique_a, abs=1e-4)
    assert min(_parts(decomposition)) > -1e-4


def test_the_optimum_is_no_worse_than_any_table_with_the_same_pairs() -> None:
    """Random feasible tables: P plus multiples of the directions that leave (A, Y) and (B, Y) alone."""
    rng = np.random.default_rng(0)
    table = rng.dirichlet(np.ones(8)).reshape(2, 2, 2)
    swap = np.array([[1.0, -1.0], [-1.0, 1.0]])
    together = _information(table.reshape(4, 2)) - broja(table).synergistic
    tried = 0
    for t in rng.uniform(-0.3, 0.3, size=(4000, 2)):
        other = table + swap[:, :, None] * t
        if (other > 0).all():
            tried += 1
            assert _information(other.reshape(4, 2)) >= together - 1e-6
    assert tried > 100


@pytest.mark.parametrize("iterations", [1, 3, 20])
def test_the_gap_bounds_how_far_the_optimum_is_also_where_the_steps_ran_out(iterations: int) -> None:
    table = np.random.default_rng(3).dirichlet(np.ones(27)).reshape(3, 3, 3)
    best, early = broja(table, tolerance=1e-9), broja(table, iterations=iterations)
    excess = early.unique_a - best.unique_a
    assert best.gap <= 1e-9
    assert 1e-6 < excess <= early.gap < 1
    assert imin(table).gap == 0, "a closed form has none"


@pytest.mark.parametrize("name", ["and", "random"])
def test_against_dit(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dit = pytest.importorskip("dit", reason="dit is not installed (test-only oracle)")
        from dit.pid import PID_WB

        table = GATES["and"] if name == "and" else np.random.default_rng(3).dirichlet(np.ones(12)).reshape(2, 2, 3)
        events = np.argwhere(table > 0)
        joint = dit.Distribution([tuple(map(str, e)) for e in events], [table[tuple(e)] for e in events])
        lattices = [(PID_WB(joint, [[0], [1]], [2]), imin(table))]
        if name == "and":  # dit takes tens of seconds on more
            from dit.pid import PID_BROJA

            lattices.append((PID_BROJA(joint, [[0], [1]], [2]), broja(table)))
        for theirs, ours in lattices:
            expected = [theirs.get_pi(node) for node in (((0,), (1,)), ((0,),), ((1,),), ((0, 1),))]
            assert _parts(ours) == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("definition", ["broja", "imin"])
@pytest.mark.parametrize(("kind", "part"), [("redundant", "redundant"), ("unique", "unique"), ("xor", "synergistic")])
def test_decomposition_of_data(kind: str, part: str, definition: str) -> None:
    rng = np.random.default_rng(0)
    a, b = rng.integers(2, size=(2, 800))
    x = {"a": a, "b": a if kind == "redundant" else b}
    parts = decompose(x, a ^ b if kind == "xor" else a, definition=definition)
    for name in ("redundant", "unique", "unique_rest", "synergistic"):
        e = getattr(parts["a"], name)
        assert e.value == pytest.approx(LOG2 if name == part else 0, abs=0.02)
    assert parts["b"].unique_rest == parts["a"].unique
    assert parts["a"].to_dict()["definition"] == definition


def test_continuous_features_are_decomposed_by_their_predictions() -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(2, size=600)
    x = {"a": 8 * y + rng.normal(size=600), "b": rng.normal(size=600)}
    information = decompose(x, y, definition="broja")["a"]
    assert information.source == "predictions"
    assert information.unique.value == pytest.approx(LOG2, abs=0.03)


def test_each_modality_against_the_rest() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.integers(2, size=(2, 900))
    parts = decompose({"a": a, "b": b, "copy": a}, 2 * a + b, definition="broja")
    assert parts["b"].unique.value == pytest.approx(LOG2, abs=0.03)
    assert parts["a"].redundant.value == pytest.approx(LOG2, abs=0.03)


def test_bad_input() -> None:
    with pytest.raises(DataError, match=r"table \(A, B, Y\)"):
        broja(np.ones((2, 2)))
    with pytest.raises(DataError, match="negative or non-finite"):
        imin(-np.ones((2, 2, 2)))
    with pytest.raises(DataError, match="negative or non-finite"):
        broja(np.array([[[0.5, -0.1], [0.3, 0.1]], [[0.1, 0.0], [0.1, 0.0]]]))
    y = np.arange(40) % 2
    with pytest.raises(ConfigError, match="`definition`"):
        decompose({"a": y, "b": y}, y, definition="best")
