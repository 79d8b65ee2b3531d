"""Arrays, .npz and CSV: known worlds, and input that cannot be right."""

from __future__ import annotations

import hashlib
import math
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from counterpoise.diagnosis import Diagnosis, diagnose_arrays, diagnose_csv, diagnose_file
from counterpoise.errors import DataError, NotFoundError


@pytest.fixture(scope="module")
def arrays() -> tuple[dict[str, np.ndarray], np.ndarray]:
    rng = np.random.default_rng(0)
    y = rng.integers(2, size=500)
    return {"good": np.where(rng.random(500) < 0.1, 1 - y, y), "noise": rng.integers(3, size=500)}, y


def test_xor_is_all_synergy_and_balanced() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.integers(2, size=(2, 800))
    diagnosis = diagnose_arrays({"a": a, "b": b}, a ^ b)
    assert diagnosis.verdict == "balanced"
    assert diagnosis.valuation.cmi["a"].value == pytest.approx(math.log(2), abs=0.03)
    assert abs(diagnosis.valuation.mi["a"].value) < 0.02
    assert {f.role for f in diagnosis.findings.values()} == {"complementary"}
    assert diagnosis.samples is not None
    assert len(diagnosis.samples.need_several) > 700


def test_copies_are_redundant_and_no_sample_hangs_on_one() -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(3, size=600)
    diagnosis = diagnose_arrays({"a": y, "b": y}, y)
    assert diagnosis.verdict == "balanced"
    assert {f.role for f in diagnosis.findings.values()} == {"redundant"}
    assert diagnosis.samples is not None
    assert [len(rows) for rows in diagnosis.samples.relies_on.values()] == [0, 0]


def test_one_that_says_all_dominates_in_every_class(arrays: Any) -> None:
    diagnosis = diagnose_arrays(*arrays, class_names=["no", "yes"])
    assert diagnosis.verdict == "uninformative"
    assert diagnosis.findings["good"].role == "dominant"
    assert [(row.name, row.dominant, row.sure) for row in diagnosis.classes] == [
        ("no", "good", True),
        ("yes", "good", True),
    ]
    truth = math.log(2) + 0.1 * math.log(0.1) + 0.9 * math.log(0.9)
    assert diagnosis.valuation.mi["good"].low < truth < diagnosis.valuation.mi["good"].high


def test_conflicts_are_where_one_of_two_good_modalities_is_wrong() -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(4, size=1000)
    wrong = {m: rng.random(1000) < 0.05 for m in "ab"}
    diagnosis = diagnose_arrays({m: np.where(flip, (y + 1) % 4, y) for m, flip in wrong.items()}, y)
    assert diagnosis.samples is not None
    assert set(diagnosis.samples.conflict.tolist()) == set(np.flatnonzero(wrong["a"] ^ wrong["b"]).tolist())


def test_text_tensors_lists_and_columns_are_taken() -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(2, size=200)
    words = np.array(["cold", "warm"])[y]
    diagnosis = diagnose_arrays({"text": words, "tensor": torch.randn(200, 2), "list": y.tolist()}, words)
    assert diagnosis.findings["text"].role == "redundant"
    assert [row.name for row in diagnosis.classes] == ["cold", "warm"]


def test_other_tasks() -> None:
    rng = np.random.default_rng(0)
    x, noise = rng.normal(size=(300, 2)), rng.normal(size=(300, 2))
    real = diagnose_arrays({"x": x, "noise": noise}, x[:, 0] + 0.5 * rng.normal(size=300))
    assert (real.valuation.task, real.findings["x"].verdict, real.findings["noise"].verdict) == (
        "regression",
        "balanced",
        "uninformative",
    )
    assert real.classes == ()
    several = diagnose_arrays({"x": x, "noise": noise}, (x + 0.5 * rng.normal(size=(300, 2)) > 0).astype(int))
    assert (several.valuation.task, several.findings["x"].role) == ("multilabel", "dominant")


