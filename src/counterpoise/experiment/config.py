"""Configurations of runs, made from the user's settings or parsed from the file of a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

import yaml

from counterpoise._validation import check_keys
from counterpoise.catalogue import Catalogue, ImportPath, parse_spec, user_name
from counterpoise.config import FitConfig, ModelConfig, OptimConfig, RunConfig
from counterpoise.data import DataInfo
from counterpoise.encoders.catalogue import ENCODERS
from counterpoise.errors import CheckpointError, ConfigError
from counterpoise.fusion.catalogue import FUSIONS
from counterpoise.inference.catalogue import RULES
from counterpoise.methods.catalogue import METHODS

__all__ = ["make_config", "parse_method", "read_config"]

_SECTIONS: Final[Mapping[str, type]] = {"model": ModelConfig, "optim": OptimConfig, "fit": FitConfig}
_LARGEST: Final = 1 << 20
"""Maximum size of a configuration file in bytes."""


def make_config(info: DataInfo, given: Mapping[str, Any]) -> RunConfig:
    """Build the configuration of a run from the defaults, the recipe of the data set and the user's settings; later
    ones take precedence.

    Args:
        info: Description of the data set. Its recipe may come from an untrusted source, so its names are resolved in
            the catalogues only.
        given: Nested settings of `RunConfig` that the user gave explicitly.

    Raises:
        ConfigError: For an unknown key, with the nearest name.
        NotFoundError: If the recipe holds a name that is in no catalogue.

    Example:
        >>> from counterpoise.data import Modality
        >>> info = DataInfo("toy", (Modality("a", "vector", (2,)),), "multiclass", 2, recipe={"fit": {"epochs": 7}})
        >>> make_config(info, {"data": "toy", "optim": {"lr": 0.1}}).fit.epochs
        7
    """
    for catalogue, name in _component_names(info.recipe):
        _in_catalogue(catalogue, name)
    settings: dict[str, Any] = {}
    for source in (info.recipe, given):
        check_keys("the configuration", source, [f.name for f in fields(RunConfig)])
        for name, value in source.items():
            settings[name] = {**settings.get(name, {}), **_section(name, value)} if name in _SECTIONS else value
    if "method" in settings and settings["method"] in METHODS:
        settings["method"] = METHODS[settings["method"]].name
    built = {name: _SECTIONS[name](**values) for name, values in settings.items() if name in _SECTIONS}
    return RunConfig(**{**settings, **built})


def _section(name: str, value: Any) -> Mapping[str, Any]:
    """Check the settings of a section of the configuration and return them."""
    values = value if isinstance(value, Mapping) else vars(value)
    check_keys(f"section `{name}` of the configuration", values, [f.name for f in fields(_SECTIONS[name])])
    return values


def parse_method(text: str) -> tuple[str, dict[str, Any]]:
    """Split a method that the user gave into its name and its hyper-parameters.

    Raises:
        ConfigError: If the text cannot be parsed.

    Example:
        >>> parse_method("arm[tau=1.0, loss_weights=false]")
        ('arm', {'tau': 1.0, 'loss_weights': False})
    """
    return parse_spec("method", user_name(text))


def read_config(path: Path, *, trust: bool = False) -> RunConfig:
    """Read the ``config.yaml`` of a run, which may come from an untrusted source.

    Args:
        path: The file.
        trust: Whether to allow import paths, whose code is then imported and run.

    Raises:
        CheckpointError: If the file is not a configuration of a run, or if it names a class that is in no catalogue and
            ``trust`` is False.
    """
    try:
        if path.stat().st_size > _LARGEST:
            raise CheckpointError(f"`{path}` is not a configuration of a run: it holds more than {_LARGEST:,} bytes.")
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError, ValueError) as error:
        raise CheckpointError(f"`{path}` is not a configuration of a run: {type(error).__name__}: {error}.") from error
    if not isinstance(content, Mapping):
        raise CheckpointError(f"`{path}` is not a configuration of a run: it should hold a mapping.")
    try:
        if not trust:
            _check_names(path, content)
        parts = {name: kind(**content.get(name, {})) for name, kind in _SECTIONS.items()}
        return RunConfig(**{**content, **parts})
    except (ConfigError, TypeError, AttributeError, ValueError) as error:
        raise CheckpointError(f"`{path}` is not a configuration of a run: {error}.") from error


def _check_names(path: Path, content: Mapping[str, Any]) -> None:
    for catalogue, name in _component_names(content):
        if isinstance(name, str) and _is_known(catalogue, name):
            continue
        if isinstance(name, str) and isinstance(user_name(name), ImportPath):
            raise CheckpointError(
                f"`{path}` names the {catalogue.kind} `{name}`, which is not in the catalogue. "
                "Opening the run would import and run that code. If you trust it, add --trust (in Python: trust=True)."
            )
        raise CheckpointError(f"`{path}` names the {catalogue.kind} `{name}`, which is not in the catalogue.")


def _component_names(settings: Mapping[str, Any]) -> list[tuple[Catalogue[Any], Any]]:
    """Return every name of a class in the settings, with its catalogue."""
    model = settings.get("model", {})
    model = model if isinstance(model, Mapping) else {}
    encoders = model.get("encoders", {})
    names: list[tuple[Catalogue[Any], Any]] = []
    for catalogue, source, key in (
        (METHODS, settings, "method"),
        (RULES, settings, "rule"),
        (FUSIONS, model, "fusion"),
    ):
        if key in source and not (key == "rule" and source[key] == "default"):
            names.append((catalogue, source[key]))
    names += [(ENCODERS, name) for name in (encoders.values() if isinstance(encoders, Mapping) else [encoders])]
    return names


def _is_known(catalogue: Catalogue[Any], name: str) -> bool:
    word = name.partition("[")[0].strip()
    return word in catalogue or (catalogue is METHODS and word in METHODS.label_reading)


def _in_catalogue(catalogue: Catalogue[Any], name: str) -> None:
    if not (isinstance(name, str) and _is_known(catalogue, name)):
        raise ConfigError(
            f"The recipe of the data set names the {catalogue.kind} `{name}`, which is not in the catalogue. "
            "A recipe may only use names of the catalogues."
        )
