"""What the documents show is what the code does: generated blocks are current, examples run, links lead somewhere."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

import counterpoise
from counterpoise.methods.catalogue import METHODS

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_the_readme_is_short_and_starts_with_how_to_install() -> None:
    lines = (ROOT / "README.md").read_text().splitlines()
    assert sum(len(line.split()) for line in lines) <= 1000
    assert next(i for i, line in enumerate(lines) if "pip install" in line) < 60
    assert not any(line.startswith("|") for line in lines[:60])
    assert sum(line.startswith("![") for line in lines) == 1


def test_the_readme_shows_what_the_code_prints() -> None:
    """The verdicts in the README are those of today's code; small changes of numbers are left to `make screenshots`."""
    example = ROOT / "examples" / "diagnose_concat.py"
    result = subprocess.run([sys.executable, "-W", "ignore", str(example)], capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    shown = (ROOT / "benchmarks" / "demo" / "quickstart.txt").read_text()
    numbers = re.compile(r"-?\d+(\.\d+)?")
    words = numbers.sub("#", " ".join(shown.removesuffix("...\n").split()))
    assert words in numbers.sub("#", " ".join(result.stdout.split()))


def test_there_is_one_version() -> None:
    """The package, the citation and the changelog name the same version, and the changelog its date."""
    version = counterpoise.__version__
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text()
    headings = re.findall(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0] == "Unreleased"
    assert re.fullmatch(rf"{re.escape(version)} \(\d{{4}}-\d\d-\d\d\)", headings[1])


def test_generated_blocks_are_up_to_date() -> None:
    result = subprocess.run([sys.executable, "docs/build.py", "--check"], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("notebook", sorted((ROOT / "docs" / "tutorials").glob("*.ipynb")), ids=lambda p: p.stem)
def test_tutorials_run_and_show_a_table_and_a_figure(notebook: Path, tmp_path: Path) -> None:
    nbformat = pytest.importorskip("nbformat")
    client = pytest.importorskip("nbclient").NotebookClient
    stored = nbformat.read(notebook, 4)
    shown = {kind for cell in stored.cells for out in cell.get("outputs", ()) for kind in out.get("data", ())}
    assert {"text/html", "image/png"} <= shown, "run the notebook once, so that it holds its outputs"
    client(stored, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the site, built with warnings as errors."""
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html", "-d", f"{out}-cache", "docs"]
    done = subprocess.run([*command, str(out)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return out


@pytest.mark.xdist_group("site")
def test_the_site_has_every_public_name_and_a_page_for_every_method(site: Path) -> None:
    page = (site / "reference" / "counterpoise.html").read_text()
    assert [name for name in counterpoise.__all__ if f'id="counterpoise.{name}"' not in page] == []
    assert [name for name in METHODS if not (site / "reference" / "methods" / f"{name}.html").is_file()] == []
    assert (site / "searchindex.js").stat().st_size > 10_000


@pytest.mark.xdist_group("site")
def test_the_site_needs_no_network(site: Path) -> None:
    """Scripts, styles and pictures are files of the site, and formulas are MathML."""
    pages = {path: path.read_text() for path in site.rglob("*.html")}
    loaded = re.compile(
        r"<(?:script|img|iframe)[^>]*\ssrc=[\"']https?:|<link[^>]*rel=[\"']stylesheet[^>]*href=[\"']https?:"
    )
    assert [path.name for path, text in pages.items() if loaded.search(text)] == []
    method = pages[site / "reference" / "methods" / "ogm-ge.html"]
    assert "<math" in method
    assert "has not been run" not in method


@pytest.mark.xdist_group("site")
@pytest.mark.parametrize("name", METHODS)
def test_the_page_of_a_method_is_complete(name: str, site: Path) -> None:
    """It has the equation (or a link to the method that has it), an example and the row in the comparison."""
    page = (site / "reference" / "methods" / f"{name}.html").read_text()
    assert "<math" in page or "whose page has the equation" in page
    assert 'class="gp"' in page or "&gt;&gt;&gt;" in page
    assert "In the comparison" in page


@pytest.mark.parametrize("example", sorted((ROOT / "examples").glob("*.py")), ids=lambda p: p.stem)
def test_examples_run(example: Path, tmp_path: Path) -> None:
    if "smartwatch" in example.read_text():
        pytest.importorskip("seglearn")
    for package in re.findall(r"^import (\w+)", example.read_text(), re.MULTILINE):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    result = subprocess.run(
        [sys.executable, "-W", "ignore", str(example)], cwd=tmp_path, capture_output=True, text=True, timeout=300
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip(), "an example shows something"


def test_the_code_of_the_page_about_models_runs(tmp_path: Path) -> None:
    """Each block runs after those before it; a block whose package is not installed ends the test."""
    blocks = re.findall(
        r"^```python\n(.*?)^```", (ROOT / "docs" / "your_model.md").read_text(), re.MULTILINE | re.DOTALL
    )
    assert len(blocks) == 5
    script = tmp_path / "page.py"
    script.write_text("\n".join(blocks))
    command = [sys.executable, "-W", "ignore", str(script)]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    if "MissingExtraError" in result.stderr or "ModuleNotFoundError" in result.stderr:
        pytest.skip(result.stderr.splitlines()[-1])
    assert result.returncode == 0, result.stderr


def test_every_picture_is_shown_by_a_document() -> None:
    text = "".join(page.read_text() for page in PAGES)
    assert [picture.name for picture in (ROOT / "docs" / "img").iterdir() if f"img/{picture.name}" not in text] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_within_the_repository_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text())
    local = [link for link in links if "://" not in link]
    missing = [link for link in local if not (page.parent / link).exists()]
    assert not missing
