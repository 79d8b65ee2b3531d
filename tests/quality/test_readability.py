"""The code stays readable: small functions, and plain English in code, documents and messages."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from plain_english import faults, faults_of_message, idioms

ROOT = Path(__file__).parents[2]

SOURCES = sorted((ROOT / "src").rglob("*.py"))
ALL_CODE = [
    path for folder in ("src", "tests", "benchmarks", "examples") for path in sorted((ROOT / folder).rglob("*.py"))
]
PACKAGE = ROOT / "src" / "counterpoise"

MAX_COMPLEXITY = 15
SIMPLE = 10
MAX_SHARE = 0.03
"""Share of the functions that may be above `SIMPLE`."""

BRANCHES = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.ExceptHandler, ast.IfExp, ast.Assert, ast.match_case)


def complexity(function: ast.AST) -> int:
    """Count the branches of a function; comprehensions and their conditions count as well."""
    count = 1
    for node in ast.walk(function):
        if isinstance(node, BRANCHES):
            count += 1
        elif isinstance(node, ast.comprehension):
            count += 1 + len(node.ifs)
        elif isinstance(node, ast.BoolOp):
            count += len(node.values) - 1
    return count


def functions(node: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Yield functions and methods; a function inside a function is a part of it."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield child
        else:
            yield from functions(child)


def test_complexity_counts_branches() -> None:
    source = "def f(a, b):\n    if a and b:\n        return [x for x in a if x]\n    return b"
    assert complexity(ast.parse(source).body[0]) == 1 + 1 + 1 + 2


def complexities() -> dict[str, int]:
    """Return the complexity of every function of the package, by its place."""
    return {
        f"{path.relative_to(PACKAGE)}:{function.lineno} {function.name}": complexity(function)
        for path in SOURCES
        for function in functions(ast.parse(path.read_text()))
    }


def test_no_function_is_complex() -> None:
    assert not {k: n for k, n in complexities().items() if n > MAX_COMPLEXITY}


def test_few_functions_have_many_branches() -> None:
    counts = complexities()
    many = {k: n for k, n in counts.items() if n > SIMPLE}
    assert len(many) <= MAX_SHARE * len(counts), many


def test_plain_english() -> None:
    assert faults() == []


def test_idioms_are_recognised() -> None:
    assert [idioms(f"It is drawn {word}.") != [] for word in ("anew", "again")] == [True, False]
    assert faults_of_message("docs: explain seeds\n\nThe reason.\n# a comment, drawn anew") == []
    assert len(faults_of_message("x" * 73 + "\n\nIt is drawn anew.")) == 2


VAGUE = {"found", "told", "anew"}
"""Names that do not say what a variable holds."""


def vague_variables(source: str) -> list[int]:
    """Return the lines on which a variable or a parameter with a vague name is set, in ascending order."""
    return sorted(
        node.lineno
        for node in ast.walk(ast.parse(source))
        if (isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node.id in VAGUE)
        or (isinstance(node, ast.arg) and node.arg in VAGUE)
        or (isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and node.name in VAGUE)
    )


def test_vague_variables_are_recognised() -> None:
    source = (
        "def f(found, rows):\n    told = [found for found in rows]\n    return told\n"
        "with open(f) as anew:\n    pass\nfor a, (b, *told) in f: a.found = g(found=1)\n"
        "match f:\n    case [found]: pass\n"
    )
    assert vague_variables(source) == [1, 2, 2, 4, 6, 8]


def test_variables_are_named_after_what_they_hold() -> None:
    places = [f"{path.relative_to(ROOT)}:{line}" for path in ALL_CODE for line in vague_variables(path.read_text())]
    assert not places, "\n".join(places)
