"""The truth benchmark in short: its truths hold, its models rely on what they are said to, and a draw of each kind of
row is judged.
"""

from __future__ import annotations

import importlib
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from counterpoise.valuation import Estimate

FOLDER = Path(__file__).parents[2] / "benchmarks" / "truth"
sys.path.insert(0, str(FOLDER))
try:
    run, cases, models, worlds, judge, calls, forms, oracles = (
        importlib.import_module(name)
        for name in ("run", "cases", "models", "worlds", "judge", "calls", "forms", "oracles")
    )
    importlib.import_module("huggingface")  # `forms` imports it only where a row needs it
finally:
    sys.path.remove(str(FOLDER))

SHORT = [
    ("2 classes", "exact posterior", "module", 1000),
    ("2 classes", "exact posterior", "module", 100),
    ("2 classes", "blind to b", "module", 1000),
    ("2 classes", "b times 1e-06", "module", 1000),
    ("2 classes", "b gates by 1e-6", "module", 1000),
    ("20 classes", "exact posterior", "module", 400),
    ("3 modalities", "b times 1e-06", "mapping", 1000),
    ("b unrelated", "memorises by b, train=", "module", 500),
    ("b unrelated", "exact posterior, train=", "module", 500),
    ("labels 20 % wrong", "exact posterior", "module", 1000),
    ("4 equal labels", "no model", "arrays", 1000),
    ("XOR", "blind to b", "module", 1000),
    ("99 : 1", "exact posterior", "module", 5000),
    ("common copy", "blind to b", "module", 1000),
    ("XOR, 30 columns", "exact posterior", "module", 1000),
    ("XOR of 3", "exact posterior", "mapping", 1000),
    ("parity of 4 inside a", "exact posterior", "module", 1000),
    ("subjects, b unrelated", "exact posterior", "module", 900),
    ("real target, no noise", "exact posterior", "module", 500),
    ("heteroscedastic", "no model", "arrays", 1000),
    ("4 labels", "blind to b", "module", 1000),
    ("3 classes", "blind to a", "compiled", 600),
    ("3 classes", "blind to a", "wrapped", 600),
    ("3 classes", "exact posterior", "bf16", 600),
    ("3 classes", "exact posterior", "NumPy function", 600),
    ("3 classes", "exact posterior", "Lightning", 600),
    ("3 classes", "fitted by scikit-learn", "probabilities", 600),
    ("copies of 4 classes", "blind to b", "Hugging Face", 600),
    ("copies of 4 classes", "exact posterior", "left padding", 600),
    ("2,048 columns of noise", "no model", "arrays", 200),
    ("all unrelated", "no model, 5 copies", "arrays", 150),
    ("copies of 4 classes", "no model", "CSV", 600),
    ("real target, b unrelated", "no model", "DataFrame", 600),
    ("3 classes", "no model", "npz", 600),
    ("3 classes", "no model", "estimate", 600),
]
BY_NAME = {case.name: case for case in cases.CASES}


def test_the_table_is_large_enough_and_every_row_is_its_own() -> None:
    assert len(BY_NAME) == len(cases.CASES) >= 80
    assert {case.form for case in cases.CASES} == {*forms.MODELS, *forms.ARRAYS}
    assert {case.world for case in cases.CASES} == set(cases.WORLDS)


@pytest.mark.parametrize("name", cases.WORLDS)
def test_information_is_the_mean_log_likelihood_of_the_exact_posterior(name: str) -> None:
    world, n = cases.WORLDS[name], 4000
    draw = world.essence(n, 77)
    inputs = {m: torch.from_numpy(x) for m, x in draw.inputs.items()}
    target = torch.from_numpy(draw.target)
    if name in ("heteroscedastic", "4 equal labels") or np.isinf(world.joint()):
        return
    for subset, truth in world.truths.items():
        out = world.outputs(inputs, {m: float(m in subset) for m in world.modalities})
        if world.task == "multiclass":
            nll = torch.nn.functional.cross_entropy(out, target, reduction="none")
            points = world.scale() - nll
        elif world.task == "multilabel":
            bce = torch.nn.functional.binary_cross_entropy_with_logits
            points = world.scale() - bce(out, target.double(), reduction="none").sum(1)
        else:  # R² of a Gaussian
            left = float((target - out).square().mean() / target.var())
            points = torch.tensor([-0.5 * np.log(left)]).expand(n)
            assert truth == pytest.approx(float(points[0]), abs=0.06)
            continue
        groups = torch.from_numpy(draw.group) if draw.group is not None else torch.arange(n)
        sums = torch.zeros(int(groups.max()) + 1, dtype=points.dtype).index_add(0, groups, points - points.mean())
        se = float(sums.square().sum().sqrt() / n)
        assert float(points.mean()) == pytest.approx(truth, abs=4.5 * se + 2e-3), subset


