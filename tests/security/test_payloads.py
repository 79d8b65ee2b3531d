"""No data executes code: payloads in the files of a run and of a prepared set, and who may import a name."""

from __future__ import annotations

import ast
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from counterpoise.catalogue import ImportPath, user_name
from counterpoise.config import FitConfig, ModelConfig, RunConfig
from counterpoise.data import from_arrays, load_prepared, save_prepared
from counterpoise.encoders.catalogue import ENCODERS
from counterpoise.errors import CheckpointError, ConfigError, CounterpoiseError, NotFoundError
from counterpoise.experiment.config import make_config, read_config
from counterpoise.experiment.runner import load_run, run
from counterpoise.fusion.catalogue import FUSIONS
from counterpoise.inference.catalogue import RULES
from counterpoise.methods.catalogue import METHODS

SOURCE = Path(__file__).parents[2] / "src" / "counterpoise"
CALLS = ["subprocess.Popen", "os:system", "logging.FileHandler", "antigravity.fly"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a finished run."""
    folder = tmp_path_factory.mktemp("run")
    rng = np.random.default_rng(0)
    y = rng.integers(2, size=80)
    np.savez(folder / "d.npz", a=rng.normal(size=(80, 3)) + y[:, None], b=rng.normal(size=(80, 2)), label=y)
    config = RunConfig(str(folder / "d.npz"), model=ModelConfig(width=4), fit=FitConfig(epochs=1, accelerator="cpu"))
    run(config, folder)
    return next(folder.rglob("config.yaml")).parent


@pytest.fixture
def no_imports(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every import of a user's name fail the test."""

    def refuse(kind: str, path: str) -> None:
        raise AssertionError(f"{kind} `{path}` would have been imported")

    monkeypatch.setattr("counterpoise.catalogue.import_object", refuse)


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the place of every value in nested mappings."""
    yield path
    if isinstance(value, dict):
        for key, part in value.items():
            yield from leaves(part, (*path, key))


def planted(value: Any, path: tuple[Any, ...], payload: Any) -> Any:
    if not path:
        return payload
    return {**value, path[0]: planted(value[path[0]], path[1:], payload)}


@pytest.mark.usefixtures("no_imports")
@pytest.mark.parametrize("payload", CALLS)
def test_no_field_of_a_configuration_is_imported(trained: Path, tmp_path: Path, payload: str) -> None:
    content = yaml.safe_load((trained / "config.yaml").read_text())
    content["model"]["encoders"] = {"a": "mlp"}
    for place in leaves(content):
        shutil.copy(trained / "best.ckpt", tmp_path / "best.ckpt")
        (tmp_path / "config.yaml").write_text(yaml.safe_dump(planted(content, place, payload)))
        if place[:1] == ("method_args",) or place == ("data",):
            continue  # plain values, and a place where data are looked for
        with pytest.raises(CounterpoiseError):
            load_run(tmp_path)


def test_yaml_tags_and_large_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    for text in ("!!python/object/apply:os.system [id]", "[1, 2]", "data: [", "x" * (1 << 21)):
        path.write_text(text)
        with pytest.raises(CheckpointError):
            read_config(path)


def test_a_class_of_ones_own_needs_consent(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "owned.py").write_text("from counterpoise.methods import Joint\n\nclass Mine(Joint):\n    pass\n")
    monkeypatch.chdir(tmp_path)
    shutil.copy(trained / "best.ckpt", tmp_path / "best.ckpt")
    content = yaml.safe_load((trained / "config.yaml").read_text()) | {"method": "owned.Mine"}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(CheckpointError, match=r"owned.Mine.*--trust"):
        load_run(tmp_path)
    assert type(load_run(tmp_path, trust=True).method).__name__ == "Mine"


class Payload:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> Any:
        return open, (str(self.target), "w")


def test_a_checkpoint_is_not_unpickled(trained: Path, tmp_path: Path) -> None:
    content = torch.load(trained / "best.ckpt", weights_only=True)
    shutil.copy(trained / "config.yaml", tmp_path)
    for place in [("more",), *((name,) for name in content)]:
        torch.save({**content, place[0]: Payload(tmp_path / "ran")}, tmp_path / "best.ckpt")
        with pytest.raises(CheckpointError):
            load_run(tmp_path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.usefixtures("no_imports")
@pytest.mark.parametrize("payload", CALLS)
def test_a_recipe_imports_nothing(tmp_path: Path, payload: str) -> None:
    rng = np.random.default_rng(0)
    data = from_arrays({"a": rng.normal(size=(60, 3)), "b": rng.normal(size=(60, 2))}, np.arange(60) % 2)
    save_prepared(data, tmp_path / "set")
    about = tmp_path / "set" / "counterpoise.json"
    content = json.loads(about.read_text())
    for recipe in ({"model": {"fusion": payload}}, {"model": {"encoders": {"a": payload}}}, {"method": payload}):
        about.write_text(json.dumps({**content, "recipe": recipe}))
        with pytest.raises(CounterpoiseError):
            make_config(load_prepared(tmp_path / "set").info, {"data": "x"})


@pytest.mark.parametrize("catalogue", [METHODS, FUSIONS, ENCODERS, RULES], ids=lambda c: c.kind)
def test_only_a_name_of_the_user_is_imported_and_only_as_what_is_asked_for(catalogue: Any) -> None:
    with pytest.raises(NotFoundError, match="not in the catalogue"):
        catalogue.resolve("collections.OrderedDict")
    with pytest.raises(ConfigError, match="should be a class derived from"):
        catalogue.resolve(ImportPath("collections.OrderedDict"))
    with pytest.raises(ConfigError, match="should be a class derived from"):
        catalogue.resolve(user_name("os:getcwd"))


def test_who_may_import_a_name_and_who_may_call_a_name_the_users() -> None:
    """A new caller needs a reason: it must not pass on a name that was read from a file of results or data."""
    allowed = {
        "import_object": {"catalogue.py"},
        "import_module": {
            "__init__.py",
            "_extras.py",
            "_lazy.py",  # a package's own modules
            "catalogue.py",
            "cli/_list.py",
            "diagnosis/_progress.py",  # the display of notebooks
            "experiment/cluster.py",  # one of the systems that it lists
        },
        "user_name": {
            "catalogue.py",
            "config.py",
            "experiment/config.py",
            "experiment/outputs.py",
            "experiment/plan.py",
            "inference/catalogue.py",
            "methods/catalogue.py",
            "model/_build.py",
            "model/_classifier.py",
            "valuation/_estimate.py",
        },
        "ImportPath": {"catalogue.py"},
    }
    for path in sorted(SOURCE.rglob("*.py")):
        where = str(path.relative_to(SOURCE))
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if name == "import_module" and path.name == "__init__.py":
                continue  # names of the package itself, imported on first use
            if name in allowed:
                assert where in allowed[name], f"{where} calls {name}"
