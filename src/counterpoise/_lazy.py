"""Names of a package that are imported on first use, so that its catalogue can be read without torch."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

__all__ = ["on_first_use"]


def on_first_use(package: str, homes: Mapping[str, Iterable[str]]) -> Callable[[str], Any]:
    """Return the ``__getattr__`` of a package.

    Args:
        package: Name of the package.
        homes: Names by the module of the package that defines them. If a module lists its own name, the module itself
            becomes a name of the package.

    Example:
        >>> find = on_first_use("json", {"decoder": ["JSONDecoder"]})
        >>> find("JSONDecoder").__name__
        'JSONDecoder'
    """
    modules = {name: module for module, names in homes.items() for name in names}

    def find(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module = importlib.import_module(f"{package}.{modules[name]}")
        return module if name == modules[name] else getattr(module, name)

    return find
