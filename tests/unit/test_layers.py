"""No package imports a private module or a private name of another package."""

from __future__ import annotations

import ast
from pathlib import Path

SOURCE = Path(__file__).parents[2] / "src" / "counterpoise"


def private_imports() -> set[str]:
    imports = set()
    for path in sorted(SOURCE.rglob("*.py")):
        here = path.relative_to(SOURCE).parts[0].removesuffix(".py")
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("counterpoise."):
                package, *rest = (node.module or "").split(".")[1:]
                names = [*rest, *(alias.name for alias in node.names)]
                if package != here and any(n.startswith("_") and not n.startswith("__") for n in names):
                    imports.add(f"{path.relative_to(SOURCE)} -> {node.module}")
    return imports


def test_no_package_imports_what_is_private_to_another() -> None:
    assert private_imports() == set()
