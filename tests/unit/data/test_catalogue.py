"""Names, paths and folders: what is opened, what is prepared, and what is said when it is not there."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from counterpoise.config import FitConfig, ModelConfig, OptimConfig
from counterpoise.data import DATASETS, MultimodalData, Split, open_data, prepare, save_prepared
from counterpoise.data.datasets import catalogue as module
from counterpoise.errors import DataError, MissingExtraError, NotFoundError, OutputError


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("COUNTERPOISE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COUNTERPOISE_DATA", str(tmp_path / "raw"))
    return tmp_path / "cache"


@pytest.fixture
def scenes(tmp_path: Path) -> Path:
    """A raw folder with a made-up scene15 file."""
    folder = tmp_path / "raw" / "multiview"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    label = np.arange(90) % 15
    np.savez(
        folder / "scene15.npz",
        label=label,
        view_names=["gist4", "phog6"],
        view_0=rng.normal(size=(90, 4)),
        view_1=rng.normal(size=(90, 6)),
        test_mask=np.stack([np.arange(90) >= 75] * 5),
        source="made up",
    )
    return tmp_path / "raw"


def test_reading_the_catalogue_needs_no_torch() -> None:
    code = "import sys; from counterpoise.data.datasets.catalogue import DATASETS; "
    code += "print(len(DATASETS), 'torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert out == [str(len(DATASETS)), "False"]


@pytest.mark.parametrize("name", DATASETS)
def test_rows_are_complete(name: str) -> None:
    row = DATASETS[name]
    assert callable(row.load())
    assert row.summary
    assert row.modalities
    assert not row.files or (row.terms and row.reference)
    known = {"fit": FitConfig, "model": ModelConfig, "optim": OptimConfig}
    for section, values in row.recipe.items():
        known[section](**values)


def test_names_asked_for_are_there() -> None:
    wanted = "smartwatch av-mnist av-mnist-weak-image av-mnist-speakers av-mnist-speakers-weak-image av-mnist-babble "
    wanted += "av-mnist-speakers-babble utd-mhad fashion handwritten leaves100 scene15 wikipedia"
    assert set(wanted.split()) <= set(DATASETS)


def test_unknown_name_has_the_nearest() -> None:
    with pytest.raises(NotFoundError, match=r"Unknown data set `smart-watch`. Did you mean `smartwatch`\?"):
        open_data("smart-watch")
    with pytest.raises(NotFoundError, match=r"Unknown data set `wikipdia`. Did you mean `wikipedia`\?"):
        prepare("wikipdia", None, "out")


def test_missing_paths(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"elsewhere` does not exist. Give an .npz, a folder"):
        open_data(tmp_path / "elsewhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(NotFoundError, match=r"empty` holds no prepared data"):
        open_data(tmp_path / "empty")
    with pytest.raises(NotFoundError, match=r"There is no file"):
        open_data(tmp_path / "mine.npz")


@pytest.mark.parametrize("act", [lambda: open_data("utd-mhad"), lambda: prepare("utd-mhad", None, "nowhere")])
def test_missing_raw_data_say_what_and_where_and_how(act: Callable[[], object], tmp_path: Path) -> None:
    with pytest.raises(NotFoundError) as caught:
        act()
    message = str(caught.value)
    for part in (
        "utd-mhad",
        "utd_mhad/utd_mhad.npz",
        str(tmp_path / "raw"),
        "COUNTERPOISE_DATA",
        "counterpoise prepare utd-mhad",
    ):
        assert part in message
    assert not Path("nowhere").exists()
    assert not (tmp_path / "cache").exists()


def test_raw_folder_is_the_option_then_the_variable_then_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COUNTERPOISE_DATA", "variable")
    assert module.raw_folder("option") == Path("option")
    assert module.raw_folder() == Path("variable")
    monkeypatch.delenv("COUNTERPOISE_DATA")
    assert module.raw_folder() == module.DEFAULT_RAW


def test_first_opening_prepares_and_the_second_reads_the_cache(scenes: Path, own_cache: Path) -> None:
    first = open_data("scene15")
    (scenes / "multiview" / "scene15.npz").unlink()
    second = open_data("scene15")
    assert first.fingerprint() == second.fingerprint()
    assert [path.name for path in own_cache.iterdir()] == ["scene15-v1"]
    assert second.info.recipe == DATASETS["scene15"].recipe


def test_another_run_may_be_quicker(scenes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def beaten(name: str, source: Path, out: Path) -> None:
        prepare(name, source, out)
        raise OutputError("Directory not empty")

    monkeypatch.setattr(module, "prepare", beaten)
    assert len(open_data("scene15").test) == 15


def test_a_new_version_is_prepared_again(scenes: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    open_data("scene15")
    newer = dataclasses.replace(DATASETS["scene15"], version=2)
    monkeypatch.setattr(module, "DATASETS", {"scene15": newer})
    open_data("scene15")
    assert sorted(path.name for path in own_cache.iterdir()) == ["scene15-v1", "scene15-v2"]


def test_recipe_is_the_catalogues_even_if_an_older_one_was_stored(scenes: Path, own_cache: Path) -> None:
    data = open_data("scene15")
    save_prepared(
        dataclasses.replace(data, info=dataclasses.replace(data.info, recipe={"fit": {"epochs": 1}})),
        own_cache / "scene15-v1",
    )
    assert open_data("scene15").info.recipe == DATASETS["scene15"].recipe


def test_prepare_writes_and_tells(scenes: Path, tmp_path: Path) -> None:
    summary = prepare("scene15", scenes, tmp_path / "out")
    assert summary.samples == {"train": 66, "val": 9, "test": 15}
    assert summary.classes == 15
    assert summary.modalities == {"gist": (4,), "phog": (6,)}
    text = str(summary)
    for part in ("15 test", "gist 4", "validation: a stratified eighth", str(tmp_path / "out")):
        assert part in text
    assert open_data(tmp_path / "out").fingerprint() == open_data("scene15").fingerprint()


def test_prepare_does_not_overwrite_other_things(scenes: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("years of work")
    with pytest.raises(OutputError, match="exists and is not"):
        prepare("scene15", scenes, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["thesis.tex"]


def test_broken_raw_file_is_named(scenes: Path) -> None:
    path = scenes / "multiview" / "scene15.npz"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DataError, match=r"scene15.npz` is not a readable .npz archive"):
        open_data("scene15")
    np.savez(path, label=np.zeros(3))
    with pytest.raises(DataError, match=r"Missing: view_names, view_0, view_1"):
        open_data("scene15")


def test_npz_is_opened_by_path(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "mine.npz", a=rng.normal(size=(50, 3)), b=rng.normal(size=(50, 20, 2)), label=np.arange(50) % 2)
    data = open_data(str(tmp_path / "mine.npz"))
    assert [m.kind for m in data.info.modalities] == ["vector", "sequence"]


@pytest.mark.parametrize("name", [name for name in DATASETS if name.startswith("world-")])
def test_worlds_open_without_files(name: str) -> None:
    data = open_data(name)
    assert data.info.name == name
    assert len(data.test) == 2000


# --- smart watch ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def watch() -> MultimodalData:
    pytest.importorskip("seglearn", reason="the demo's data are in the extra `demo`")
    return open_data("smartwatch")


def test_smartwatch_has_the_published_counts(watch: MultimodalData) -> None:
    assert [len(watch.train), len(watch.val), len(watch.test)] == [2669, 524, 1484]
    assert len(watch.train) + len(watch.val) + len(watch.test) == 4677
    assert watch.info.num_outputs == 7
    assert {m.name: m.shape for m in watch.info.modalities} == {"accelerometer": (100, 3), "gyroscope": (100, 3)}
    groups = [set(np.unique(part.group)) for part in (watch.train, watch.val, watch.test) if part.group is not None]
    assert groups == [{1, 2, 3, 4, 5, 6}, {7}, {8, 9, 10}]


def test_smartwatch_windows_are_the_recordings(watch: MultimodalData) -> None:
    from seglearn.datasets import load_watch

    raw = load_watch()
    k = next(k for k, subject in enumerate(raw["subject"]) if subject == 7)  # the first recording of validation
    count = (len(raw["X"][k]) - 100) // 50 + 1
    for j in (0, 1, count - 1):
        window = raw["X"][k][50 * j : 50 * j + 100].astype(np.float32)
        assert np.array_equal(watch.val.arrays["accelerometer"][j], window[:, :3])
        assert np.array_equal(watch.val.arrays["gyroscope"][j], window[:, 3:])
        assert watch.val.target[j] == raw["y"][k]


def test_smartwatch_without_seglearn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "seglearn.datasets", None)
    with pytest.raises(MissingExtraError, match=r"counterpoise\[demo\]"):
        open_data("smartwatch")


def test_batches_of_the_smart_watch_are_quick(watch: MultimodalData) -> None:
    import statistics
    import time

    split: Split = watch.train
    times = []
    for k in range(200):
        index = np.arange(64) + k
        start = time.perf_counter()
        split.batch(index)
        times.append(time.perf_counter() - start)
    assert statistics.median(times) < 1e-3
