"""Extras: few hard requirements, one message for a missing package, and a light import."""

from __future__ import annotations

import ast
import re
import resource
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from counterpoise._extras import EXTRAS, extra
from counterpoise.errors import MissingExtraError

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "counterpoise"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def names(requirements: list[str]) -> set[str]:
    return {re.split(r"[^\w-]", line)[0] for line in requirements}


def test_few_packages_are_required_and_all_holds_every_extra() -> None:
    assert len(PROJECT["dependencies"]) <= 8
    extras = PROJECT["optional-dependencies"]
    assert set(extras) == {*EXTRAS, "all"}
    (everything,) = extras["all"]
    assert set(re.findall(r"\w+", everything)) == {"counterpoise", *EXTRAS}


def test_every_third_party_import_is_required_or_wrapped_in_an_extra_that_holds_it() -> None:
    """An optional package is imported below `extra(NAME)` (or in a package whose first line does that)."""
    required = {name.replace("-", "_") for name in names(PROJECT["dependencies"])} | {"yaml"}
    distribution = {"PIL": "pillow", "pyarrow": "datasets", "markupsafe": "jinja2", "sklearn": "scikit-learn"}
    distribution |= {"dask": "distributed"}
    held = {name: names(lines) for name, lines in PROJECT["optional-dependencies"].items()}
    held["dask"] |= held["train"]
    held["demo"] |= held["train"] | held["data"] | held["report"]
    whole = {"training": "train", "experiment": "train"}
    wrong = []
    for path in sorted(SOURCE.rglob("*.py")):
        part = path.relative_to(SOURCE).parts[0]
        tree = ast.parse(path.read_text())
        for node, inside in _imports(tree, None):
            modules = [a.name for a in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            for module in {m.partition(".")[0] for m in modules}:
                if module in sys.stdlib_module_names or module in required | {
                    "counterpoise",
                    "torch",
                    "numpy",
                    "scipy",
                }:
                    continue
                allowed = held.get(inside or whole.get(part, ""), set())
                if distribution.get(module, module) not in allowed:
                    wrong.append(f"{path.relative_to(SOURCE)}:{node.lineno} {module} in extra {inside}")
    assert not wrong


def _imports(node: ast.AST, inside: str | None) -> list[tuple[ast.Import | ast.ImportFrom, str | None]]:
    statements: list[tuple[ast.Import | ast.ImportFrom, str | None]] = []
    for child in ast.iter_child_nodes(node):
        within = inside
        if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            continue
        if isinstance(child, ast.With) and (name := re.match(r"extra\(['\"](\w+)", ast.unparse(child.items[0]))):
            within = name[1]
        if isinstance(child, (ast.Import, ast.ImportFrom)) and not getattr(child, "level", 0):
            statements.append((child, within))
        statements += _imports(child, within)
    return statements


def test_the_message_names_the_package_and_the_command() -> None:
    with pytest.raises(MissingExtraError) as caught, extra("report"):
        import package_that_is_not_installed  # type: ignore[import-not-found]  # noqa: F401
    expected = 'The report needs package_that_is_not_installed. Install it with: pip install "counterpoise[report]".'
    assert str(caught.value) == expected


def test_an_error_inside_the_library_is_not_taken_for_a_missing_extra() -> None:
    with pytest.raises(ModuleNotFoundError) as caught, extra("report"):
        import counterpoise.no_such_module  # type: ignore[import-not-found]  # noqa: F401
    assert not isinstance(caught.value, MissingExtraError)


BLOCKED = {
    "plotly": ("report", "from counterpoise.report.page.write import write_page; write_page([RECORD], OUT / 'x.html')"),
    "matplotlib": ("report", "from counterpoise.report import write_figures; write_figures([RECORD], OUT / 'f')"),
    "lightning": ("train", "import counterpoise.training"),
    "datasets": (
        "data",
        "from counterpoise.data import from_arrays, save_prepared; save_prepared(DATA(), OUT / 'set')",
    ),
    "pandas": (
        "data",
        "from counterpoise.diagnosis import diagnose_csv; diagnose_csv(TABLE, label='y', modalities={'a': ['a'], 'b': "
        "['b']})",
    ),
    "transformers": ("encoders", "from counterpoise.encoders import ResNet18; ResNet18((3, 32, 32))"),
    "seglearn": ("demo", "from counterpoise.data import open_data; open_data('smartwatch')"),
}

SETUP = """
import importlib.abc, pathlib, sys, tempfile
import numpy as np
class Block(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition('.')[0] == {package!r}:
            raise ModuleNotFoundError(f'No module named {{name!r}}', name=name)
sys.meta_path.insert(0, Block())
from counterpoise.errors import MissingExtraError
from counterpoise.runs import Metric, RowId, RunRecord
OUT = pathlib.Path(tempfile.mkdtemp())
TABLE = OUT / 't.csv'
TABLE.write_text('a,b,y\\n' + ''.join(f'{{k}},{{k % 3}},{{k % 2}}\\n' for k in range(40)))
RECORD = RunRecord('k', 'mine', RowId('joint'), 0, modalities=('a', 'b'), metrics=(Metric('accuracy', 0.5),))
def DATA():
    from counterpoise.data import from_arrays
    x = np.random.default_rng(0).normal(size=(60, 4))
    return from_arrays({{'a': x, 'b': x[:, :2]}}, np.arange(60) % 2)
try:
    {code}
except MissingExtraError as error:
    print(error)
"""


@pytest.mark.parametrize("package", BLOCKED)
def test_a_missing_package_is_named_with_the_command_that_installs_it(package: str) -> None:
    name, code = BLOCKED[package]
    script = SETUP.format(package=package, code=code)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.stdout.strip().endswith(f'needs {package}. Install it with: pip install "counterpoise[{name}]".'), done


# -- cost --------------------------------------------------------------------------------------------------------------


def cpu_seconds(code: str, times: int = 3) -> float:
    """Return the least CPU time, user and system, of several calls of the interpreter."""
    spent = []
    for _ in range(times):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(spent)


@pytest.fixture(scope="module")
def torch_seconds() -> float:
    return cpu_seconds("import torch")


@pytest.mark.parametrize(
    ("code", "limit"),
    [
        ("import counterpoise.model", 1.2),
        ("import counterpoise.methods", 1.3),
        ("from counterpoise import diagnose", 1.5),
    ],
)
def test_an_import_costs_little_more_than_torch(code: str, limit: float, torch_seconds: float) -> None:
    assert cpu_seconds(code) <= limit * torch_seconds


CLI = "import sys; sys.argv = ['counterpoise', {words}]; from counterpoise.cli.main import main; main()"
LISTS = ["methods", "datasets", "encoders", "fusions", "valuations", "rules"]
TEXT = [*(["list", name] for name in LISTS), ["--help"], ["train", "--help"], ["compare", "--help"], ["list", "--help"]]


@pytest.mark.parametrize("words", TEXT, ids=" ".join)
def test_a_table_of_text_needs_no_torch(words: list[str], torch_seconds: float) -> None:
    code = CLI.format(words=", ".join(map(repr, words)))
    heavy = "; print(*{'torch', 'lightning', 'pandas', 'plotly', 'matplotlib'} & {*sys.modules}, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code + heavy], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == ""
    assert cpu_seconds(code, 2) < torch_seconds


def test_methods_load_neither_the_engine_nor_the_report() -> None:
    heavy = (
        "lightning",
        "torchmetrics",
        "transformers",
        "datasets",
        "pandas",
        "matplotlib",
        "plotly",
        "sklearn",
        "jinja2",
    )
    code = f"import sys, counterpoise.methods; print(*{set(heavy)} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