def test_heteroscedastic_information_by_integration_over_the_target() -> None:
    world = cases.WORLDS["heteroscedastic"]
    rng = np.random.default_rng(0)
    a, b, e = rng.standard_normal((3, 4000))
    y = 0.5 * a + np.exp(b) * e
    other = rng.standard_normal(2000)

    def log_density(mean: Any, variance: np.ndarray) -> np.ndarray:
        return np.log(np.mean(np.exp(-0.5 * (y[:, None] - mean) ** 2 / variance) / np.sqrt(2 * np.pi * variance), 1))

    marginal = log_density(0.0, 0.25 + np.exp(2 * other))
    given_a = log_density(0.5 * a[:, None], np.exp(2 * other))
    given_b = -0.5 * (y**2 / (0.25 + np.exp(2 * b)) + np.log(2 * np.pi * (0.25 + np.exp(2 * b))))
    given_all = -0.5 * e**2 - b - 0.5 * np.log(2 * np.pi)
    for subset, conditional in ((("a",), given_a), (("b",), given_b), (("a", "b"), given_all)):
        points = conditional - marginal
        se = points.std() / len(points) ** 0.5
        assert world.truths[subset] == pytest.approx(points.mean(), abs=4 * se + 0.01)


@pytest.mark.parametrize("name", ["2 classes", "3 modalities", "unique parts", "XOR", "real target", "4 labels"])
def test_replacing_a_modality_changes_a_planted_model_as_much_as_it_is_read(name: str) -> None:
    world = cases.WORLDS[name]
    exact = models.permutation_effect(world, models.EXACT.build(world, None), "b")
    assert exact > 0.02
    for weight, least, most in ((0.0, 0.0, 0.0), (1e-6, -1e-4, 1e-4), (1.0, 1.0, 1.0)):
        model = models.scaled(weight).build(world, None)
        assert least - 1e-9 <= models.permutation_effect(world, model, "b") / exact <= most + 1e-9


def test_the_hugging_face_model_gives_the_logits_of_the_planted_one() -> None:
    parts = importlib.import_module("huggingface")
    world = cases.WORLDS["copies of 4 classes"]
    planted = models.EXACT.build(world, None)
    classifier = parts.Classifier(4, 4, planted)
    rng = np.random.default_rng(1)
    symbols = torch.from_numpy(rng.integers(4, size=(200, 2)))
    ids, mask = parts.sentences(symbols[:, 0], rng)
    with torch.no_grad():
        logits = classifier(input_ids=ids, attention_mask=mask, pixel_values=parts.images(symbols[:, 1], rng)).logits
    expected = planted({"a": torch.eye(4)[symbols[:, 0]], "b": torch.eye(4)[symbols[:, 1]]})
    assert float((logits.softmax(-1) - expected.softmax(-1)).abs().max()) < 0.05


def reading(**changes: Any) -> Any:
    e = Estimate(0.3, 0.01, 0.28, 0.32)
    base = calls.Reading(
        ("a", "b"),
        {"a": "balanced", "b": "under-trained"},
        0.69,
        Estimate(0.5, 0.01, 0.48, 0.52),
        {"a": e, "b": e},
        {"a": e, "b": e},
        Estimate(0.5, 0.01, 0.48, 0.52),
        {"a": e, "b": Estimate(0.0, 0.01, -0.02, 0.02)},
        0.8,
        {"a": 0.6, "b": 0.8},
        "uses 100 %",
        (),
    )
    return replace(base, **changes)


