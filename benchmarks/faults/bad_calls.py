"""Wrong arguments of further calls."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from bad_outcomes import BadInput


def bad_calls() -> Iterator[BadInput]:
    import torch

    from counterpoise.corruptions import Corruption
    from counterpoise.data import BatchLoader, open_data
    from counterpoise.data._sampling import holdout_split
    from counterpoise.inference import make_rule
    from counterpoise.model import MultimodalClassifier, build_model
    from counterpoise.report import write_page
    from counterpoise.tasks import MultiClass, Regression, make_task
    from counterpoise.valuation import linear_probe

    x, y = np.random.default_rng(0).normal(size=(20, 2)), np.arange(20) % 2
    kinds: dict[str, Any] = {"a": ("vector", (2,), 0), "b": ("vector", (2,), 0)}
    calls: dict[str, Callable[[], object]] = {
        "open_data: no such name": lambda: open_data("kanij"),
        "open_data: a number": lambda: open_data(3),  # type: ignore[arg-type]
        "open_data: None": lambda: open_data(None),  # type: ignore[arg-type]
        "open_data: a split that is not there": lambda: open_data("world-xor", split=9),
        "Corruption: no such kind": lambda: Corruption("blur", 1.0),
        "Corruption: strength": lambda: Corruption("noise", -1.0),
        "make_task: no such task": lambda: make_task("nope", 2),
        "make_task: a number": lambda: make_task(3, 2),  # type: ignore[arg-type]
        "make_task: one class": lambda: make_task("multiclass", 1),
        "make_task: no outputs": lambda: make_task("regression", 0),
        "make_task: a fraction": lambda: make_task("regression", 1.5),  # type: ignore[arg-type]
        "Regression: scale": lambda: Regression(1, scale=-1),
        "Regression: units": lambda: Regression(2, unit=[1.0], offset=[0.0]),
        "MultiClass: label in the loss": lambda: MultiClass(3).loss(torch.zeros(4, 3), torch.full((4,), 9)),
        "build_model: no modality": lambda: build_model({}, num_outputs=2, task="multiclass"),
        "build_model: one modality": lambda: build_model({"a": kinds["a"]}, num_outputs=2, task="multiclass"),
        "build_model: kind": lambda: build_model({**kinds, "a": ("nope", (2,), 0)}, num_outputs=2, task="multiclass"),
        "build_model: fusion": lambda: build_model(kinds, num_outputs=2, task="multiclass", fusion="nope"),
        "build_model: encoder": lambda: build_model(kinds, num_outputs=2, task="multiclass", encoders={"a": "nope"}),
        "build_model: encoder of no modality": lambda: build_model(
            kinds, num_outputs=2, task="multiclass", encoders={"zz": "mlp"}
        ),
        "build_model: width": lambda: build_model(kinds, num_outputs=2, task="multiclass", width=0),
        "build_model: outputs": lambda: build_model(kinds, num_outputs=0, task="multiclass"),
        "MultimodalClassifier: no encoders": lambda: MultimodalClassifier({}, num_outputs=2),
        "MultimodalClassifier: outputs": lambda: MultimodalClassifier(
            {m: torch.nn.Linear(2, 2) for m in "ab"}, num_outputs=1
        ),
        "make_rule: name": lambda: make_rule("nope", ("a", "b"), MultiClass(2)),
        "holdout_split: share": lambda: holdout_split(y, None, share=1.5, seed=0),
        "BatchLoader: size": lambda: BatchLoader(open_data("world-xor").train, batch_size=0, seed=0),
        "linear_probe: lengths": lambda: linear_probe(x, y[:-1], x, y),
        "linear_probe: NaN": lambda: linear_probe(x * np.nan, y, x, y),
        "linear_probe: axes": lambda: linear_probe(x[None], y, x, y),
        "linear_probe: task": lambda: linear_probe(x, y, x, y, task="nope"),
        "write_page: no records": lambda: write_page([], Path("page.html")),
    }
    for what, call in calls.items():
        yield BadInput(what.partition(":")[0], what.partition(": ")[2], call=call)
