"""Sentences from constructed numbers: each claim has its number, and nothing is claimed that the seeds cannot carry."""

from __future__ import annotations

import re

import pytest

from counterpoise.report.analysis.comparison import compare
from counterpoise.report.analysis.conclusions import describe, explain


@pytest.fixture
def study(make_run):
    """Runs of rows given as ``{label: (accuracy at seed 0, 1, ...)}``, with probes as ``{label: {m: (...)}}``."""

    def build(rows, probes=None, **more):
        runs = []
        for label, scores in rows.items():
            for seed, score in enumerate(scores):
                metrics = {"accuracy": score}
                for m, values in (probes or {}).get(label, {}).items():
                    metrics[f"probe:{m}"] = values[seed]
                runs.append(make_run(label, seed, metrics, **more))
        return runs

    return build


JOINT = (0.840, 0.842, 0.844)


def test_joint_that_loses_against_one_modality(study) -> None:
    first, _ = explain(study({"joint": JOINT, "unimodal:accelerometer": (0.861, 0.866, 0.869)}))
    # differences 2.1, 2.4, 2.5: mean 2.33, se 0.12, t = 19.4, p = 1 - t/sqrt(t^2 + 2) = 0.0026
    assert "Joint training reaches 84.2 ± 0.1 % test accuracy (± s.e., 3 seeds)" in first
    assert "loses 2.3 ± 0.1 points against accelerometer alone (p = 0.003)" in first


def test_joint_that_gains(study) -> None:
    first, _ = explain(study({"joint": JOINT, "unimodal:accelerometer": (0.811, 0.816, 0.819)}))
    assert "gains 2.7 ± 0.1 points over accelerometer alone" in first
    assert " loses " not in first


def test_joint_within_noise_is_no_win(study) -> None:
    first, _ = explain(study({"joint": JOINT, "unimodal:accelerometer": (0.800, 0.870, 0.845)}))
    assert "cannot be told from accelerometer alone by 3 seeds (+0.4 ± 2.0 points, p = 0.87)" in first
    assert not re.search(r"\b(gains|loses)\b", first)


def test_one_seed_has_no_error_estimate_and_no_claim(study) -> None:
    rows = {"joint": (0.8,), "unimodal:accelerometer": (0.9,), "arm": (0.85,)}
    probes = {"joint": {"gyroscope": (0.6,)}, "unimodal:gyroscope": {"gyroscope": (0.7,)}}
    sentences = explain(study({**rows, "unimodal:gyroscope": (0.7,)}, probes))
    assert len(sentences) == 2
    for sentence in sentences:
        assert sentence.endswith("; one seed, so there is no error estimate.")
        assert sentence.count("one seed") == 1
        assert not re.search(r"\b(gains|loses|under-trained)\b|±|p =", sentence)
    assert "lies 10.0 points below accelerometer alone" in sentences[0]
    assert "gyroscope (linear probe 60.0 % against 70.0 % alone)" in sentences[0]
    assert "ARM lies 5.0 points above joint training" in sentences[1]


def test_under_trained_encoder_is_named_with_its_numbers(study) -> None:
    rows = {"joint": JOINT, "unimodal:gyroscope": (0.70, 0.71, 0.72), "unimodal:accelerometer": (0.8, 0.81, 0.82)}
    probes = {
        "joint": {"gyroscope": (0.650, 0.651, 0.652), "accelerometer": (0.81, 0.82, 0.80)},
        "unimodal:gyroscope": {"gyroscope": (0.730, 0.734, 0.738)},
        "unimodal:accelerometer": {"accelerometer": (0.81, 0.81, 0.81)},
    }
    first, _ = explain(study(rows, probes))
    assert (
        "the encoder of gyroscope (linear probe 65.1 % against 73.4 % alone, −8.3 ± 0.2 points, p < 0.001) "
        "is under-trained" in first
    )
    assert "accelerometer (linear" not in first


def test_a_probe_within_noise_is_not_called_under_trained(study) -> None:
    rows = {"joint": JOINT, "unimodal:gyroscope": (0.7, 0.7, 0.7)}
    probes = {"joint": {"gyroscope": (0.70, 0.60, 0.65)}, "unimodal:gyroscope": {"gyroscope": (0.65, 0.68, 0.67)}}
    first, _ = explain(study(rows, probes))
    assert "is under-trained" not in first
    assert "the encoder of gyroscope may be under-trained, but 3 seeds cannot tell it from noise" in first
    assert "linear probe 65.0 % against 66.7 % alone, −1.7 ± 3.8 points, p = 0.70" in first


def test_a_small_but_sure_change_is_not_worth_an_alarm(study) -> None:
    rows = {"joint": JOINT, "unimodal:gyroscope": (0.7, 0.7, 0.7)}
    probes = {"joint": {"gyroscope": (0.650, 0.651, 0.652)}, "unimodal:gyroscope": {"gyroscope": (0.654, 0.656, 0.656)}}
    first, _ = explain(study(rows, probes))
    assert "under-trained" not in first
    assert "no encoder's linear probe is lower by a point inside it (closest: gyroscope, linear probe 65.1 %" in first


