"""Checks of the description of a prepared data set. Its file may come from any source, so every field is checked.

Nothing here is looked up, imported or called: a recipe may name entries of the catalogues and hold plain values.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import fields as fields_of
from typing import Any, Final, get_args

from counterpoise._validation import check_keys
from counterpoise.config import FitConfig, ModelConfig, OptimConfig, RunConfig
from counterpoise.data._info import DataInfo, Kind, Modality
from counterpoise.errors import ConfigError, DataError

__all__ = ["check_recipe", "read_info"]

LARGEST: Final = 2**31
TASKS: Final = ("multiclass", "multilabel", "regression")
NAME: Final = re.compile(
    r"[a-z0-9]+([-_][a-z0-9]+)*(\[\w+=(true|false|\d+(\.\d+)?)(, ?\w+=(true|false|\d+(\.\d+)?))*\])?"
)
"""Pattern of a name in a catalogue, with numbers and switches in brackets. Import paths have dots and do not match."""
SECTIONS: Final[Mapping[str, tuple[type, tuple[str, ...]]]] = {
    "model": (ModelConfig, ("fusion", "encoders", "width")),
    "optim": (OptimConfig, ("name", "lr", "weight_decay", "momentum", "schedule", "step", "factor")),
    "fit": (FitConfig, ("epochs", "batch_size", "patience", "holdout", "accumulate")),
}
AT_MOST: Final = {
    "width": 65_536,
    "epochs": 100_000,
    "batch_size": 1_048_576,
    "patience": 100_000,
    "accumulate": 65_536,
}


def check_recipe(recipe: Any) -> dict[str, Any]:
    """Return a recipe after checking that its keys, names and numbers are harmless.

    Raises:
        DataError: If it holds an unknown key, a name that cannot be in a catalogue, or a number out of range.

    Example:
        >>> check_recipe({"fit": {"epochs": 20}})
        {'fit': {'epochs': 20}}
        >>> check_recipe({"model": {"fusion": "subprocess.Popen"}})
        Traceback (most recent call last):
        ...
        counterpoise.errors.DataError: The recipe names `subprocess.Popen` as `fusion`, which is not in any catalogue.
    """
    if not isinstance(recipe, Mapping):
        raise DataError(f"A recipe should be a mapping of {', '.join(SECTIONS)}. Found {type(recipe).__name__}.")
    checked: dict[str, Any] = {}
    try:
        check_keys("a recipe", recipe, SECTIONS)
        for section, (_, known) in SECTIONS.items():
            values = recipe.get(section, {})
            if not isinstance(values, Mapping):
                raise DataError(f"Section `{section}` of a recipe should be a mapping. Found {type(values).__name__}.")
            check_keys(f"section `{section}` of a recipe", values, known)
            if values:
                checked[section] = dict(values)
        _check_names(checked.get("model", {}))
        _check_sizes(checked)
        RunConfig("recipe", **{name: SECTIONS[name][0](**values) for name, values in checked.items()})
    except (ConfigError, TypeError) as error:
        raise DataError(f"The recipe cannot be used: {error}") from error
    return checked


def _check_names(model: Mapping[str, Any]) -> None:
    encoders = model.get("encoders", {})
    if not isinstance(encoders, Mapping):
        raise DataError("`encoders` of a recipe should name an encoder by modality.")
    named = {"fusion": model["fusion"]} if "fusion" in model else {}
    for what, name in {**named, **encoders}.items():
        if not isinstance(name, str) or not NAME.fullmatch(name):
            raise DataError(f"The recipe names `{name}` as `{what}`, which is not in any catalogue.")


def _check_sizes(recipe: Mapping[str, Mapping[str, Any]]) -> None:
    for section in recipe.values():
        for key, value in section.items():
            if isinstance(value, float) and not math.isfinite(value):
                raise DataError(f"`{key}` of the recipe should be finite. Found {value}.")
            if key in AT_MOST and isinstance(value, int) and value > AT_MOST[key]:
                raise DataError(f"`{key}` of the recipe should be at most {AT_MOST[key]:,}. Found {value:,}.")


# -- the whole description ---------------------------------------------------------------------------------------------


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _texts(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and all(isinstance(v, str) for v in value)


def _count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < LARGEST


def _shape(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and all(_count(v) for v in value) and math.prod(value) < LARGEST


def _rate(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < math.inf


def _numbers(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and all(
        isinstance(n, (int, float)) and not isinstance(n, bool) and abs(n) < math.inf for n in value
    )


def _augment(value: Any) -> bool:
    if not isinstance(value, Mapping) or set(value) - {"visual", "smallest"}:
        return False
    smallest = value.get("smallest", 1.0)
    return _texts(value.get("visual", [])) and _rate(smallest) and 0 < smallest <= 1


MODALITY: Final[Mapping[str, tuple[Callable[[Any], bool], str]]] = {
    "name": (_text, "a text"),
    "kind": (lambda v: v in get_args(Kind), f"one of {', '.join(get_args(Kind))}"),
    "shape": (lambda v: _shape(v) and len(v) > 0, "a list of sizes"),
    "vocabulary": (_count, "a whole number"),
    "stored": (_shape, "a list of sizes"),
    "words": (_texts, "a list of texts"),
    "rate": (_rate, "a number from 0"),
}
INFO: Final[Mapping[str, tuple[Callable[[Any], bool], str]]] = {
    "name": (_text, "a text"),
    "modalities": (lambda v: isinstance(v, list) and len(v) > 0, "a list of modalities"),
    "task": (lambda v: v in TASKS, f"one of {', '.join(TASKS)}"),
    "num_outputs": (lambda v: _count(v) and v > 0, "a positive whole number"),
    "class_names": (_texts, "a list of texts"),
    "group": (_text, "a text"),
    "source": (_text, "a text"),
    "notes": (_texts, "a list of texts"),
    "recipe": (lambda v: isinstance(v, Mapping), "a mapping"),
    "target_offset": (_numbers, "a list of finite numbers"),
    "target_unit": (lambda v: _numbers(v) and all(n > 0 for n in v), "a list of positive numbers"),
    "augment": (_augment, "`visual` (names) and `smallest` (a share)"),
}


def _checked(
    what: str, values: Any, known: Mapping[str, tuple[Callable[[Any], bool], str]], needed: tuple[str, ...]
) -> dict[str, Any]:
    if not isinstance(values, Mapping):
        raise DataError(f"{what} should be a mapping. Found {type(values).__name__}.")
    unknown = sorted(set(values) - set(known))
    missing = [key for key in needed if key not in values]
    if unknown or missing:
        raise DataError(f"{what} " + (f"has an unknown field `{unknown[0]}`." if unknown else f"lacks `{missing[0]}`."))
    for key, value in values.items():
        check, wanted = known[key]
        if not check(value):
            raise DataError(
                f"Field `{key}` of {what[0].lower()}{what[1:]} should be {wanted}. Found {str(value)[:60]!r}."
            )
    return {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}


def read_info(content: Any) -> DataInfo:
    """Return the description of a prepared data set (as written by ``dataclasses.asdict``).

    Raises:
        DataError: If a field is unknown, missing, or of another type or range.
    """
    assert {f.name for f in fields_of(DataInfo)} == set(INFO)
    values = _checked("The description", content, INFO, ("name", "modalities", "task", "num_outputs"))
    modalities = tuple(
        Modality(**_checked("A modality of the description", one, MODALITY, ("name", "kind", "shape")))
        for one in values["modalities"]
    )
    names = values.get("class_names", ())
    if names and len(names) != values["num_outputs"]:
        raise DataError(f"The description should name {values['num_outputs']} classes. Found {len(names)}.")
    units = [values.get(key, ()) for key in ("target_offset", "target_unit")]
    if len(units[0]) != len(units[1]) or len(units[1]) not in (0, values["num_outputs"]):
        raise DataError(
            f"The description should have {values['num_outputs']} `target_offset` and `target_unit`, or none. Found "
            f"{len(units[0])} and {len(units[1])}."
        )
    return DataInfo(**{**values, "modalities": modalities, "recipe": check_recipe(values.get("recipe", {}))})
