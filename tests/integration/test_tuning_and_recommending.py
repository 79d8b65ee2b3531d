"""Tuning gives every row the same trials, and recommending never reads the test set nor recommends by chance."""

from __future__ import annotations

import dataclasses
import importlib
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import counterpoise
from counterpoise.cli.main import main
from counterpoise.config import FitConfig, ModelConfig, RunConfig
from counterpoise.data import DataInfo, Modality, MultimodalData, Split
from counterpoise.errors import ConfigError, DataError, NotFoundError
from counterpoise.experiment.compare import compare
from counterpoise.experiment.recommend import BASELINE, HARM
from counterpoise.experiment.trials import CORRUPTED, Trial, TrialResult, count_splits, do_trials, redraw
from counterpoise.experiment.tuning import Point, apply_point, grid_of, next_point, tune, tuning_table

SETTINGS = {"model": {"width": 8}, "fit": {"epochs": 2, "batch_size": 32, "accelerator": "cpu"}}


def make_split(n: int, rng: np.random.Generator) -> Split:
    target = rng.integers(3, size=n)
    a, b = (rng.normal(size=(n, d)).astype(np.float32) for d in (5, 4))
    a[np.arange(n), target] += 3
    b[np.arange(n), target] += 1
    return Split({"a": a, "b": b}, target, np.arange(n) % 10)


@pytest.fixture(scope="module")
def data() -> MultimodalData:
    rng = np.random.default_rng(0)
    info = DataInfo("toy", (Modality("a", "vector", (5,)), Modality("b", "vector", (4,))), "multiclass", 3)
    return MultimodalData(info, make_split(120, rng), make_split(40, rng), make_split(40, rng))