TRUTH = judge.Truth(
    limit=np.log(2),
    joint=0.5,
    mi={"a": 0.3, "b": 0.4},
    cmi={"a": 0.3, "b": 0.3},
    verdicts={"a": ("balanced",), "b": ("under-trained",)},
    ignored=("b",),
)


def test_a_reading_without_a_fault_has_none() -> None:
    verdict = judge.judge(reading(), TRUTH, 0.8)
    assert (verdict.right, verdict.wrong, verdict.accused, verdict.contradictions) == (2, (), (), ())
    assert verdict.inside["mi:a"]
    assert not verdict.inside["mi:b"]
    assert verdict.error["mi:b"] == pytest.approx(-0.1)


@pytest.mark.parametrize(
    ("changes", "accuracy"),
    [
        ({"text": "uses 139 % of it"}, 0.8),
        ({"joint": Estimate(0.9, 0.01, 0.88, 0.92)}, 0.8),
        ({"joint": Estimate(-0.2, 0.01, -0.22, -0.18)}, 0.8),
        ({"joint": Estimate(0.2, 0.01, 0.18, 0.22)}, 0.8),
        ({"joint": Estimate(float("nan"), 0.01, 0.48, 0.52)}, 0.8),
        ({"used": {"b": Estimate(0.3, 0.01, 0.28, 0.32)}}, 0.8),
        ({"permuted": {"b": 0.7}}, 0.8),
        ({}, 0.7),
    ],
)
def test_what_cannot_be_is_found(changes: dict[str, Any], accuracy: float) -> None:
    assert judge.judge(reading(**changes), TRUTH, accuracy).contradictions


def test_verdicts_are_counted_as_right_wrong_undecided_and_accused() -> None:
    verdict = judge.judge(reading(verdicts={"a": "under-trained", "b": "undecided"}), TRUTH, 0.8)
    assert (verdict.right, verdict.undecided, verdict.accused) == (0, 1, ("a: under-trained",))
    verdict = judge.judge(reading(verdicts={"a": "uninformative", "b": "balanced"}), TRUTH, 0.8)
    assert (verdict.right, verdict.undecided, verdict.accused, len(verdict.wrong)) == (0, 0, (), 2)


def test_acceptable_verdicts_follow_from_what_is_available_and_used() -> None:
    assert judge.acceptable(0.0, 1.0) == ("uninformative",)
    assert judge.acceptable(0.5, 1.0) == judge.acceptable(0.5, None) == ("balanced",)
    assert judge.acceptable(0.5, 0.0) == ("under-trained",)
    assert judge.acceptable(0.5, 0.5) == ("balanced", "under-trained")
    assert judge.acceptable(0.5, 0.0, memorised=True) == ("overfitting",)


def test_a_row_is_uncovered_only_if_it_is_significantly_so() -> None:
    case = cases.CASES[0]

    def result(inside: bool) -> dict[str, Any]:
        quiet = {"right": 1, "wrong": (), "undecided": 0, "accused": (), "contradictions": (), "seconds": 0.1}
        return {**quiet, "inside": {"mi:a": inside}, "errors": {"mi:a": 0.0}}

    assert run.summarise(case, [result(k > 2) for k in range(50)]).uncovered == ()
    assert run.summarise(case, [result(k > 12) for k in range(50)]).uncovered == ("mi",)
    assert run.summarise(case, [{"error": "ValueError"}]).faults == ("error",)


@pytest.mark.parametrize("row", [" | ".join((w, m, f, f"{n:,}")) for w, m, f, n in SHORT])
def test_one_draw_of_a_row_is_judged_without_a_fault(row: str) -> None:
    result = run.measure(BY_NAME[row], 0)
    assert "error" not in result, result
    assert not result["wrong"], result
    assert not result["contradictions"], result


@pytest.mark.parametrize("oracle", oracles.ORACLES, ids=lambda oracle: oracle.__name__)
def test_independent_implementations_agree(oracle: Any) -> None:
    rows = oracle()
    assert rows
    assert [row for row in rows if not row.agrees] == []
