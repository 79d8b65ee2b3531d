"""The mutants that `make mutation` tries: what is changed, what is left alone, and lines that stay where they are."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks" / "mutation"
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


def load(file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[file.stem] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    return load(FOLDER / "mutants.py")


def test_every_kind_of_change_once(tool: ModuleType, tmp_path: Path) -> None:
    file = tmp_path / "example.py"
    file.write_text(SOURCE)
    mutants = tool.mutants_of(file)
    assert {mutant.key for mutant in mutants} == {
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
    in_body = {mutant.key for mutant in mutants if mutant.in_body}
    assert in_body == {m.key for m in mutants if m.where == "clipped" and "`low=" not in m.change}
    for mutant in mutants:
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


def test_a_mutant_is_put_into_what_others_have_imported(tool: ModuleType, tmp_path: Path) -> None:
    file = tmp_path / "example_of_a_module.py"
    file.write_text("LIMIT = 4.0\n\n\ndef scaled(x, *, by=2):\n    return x * by - LIMIT\n")
    grafts, scaled = load(FOLDER / "grafts.py"), load(file).scaled
    functions = grafts.functions_of(file)
    mutants = {mutant.key: mutant for mutant in tool.mutants_of(file)}
    assert scaled(8.0) == 12
    grafts.graft(mutants["scaled: `return x * by - LIMIT` → `return x * by + LIMIT`"], functions)
    assert scaled(8.0) == 20
    grafts.graft(mutants["scaled: `by=2` → `by=3`"], functions)
    assert scaled(8.0) == 28
    grafts.graft(mutants["<module>: `LIMIT = 4.0` → `LIMIT = 5.0`"], functions)
    assert scaled(8.0) == 21, "the default is the file's own again"
    with pytest.raises(grafts.NotGraftedError):
        grafts.graft(mutants["scaled: `return x * by - LIMIT` → `return x * by + LIMIT`"], {})
