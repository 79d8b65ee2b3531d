"""Information from incomplete data: closed-form worlds, three mechanisms of absence, and what no test can show."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from counterpoise.data.worlds import GaussianClasses, Unique
from counterpoise.errors import ConfigError, DataError
from counterpoise.valuation import estimate
from counterpoise.valuation.absence import absence_tests, presence_of

WORLD = GaussianClasses()


def logistic(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def draw(n: int = 600, seed: int = 0) -> tuple[dict[str, np.ndarray], np.ndarray, np.random.Generator]:
    inputs, target = WORLD.sample(n, seed)
    return inputs, target, np.random.default_rng([seed, 1])


def test_nothing_missing_equals_the_estimate_of_complete_data() -> None:
    inputs, target, _ = draw()
    complete = estimate(inputs, target)
    masked = estimate(inputs, target, present={m: np.ones(len(target), dtype=bool) for m in inputs})
    assert masked.joint_mi == complete.joint_mi
    assert masked.mi == complete.mi
    assert masked.cmi == complete.cmi
    np.testing.assert_array_equal(masked.per_sample["cmi:a"], complete.per_sample["cmi:a"])


def test_absent_rows_are_never_read() -> None:
    inputs, target, rng = draw()
    mask = rng.random(len(target)) < 0.6
    expected = estimate(inputs, target, present={"b": mask}, absence="completely-random")
    rubbish = inputs["b"].copy()
    rubbish[~mask] = 1e9
    empty = inputs["b"].copy()
    empty[~mask] = np.nan
    for features, present in ((inputs | {"b": rubbish}, {"b": mask}), (inputs | {"b": empty}, {})):
        valuation = estimate(features, target, present=present, absence="completely-random")
        assert valuation.cmi == expected.cmi
        assert valuation.mi == expected.mi


def test_completely_random_absence_is_the_estimate_of_the_samples_that_have_the_subset() -> None:
    inputs, target, rng = draw()
    mask = rng.random(len(target)) < 0.6
    valuation = estimate(inputs, target, present={"b": mask}, absence="completely-random")
    kept = estimate({m: x[mask] for m, x in inputs.items()}, target[mask])
    assert valuation.joint_mi == kept.joint_mi
    assert valuation.cmi == kept.cmi
    assert valuation.mi["a"].se < kept.mi["a"].se  # all samples have `a`
    assert valuation.n == len(target)
    assert np.isnan(valuation.per_sample["mi"][~mask]).all()
    assert np.isfinite(valuation.per_sample["mi"][mask]).all()


def test_absence_that_depends_on_the_label_is_corrected() -> None:
    gaps: dict[str, list[float]] = {"completely-random": [], "auto": []}
    for seed in range(3):
        inputs, target, rng = draw(1000, seed)
        mask = rng.random(len(target)) < np.where(target == 0, 0.9, 0.25)
        for absence, values in gaps.items():
            value = estimate(inputs, target, present={"b": mask}, absence=absence, seed=seed)  # type: ignore[arg-type]
            values.append((value.joint_mi.value - WORLD.mi()) / value.joint_mi.se)
    assert np.mean(gaps["completely-random"]) < -1.5  # in standard errors: biased
    assert abs(np.mean(gaps["auto"])) < 1.5
    assert any("informative" in note for note in value.notes)


def test_absence_that_depends_on_an_observed_modality_is_corrected() -> None:
    # `b` is shown where |a| is large, where `a` decides alone: the complete samples underestimate what `b` adds.
    world = GaussianClasses((2.0, 2.0), between=0.0)
    gaps: dict[str, list[float]] = {"completely-random": [], "random": []}
    for seed in range(3):
        inputs, target = world.sample(1500, seed)
        rng = np.random.default_rng(seed)
        a = inputs["a"][:, 0] / inputs["a"][:, 0].std()
        mask = rng.random(len(target)) < logistic(1.5 * a)
        for absence, values in gaps.items():
            value = estimate(inputs, target, present={"b": mask}, absence=absence, seed=seed)  # type: ignore[arg-type]
            values.append(value.joint_mi.value - world.mi())
    assert abs(np.mean(gaps["random"])) < 0.04
    assert abs(np.mean(gaps["random"])) < abs(np.mean(gaps["completely-random"]))


def test_tests_tell_the_mechanisms_apart() -> None:
    inputs, target, rng = draw(1500)
    n = len(target)
    by_label = absence_tests(inputs, target, {"b": rng.random(n) < np.where(target == 0, 0.8, 0.4)})
    by_other = absence_tests(inputs, target, {"b": rng.random(n) < logistic(2 * inputs["a"][:, 0])})
    assert by_label[0].label_p < 0.01
    assert by_label[1].modality == "b"
    assert by_other[1].observed_p < 0.01
    assert by_other[1].observed > 0


def test_tests_of_random_absence_are_uniform() -> None:
    """Under completely random absence the share of small p-values is what it should be."""
    values = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        x, y = rng.normal(size=(200, 2)), rng.integers(3, size=200)
        values.append(absence_tests({"a": x, "b": x}, y, {"b": rng.random(200) < 0.5})[1].label_p)
    assert np.mean(np.array(values) < 0.1) < 0.25
    assert 0.3 < np.mean(values) < 0.7


def test_information_of_presence_is_the_closed_form() -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(2, size=20_000)
    present = rng.random(len(y)) < np.where(y == 1, 0.9, 0.1)
    x = rng.normal(size=len(y))
    entropy = -(0.9 * np.log(0.9) + 0.1 * np.log(0.1))
    assert absence_tests({"a": x, "b": x}, y, {"b": present})[0].label == pytest.approx(np.log(2) - entropy, abs=0.01)


def test_groups_do_not_make_chance_significant() -> None:
    """Presence by whole groups, and labels by whole groups: 10 groups carry little evidence."""
    small = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        group = np.repeat(np.arange(12), 50)
        y = rng.permutation(np.arange(12) % 2)[group]
        present = (rng.permutation(12) < 6)[group]
        x = rng.normal(size=len(y))
        small += absence_tests({"a": x, "b": x}, y, {"b": present}, group=group)[0].label_p < 0.05
    assert small <= 4


def test_what_cannot_be_detected_is_named() -> None:
    inputs, target, rng = draw()
    valuation = estimate(inputs, target, present={"b": rng.random(len(target)) < 0.5})
    assert any("not detectable" in note for note in valuation.notes)
    assert any("assumed" in note for note in valuation.notes)


def test_three_modalities_without_a_complete_sample() -> None:
    world = Unique((2, 2, 2), flip=0.1)
    inputs, target = world.sample(900, 0)
    present = {m: np.arange(900) % 3 != k for k, m in enumerate(inputs)}
    valuation = estimate(inputs, target, present=present)
    assert np.isnan(valuation.joint_mi.value)
    assert {"mi", "cmi:a"} <= set(valuation.too_few_samples)
    for m in inputs:
        assert abs(valuation.mi[m].value - world.mi([m])) < 3 * valuation.mi[m].se + 0.02
    assert abs(valuation.subsets[("a", "b")].value - world.mi(["a", "b"])) < 3 * valuation.subsets[("a", "b")].se + 0.03


def test_other_tasks() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 500))
    mask = rng.random(500) < 0.7
    real = estimate({"a": a, "b": b}, a + b + 0.5 * rng.normal(size=500), present={"b": mask})
    assert real.mi["a"].value > 0.1
    assert real.cmi["b"].value > 0.2
    labels = np.stack([a > 0, b > 0], 1).astype(float)
    several = estimate({"a": a, "b": b}, labels, present={"b": mask}, task="multilabel")
    assert several.cmi["b"].value > 0.3


def test_tables_with_empty_cells() -> None:
    inputs, target, rng = draw(300)
    mask = rng.random(300) < 0.7
    table = pd.DataFrame({"x": inputs["b"][:, 0], "word": np.where(inputs["b"][:, 0] > 0, "high", "low")})
    table.loc[~mask, :] = None
    valuation = estimate({"a": inputs["a"], "b": table}, target, present={})
    assert presence_of({"a": inputs["a"], "b": table})["b"].tolist() == mask.tolist()
    assert valuation.cmi["b"].se > 0


def test_tensors_and_arrays_agree() -> None:
    inputs, target, rng = draw(300)
    mask = rng.random(300) < 0.7
    arrays = estimate(inputs, target, present={"b": mask})
    tensors = estimate(
        {m: torch.from_numpy(x) for m, x in inputs.items()},
        torch.from_numpy(target),
        present={"b": torch.from_numpy(mask)},
    )
    assert arrays.cmi == tensors.cmi


def test_errors() -> None:
    inputs, target, rng = draw(100)
    mask = rng.random(100) < 0.5
    with pytest.raises(DataError, match="not a modality"):
        estimate(inputs, target, present={"c": mask})
    with pytest.raises(DataError, match="boolean"):
        estimate(inputs, target, present={"a": mask.astype(float)})
    with pytest.raises(DataError, match="at least one modality"):
        estimate(inputs, target, present={"a": mask, "b": mask})
    with pytest.raises(ConfigError, match="ksg"):
        estimate(inputs, target, present={"a": mask}, estimator="ksg")
    with pytest.raises(DataError, match="no sample"):
        estimate(inputs, target, present={"a": np.zeros(100, dtype=bool)})
