"""Sentences from constructed numbers. Their wording is in ``tests/golden``; the claims are checked here.

``COUNTERPOISE_GOLDEN=write pytest tests/unit/report`` writes the golden files again.
"""

from __future__ import annotations

import re

import numpy as np
import pytest
from scipy import stats

from counterpoise.errors import NotFoundError
from counterpoise.report.analysis.comparison import compare
from counterpoise.report.analysis.conclusions import conclusions, describe, explain, seeds_needed
from counterpoise.report.analysis.statistics import Paired, paired_difference

JOINT = (0.840, 0.842, 0.844)
BEST = (0.861, 0.866, 0.869)
GYROSCOPE = {
    "joint": {"gyroscope": (0.650, 0.651, 0.652), "accelerometer": (0.81, 0.82, 0.80)},
    "unimodal:gyroscope": {"gyroscope": (0.730, 0.734, 0.738)},
    "unimodal:accelerometer": {"accelerometer": (0.81, 0.81, 0.81)},
}
ALONE = {"unimodal:gyroscope": (0.70, 0.71, 0.72), "unimodal:accelerometer": (0.8, 0.81, 0.82)}
SCENARIOS: dict[str, tuple[dict, dict, dict]] = {  # type: ignore[type-arg]
    "joint-loses": ({"joint": JOINT, "unimodal:accelerometer": BEST}, {}, {}),
    "joint-gains": ({"joint": JOINT, "unimodal:accelerometer": (0.811, 0.816, 0.819)}, {}, {}),
    "joint-not-significant": ({"joint": JOINT, "unimodal:accelerometer": (0.800, 0.870, 0.845)}, {}, {}),
    "one-seed": ({"joint": (0.8,), "unimodal:accelerometer": (0.9,), "arm": (0.85,)}, {}, {}),
    "under-trained": ({"joint": JOINT, **ALONE, "arm": BEST}, GYROSCOPE, {}),
    "repaired": (
        {"joint": JOINT, **ALONE, "arm": BEST},
        {**GYROSCOPE, "arm": {"gyroscope": (0.728, 0.731, 0.735)}},
        {},
    ),
    "probe-not-significant": (
        {"joint": JOINT, "unimodal:gyroscope": (0.7, 0.7, 0.7)},
        {"joint": {"gyroscope": (0.70, 0.60, 0.65)}, "unimodal:gyroscope": {"gyroscope": (0.65, 0.68, 0.67)}},
        {},
    ),
    "probe-rises": (
        {"joint": JOINT, "unimodal:gyroscope": (0.7, 0.7, 0.7)},
        {"joint": {"gyroscope": (0.70, 0.71, 0.72)}, "unimodal:gyroscope": {"gyroscope": (0.65, 0.68, 0.67)}},
        {},
    ),
    "focus-gains": ({"joint": JOINT, "arm": BEST}, {}, {}),
    "focus-loses": (
        {"joint": JOINT, "arm": (0.821, 0.826, 0.829), "uniform": (0.86, 0.861, 0.865)},
        {},
        {"focus": "arm"},
    ),
    "focus-not-significant": ({"joint": JOINT, "arm": (0.85, 0.83, 0.86)}, {}, {}),
    "single-modality-is-best": ({"joint": JOINT, "arm": BEST, "unimodal:gyroscope": (0.901, 0.902, 0.904)}, {}, {}),
    "equal-differences": ({"joint": (0.8, 0.7), "arm": (0.9, 0.8)}, {}, {}),
    "without-reference": ({"arm": (0.9, 0.8), "uniform": (0.7, 0.8)}, {}, {}),
    "other-reference": ({"joint": JOINT, "arm": BEST, "uniform": (0.85, 0.851, 0.853)}, {}, {"reference": "uniform"}),
    "only-joint": ({"joint": JOINT}, {}, {}),
    "own-method": ({"joint": JOINT, "my.Method": BEST, "arm": (0.90, 0.91, 0.92)}, {}, {}),
}


def build(make_run, rows, probes=None, **more):
    """Return the runs of ``{label: (accuracy at seed 0, 1, ...)}``, with probes as ``{label: {m: (...)}}``."""
    runs = []
    for label, scores in rows.items():
        for seed, score in enumerate(scores):
            metrics = {"accuracy": score}
            for m, values in (probes or {}).get(label, {}).items():
                metrics[f"probe:{m}"] = values[seed]
            runs.append(make_run(label, seed, metrics, **more))
    return runs


