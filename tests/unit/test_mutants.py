"""The mutants that `make mutation` tries: what is changed, what is left alone, and lines that stay where they are."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

FILE = Path(__file__).parents[2] / "benchmarks" / "mutation" / "mutants.py"
SOURCE = '''"""A module of 2 lines - or 3."""
LIMIT = 0.5


def clipped(x, *, low=1):
    """Return 1 + 1."""
    if x is None:
        raise ValueError("1 + 1")
    x.note(
        LIMIT
    )
    return max(x.detach(), low) - LIMIT
'''


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("mutants", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["mutants"] = module
    spec.loader.exec_module(module)
    return module


def test_every_kind_of_change_once(tool: ModuleType, tmp_path: Path) -> None:
    file = tmp_path / "example.py"
    file.write_text(SOURCE)
    found = tool.mutants_of(file)
    assert {mutant.key for mutant in found} == {
        "<module>: `LIMIT = 0.5` → `LIMIT = 1.5`",
        "<module>: `LIMIT = 0.5` → `LIMIT = 0.25`",
        "clipped: `low=1` → `low=2`",
        "clipped: `low=1` → `low=0`",
        "clipped: `x is None` → `x is not None`",
        "clipped: `x.note( LIMIT )` → dropped",
        "clipped: `max(x.detach(), low) - LIMIT` → `max(x.detach(), low) + LIMIT`",
        "clipped: `max(x.detach(), low)` → `min(x.detach(), low)`",
        "clipped: `max(x.detach(), low)` → `x.detach()`",
        "clipped: `max(x.detach(), low)` → `max(x, low)`",
    }
    in_body = {mutant.key for mutant in found if mutant.in_body}
    assert in_body == {m.key for m in found if m.where == "clipped" and "`low=" not in m.change}
    for mutant in found:
        compile(mutant.source, "example.py", "exec")
        assert mutant.source.count(b"\n") == SOURCE.count("\n"), "functions are found by their first line"
        assert mutant.source != SOURCE.encode()


def test_the_same_change_twice_has_two_names(tool: ModuleType, tmp_path: Path) -> None:
    file = tmp_path / "example.py"
    file.write_text("def f(a, b):\n    g(a + b)\n    g(a + b)\n")
    assert [m.key for m in tool.mutants_of(file)] == [
        "f: `g(a + b)` → dropped",
        "f: `g(a + b)` → `g(a - b)`",
        "f: `g(a + b)` → dropped (no. 2)",
        "f: `g(a + b)` → `g(a - b)` (no. 2)",
    ]
