"""Import paths of the user's classes: both spellings, the current folder, and errors that name the cause."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from counterpoise.errors import ConfigError, NotFoundError
from counterpoise.methods import make_method

OWN = """
from counterpoise.methods import ModulatedObjective
from counterpoise.methods.base import Hyperparameter, Interval
from own_helpers import FACTOR


class Margin(ModulatedObjective):
    '''A method of the user's own.'''

    margin = Hyperparameter(FACTOR, Interval(0))


class Plain(ModulatedObjective):
    '''One with a constructor of its own.'''

    def __init__(self, strength=1.0, *, weight=2.0):
        super().__init__(strength, weight=weight)


class Unfinished(ModulatedObjective.__mro__[1]):
    '''A method without steps.'''


class NoMethod:
    '''Something else.'''


NUMBER = 3
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "own_methods.py").write_text(OWN)
    (tmp_path / "own_helpers.py").write_text("FACTOR = 0.25\n")
    (tmp_path / "own_broken.py").write_text("def f(:\n")
    monkeypatch.chdir(tmp_path)
    for name in ("own_methods", "own_helpers", "own_broken"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return tmp_path


@pytest.mark.parametrize("name", ["own_methods.Margin", "own_methods:Margin"])
def test_a_method_in_the_current_folder_is_found(name: str, folder: Path) -> None:
    path = list(sys.path)
    method = make_method(name, {"margin": 2.0})
    assert method.hyperparameters == {"strength": 1.0, "smoothing": 0.0, "margin": 2.0}
    assert make_method(name).hyperparameters["margin"] == 0.25
    assert sys.path == path
    with pytest.raises(ConfigError, match="Did you mean `margin`"):
        make_method(name, {"margn": 2.0})


def test_a_constructor_of_ones_own_hands_its_parameters_on(folder: Path) -> None:
    method = make_method("own_methods:Plain", {"weight": 3.0})
    assert method.weight == 3.0
    assert repr(method) == "Plain(strength=1.0, smoothing=0.0, weight=3.0)"
    for name in ("weight", "strength"):
        with pytest.raises(AttributeError, match="cannot be changed"):
            setattr(method, name, 0.5)
    with pytest.raises(ConfigError, match="`wieght`"):
        make_method("own_methods:Plain", {"wieght": 3.0})


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("own_method.Margin", NotFoundError, "no module `own_method` in the current folder"),
        ("own_methods.Margn", NotFoundError, "Did you mean `Margin`"),
        ("own_broken.Margin", NotFoundError, "SyntaxError"),
        ("own_methods.NoMethod", ConfigError, "class derived from"),
        ("own_methods.NUMBER", ConfigError, "class derived from"),
        ("own_methods.Unfinished", ConfigError, "does not implement `steps`"),
    ],
)
def test_what_is_no_method_is_refused(name: str, kind: type[Exception], message: str, folder: Path) -> None:
    with pytest.raises(kind, match=message):
        make_method(name)


def test_a_module_that_the_users_module_misses_is_named(folder: Path) -> None:
    (folder / "own_helpers.py").write_text("import no_such_package\n")
    with pytest.raises(NotFoundError, match="no_such_package"):
        make_method("own_methods.Margin")