def test_a_probe_that_rises_is_not_called_worse(study) -> None:
    rows = {"joint": JOINT, "unimodal:gyroscope": (0.7, 0.7, 0.7)}
    probes = {"joint": {"gyroscope": (0.70, 0.71, 0.72)}, "unimodal:gyroscope": {"gyroscope": (0.65, 0.68, 0.67)}}
    first, _ = explain(study(rows, probes))
    assert "no encoder's linear probe is lower inside it than alone" in first


def test_arm_that_gains(study) -> None:
    _, second = explain(study({"joint": JOINT, "arm": (0.861, 0.866, 0.869)}))
    assert second.startswith("ARM gains 2.3 ± 0.1 points over joint training (p = 0.003)")


def test_arm_that_loses_says_so(study) -> None:
    runs = study({"joint": JOINT, "arm": (0.821, 0.826, 0.829), "uniform": (0.86, 0.861, 0.865)})
    _, second = explain(runs, focus="arm")
    assert "ARM loses 1.7 ± 0.1 points against joint training" in second
    assert "the strongest other row is uniform (86.2 ± 0.2 %)" in second
    assert "ARM loses 3.7 ± 0.1 points against it" in second
    assert " gains " not in second


def test_arm_within_noise(study) -> None:
    _, second = explain(study({"joint": JOINT, "arm": (0.85, 0.83, 0.86)}))
    assert "ARM cannot be told from joint training by 3 seeds (+0.5 ± 0.9 points, p = 0.64)" in second
    assert not re.search(r"\b(gains|loses)\b", second)


def test_a_stronger_single_modality_is_not_hidden(study) -> None:
    _, second = explain(
        study({"joint": JOINT, "arm": (0.861, 0.866, 0.869), "unimodal:gyroscope": (0.901, 0.902, 0.904)})
    )
    assert "the strongest other row is gyroscope alone (90.2 ± 0.1 %)" in second
    assert "ARM loses" in second.partition("strongest")[2]


def test_equal_differences_have_no_error_estimate(study) -> None:
    _, second = explain(study({"joint": (0.8, 0.7), "arm": (0.9, 0.8)}))
    assert "ARM lies 10.0 points above joint training (in each of 2 seeds, so there is no error estimate)" in second


def test_without_joint_nothing_is_compared(study) -> None:
    first, second = explain(study({"arm": (0.9, 0.8), "uniform": (0.7, 0.8)}))
    assert "no run of the reference" in first
    assert "ARM, 85.0 ± 5.0 %" in first
    assert second == "Without joint training no gain or loss of a method can be stated."


def test_only_joint(study) -> None:
    first, second = explain(study({"joint": JOINT}))
    assert "no modality was trained alone" in first
    assert "No other method was run" in second


def test_no_common_seed(make_run) -> None:
    runs = [make_run("joint", 0, {"accuracy": 0.5}), make_run("arm", 1, {"accuracy": 0.9})]
    runs.append(make_run("unimodal:gyroscope", 2, {"accuracy": 0.9}))
    first, second = explain(runs)
    assert "has no seed in common with gyroscope alone" in first
    assert "ARM has no seed in common with joint training" in second
    assert not re.search(r"\b(gains|loses|above|below)\b", first + second)


def test_a_users_method_speaks_when_there_is_no_arm(study) -> None:
    _, second = explain(study({"joint": JOINT, "my.Method": (0.861, 0.866, 0.869), "ogm-ge": (0.80, 0.81, 0.82)}))
    assert second.startswith("my.Method gains 2.3 ± 0.1 points")
    assert "OGM-GE" in second


def test_regression_speaks_of_r2(make_run) -> None:
    runs = [
        make_run(label, s, {"r2": v + s * step}, task="regression")
        for label, v, step in (("joint", 0.5, 0.01), ("arm", 0.6, 0.011))
        for s in range(3)
    ]
    first, second = explain(runs)
    assert "R² = 0.510 ± 0.006" in first
    assert "ARM gains 0.101 ± 0.001 in R²" in second
    assert "%" not in first + second


def test_several_data_sets_are_named(study) -> None:
    runs = study({"joint": JOINT}, data="one") + study({"joint": JOINT}, data="two")
    sentences = explain(runs)
    assert [s.partition(":")[0] for s in sentences] == ["one", "one", "two", "two"]


def test_contributions_are_told_with_the_entropy(make_run) -> None:
    metrics = {"accuracy": 0.8, "entropy": 2.0, "phi_mi": 1.5}
    metrics |= {"phi_mi:accelerometer": 1.4, "phi_cmi:accelerometer": 0.6, "phi_cmi:gyroscope": -0.02}
    text = describe(compare([make_run("joint", 0, metrics)])[0]).contributions
    assert "the features of joint training carry 1.500 nats of the label's 2.000 (75 %)" in text
    assert "accelerometer adds 0.600 to the rest (alone it has 1.400)" in text
    assert "gyroscope adds −0.020 to the rest" in text
    assert text.endswith("one seed, so there is no error estimate.")


def test_no_scores(make_run) -> None:
    assert explain([make_run("joint", 0, {})])[0] == "No run reports a test score, so nothing can be said."
    assert explain([]) == []
