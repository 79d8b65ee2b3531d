"""The rules, from numbers to verdicts."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import pytest

from counterpoise.diagnosis._evidence import Evidence, Finding, Thresholds
from counterpoise.diagnosis._roles import roles, shapley
from counterpoise.diagnosis._verdicts import decide, overall
from counterpoise.errors import ConfigError
from counterpoise.valuation import Estimate


def e(value: float, reach: float = 0.02) -> Estimate:
    return Estimate(value, reach / 2, value - reach, value + reach)


LOST = {"realised": e(0.15), "lost": e(0.15), "lost_cmi": e(0.0)}
NOTHING = {"realised": e(0.0), "lost": e(0.0), "lost_cmi": e(0.0)}
USED = {"realised": e(0.45), "lost": e(0.05), "lost_cmi": e(0.0)}


@pytest.mark.parametrize(
    ("evidence", "verdict"),
    [
        (Evidence(e(0.5), e(0.3)), "balanced"),
        (Evidence(e(0.5), e(0.3), **USED), "balanced"),
        (Evidence(e(0.0), e(0.3), realised=e(0.0), lost=e(0.0), lost_cmi=e(0.0)), "balanced"),  # synergy, and used
        (Evidence(e(0.0), e(0.3), realised=e(0.0), lost=e(0.0), lost_cmi=e(0.2)), "under-trained"),  # and not
        (Evidence(e(0.5), e(0.0), realised=e(0.1), lost=e(0.4), lost_cmi=e(0.0)), "under-trained"),  # redundant
        (Evidence(e(0.5), e(0.3), realised=e(0.1), lost=e(0.4, 0.5), lost_cmi=e(0.0)), "balanced"),  # not significant
        (Evidence(e(0.5), e(0.3), realised=e(0.36), lost=e(0.14), lost_cmi=e(0.0)), "balanced"),  # below 30 %
        (Evidence(e(0.5), e(0.3), realised=e(0.34), lost=e(0.16), lost_cmi=e(0.0)), "under-trained"),
        (Evidence(e(0.0), e(0.0)), "uninformative"),
        (Evidence(e(0.04, 0.001), e(0.0)), "uninformative"),  # significant, but below 5 % of H
        (Evidence(e(0.06, 0.01), e(0.0)), "balanced"),
        (Evidence(e(0.06, 0.10), e(0.0)), "undecided"),  # above, but not significant
        (Evidence(e(0.04, 0.30), e(0.0)), "undecided"),  # below, but who knows
        (Evidence(e(0.0), e(0.0), **NOTHING, shown=e(0.5), gap=e(0.5)), "overfitting"),
        (Evidence(e(0.0), e(0.0), shown=e(0.5), gap=e(0.5)), "uninformative"),  # without a model
        (Evidence(e(0.5), e(0.3), **USED, shown=e(0.95), gap=e(0.5)), "overfitting"),
        (Evidence(e(0.5), e(0.3), **USED, shown=e(0.85), gap=e(0.4)), "balanced"),  # more than half carries over
        (Evidence(e(0.3), e(0.3), **LOST, shown=e(0.3), gap=e(0.15)), "overfitting"),  # learnt, and does not carry over
        (Evidence(e(0.3), e(0.3), **LOST, shown=e(0.2), gap=e(0.05)), "under-trained"),  # never learnt
        (Evidence(e(0.3), e(0.3), **LOST, shown=e(0.3), gap=e(0.15, 0.2)), "under-trained"),  # who knows
        (Evidence(e(0.0), e(0.0), **NOTHING, shown=e(0.2), gap=e(0.2)), "uninformative"),  # a gap below a quarter of H
        (Evidence(e(0.0), e(0.0), **NOTHING, shown=e(0.5), gap=e(0.5, 0.6)), "uninformative"),
    ],
)
def test_decide(evidence: Evidence, verdict: str) -> None:
    assert decide("b", evidence, scale=1.0).verdict == verdict


def test_every_threshold_moves_a_verdict() -> None:
    weak = Evidence(e(0.1), e(0.0))
    assert decide("b", weak, 1.0, Thresholds(negligible=0.2)).verdict == "uninformative"
    wide = Evidence(e(0.0, 0.2), e(0.0))
    assert decide("b", wide, 1.0, Thresholds(room=0.1)).verdict == "undecided"
    part = Evidence(e(0.5), e(0.3), realised=e(0.36), lost=e(0.14), lost_cmi=e(0.0))
    assert decide("b", part, 1.0, Thresholds(unused=0.2)).verdict == "under-trained"
    gap = Evidence(e(0.5), e(0.3), **USED, shown=e(0.85), gap=e(0.4))
    assert decide("b", gap, 1.0, Thresholds(overfit=0.4)).verdict == "overfitting"
    small = Evidence(e(0.0), e(0.0), **NOTHING, shown=e(0.2), gap=e(0.2))
    assert decide("b", small, 1.0, Thresholds(memorised=0.1)).verdict == "overfitting"


@pytest.mark.parametrize("name", ["negligible", "room", "unused", "overfit", "memorised", "dominance"])
def test_thresholds_refuse_what_is_no_fraction(name: str) -> None:
    with pytest.raises(ConfigError, match=f"`{name}` of `Thresholds`"):
        Thresholds(**{name: 0.0})


def test_the_sentence_says_where_information_is_lost() -> None:
    common = {"realised": e(0.1), "lost": e(0.4), "lost_cmi": e(0.2)}
    assert "encoder keeps only 0.110" in decide("b", Evidence(e(0.5), e(0.3), encoder=e(0.11), **common), 1.0).sentence
    assert "fusion does not read it" in decide("b", Evidence(e(0.5), e(0.3), encoder=e(0.5), **common), 1.0).sentence
    assert "robustness" in decide("b", Evidence(e(0.5), e(0.0), **common), 1.0).sentence


def test_overall_is_the_gravest_and_names_who_dominates() -> None:
    fine, empty = Finding("balanced", 0.5, "a is fine.", "dominant"), Finding("uninformative", 0.0, "b is empty.")
    lost = Finding("under-trained", 0.3, "c is lost.")
    assert overall({"a": fine, "b": empty, "c": lost}, {}) == ("under-trained", "c is lost. b is empty. a dominates.")
    known = {"a": Evidence(e(0.5), e(0.3)), "b": Evidence(e(0.5), e(0.3))}
    used = {m: replace(one, realised=e(0.5)) for m, one in known.items()}
    held = {m: replace(one, gap=e(0.1)) for m, one in used.items()}
    texts = []
    for evidence in (known, used, held):
        verdict, text = overall({"a": fine, "b": fine}, evidence)
        assert verdict == "balanced"
        texts.append(text)
    # Only what was measured is claimed.
    assert [("used" in text, "memorised" in text) for text in texts] == [(False, False), (True, False), (True, True)]


def test_shapley_equals_the_mean_over_orders() -> None:
    value = {"a": 0.3, "b": 0.2, "c": 0.0, "a+b": 0.6, "a+c": 0.4, "b+c": 0.25, "a+b+c": 0.7, "": 0.0}
    names = ("a", "b", "c")
    expected = dict.fromkeys(names, 0.0)
    for order in permutations(names):
        for k, m in enumerate(order):
            before, after = ("+".join(sorted(order[:i])) for i in (k, k + 1))
            expected[m] += (value[after] - value[before]) / 6
    every = {tuple(s.split("+")): e(v) for s, v in value.items() if s}
    values = shapley(every, {m: every[(m,)] for m in names}, dict.fromkeys(names, e(0.0)))
    assert values == pytest.approx(expected)
    assert sum(values.values()) == pytest.approx(0.7)


def test_shapley_of_a_partial_lattice_is_the_mean_of_alone_and_last() -> None:
    names = ("a", "b", "c", "d", "f")  # above four modalities a valuation has the whole, each, and all but each
    partial = {(m,): e(0.1) for m in names} | {names: e(1.0)}
    values = shapley(partial, {m: e(0.1) for m in names}, {m: e(0.2) for m in names})
    assert values == pytest.approx(dict.fromkeys(names, 0.15))
    assert shapley({}, {"a": e(0.1), "b": e(0.3)}, {"a": e(0.1), "b": e(0.1)}) == pytest.approx({"a": 0.1, "b": 0.2})


def test_names_that_look_like_sums_are_told_apart() -> None:
    subsets = {("a+b",): e(0.5), ("c",): e(0.25), ("a+b", "c"): e(0.75)}
    alone = {"a+b": e(0.5), "c": e(0.25)}
    assert shapley(subsets, alone, alone) == {"a+b": 0.5, "c": 0.25}


@pytest.mark.parametrize(
    ("share", "lead", "mi", "cmi", "role"),
    [
        ((0.8, 0.2), 0.5, 0.8, 0.5, "dominant"),
        ((0.8, 0.2), 0.01, 0.8, 0.5, "complementary"),  # the lead is not significant
        ((0.5, 0.4), 0.1, 0.5, 0.3, "complementary"),
        ((0.5, 0.4), 0.1, 0.5, 0.0, "redundant"),
        ((0.0, 0.4), -0.4, 0.0, 0.0, "silent"),
    ],
)
def test_roles(share: tuple[float, float], lead: float, mi: float, cmi: float, role: str) -> None:
    pair = {"a": (e(mi), e(cmi)), "b": (e(0.2), e(0.2))}
    shares = dict(zip("ab", share, strict=True))
    assert roles(shares, {"a": e(lead), "b": e(-lead)}, pair, 1.0, Thresholds())["a"] == role
