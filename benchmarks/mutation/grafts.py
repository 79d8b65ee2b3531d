"""Put a mutant in place of code that is loaded, so that every module that imported it runs the mutant."""

from __future__ import annotations

import gc
import sys
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any, TypeAlias

from mutants import Mutant

__all__ = ["Functions", "NotGraftedError", "functions_of", "graft"]

Functions: TypeAlias = dict[tuple[str, int], list[FunctionType]]
"""Loaded functions by qualified name and first line."""


class NotGraftedError(Exception):
    """A mutant could not be put in place; the tests say nothing about it."""


def functions_of(file: Path) -> Functions:
    """Return all functions that are loaded from a file, decorated ones included."""
    functions: Functions = {}
    gc.unfreeze()  # what is frozen is not listed
    for thing in gc.get_objects():
        if type(thing) is FunctionType and (code := thing.__code__).co_filename == str(file):
            functions.setdefault((code.co_qualname, code.co_firstlineno), []).append(thing)
    return functions


def graft(mutant: Mutant, functions: Functions) -> None:
    """Replace the code of the functions that a mutant changes, or the default, class attribute or constant.

    Args:
        mutant: the change.
        functions: what is loaded of its file.

    Raises:
        NotGraftedError: if nothing that is loaded differs from the mutant, or its code takes other variables from
            around it.
    """
    code = compile(mutant.source, str(mutant.file), "exec", dont_inherit=True)
    if mutant.in_body:
        pairs = [(f, new) for new in _inner(code) for f in functions.get((new.co_qualname, new.co_firstlineno), ())]
        different = [(function, new) for function, new in pairs if function.__code__ != new]
        for function, new in different:
            if function.__code__.co_freevars != new.co_freevars:
                raise NotGraftedError(mutant.key)
            function.__code__ = new
    else:
        modules = [m for m in list(sys.modules.values()) if getattr(m, "__file__", None) == str(mutant.file)]
        different = []
        for module in modules:
            changed = ModuleType(module.__name__)
            vars(changed).update(__file__=module.__file__, __package__=module.__package__)
            sys.modules[module.__name__] = changed  # dataclasses look their module up
            exec(code, vars(changed))
            sys.modules[module.__name__] = module
            for name, value in vars(changed).items():
                if getattr(value, "__module__", module.__name__) == module.__name__ and not name.startswith("__"):
                    different.append(name)
                    _replace(module, name, value)
    if not different:
        raise NotGraftedError(mutant.key)


def _replace(owner: Any, name: str, new: Any) -> None:
    """Make ``owner.name`` behave like ``new``; functions and classes keep their identity."""
    old = vars(owner).get(name)
    if isinstance(old, staticmethod | classmethod) and isinstance(new, staticmethod | classmethod):
        old, new = old.__func__, new.__func__
    if isinstance(old, FunctionType) and isinstance(new, FunctionType):
        while hasattr(old, "__wrapped__"):
            old, new = old.__wrapped__, new.__wrapped__
        old.__defaults__, old.__kwdefaults__ = new.__defaults__, new.__kwdefaults__
    elif isinstance(old, type) and isinstance(new, type):
        for key, value in list(vars(new).items()):
            if key == "__init__" or not key.startswith("__"):
                _replace(old, key, value)
    elif isinstance(new, float | int | str | tuple | dict | frozenset) or type(new).__name__ in ("Interval", "Options"):
        setattr(owner, name, new)
        for other in list(sys.modules.values()) if isinstance(owner, ModuleType) else []:
            if getattr(other, "__name__", "").startswith("counterpoise.") and vars(other).get(name) is old:
                setattr(other, name, new)  # who imported the constant by name


def _inner(code: CodeType) -> list[CodeType]:
    codes = [c for c in code.co_consts if isinstance(c, CodeType)]
    return codes + [deeper for c in codes for deeper in _inner(c)]