@pytest.mark.parametrize("name", sorted(SCENARIOS))
def test_sentences(name: str, make_run, golden) -> None:
    rows, probes, options = SCENARIOS[name]
    golden(f"conclusions-{name}", "\n".join(explain(build(make_run, rows, probes), **options)))


@pytest.mark.parametrize("name", sorted(SCENARIOS))
def test_the_first_paragraph_is_short(name: str, make_run) -> None:
    rows, probes, options = SCENARIOS[name]
    for one in conclusions(build(make_run, rows, probes), **options).values():
        assert len(one.lead.split()) <= 40


def test_corruption_contributions_and_contradictions(make_run, golden) -> None:
    runs = []
    for label, score, kept, rule in (
        ("joint", 0.8, 0.57, "fused"),
        ("arm", 0.84, 0.69, "dynamic"),
        ("unimodal:accelerometer", 0.82, 0, ""),
    ):
        for seed in range(3):
            step = 0.004 * seed + 0.002 * (seed == 2) * (label == "arm")
            metrics = {"accuracy": score + step, "entropy": 2.0, "phi_mi": 1.5 + step}
            metrics |= {"phi_mi:accelerometer": 1.4, "phi_cmi:accelerometer": 0.6, "phi_cmi:gyroscope": -0.02}
            rows = [
                ("noise", 0.5, 0.7),
                ("noise", 1.0, 0.6),
                ("noise", 2.0, 0.62),
                ("missing", 1.0, 0.3),
                ("swap", 1.0, 0.4),
            ]
            more: dict[str, object] = {"validation": {"val_score": 0.9 if label == "joint" else 0.8}}
            if kept:
                metrics |= {"accuracy@shift": kept + step, "accuracy@shift:gyroscope": kept}
                more["robustness"] = [
                    {"modality": "gyroscope", "corruption": kind, "strength": strength, "accuracy": value + step}
                    for kind, strength, value in rows
                ]
            runs.append(make_run(label, seed, metrics, **({"rule": rule} if rule else {}), **more))
    golden("conclusions-corruption", "\n".join(explain(runs)))


@pytest.mark.parametrize(("corrupted", "falls"), [(0.8, False), (0.8001, False), (0.81, False), (0.75, True)])
def test_a_score_that_no_corruption_lowers_does_not_fall(make_run, corrupted: float, falls: bool) -> None:
    row = {"modality": "gyroscope", "corruption": "missing", "strength": 1.0, "accuracy": corrupted}
    metrics = {"accuracy": 0.8, "accuracy@shift": corrupted, "accuracy@shift:gyroscope": corrupted}
    text = "\n".join(explain([make_run("joint", seed, metrics, robustness=[row]) for seed in range(2)]))
    assert ("falls from 80.0 % to" in text) == falls
    assert ("No corruption of one modality lowers" in text) != falls


@pytest.mark.parametrize(("kept", "advised"), [((0.69, 0.70, 0.71), True), ((0.50, 0.70, 0.60), False)])
def test_a_gain_under_corruption_only_is_advice_for_inputs_that_fail(make_run, kept, advised: bool) -> None:
    rows = {"joint": (JOINT, (0.57, 0.58, 0.585)), "arm": ((0.85, 0.83, 0.86), kept)}
    runs = [
        make_run(label, seed, {"accuracy": clean[seed], "accuracy_corrupted": corrupted[seed]})
        for label, (clean, corrupted) in rows.items()
        for seed in range(3)
    ]
    lead = next(iter(conclusions(runs).values())).lead
    assert ("70.0 %" in lead and "57.8 %" in lead and "corrupted" in lead) == advised
    assert len(lead.split()) <= 40


def test_information_above_the_entropy_is_not_a_share(make_run) -> None:
    metrics = {"accuracy": 0.8, "entropy": 1.0, "phi_mi": 1.2, "phi_cmi:gyroscope": 0.1}
    text = describe(compare([make_run("joint", s, metrics) for s in (0, 1)])[0]).details[-1]
    assert "120 %" not in text
    assert "1.200" in text


