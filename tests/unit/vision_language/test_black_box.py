"""Black boxes with a planted reliance on the image: the share that is used, in closed form or from large samples."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import optimize

from counterpoise import diagnose_vlm
from counterpoise.errors import ConfigError, DataError, ModelError
from counterpoise.vision_language._numbers import log_softmax, right_log_probabilities

ANSWERS = ["red", "green", "blue"]


def make_samples(n: int, seed: int, prior: float = 0.6) -> list[dict[str, Any]]:
    """The question suggests the right answer with probability ``prior``; the image tells it always."""
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(n):
        k = int(rng.integers(3))
        hint = k if rng.random() < prior else int((k + rng.integers(1, 3)) % 3)
        image = np.zeros(3)
        image[k] = 1
        other = np.zeros(3)
        other[(hint + 1) % 3] = 1
        rows.append(
            {
                "image": image,
                "question": f"Is it {ANSWERS[hint]}?",
                "answer": ANSWERS[k],
                "conflict": other,
                "text_answer": ANSWERS[hint],
                "conflict_answer": ANSWERS[(hint + 1) % 3],
            }
        )
    return rows


def make_model(reliance: float, hint: float = 1.5) -> Any:
    """Logits are ``reliance`` times the image plus ``hint`` at what the question suggests."""

    def answer(image: Any, question: str) -> dict[str, float]:
        logits = reliance * np.asarray(image if image is not None else np.zeros(3), float)
        logits = logits + hint * np.array([a in question for a in ANSWERS])
        return dict(zip(ANSWERS, log_softmax(logits).tolist(), strict=True))

    return answer


def truth(reliance: float, hint: float = 1.5, prior: float = 0.6) -> float:
    """The share that is used, in closed form: text alone tells I(hint; answer); a temperature calibrates the rest."""
    agrees, differs = np.array([reliance + hint, 0, 0]), np.array([reliance, hint, 0])  # the right answer comes first

    def loss(temperature: float) -> float:
        right = [-log_softmax(temperature * x)[0] for x in (agrees, differs)]
        return float(prior * right[0] + (1 - prior) * right[1])

    full = math.log(3) - optimize.minimize_scalar(loss, bounds=(1e-3, 20), method="bounded").fun
    text = math.log(3) + prior * math.log(prior) + (1 - prior) * math.log((1 - prior) / 2)
    return 1 - text / full


@pytest.mark.parametrize("reliance", [0.0, 0.5, 1.0])
def test_the_share_that_is_used_is_the_planted_one(reliance: float) -> None:
    shares, flagged = [], 0
    expected = truth(reliance)
    for seed in range(12):
        diagnosis = diagnose_vlm(make_model(reliance), samples=make_samples(200, seed), answers=ANSWERS, swaps=8)
        shares.append(diagnosis.image_used)
        flagged += diagnosis.ignores_image
    assert flagged == (12 if reliance == 0 else 0)
    inside = sum(e.low - 1e-9 <= expected <= e.high + 1e-9 for e in shares)
    values = [e.value for e in shares]
    assert np.mean(values) == pytest.approx(expected, abs=2.5 * np.std(values) / 12**0.5 + 1e-9)  # centred
    assert inside >= 10


@pytest.mark.parametrize("prior", [0.05, 0.6])
def test_no_more_is_known_than_can_be_known(prior: float) -> None:
    """A question that misleads makes a blind model worse than guessing; that is not information in the image."""
    result = diagnose_vlm(make_model(8.0, hint=6.0), samples=make_samples(60, 0, prior), answers=ANSWERS, swaps=4)
    assert result.image_share is not None
    assert 0 <= result.image_share.value <= 100
    assert result.image_share.high <= 100 + 1e-9


def test_all_runs_are_told_apart() -> None:
    rows = make_samples(300, 0)
    sighted = diagnose_vlm(make_model(6.0), samples=rows, answers=ANSWERS)
    blind = diagnose_vlm(make_model(0.0), samples=rows, answers=ANSWERS)
    assert set(sighted.accuracy) == {"full", "blind", "swapped", "conflict"}
    assert sighted.accuracy["full"].value == 1
    assert sighted.accuracy["blind"].value == pytest.approx(0.6, abs=0.08)
    assert sighted.accuracy["conflict"].value == 1
    assert sighted.text_preference is not None
    assert sighted.text_preference.value == 0
    assert blind.text_preference is not None
    assert blind.text_preference.value == 1
    assert blind.image_information is not None
    assert blind.image_information.value == pytest.approx(0, abs=1e-9)
    assert sighted.image_share is not None
    assert sighted.image_share.value > 40
    assert len(sighted.samples) == 300
    assert {"question", "answer", "full", "blind", "swapped"} <= set(sighted.samples[0])


def test_texts_and_functions_that_refuse_to_be_blind(tmp_path: Any) -> None:
    def answer(image: Any, question: str) -> str:
        return f"{ANSWERS[int(image.argmax())].upper()}, I think."  # None has no argmax

    rows = make_samples(120, 0)
    diagnosis = diagnose_vlm(answer, samples=rows, answers=ANSWERS)
    assert diagnosis.accuracy["full"].value == 1
    assert not diagnosis.ignores_image
    assert diagnosis.image_used.low > 0.5
    assert any("refused None" in note for note in diagnosis.notes)
    assert diagnosis.text_used.value == 0
    assert diagnosis.to_pandas().shape[0] == 120
    assert diagnosis.to_dict()["accuracy"]["full"]["value"] == 1
    assert "<table" in diagnosis._repr_html_()
    axes = diagnosis.plot()
    assert {"accuracy, full", "image used", "text used"} <= {t.get_text() for t in axes.get_yticklabels()}
    assert axes.patches[0].get_width() == 1  # accuracy with the image
    page = diagnosis.save_html(tmp_path / "page.html").read_text()
    assert page.count("<tr>") > 120


def test_without_answers_it_tells_how_much_changes() -> None:
    rows = [{k: v for k, v in row.items() if k in ("image", "question")} for row in make_samples(100, 0)]
    for model in (make_model(0.0), lambda image, question: question):
        diagnosis = diagnose_vlm(model, samples=rows, answers=ANSWERS if model is not rows else None)
        assert diagnosis.ignores_image
        assert diagnosis.accuracy == {}
    texts = diagnose_vlm(lambda image, question: str(image), samples=rows)
    assert texts.image_used.value == pytest.approx(2 / 3, abs=0.1)  # two of three other images are different
    assert texts.text_used.value == 0


def test_fields_candidates_of_samples_and_bad_input() -> None:
    rows = []
    for i, row in enumerate(make_samples(60, 0)):
        other = next(a for a in ANSWERS if a != row["answer"])
        candidates = [row["answer"], other][:: 1 - 2 * (i % 2)]  # the right one is first or second
        rows.append(
            {"pixel": row["image"], "prompt": row["question"], "gold": row["answer"], "answers": [*candidates, "none"]}
        )

    def answer(image: Any, question: str) -> dict[str, float]:
        return {**make_model(2.0)(image, question), "none": -1.0}

    names = {"image": "pixel", "question": "prompt", "answer": "gold"}
    diagnosis = diagnose_vlm(answer, samples=rows, fields=names)
    assert diagnosis.image_used.low > 0.3
    with pytest.raises(DataError, match="have the field"):
        diagnose_vlm(answer, samples=rows)
    with pytest.raises(ConfigError):
        diagnose_vlm(answer, samples=rows, fields={"picture": "pixel"})
    with pytest.raises(DataError, match="at least 10"):
        diagnose_vlm(answer, samples=rows[:3], fields=names)
    with pytest.raises(ModelError, match="mapping"):
        diagnose_vlm(lambda image, question: 3, samples=rows, fields=names)
    with pytest.raises(ModelError, match="none"):
        diagnose_vlm(make_model(1.0), samples=rows, fields=names)


@pytest.mark.parametrize("stage", ["blind", "swapped images", "other questions", "conflict"])
def test_what_was_computed_before_a_failure_is_kept(stage: str) -> None:
    """The function refuses one kind of run; the numbers of all others are there, and a note names the failure."""
    rows = make_samples(60, 0)
    model, calls = make_model(3.0), []

    def answer(image: Any, question: str) -> dict[str, float]:
        calls.append(image)
        kinds = {
            "blind": image is None or image.max() < 1,
            "swapped images": len(calls) == 121,  # 60 with the image and 60 without it come first
            "other questions": len(calls) == 361,
            "conflict": len(calls) > 600,
        }
        if kinds[stage]:
            raise RuntimeError("no such run")
        return model(image, question)

    diagnosis = diagnose_vlm(answer, samples=rows, answers=ANSWERS)
    assert diagnosis.accuracy["full"].value == 1
    assert any("left out" in note and "no such run" in note for note in diagnosis.notes)
    missing = {
        "blind": "blind" not in diagnosis.accuracy,
        "swapped images": "swapped" not in diagnosis.accuracy and np.isnan(diagnosis.image_used.value),
        "other questions": np.isnan(diagnosis.text_used.value) and diagnosis.image_used.low > 0.5,
        "conflict": "conflict" not in diagnosis.accuracy and diagnosis.text_preference is None,
    }
    assert missing[stage]
    assert {"summary", "samples"} <= set(diagnosis.to_dict())
    assert "<table" in diagnosis._repr_html_()
    assert diagnosis.summary
    assert not diagnosis.ignores_image


def test_a_call_that_takes_long_shows_progress(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    from counterpoise.diagnosis import _progress

    monkeypatch.setattr(_progress, "DELAY", 0.0)
    rows = make_samples(60, 0)
    diagnose_vlm(make_model(1.0), samples=rows, answers=ANSWERS, progress=True)
    shown = capsys.readouterr().err
    diagnose_vlm(make_model(1.0), samples=rows, answers=ANSWERS, progress=False)
    assert "counterpoise" in shown
    assert not capsys.readouterr().err


def test_scores_that_tell_nothing_know_nothing_on_average() -> None:
    """The calibration is centred: noise gains no nats, and a readout gains what it carries."""
    noise, telling = [], []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        y = rng.integers(3, size=150)
        prior = right_log_probabilities([np.zeros((150, 3))], y, offsets=True, seed=0)
        x = rng.normal(size=(150, 3))
        noise.append((right_log_probabilities([x, rng.normal(size=(150, 3))], y, offsets=True, seed=0) - prior).mean())
        seen = np.where(rng.random(150) < 0.7, y, rng.integers(3, size=150))  # right in 0.8
        telling.append((right_log_probabilities([5 * np.eye(3)[seen]], y, offsets=True, seed=0) - prior).mean())
    expected = math.log(3) + 0.8 * math.log(0.8) + 0.2 * math.log(0.1)
    assert np.mean(noise) == pytest.approx(0, abs=0.004)
    assert np.mean(telling) == pytest.approx(expected, abs=3 * np.std(telling) / 30**0.5)
