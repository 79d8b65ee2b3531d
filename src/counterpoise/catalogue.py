"""Catalogues: frozen tables of names, which the command line, the documentation and the tests read."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Generic, TypeVar

from counterpoise._validation import nearest, unknown
from counterpoise.errors import ConfigError, NotFoundError

__all__ = ["Catalogue", "Entry", "ImportPath", "import_object", "parse_spec", "user_name"]


class ImportPath(str):
    """An import path that the user gave on the command line, in Python, or in a file named with ``--config``.

    Only names of this type are imported. A name that was read from a run, a prepared data set or a checkpoint is a
    plain string, which resolves in a catalogue or not at all.
    """

    __slots__ = ()


def user_name(name: str) -> str:
    """Return a name that the user gave: an `ImportPath` if it is written as one, else the name itself.

    Never call this with a name that was read from a file of results or data.

    Example:
        >>> type(user_name("joint")).__name__, type(user_name("package.module.Method")).__name__
        ('str', 'ImportPath')
    """
    if not isinstance(name, str):
        raise ConfigError(f"A name should be text. Found {name!r}.")
    word = name.partition("[")[0]
    return ImportPath(name) if "." in word or ":" in word else name


@dataclass(frozen=True)
class Entry:
    """One row of a catalogue: a name, the place of its code (``module:attribute``, imported on use) and a summary."""

    name: str
    target: str
    summary: str
    reference: str = ""

    def load(self) -> Any:
        """Import and return the object."""
        module, _, attribute = self.target.partition(":")
        return getattr(importlib.import_module(module), attribute)


E = TypeVar("E", bound=Entry)


def parse_spec(what: str, text: str) -> tuple[str, dict[str, Any]]:
    """Split a name and its arguments, ``NAME[KEY=VALUE,KEY=VALUE]``.

    Args:
        what: Kind of the named thing, for the message.
        text: The name, with arguments in brackets where they are not the defaults.

    Raises:
        ConfigError: If it cannot be read.

    Example:
        >>> parse_spec("method", "arm[tau=1.0, loss_weights=false]")
        ('arm', {'tau': 1.0, 'loss_weights': False})
    """
    import yaml

    word, bracket, rest = text.strip().partition("[")
    name = ImportPath(word) if isinstance(text, ImportPath) else word
    if not bracket:
        return name, {}
    arguments: dict[str, Any] = {}
    pairs = rest[:-1].split(",") if rest.endswith("]") else [""]
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not (name and equals and key.strip()):
            article = "An" if what[0] in "aeiou" else "A"
            raise ConfigError(
                f"{article} {what} with hyper-parameters should be NAME[KEY=VALUE,KEY=VALUE]. Found `{text}`."
            )
        try:
            arguments[key.strip()] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise ConfigError(
                f"`{key.strip()}` of {what} `{name}` should be a number, true, false or a word. Found "
                f"`{value.strip()}`."
            ) from error
    return name, arguments


class Catalogue(Mapping[str, E], Generic[E]):
    """A frozen mapping from names to rows; its error messages name the kind of its rows.

    Example:
        >>> table = Catalogue("fusion", [Entry("concat", "counterpoise.fusion:Concat", "concatenation")])
        >>> table["conact"]
        Traceback (most recent call last):
        ...
        counterpoise.errors.NotFoundError: Unknown fusion `conact`. Did you mean `concat`? Known: concat.
    """

    def __init__(self, kind: str, entries: list[E], *, base: str = "") -> None:
        names = [entry.name for entry in entries]
        if len(set(names)) != len(names):
            raise ValueError(f"The catalogue of {kind}s has duplicate names: {names}.")
        self.kind = kind
        self.base = base
        self._rows = MappingProxyType({entry.name: entry for entry in entries})

    def _row(self, name: object) -> E | None:
        """Return a row; underscores in ``name`` may stand for hyphens."""
        return self._rows.get(name) or self._rows.get(name.replace("_", "-")) if isinstance(name, str) else None

    def __getitem__(self, name: str) -> E:
        row = self._row(name)
        if row is None:
            raise unknown(self.kind, name, self._rows)
        return row

    def __contains__(self, name: object) -> bool:
        return self._row(name) is not None

    def get(self, name: object, default: Any = None) -> Any:
        """Return a row, or ``default`` if there is none (as for the import path of a user's own class)."""
        return self._row(name) or default

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def resolve(self, name: str) -> Any:
        """Return the object called ``name``, or import a user's own class from an `ImportPath`.

        Args:
            name: Name of a row, or an `ImportPath` (``package.module.Name`` or ``module:Name``; the current folder is
                searched first). A plain string with dots is never imported: it may come from a file.

        Raises:
            NotFoundError: If there is no such row, module or object.
            ConfigError: If the imported object is not of the kind that the catalogue holds.
        """
        if not isinstance(name, str):
            raise ConfigError(f"The name of a {self.kind} should be text. Found {name!r}.")
        if isinstance(name, ImportPath):
            return self._own(name)
        if name not in self and isinstance(user_name(name), ImportPath):
            raise NotFoundError(
                f"`{name}` is not in the catalogue of {self.kind}s. A class of your own is imported only if its "
                f"import path is given on the command line, in Python, or in a file given as --config."
            )
        return self[name].load()

    def _own(self, path: ImportPath) -> Any:
        """Import a user's own class and check that it is of the right kind."""
        candidate = import_object(self.kind, path)
        if self.base:
            base = Entry("", self.base, "").load()
            if not (isinstance(candidate, type) and issubclass(candidate, base)):
                what = (
                    f"the class `{candidate.__name__}`"
                    if isinstance(candidate, type)
                    else f"a `{type(candidate).__name__}`"
                )
                module = self.base.partition(":")[0]
                raise ConfigError(
                    f"{self.kind.capitalize()} `{path}` should be a class derived from `{module}.{base.__name__}`. "
                    f"Found {what}."
                )
        elif not callable(candidate):
            raise ConfigError(
                f"{self.kind.capitalize()} `{path}` should be a function. Found a `{type(candidate).__name__}`."
            )
        return candidate


def import_object(kind: str, path: str) -> Any:
    """Import an object of the user's own.

    Args:
        kind: Kind of the named thing, for the message.
        path: ``package.module.Name`` or ``package.module:Name``. The current folder is searched first.

    Raises:
        NotFoundError: If there is no such module or object, or if the module cannot be imported.

    Example:
        >>> import_object("encoder", "collections:OrderedDict")
        <class 'collections.OrderedDict'>
    """
    module, _, attribute = path.rpartition(":" if ":" in path else ".")
    if not all(part.isidentifier() for part in (*module.split("."), attribute)):
        raise NotFoundError(f"`{path}` is not an import path. Write {kind} as `package.module.Name`.")
    with _current_folder():
        try:
            return getattr(importlib.import_module(module), attribute)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{module}.".startswith(f"{error.name}."):
                raise NotFoundError(f"Could not import {kind} `{path}`: {error}.") from error
            raise NotFoundError(
                f"Could not import {kind} `{path}`: there is no module `{error.name}` in the current folder "
                f"(`{Path.cwd()}`) or on the Python path."
            ) from error
        except AttributeError as error:
            hint = nearest(attribute, _public_names(module))
            raise NotFoundError(
                f"Could not import {kind} `{path}`: module `{module}` has no `{attribute}`.{hint}"
            ) from error
        except Exception as error:  # whatever the user's module does when it is imported
            raise NotFoundError(f"Could not import {kind} `{path}`: {type(error).__name__}: {error}.") from error


def _public_names(module: str) -> list[str]:
    return [name for name in vars(importlib.import_module(module)) if not name.startswith("_")]


@contextmanager
def _current_folder() -> Iterator[None]:
    """Put the current folder in front of the Python path while something is imported."""
    folder = str(Path.cwd())
    added = folder not in sys.path
    if added:
        sys.path.insert(0, folder)
    try:
        yield
    finally:
        if added:
            sys.path.remove(folder)
