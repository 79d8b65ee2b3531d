"""The package as it is distributed, and its demo: joint training wastes the picture, and the methods repair it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import counterpoise
from counterpoise.errors import NotFoundError
from counterpoise.experiment.demo import DEMOS, run_demo
from counterpoise.report import conclusions
from counterpoise.runs import read_records

ROOT = Path(__file__).parents[2]
SOURCES = ("src", "pyproject.toml", "README.md", "LICENSE")
pytestmark = pytest.mark.xdist_group("wheel")


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the wheel and the source distribution, built from a copy of the sources."""
    copy, out = tmp_path_factory.mktemp("sources"), tmp_path_factory.mktemp("distributions")
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in SOURCES:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, copy / name, ignore=ignored)
        else:
            shutil.copy(source, copy / name)
    build = f"from setuptools import build_meta as b; b.build_wheel({str(out)!r}); b.build_sdist({str(out)!r})"
    subprocess.run([sys.executable, "-c", build], cwd=copy, check=True, capture_output=True)
    return out


@pytest.fixture(scope="module")
def installed(distributions: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder into which the wheel is unpacked."""
    folder = tmp_path_factory.mktemp("installed")
    with zipfile.ZipFile(next(distributions.glob("*.whl"))) as wheel:
        wheel.extractall(folder)
    return folder


def run_installed(folder: Path, code: str, cwd: Path) -> str:
    """Run Python code with the unpacked wheel first on the path, and return what it prints."""
    environment = {**os.environ, "PYTHONPATH": str(folder), "COLUMNS": "120"}
    done = subprocess.run([sys.executable, "-c", code], cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_distributions_hold_the_package_and_nothing_else(distributions: Path) -> None:
    with zipfile.ZipFile(next(distributions.glob("*.whl"))) as wheel:
        names = wheel.namelist()
        (metadata,) = [name for name in names if name.endswith("METADATA")]
        assert f"Version: {counterpoise.__version__}\n" in wheel.read(metadata).decode()
    package = ROOT / "src" / "counterpoise"
    wanted = {
        str(path.relative_to(ROOT / "src"))
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert wanted <= set(names)
    assert {name.split("/")[0] for name in names} == {
        "counterpoise",
        f"counterpoise-{counterpoise.__version__}.dist-info",
    }
    with tarfile.open(next(distributions.glob("*.tar.gz"))) as archive:
        assert {f"counterpoise-{counterpoise.__version__}/src/{name}" for name in wanted} <= set(archive.getnames())


def test_the_version_is_the_same_everywhere() -> None:
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert re.search(rf"^version: {re.escape(counterpoise.__version__)}$", citation, re.MULTILINE)


def test_kanji_two_splits_from_the_wheel(installed: Path, tmp_path: Path) -> None:
    """The demo of the installed package shows that joint training wastes the picture and that the methods repair it."""
    where = run_installed(installed, "import counterpoise; print(counterpoise.__file__)", tmp_path)
    assert Path(where.strip()).is_relative_to(installed)
    code = (
        "import sys; from counterpoise.cli.main import main; sys.exit(main(['demo', '--seeds', '2', '--out', 'demo']))"
    )
    printed = run_installed(installed, code, tmp_path)
    records = read_records([tmp_path / "demo"])[0]
    rows = sorted({record.label for record in records})
    assert rows == ["arm", "joint", "joint (dynamic)", "separated-experts", "unimodal:meaning", "unimodal:picture"]

    def mean(label: str, name: str = "accuracy") -> float:
        values = [record.value(name) for record in records if record.label == label]
        return sum(values) / len(values)

    assert mean("joint") <= mean("unimodal:picture") - 0.03
    assert mean("arm") >= mean("joint") + 0.03
    assert mean("joint") < mean("joint (dynamic)") < mean("separated-experts")
    assert mean("separated-experts", "accuracy_corrupted") >= mean("joint", "accuracy_corrupted") + 0.03
    finding = conclusions(records)["kanji"].finding
    assert f"{100 * mean('joint'):.1f} %" in finding
    first = printed.split("family does it belong?")[-1].split("belong?")[-1]
    assert " ".join(finding.split()) in " ".join(first.split())
    assert "KANJIDIC2" in (tmp_path / "demo" / "report.html").read_text(encoding="utf-8")


def test_an_unknown_demo_is_refused(tmp_path) -> None:
    with pytest.raises(NotFoundError, match="kanji"):
        run_demo("kanjy", out=tmp_path)
    assert set(DEMOS) == {"kanji", "smartwatch"}
