"""From files with truly absent cells to the page: the recipe for the stamps, on files that are made here."""

from __future__ import annotations

import sys
import wave
from pathlib import Path

import numpy as np
import pytest

from counterpoise.cli.main import main
from counterpoise.data import load_prepared
from counterpoise.runs import read_records

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks" / "missing"))
from stamps import rows_of, write_table


def beep(path: Path, pitch: float, rng: np.random.Generator) -> None:
    time = np.arange(8000) / 8000
    samples = 0.4 * np.sin(2 * np.pi * pitch * time) + 0.02 * rng.normal(size=8000)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes((32767 * samples).astype("<i2").tobytes())


@pytest.fixture(scope="module")
def stamps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three subjects of twenty pictures; every third has a sound, every second a spoken caption."""
    image = pytest.importorskip("PIL.Image")
    pytest.importorskip("av")
    root, rng = tmp_path_factory.mktemp("raw") / "stamps", np.random.default_rng(0)
    for k, subject in enumerate(("animals", "food", "town")):
        folder = root / subject / "some"
        folder.mkdir(parents=True)
        for i in range(20):
            pixels = rng.integers(0, 120, size=(16, 16, 3))
            pixels[..., k] += 120
            stem = folder / f"thing{i}"
            image.fromarray(pixels.astype(np.uint8)).save(f"{stem}.png")
            Path(f"{stem}.txt").write_text(f"A {subject} number {i}.\nfr.utf8=Une chose", encoding="utf-8")
            if i % 3 == 0:
                beep(Path(f"{stem}.wav"), 300 * (k + 1), rng)
            if i % 2 == 0:
                beep(Path(f"{stem}_desc_da.wav"), 500 * (k + 1), rng)
        image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(folder / "thing0_mirror.png")
    return root


def test_the_table_keeps_every_picture(stamps: Path) -> None:
    rows = rows_of(stamps, smallest=20)
    assert len(rows) == 60  # without the mirrored ones
    assert sum(bool(row["sound"]) for row in rows) == 21
    assert sum(bool(row["speech"]) for row in rows) == 30
    assert {row["caption"] for row in rows if row["label"] == "food"} == {f"A food number {i}." for i in range(20)}
    assert rows_of(stamps, smallest=21) == []


def test_from_raw_files_to_the_page(stamps: Path, tmp_path: Path) -> None:
    table = write_table(stamps, rows_of(stamps))
    assert main(["prepare", "own", "--source", str(table), "--out", str(tmp_path / "data"), "--size", "16"]) == 0
    data = load_prepared(tmp_path / "data")
    splits = (data.train, data.val, data.test)
    assert sum(len(split) for split in splits) == 60  # no row is lost
    assert data.info.names == ("picture", "sound", "speech", "caption")
    count = sum(split.present["sound"].sum() for split in splits if split.present is not None)
    assert count == 21
    out = tmp_path / "report"
    command = [
        "compare",
        "--data",
        str(tmp_path / "data"),
        "--methods",
        "joint",
        "--rules",
        "calibrated",
        "--seeds",
        "1",
    ]
    assert main([*command, "--jobs", "1", "--fit.epochs", "2", "--model.width", "8", "--out", str(out)]) == 0
    assert "Incomplete samples" in (out / "report.html").read_text(encoding="utf-8")
    records, _ = read_records([out / "runs"])
    assert all(sum(p["n"] for p in record.presence["patterns"]) == len(data.test) for record in records)
