"""Comparisons with independent implementations: scikit-learn, dit, SciPy, and definitions written out."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from worlds import Classes, Linear, channel, common_copy, noisy_copies, parity, parts

from counterpoise import coalitions
from counterpoise.valuation import estimate, functional

__all__ = ["ORACLES", "Comparison", "compare", "markdown"]


ESTIMATORS: Final = ("variational", "variational-linear")


@dataclass(frozen=True)
class Comparison:
    """One number beside that of an oracle.

    Attributes:
        what: What is compared.
        oracle: Who computes it independently.
        value: The library's number.
        expected: The oracle's.
        tolerance: Difference that is acceptable.
        one_sided: Whether only a value below the oracle's is a fault (the library searches more candidates).
    """

    what: str
    oracle: str
    value: float
    expected: float
    tolerance: float
    one_sided: bool = False

    @property
    def agrees(self) -> bool:
        """Whether the difference is acceptable."""
        difference = self.value - self.expected
        return difference >= -self.tolerance and (self.one_sided or difference <= self.tolerance)


def regularised_classifiers() -> list[Comparison]:
    """Compare I(X_m; Y) with the held-out likelihood of logistic regression with its best penalty."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_score

    comparisons = []
    worlds = {
        "4 columns": Classes(3, (1.0, 1.5)),
        "weak beside strong": Classes(3, (0.3, 2.0)),
        "10 classes": Classes(10, (1.0, 1.5), columns=8),
        "60 columns of noise beside": Classes(2, (0.5, np.inf), noise=(0, 60)),
        "100 columns of noise within": Classes(2, (0.5, 0.7), noise=(100, 100)),
    }
    for name, world in worlds.items():
        draw = world.draw(600, 5)
        valuations = {name: estimate(draw.inputs, draw.target, estimator=name) for name in ESTIMATORS}
        classes, counts = np.unique(draw.target, return_counts=True)
        prior = float(np.log(counts / len(draw.target)) @ counts / len(draw.target))
        folds = StratifiedKFold(5, shuffle=True, random_state=0)
        for m, x in draw.inputs.items():
            z = (x - x.mean(0)) / x.std(0)
            scores = [
                cross_val_score(
                    LogisticRegression(C=c, max_iter=2000), z, draw.target, cv=folds, scoring="neg_log_loss"
                ).mean()
                for c in np.logspace(-4, 2, 7)
            ]
            best = max(max(scores) - prior, 0.0)
            for estimator, valuation in valuations.items():
                e, text = valuation.mi[m], f"I({m}; Y), {name}, {len(classes)} classes, {estimator}"
                comparisons.append(
                    Comparison(text, "scikit-learn, best C", e.value, best, max(e.se, 0.01), one_sided=True)
                )
    return comparisons


def regularised_regression() -> list[Comparison]:
    """Compare I(X_m; Y) of real targets with ridge regression with its best penalty."""
    from sklearn.linear_model import RidgeCV
    from sklearn.model_selection import cross_val_predict

    comparisons = []
    for world in (Linear((0.7, 0.4)), Linear((0.8, 0.3), noise=40)):
        draw = world.draw(600, 5)
        y = draw.target[:, 0]
        valuation = estimate(draw.inputs, y, task="regression")
        for m, x in draw.inputs.items():
            left = y - cross_val_predict(RidgeCV(np.logspace(-3, 4, 15)), x, y, cv=5)
            expected = -0.5 * float(np.log(np.mean(left**2) / np.var(y)))
            e = valuation.mi[m]
            what = f"I({m}; Y), real target, {x.shape[1]} columns"
            comparisons.append(
                Comparison(what, "scikit-learn, RidgeCV", e.value, expected, max(e.se, 0.01), one_sided=True)
            )
    return comparisons