def test_few_samples_leave_it_open() -> None:
    rng = np.random.default_rng(0)
    y = np.arange(80) % 2
    diagnosis = diagnose_arrays({"a": y + 1.5 * rng.normal(size=80), "b": rng.normal(size=80)}, y)
    assert diagnosis.findings["a"].verdict == "undecided"
    assert "too few samples" in diagnosis.findings["a"].sentence


def test_order_of_names_and_of_classes_change_nothing(arrays: Any) -> None:
    features, y = arrays
    one, other = diagnose_arrays(features, y), diagnose_arrays(dict(reversed(features.items())), y)
    for m in features:
        assert one.findings[m].verdict == other.findings[m].verdict
        assert one.valuation.mi[m].value == pytest.approx(other.valuation.mi[m].value, abs=1e-6)


N = 60
GOOD, LABELS = np.linspace(0, 1, N), np.arange(N) % 2
HOLE = np.where(np.arange(N) == 7, np.nan, GOOD)


@pytest.mark.parametrize(
    ("features", "labels", "message"),
    [
        ({}, LABELS, "at least two modalities. Found 0"),
        ({"a": GOOD}, LABELS, "at least two modalities. Found 1: a"),
        ({"a": [], "b": []}, [], "needs samples"),
        ({"a": GOOD, "b": GOOD[:50]}, LABELS, "a: 60, b: 50"),
        ({"a": GOOD, "b": GOOD}, LABELS[:50], "the labels: 50"),
        ({"a": GOOD, "b": HOLE}, LABELS, "`b` holds NaN or inf in 1 of 60 samples: 7"),
        ({"a": GOOD, "b": GOOD}, np.zeros(N, dtype=int), "one class"),
        ({"a": GOOD, "b": GOOD}, [f"n{k}" for k in range(N)], "60 classes need at least 120 samples"),
        ({"a": GOOD, "b": GOOD}, np.where(np.arange(N) == 3, np.nan, LABELS), "(?i)labels .*NaN"),
        ({"a": GOOD[:4], "b": GOOD[:4]}, LABELS[:4], "folds need at least"),
    ],
)
def test_bad_input_is_refused(features: Any, labels: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        diagnose_arrays(features, labels)


def test_a_constant_modality_is_uninformative_and_noted() -> None:
    diagnosis = diagnose_arrays({"a": LABELS, "b": np.ones(N)}, LABELS)
    assert diagnosis.findings["b"].verdict == "uninformative"
    assert any("`b` is constant" in note for note in diagnosis.notes)


def test_unknown_estimators_and_wrong_names_are_refused(arrays: Any) -> None:
    with pytest.raises(NotFoundError, match=r"Unknown valuation `varational`. Did you mean `variational`"):
        diagnose_arrays(*arrays, estimator="varational")
    with pytest.raises(DataError, match=r"2 class names. Found 3"):
        diagnose_arrays(*arrays, class_names=["a", "b", "c"])


@pytest.mark.parametrize("estimator", ["plugin", "ksg", "histogram", "histogram_official"])
def test_every_kind_of_estimator_gives_a_diagnosis(estimator: str, arrays: Any) -> None:
    diagnosis = diagnose_arrays(*arrays, estimator=estimator)
    assert diagnosis.to_dict()["estimator"] == estimator
    assert set(diagnosis.to_pandas()["modality"]) == {"good", "noise"}
    if estimator != "histogram_official":  # which is wrong on purpose
        assert diagnosis.findings["noise"].verdict == "uninformative"
        assert diagnosis.findings["good"].role == "dominant"


def same(one: Diagnosis, other: Diagnosis) -> None:
    assert one.to_dict()["modalities"] == other.to_dict()["modalities"]


def test_npz_equals_arrays(arrays: Any, tmp_path: Path) -> None:
    features, y = arrays
    np.savez(tmp_path / "f.npz", **features, label=y, class_names=["no", "yes"], split=["train"] * len(y))
    diagnosis = diagnose_file(tmp_path / "f.npz")
    same(diagnosis, diagnose_arrays(features, y))
    assert [row.name for row in diagnosis.classes] == ["no", "yes"]


def test_bad_files_are_refused(arrays: Any, tmp_path: Path) -> None:
    features, y = arrays
    with pytest.raises(NotFoundError, match="no file"):
        diagnose_file(tmp_path / "none.npz")
    np.savez(tmp_path / "f.npz", **features, labels=y)
    with pytest.raises(
        DataError, match=r"`label` and one array per modality. Found: good, noise, labels. Did you mean `labels`"
    ):
        diagnose_file(tmp_path / "f.npz")
    np.save(tmp_path / "one.npy", y)
    with pytest.raises(DataError, match="a single array"):
        diagnose_file(tmp_path / "one.npy")
    (tmp_path / "text.npz").write_text("not a zip")
    with pytest.raises(DataError, match=r"not a readable .npz"):
        diagnose_file(tmp_path / "text.npz")
    np.savez(tmp_path / "objects.npz", a=np.array([{}, {}], dtype=object), label=y)
    with pytest.raises(DataError, match="holds Python objects"):
        diagnose_file(tmp_path / "objects.npz")
    (tmp_path / "cut.npz").write_bytes((tmp_path / "f.npz").read_bytes()[:-200])
    with pytest.raises(DataError, match=r"not a readable .npz"):
        diagnose_file(tmp_path / "cut.npz")


@pytest.fixture
def table(tmp_path: Path, arrays: Any) -> Path:
    import pandas as pd

    features, y = arrays
    path = tmp_path / "t.csv"
    colour = np.array(["red", "blue", "green"])[features["noise"]]
    pd.DataFrame(
        {"x1": features["good"], "x2": 1, "colour": colour, "who": y * 0 + np.arange(500) // 10, "ill": y}
    ).to_csv(path, index=False)
    return path


COLUMNS = {"good": ["x1", "x2"], "noise": ["colour"]}


def test_masks_of_an_npz_are_not_ignored(tmp_path: Path) -> None:
    """What lies behind a mask is not the modality."""
    rng = np.random.default_rng(0)
    y = rng.integers(2, size=200)
    entries = {"a": y + rng.normal(size=200), "b": y + rng.normal(size=200), "label": y}
    np.savez(tmp_path / "all.npz", **entries, present_b=np.ones(200, bool))
    assert set(diagnose_file(tmp_path / "all.npz").findings) == {"a", "b"}
    np.savez(tmp_path / "some.npz", **entries, present_b=rng.random(200) < 0.5)
    with pytest.raises(DataError, match="present_b"):
        diagnose_file(tmp_path / "some.npz")


def test_csv_equals_arrays(table: Path, arrays: Any) -> None:
    features, y = arrays
    diagnosis = diagnose_csv(table, label="ill", modalities=COLUMNS)
    expected = diagnose_arrays(features, y)
    for m in features:
        assert diagnosis.findings[m].verdict == expected.findings[m].verdict
        assert diagnosis.valuation.mi[m].value == pytest.approx(expected.valuation.mi[m].value, abs=0.01)
    assert diagnose_csv(table, label="ill", modalities=COLUMNS, group="who").verdict == diagnosis.verdict


def test_bad_csv_is_refused(table: Path, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no table"):
        diagnose_csv(tmp_path / "none.csv", label="y", modalities=COLUMNS)
    with pytest.raises(NotFoundError, match=r"no column `il`. Did you mean `ill`"):
        diagnose_csv(table, label="il", modalities=COLUMNS)
    with pytest.raises(NotFoundError, match=r"no column `colr`. Did you mean `colour`"):
        diagnose_csv(table, label="ill", modalities={"a": ["x1"], "b": ["colr"]})
    with pytest.raises(DataError, match="label column"):
        diagnose_csv(table, label="ill", modalities={"a": ["x1", "ill"], "b": ["colour"]})
    with pytest.raises(DataError, match="at least one column"):
        diagnose_csv(table, label="ill", modalities={"a": ["x1"], "b": []})
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(DataError, match=r"cannot be read|no rows"):
        diagnose_csv(tmp_path / "empty.csv", label="ill", modalities=COLUMNS)
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00\x80a,b\n\x81\n")
    with pytest.raises((DataError, NotFoundError)):
        diagnose_csv(tmp_path / "binary.csv", label="ill", modalities=COLUMNS)
    (tmp_path / "ids.csv").write_text("\n".join(["name,x,y", *(f"n{i},{i},{i % 2}" for i in range(100))]))
    with pytest.raises(DataError, match=r"Modality `a` .* without words that recur"):
        diagnose_csv(tmp_path / "ids.csv", label="y", modalities={"a": ["name"], "b": ["x"]})


@pytest.mark.parametrize("how", ["csv", "frame", "list", "series"])
def test_free_texts_are_measured_by_their_words(how: str, tmp_path: Path) -> None:
    import pandas as pd

    rng = np.random.default_rng(0)
    y = rng.integers(2, size=400)
    good, bad = ["fine", "calm", "quiet"], ["loud", "angry", "broken"]
    text = [f"it was {rng.choice(bad if k else good)} on day {rng.integers(10_000)}" for k in y]
    frame = pd.DataFrame({"note": text, "x": rng.normal(size=400), "y": y})
    if how == "csv":
        frame.to_csv(tmp_path / "t.csv", index=False)
        result = diagnose_csv(tmp_path / "t.csv", label="y", modalities={"text": ["note"], "number": ["x"]})
    elif how == "frame":
        result = diagnose_arrays(frame, "y", modalities={"text": ["note"], "number": ["x"]})
    else:
        result = diagnose_arrays({"text": frame["note"] if how == "series" else text, "number": frame["x"]}, y)
    assert result.valuation.mi["text"].value > 0.55  # H(Y) = 0.69, and the words tell the label
    assert result.findings["number"].verdict == "uninformative"
    assert any("hashed words" in note for note in result.notes)


def digest(k: int) -> str:
    return hashlib.md5(str(k).encode(), usedforsecurity=False).hexdigest()


IDENTIFIERS: dict[str, Callable[[int], str]] = {
    "number": lambda k: f"user_{k:05d}",
    "uuid": lambda k: str(uuid.UUID(digest(k), version=4)),
    "hash": digest,
    "file": lambda k: f"data/IMG_{k:06d}.PNG",
    "note": lambda k: f"note {k}: {int(digest(k), 16) % 10**9}",
    "short": lambda k: f"id-{int(digest(k), 16) % 1000}",
    "chinese": lambda k: "".join(chr(0x4E00 + int(digest(k)[j : j + 3], 16)) for j in (0, 3, 6)),
}


@pytest.mark.parametrize("name", list(IDENTIFIERS))
@pytest.mark.parametrize("n", [60, 600])
def test_identifiers_are_left_out_and_stop_nothing(name: str, n: int) -> None:
    import pandas as pd

    rng = np.random.default_rng(0)
    age = rng.normal(size=n)
    frame = pd.DataFrame({"age": age, "id": [IDENTIFIERS[name](k) for k in range(n)]})
    y, other = (age + 0.5 * rng.normal(size=n) > 0).astype(int), rng.normal(size=n)
    expected = diagnose_arrays({"table": frame[["age"]], "other": other}, y)
    result = diagnose_arrays({"table": frame, "other": other}, y)
    assert result.valuation.mi["table"].value == expected.valuation.mi["table"].value
    assert any("`id`" in note for note in result.notes)
    for alone in (frame["id"], frame["id"].tolist(), frame[["id"]], frame["id"].to_numpy(dtype=object)):
        with pytest.raises(DataError, match="Modality `id`"):
            diagnose_arrays({"id": alone, "other": age}, y)


@pytest.mark.parametrize("kind", ["words", "category", "category of numbers"])
def test_gaps_in_a_column_of_identifiers_are_information(kind: str) -> None:
    import pandas as pd

    n = 400
    y = np.arange(n) % 2
    rng = np.random.default_rng(0)
    ids = pd.Series([None if k % 2 else k if "numbers" in kind else f"cabin-{k}" for k in range(n)], dtype=object)
    frame = pd.DataFrame({"cabin": ids if kind == "words" else ids.astype("category"), "x": rng.normal(size=n)})
    result = diagnose_arrays({"who": frame, "noise": rng.normal(size=n)}, y)
    assert result.valuation.mi["who"].value == pytest.approx(math.log(2), abs=0.02)
    assert any("200 of 400 values of `cabin`" in note for note in result.notes)


def test_a_column_of_the_type_category_is_a_category() -> None:
    import pandas as pd

    rng = np.random.default_rng(0)
    level = rng.integers(40, size=400)
    frame = pd.DataFrame({"level": pd.Categorical([f"user {k}" for k in level]), "x": rng.normal(size=400)})
    result = diagnose_arrays({"who": frame, "noise": rng.normal(size=400)}, level % 2)
    assert not any("hashed" in note or "left out" in note for note in result.notes)
    assert result.valuation.mi["who"].value > 0.6


@pytest.mark.parametrize("how", ["list", "frame", "csv"])
@pytest.mark.parametrize("ending", ["", "Z"])
def test_texts_that_are_times_are_measured_as_times(how: str, ending: str, tmp_path: Path) -> None:
    import pandas as pd

    rng = np.random.default_rng(0)
    n = 300
    times = np.datetime64("2024-01-01T00:00:00") + rng.permutation(n) * np.timedelta64(5000, "s")
    y = (times > np.median(times.astype(np.int64)).astype("datetime64[s]")).astype(int)
    texts, noise = [f"{t}{ending}" for t in times], rng.normal(size=n)
    frame = pd.DataFrame({"when": texts, "noise": noise, "y": y})
    expected = diagnose_arrays({"when": times, "noise": noise}, y)
    if how == "list":
        result = diagnose_arrays({"when": texts, "noise": noise}, y)
    elif how == "frame":
        result = diagnose_arrays(frame, "y", modalities={"when": ["when"], "noise": ["noise"]})
    else:
        frame.to_csv(tmp_path / "t.csv", index=False)
        result = diagnose_csv(tmp_path / "t.csv", label="y", modalities={"when": ["when"], "noise": ["noise"]})
    assert result.valuation.mi["when"].value == pytest.approx(expected.valuation.mi["when"].value, abs=1e-6)
    assert result.valuation.mi["when"].value > 0.6


def test_texts_without_spaces_are_measured() -> None:
    rng = np.random.default_rng(0)
    n = 300
    y = rng.integers(2, size=n)
    texts = [
        f"{chr(0x4E00 + rng.integers(3000))}{'我喜欢它' if k else '我不喜欢'}{chr(0x4E00 + rng.integers(3000))}"
        for k in y
    ]
    result = diagnose_arrays({"text": texts, "noise": rng.normal(size=n)}, y)
    assert result.valuation.mi["text"].value > 0.6


NOISE: dict[str, Callable[[np.random.Generator], str]] = {
    "words": lambda r: " ".join(f"w{k}" for k in r.integers(200, size=8)),
    "address": lambda r: ".".join(map(str, r.integers(256, size=4))),
    "clock": lambda r: f"{r.integers(1, 13)}/{r.integers(1, 29)}/24 {r.integers(24)}:{r.integers(60)}:{r.integers(60)}",
}


@pytest.mark.parametrize("name", list(NOISE))
def test_texts_of_noise_are_never_called_overfitting(name: str) -> None:
    for seed in range(2):
        rng = np.random.default_rng(seed)
        y = rng.integers(2, size=500)
        texts = [NOISE[name](rng) for _ in y]
        result = diagnose_arrays({"good": y + 0.5 * rng.normal(size=500), "text": texts}, y)
        assert result.findings["text"].verdict == "uninformative"
        assert result.findings["good"].verdict == "balanced"


def test_missing_numbers_in_a_table_are_information_of_their_own(tmp_path: Path) -> None:
    import pandas as pd

    rng = np.random.default_rng(0)
    y = rng.integers(2, size=600)
    frame = pd.DataFrame({"age": 3.0 * y + rng.normal(size=600), "income": rng.normal(size=600), "y": y})
    whole = diagnose_arrays(frame, "y", modalities={"who": ["age"], "money": ["income"]})
    frame.loc[rng.random(600) < 0.2, "age"] = np.nan
    holes = diagnose_arrays({"who": frame[["age"]], "money": frame[["income"]]}, frame["y"])
    assert 0.7 * whole.valuation.mi["who"].value < holes.valuation.mi["who"].value < whole.valuation.mi["who"].value
    assert any("`age`" in note for note in holes.notes)
    frame.to_csv(tmp_path / "t.csv", index=False)
    read = diagnose_csv(tmp_path / "t.csv", label="y", modalities={"who": ["age"], "money": ["income"]})
    assert read.valuation.mi["who"].value == pytest.approx(holes.valuation.mi["who"].value, abs=1e-6)
    with pytest.raises(DataError, match="in several"):
        diagnose_arrays(frame, "y", modalities={"who": ["age"], "money": ["age"]})
    with pytest.raises(DataError, match="modalities="):
        diagnose_arrays(frame, "y")


def test_missing_words_dates_and_booleans_are_information_of_their_own() -> None:
    import pandas as pd

    rng = np.random.default_rng(0)
    n, y = 400, np.arange(400) % 2
    noise = rng.normal(size=n)
    gone = y == 1  # nothing but the gaps tells the label
    columns = {
        "word": pd.Series(np.where(gone, None, rng.choice(["a", "missing"], n)), dtype=object),
        "level": pd.Series(pd.Categorical(np.where(gone, None, rng.choice(["a", "b"], n)))),
        "number level": pd.Series(pd.Categorical(pd.array(np.where(gone, None, 1 + y), dtype="Int64"))),
        "string": pd.Series(np.where(gone, None, rng.choice(["a", "b"], n)), dtype="string"),
        "flag": pd.Series(np.where(gone, None, rng.random(n) < 0.5), dtype="boolean"),
        "object flag": pd.Series(np.where(gone, None, True), dtype=object),
        "day": pd.Series(np.where(gone, np.datetime64("NaT"), np.datetime64("2020-01-01"))),
        7: pd.Series(np.where(gone, np.nan, rng.normal(size=n))),  # columns without names
    }
    for name, values in columns.items():
        frame = pd.DataFrame({name: values})
        result = diagnose_arrays({"gaps": frame, "noise": noise}, y)
        assert result.valuation.mi["gaps"].value == pytest.approx(math.log(2), abs=0.05), name
        assert any(f"200 of 400 values of `{name}`" in note for note in result.notes), name
        assert frame[name].isna().sum() == 200  # the caller's table is as it was
    with pytest.raises(DataError, match="Modality `gaps`, column `x` holds missing values in 400 of 400"):
        diagnose_arrays({"gaps": pd.DataFrame({"x": [None] * n}), "noise": noise}, y)


def test_a_task_can_be_chosen_and_a_rate_is_no_modality(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    age, score = rng.normal(size=(200, 1)), rng.integers(0, 5, size=200)
    np.savez(tmp_path / "f.npz", age=age, income=rng.normal(size=(200, 1)), label=score, rate_age=50.0)
    assert diagnose_file(tmp_path / "f.npz").modalities == ("age", "income")
    assert diagnose_file(tmp_path / "f.npz").valuation.task == "multiclass"
    assert diagnose_file(tmp_path / "f.npz", task="regression").valuation.task == "regression"