@pytest.mark.parametrize("seed", range(30))
def test_gain_and_loss_are_only_said_with_a_significant_test(make_run, seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 6))
    joint, arm = rng.normal(0.8, 0.02, n), rng.normal(0.8 + rng.choice([-0.02, 0.0, 0.02]), 0.02, n)
    text = describe(compare(build(make_run, {"joint": joint.tolist(), "arm": arm.tolist()}), focus="arm")[0]).evidence[
        0
    ]
    p = stats.ttest_rel(arm, joint).pvalue if n > 1 else 1.0
    assert bool(re.search(r"\bgains\b", text)) == bool(p < 0.05 and arm.mean() > joint.mean())
    assert bool(re.search(r"\bloses\b", text)) == bool(p < 0.05 and arm.mean() < joint.mean())


def test_the_number_of_seeds_that_would_decide() -> None:
    d = paired_difference({0: 0.81, 1: 0.83, 2: 0.80}, {0: 0.80, 1: 0.80, 2: 0.80})
    needed = seeds_needed(d)
    spread = d.se * 3**0.5
    assert needed is not None
    assert abs(d.diff) * needed**0.5 / spread > stats.t.ppf(0.975, needed - 1)
    assert abs(d.diff) * (needed - 1) ** 0.5 / spread <= stats.t.ppf(0.975, needed - 2)
    assert seeds_needed(Paired(0.0001, 0.1, 0.99, 3)) is None
    assert seeds_needed(Paired(0.1, float("nan"), float("nan"), 1)) is None


def test_rows_without_a_seed_in_common_are_not_compared(make_run) -> None:
    runs = [make_run("joint", 0, {"accuracy": 0.5}), make_run("arm", 1, {"accuracy": 0.9})]
    text = " ".join(explain([*runs, make_run("unimodal:gyroscope", 2, {"accuracy": 0.9})]))
    assert not re.search(r"\b(gains|loses|above|below)\b", text)


def test_regression_is_not_in_per_cent(make_run) -> None:
    rows = (("joint", 0.5, 0.01), ("arm", 0.6, 0.011))
    runs = [make_run(x, s, {"r2": v + s * step}, task="regression") for x, v, step in rows for s in range(3)]
    text = " ".join(explain(runs, details=False))
    assert "0.101" in text
    assert "%" not in text


def test_data_sets_are_named_where_there_are_several(make_run) -> None:
    runs = build(make_run, {"joint": JOINT}, data="one") + build(make_run, {"joint": JOINT}, data="two")
    assert list(conclusions(runs)) == ["one", "two"]
    assert all(s.startswith(("one: ", "two: ")) for s in explain(runs))


def test_no_scores(make_run) -> None:
    assert len(explain([make_run("joint", 0, {})])) == 1
    assert explain([]) == []


# -- which row the conclusions are about ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "focus"),
    [
        ({"joint": 0.8, "arm": 0.9, "uniform": 0.85}, "arm"),
        ({"joint": 0.8, "arm": 0.9, "my.Method": 0.7}, "my.Method"),
        ({"joint": 0.8, "arm": 0.9, "my.Method": 0.7, "my.Other": 0.6}, "arm"),
        ({"joint": 0.8, "joint (calibrated)": 0.95, "unimodal:gyroscope": 0.99, "arm": 0.7}, "arm"),
        ({"joint": 0.8}, None),
    ],
)
def test_default_focus(make_run, rows: dict[str, float], focus: str | None) -> None:
    runs = [make_run(label, 0, {"accuracy": score}) for label, score in rows.items()]
    assert compare(runs)[0].focus == focus


def test_a_variant_is_not_the_focus_of_itself(make_run) -> None:
    def variant(score: float, **arguments: object):
        label = "arm" + (f" [{', '.join(f'{k}={v}' for k, v in arguments.items())}]" if arguments else "")
        return make_run(label, 0, {"accuracy": score}, config={"method_args": arguments}, key=f"{arguments}")

    runs = [make_run("joint", 0, {"accuracy": 0.8}), variant(0.84, fusion=False), variant(0.83, gamma=2), variant(0.82)]
    assert compare(runs)[0].focus == "arm"
    assert compare(runs, focus="arm [gamma=2]")[0].focus == "arm [gamma=2]"
    assert compare(runs[:-1])[0].focus == "arm [fusion=False]"  # there is no plain row of it


def test_unknown_rows_are_refused(make_run) -> None:
    runs = [make_run("joint", 0, {"accuracy": 0.8}), make_run("arm", 0, {"accuracy": 0.9})]
    with pytest.raises(NotFoundError):
        compare(runs, focus="amr")
    with pytest.raises(NotFoundError):
        compare(runs, reference="jiont")