@pytest.fixture(scope="module")
def file(data: MultimodalData, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The same data as a file, for what opens data by name."""
    path = tmp_path_factory.mktemp("data") / "toy.npz"
    parts = [data.train, data.val, data.test]
    arrays = {m: np.concatenate([p.arrays[m] for p in parts]) for m in "ab"}
    words = np.concatenate([[name] * len(p) for name, p in zip(("train", "val", "test"), parts, strict=True)])
    np.savez(path, label=np.concatenate([p.target for p in parts]), split=words, **arrays)
    return str(path)


def count_trainings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that grows by the method of every training."""
    module = importlib.import_module("counterpoise.training.fit")
    done: list[str] = []
    real = module.fit

    def counted(data: Any, config: RunConfig, **options: Any) -> Any:
        done.append(config.method)
        return real(data, config, **options)

    monkeypatch.setattr(module, "fit", counted)
    return done


# -- redrawn splits and trials -----------------------------------------------------------------------------------------


def test_a_redrawn_split_holds_the_training_and_validation_samples_by_whole_groups(data: MultimodalData) -> None:
    first, second = redraw(data, 0), redraw(data, 1)
    pool = np.concatenate([data.train.arrays["a"], data.val.arrays["a"]])
    for other in (first, second):
        again = np.concatenate([other.train.arrays["a"], other.val.arrays["a"]])
        assert sorted(map(tuple, again)) == sorted(map(tuple, pool))
        assert not set(other.train.group) & set(other.val.group)
        assert other.test is data.test
    assert not np.array_equal(first.val.target, second.val.target)


@pytest.mark.parametrize("groups", [None, 3, 10])
def test_splits_score_on_disjoint_folds_and_groups_are_scored_on_once_where_they_are_few(
    data: MultimodalData, groups: int | None
) -> None:
    def regrouped(part: Split) -> Split:
        return dataclasses.replace(part, group=None if groups is None else np.arange(len(part)) % groups)

    data = dataclasses.replace(data, train=regrouped(data.train), val=regrouped(data.val))
    folds = 3 if groups == 3 else 5
    scored = [redraw(data, part).val.arrays["a"] for part in range(folds)]
    pool = np.concatenate([data.train.arrays["a"], data.val.arrays["a"]])
    assert sorted(map(tuple, np.concatenate(scored))) == sorted(map(tuple, pool))
    assert count_splits(data, 9) == (3 if groups == 3 else 9)
    if groups != 3:
        again = redraw(data, folds).val.arrays["a"]
        assert not any(np.array_equal(again, other) for other in scored), "a second repetition has other folds"


def test_one_training_is_read_under_every_rule(
    data: MultimodalData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = count_trainings(monkeypatch)
    config = RunConfig("toy", "uniform", model=ModelConfig(width=8), fit=FitConfig(epochs=2, batch_size=32))
    trial = Trial(config, ("default", "calibrated", "dynamic", "ensemble"), corrupted=True)
    (result,) = do_trials([trial], tmp_path, data=data, jobs=1)
    assert done == ["uniform"]
    assert set(result.scores) == {"default", "calibrated", "dynamic", "ensemble"}
    assert all(0 < s["accuracy"] <= 1 and 0 < s[CORRUPTED] <= 1 for s in result.scores.values())
    (again,) = do_trials([trial], tmp_path, data=data, jobs=1)
    assert done == ["uniform"], "it is read"
    assert again == result


def test_a_rule_of_a_trial_equals_that_rule_in_a_training_of_its_own(data: MultimodalData, tmp_path: Path) -> None:
    """Read from the kept model, a calibrated rule is the one that a training with that rule fits."""
    from counterpoise.evaluation.collect import collect
    from counterpoise.evaluation.metrics import scores
    from counterpoise.evaluation.robustness import robustness
    from counterpoise.training import fit

    config = RunConfig(
        "toy", "uniform", rule="calibrated", model=ModelConfig(width=8), fit=FitConfig(epochs=4, batch_size=32)
    )
    fitted = fit(data, config, curves=False)
    outputs, target = collect(fitted.model, data.val.batches(512))
    expected = scores(fitted.model.task, fitted.rule(outputs), target)
    (result,) = do_trials([Trial(config, ("fused", "calibrated"), corrupted=True)], tmp_path, data=data, jobs=1)
    rows = robustness(fitted.model, fitted.rule, data.val, outputs, ("a", "b"))
    mean = np.mean([row.scores["accuracy"] for row in rows])
    assert result.scores["calibrated"][CORRUPTED] == pytest.approx(mean)
    assert result.scores["calibrated"]["nll"] == pytest.approx(expected["nll"], rel=1e-6)
    assert result.scores["calibrated"]["accuracy"] == expected["accuracy"]


def test_what_a_method_refuses_is_a_result(data: MultimodalData, tmp_path: Path) -> None:
    config = RunConfig("toy", "tcmax", model=ModelConfig(fusion="gated"), fit=FitConfig(epochs=2))
    (result,) = do_trials([Trial(config, ("fused",))], tmp_path, data=data, jobs=1)
    assert "additive" in result.error
    assert not result.scores


# -- tuning ------------------------------------------------------------------------------------------------------------


def test_the_order_of_trials() -> None:
    config = RunConfig("toy", "uniform")
    grid, scores = grid_of(config), {}
    values = {(1.0, 1.0): 0.5, (3.0, 1.0): 0.7, (9.0, 1.0): 0.6, (3.0, 1 / 3): 0.9}
    order = []
    for _ in range(8):
        point = next_point(grid, scores)
        assert point is not None
        order.append((point.rate, point.strength, point.smoothing))
        scores[point] = values.get(order[-1][:2], 0.1) - (point.smoothing or 0)
    assert order[:4] == [(1, 1, None), (3, 1, None), (9, 1, None), (3, 1, 0.1)]
    assert order[4] == (3, 1 / 3, None), "another smoothing at the best point, then a strength, then another rate"
    assert order[5] == (3, 1 / 3, 0.1), "the best point has changed: its other smoothing"
    assert order[6] == (3, 3, None)
    assert order[7] == (1, 1 / 3, None)
    assert next_point(grid, dict.fromkeys(grid, 0.0)) is None
    assert len(grid_of(RunConfig("toy", "joint"))) == 6
    assert all(p.strength <= 1 for p in grid_of(RunConfig("toy", "tcmax"))), "its strength is at most 1"
    failed = {Point(1.0): math.nan, Point(3.0): 0.2, Point(9.0): math.nan}
    assert next_point(grid, failed).rate == 3  # type: ignore[union-attr]


def test_every_row_gets_the_same_budget_and_the_best_on_validation(
    data: MultimodalData, file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = count_trainings(monkeypatch)
    base = {"model": ModelConfig(width=8), "fit": FitConfig(epochs=2, batch_size=32, accelerator="cpu")}
    configs = [
        RunConfig(file, method, rule=rule, seed=seed, **base)
        for method in ("joint", "uniform")
        for rule in ("default", "calibrated")
        for seed in (3, 1)
    ]
    chosen, choices = tune(configs, 4, tmp_path, jobs=1)
    assert sorted(done) == ["joint"] * 4 + ["uniform"] * 4
    assert len(choices) == 4
    for choice in choices:
        assert len(choice.trials) == 4
        assert choice.score == max(choice.trials.values())
        assert choice.config.seed == 1
    for before, after in zip(configs, chosen, strict=True):
        choice = next(c for c in choices if (c.config.method, c.rule) == (before.method, before.rule))
        assert dataclasses.replace(after, seed=1, rule="default") == choice.config
        assert (after.seed, after.rule) == (before.seed, before.rule)
        assert after.optim.lr == pytest.approx(before.optim.lr * choice.point.rate)


def test_each_seeded_split_is_tuned_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Training and validation samples of one split of kanji are test samples of others, which no choice may see."""
    done: list[Trial] = []

    def score_by_split(trials: list[Trial], *args: object, **kwargs: object) -> list[TrialResult]:
        done.extend(trials)
        rates = [round(1000 * t.config.optim.lr) for t in trials]
        best = [1 if t.config.seed % 5 == 1 else 3 for t in trials]
        scores = [{"accuracy": 1.0 - abs(r - b), "nll": 0.0} for r, b in zip(rates, best, strict=True)]
        return [TrialResult({"default": s}, "accuracy") for s in scores]

    monkeypatch.setattr("counterpoise.experiment.tuning.do_trials", score_by_split)
    chosen, choices = tune([RunConfig("kanji", "joint", seed=s) for s in (0, 1, 5, 6)], 3, tmp_path)
    assert sorted(t.config.seed for t in done) == [0, 0, 0, 1, 1, 1], "seeds 5 and 6 share the splits of 0 and 1"
    assert [c.split for c in choices] == [0, 1]
    assert [c.optim.lr for c in chosen] == pytest.approx([3e-3, 1e-3, 3e-3, 1e-3])
    assert "kanji, split 1" in tuning_table(choices)


def test_a_tuned_row_keeps_its_name(file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("counterpoise.experiment.tuning.STRENGTHS", (1.0, 0.5))
    monkeypatch.setattr("counterpoise.experiment.compare.write_outputs", lambda *args, **kwargs: [])
    done = count_trainings(monkeypatch)
    options: dict[str, Any] = {"seeds": 1, "out": tmp_path, "given": SETTINGS, "jobs": 1, "trials": 4}
    records, failures = compare([file], ["joint", "uniform"], **options)
    assert not failures
    assert [str(r.row) for r in records] == ["joint", "uniform"]
    choices = json.loads((tmp_path / "tuning.json").read_text())
    assert [len(c["trials"]) for c in choices] == [4, 4]
    lines = (tmp_path / "tuning.md").read_text().splitlines()
    assert sum("| joint |" in line or "| uniform |" in line for line in lines) == 2
    count = len(done)
    compare([file], ["joint", "uniform"], **options)
    assert len(done) == count, "the same command trains nothing again"
    with pytest.raises(ConfigError, match="`tune`"):
        compare([file], ["joint"], **{**options, "trials": 0})


def test_a_point_changes_what_it_says() -> None:
    config = apply_point(RunConfig("toy", "arm"), Point(3.0, 1 / 3))
    assert config.optim.lr == pytest.approx(3e-3)
    assert config.method_args["strength"] == pytest.approx(1 / 3)
    assert config.tuned == ("strength",)
    assert "tuned" not in RunConfig("toy", "arm").to_dict()


# -- recommending ------------------------------------------------------------------------------------------------------


def test_recommending_never_reads_the_test_set_and_resumes(
    data: MultimodalData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = count_trainings(monkeypatch)
    options: dict[str, Any] = {"methods": ["joint", "uniform"], "splits": 3, "given": SETTINGS, "jobs": 1}
    recommendation = counterpoise.recommend(data, **options, out=tmp_path)
    assert len(done) == 9, "joint training, and the two candidates, on each split"
    counterpoise.recommend(data, **options, out=tmp_path)
    assert len(done) == 9, "the trials are read"
    rng = np.random.default_rng(5)
    changed = {m: rng.normal(size=x.shape).astype(np.float32) for m, x in data.test.arrays.items()}
    other = dataclasses.replace(data, test=Split(changed, rng.permutation(data.test.target), data.test.group))
    assert counterpoise.recommend(other, **options).to_dict() == recommendation.to_dict()

    assert {(c.method, c.rule) for c in recommendation.candidates} == {
        (m, r) for m in ("joint", "uniform") for r in ("fused", "calibrated", "dynamic")
    }
    for finding in (recommendation.ordinary, recommendation.corrupted):
        assert finding.stays == ((finding.method, finding.rule) == BASELINE)
        assert finding.stays or (finding.harm <= HARM and finding.gain > 0)
        assert finding.low <= finding.gain <= finding.high
    plain = json.loads((tmp_path / "recommendation.json").read_text())
    assert plain["ordinary"]["method"] == recommendation.method
    assert str(recommendation).startswith("toy: ")
    assert recommendation.table().count("\n") == 2 + 6


def test_what_cannot_be_done_is_refused_or_left_out(data: MultimodalData) -> None:
    with pytest.raises(ConfigError, match="`splits`"):
        counterpoise.recommend(data, splits=2)
    with pytest.raises(NotFoundError, match="rule"):
        counterpoise.recommend(data, rules=["calibratd"])
    with pytest.raises(DataError, match="Joint training failed"):
        counterpoise.recommend(
            data, methods=["joint"], splits=3, given={**SETTINGS, "model": {"encoders": {"a": "gru"}}}
        )
    given = {**SETTINGS, "model": {"width": 8, "fusion": "gated"}}
    recommendation = counterpoise.recommend(
        data, methods=["joint", "tcmax"], rules=["fused"], splits=3, given=given, jobs=1
    )
    assert [c.method for c in recommendation.candidates] == ["joint"]
    assert any("`tcmax` was left out" in note for note in recommendation.notes)


def test_the_command_leads_with_the_finding(file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["recommend", "--data", file, "--methods", "joint,uniform", "--rules", "fused", "--splits", "3"]
    arguments += ["--fit.epochs", "2", "--model.width", "8", "--jobs", "1", "--out", str(tmp_path)]
    assert main(arguments) == 0
    capsys.readouterr()
    assert main([*arguments, "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["splits"] == 3
    assert content["ordinary"]["method"] in ("joint", "uniform")