def nearest_neighbours() -> list[Comparison]:
    """Compare the k-nearest-neighbour estimator with scikit-learn's (Kraskov et al., k = 3)."""
    from sklearn.feature_selection import mutual_info_regression

    draw = Linear((0.7, 0.4), noise=0).draw(1000, 5)
    y = draw.target[:, 0]
    valuation = estimate(draw.inputs, y, task="regression", estimator="ksg")
    return [
        Comparison(
            f"I({m}; Y), k nearest neighbours",
            "scikit-learn",
            valuation.mi[m].value,
            float(mutual_info_regression(x, y, n_neighbors=3, random_state=0)[0]),
            0.06,
        )
        for m, x in draw.inputs.items()
    ]


def partial_information() -> list[Comparison]:
    """Compare the BROJA decomposition of tables with dit's."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import dit
        from dit.pid import PID_BROJA

        comparisons = []
        tables = {
            "XOR": parity(2, 0.1),
            "common copy": common_copy(2, 0.1),
            "unique parts": parts((2, 2), 0.1),
            "independent copies": noisy_copies(2, (0.1, 0.25)),
        }
        for name, table in tables.items():
            events = list(itertools.product(*(range(size) for size in table.shape)))
            kept = [e for e in events if table[e] > 0]
            names = ["".join(map(str, e)) for e in kept]
            parts_of = PID_BROJA(dit.Distribution(names, [table[e] / table.sum() for e in kept]), [[0], [1]], [2])
            lattice = {"redundant": ((0,), (1,)), "unique_a": ((0,),), "synergistic": ((0, 1),)}
            mine = functional.broja(table / table.sum())
            for part, node in lattice.items():
                expected = float(parts_of.get_pi(node)) * np.log(2)
                comparisons.append(
                    Comparison(f"{part}, {name}", "dit, BROJA", float(getattr(mine, part)), expected, 2e-3)
                )
        return comparisons


def shapley_values() -> list[Comparison]:
    """Compare Shapley values with the mean over all orders of the players."""
    rng = np.random.default_rng(0)
    comparisons = []
    for count in (2, 3, 4, 5):
        players = tuple("abcde"[:count])
        subsets = [frozenset(s) for k in range(count + 1) for s in itertools.combinations(players, k)]
        value = dict(zip(subsets, rng.normal(size=len(subsets)), strict=True))
        orders = list(itertools.permutations(players))
        mine = coalitions.shapley(value, players)
        for m in players[:2]:
            gains = [value[frozenset(o[: o.index(m) + 1])] - value[frozenset(o[: o.index(m)])] for o in orders]
            comparisons.append(
                Comparison(f"Shapley value, {count} players", "all orders", mine[m], float(np.mean(gains)), 1e-9)
            )
    return comparisons


def entropies() -> list[Comparison]:
    """Compare plug-in mutual information with SciPy's entropies."""
    from scipy.stats import entropy

    comparisons = []
    for flip in (0.05, 0.2):
        joint = channel(3, flip) / 3
        expected = float(entropy(joint.sum(0)) + entropy(joint.sum(1)) - entropy(joint.reshape(-1)))
        draws = np.random.default_rng(0).choice(9, size=4000, p=joint.reshape(-1))
        x, y = draws // 3, draws % 3
        valuation = estimate({"a": x.astype(str), "b": y.astype(str)}, y, estimator="plugin")
        comparisons.append(
            Comparison(f"I(a; Y), table, {flip:.0%} wrong", "SciPy", valuation.mi["a"].value, expected, 0.03)
        )
    return comparisons


ORACLES: Final[tuple[Callable[[], list[Comparison]], ...]] = (
    regularised_classifiers,
    regularised_regression,
    nearest_neighbours,
    partial_information,
    shapley_values,
    entropies,
)


def markdown(rows: list[Comparison]) -> str:
    """Return the comparisons as a table."""
    lines = ["| number | independent implementation | library | independent | agrees |", "|---|---|---:|---:|---|"]
    for row in rows:
        sign = "at least " if row.one_sided else ""
        agrees = "yes" if row.agrees else "**no**"
        lines.append(f"| {row.what} | {row.oracle} | {row.value:.4f} | {sign}{row.expected:.4f} | {agrees} |")
    return "\n".join(lines)


def compare() -> list[Comparison]:
    """Return all comparisons."""
    return [row for oracle in ORACLES for row in oracle()]
