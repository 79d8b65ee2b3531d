"""Hyper-parameters and configurations out of range."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from bad_outcomes import BadInput


def bad_hyperparameters() -> Iterator[BadInput]:
    from counterpoise.methods import make_method
    from counterpoise.methods.catalogue import METHODS

    for name in METHODS:
        for parameter, declared in METHODS[name].load().declarations.items():
            values = [("another type", object())]
            if declared.limits is not None:
                values.append(("out of range", declared.limits.invalid()))
            for what, value in values:
                given = {parameter: value}
                yield BadInput(
                    "make_method", f"{name}: {parameter} {what}", call=lambda n=name, g=given: make_method(n, g)
                )  # type: ignore[misc]


def bad_configurations() -> Iterator[BadInput]:
    from counterpoise.config import FitConfig, ModelConfig, OptimConfig, RunConfig
    from counterpoise.data.preparation import Settings

    fields: dict[Any, dict[str, Sequence[Any]]] = {
        RunConfig: {
            "data": (3, None),
            "method": (3, None),
            "rule": (3, None),
            "method_args": ([1], None),
            "seed": ("0",),
        },
        ModelConfig: {"fusion": (3,), "encoders": ([1],), "width": ("64", 0, 1.5, True), "init_seed": ("x", -1)},
        OptimConfig: {"name": ("lion", None), "lr": ("x", 0, float("nan")), "step": (0, 1.5), "factor": (0, 2)},
        FitConfig: {"epochs": (0, "3", 1.5), "holdout": (0, 1), "precision": (32,), "accelerator": ("x",)},
        Settings: {
            "fps": (0, -1, "x"),
            "keep": (0,),
            "size": (1, "x"),
            "flow": ("x",),
            "length": (0, 1.5),
            "seed": (-1,),
        },
    }
    for kind, known in fields.items():
        for name, values in known.items():
            for value in values:
                given = {"data": "x", name: value} if kind is RunConfig else {name: value}
                yield BadInput(kind.__name__, f"{name}={value!r}", call=partial(kind, **given))
