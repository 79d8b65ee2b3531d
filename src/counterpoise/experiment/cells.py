"""Single runs of a comparison: missing runs, the command of a run, and runs to train again."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from counterpoise._validation import nearest
from counterpoise.config import RunConfig
from counterpoise.errors import ConfigError, NotFoundError
from counterpoise.experiment.config import parse_method
from counterpoise.experiment.folders import finished, run_data, run_folder
from counterpoise.methods.catalogue import METHODS

__all__ = ["chosen_runs", "forget", "missing_runs", "train_command"]

_RESULTS: Final = ("record.json", "samples.json", "predictions.npz", "best.ckpt", "last.ckpt", "previous.ckpt")
"""Results of a run in its folder, besides its configuration and its logs. The record is removed first, because a run
without a record counts as unfinished."""


def chosen_runs(configs: Sequence[RunConfig], cells: Sequence[str]) -> list[RunConfig]:
    """Return the runs that are named by cells of a comparison.

    Args:
        configs: All runs.
        cells: ``METHOD`` or ``METHOD:SEED``. A method with hyper-parameters in brackets names its own row; without
            brackets it names all rows of the method.

    Raises:
        ConfigError: If a cell cannot be read.
        NotFoundError: If no run belongs to a cell.

    Example:
        >>> runs = [RunConfig("toy", "arm", seed=seed) for seed in range(3)]
        >>> [run.seed for run in chosen_runs(runs, ["arm:2"])]
        [2]
    """
    chosen: dict[int, RunConfig] = {}
    for cell in cells:
        chosen |= _runs_of(configs, cell)
    return [chosen[k] for k in sorted(chosen)]


def _runs_of(configs: Sequence[RunConfig], cell: str) -> dict[int, RunConfig]:
    """Return the runs of one cell by their positions."""
    name, seed = _parse_cell(cell)
    method, arguments = parse_method(name)
    method = METHODS[method].name if method in METHODS else method
    rows = {k: c for k, c in enumerate(configs) if c.method == method and arguments in ({}, c.method_args)}
    if not rows:
        raise _no_run(cell, method, configs)
    runs = {k: config for k, config in rows.items() if seed in (None, config.seed)}
    if not runs:
        seeds = ", ".join(map(str, sorted({config.seed for config in rows.values()})))
        raise NotFoundError(f"No run of this comparison belongs to `{cell}`. Seeds of `{method}`: {seeds}.")
    return runs


def _no_run(cell: str, method: str, configs: Sequence[RunConfig]) -> NotFoundError:
    methods = sorted({config.method for config in configs})
    return NotFoundError(
        f"No run of this comparison belongs to `{cell}`.{nearest(method, methods)} Methods: {', '.join(methods)}."
    )


def _parse_cell(cell: str) -> tuple[str, int | None]:
    """Split ``METHOD:SEED``. An import path (``module:Class``) has a colon of its own."""
    name, colon, seed = cell.rpartition(":")
    if not colon or "]" in seed or seed.isidentifier():
        name, seed = cell, ""
    if not name.strip() or cell.endswith(":"):
        raise ConfigError(f"A run of the comparison should be named METHOD or METHOD:SEED. Found `{cell}`.")
    if not seed:
        return name, None
    if not seed.isascii() or not seed.isdigit():
        raise ConfigError(f"The seed in METHOD:SEED should be a whole number. Found `{cell}`.")
    return name, int(seed)


def missing_runs(configs: Sequence[RunConfig], out: Path) -> list[RunConfig]:
    """Return the runs without a record in ``out``."""
    return [config for config in configs if finished(run_folder(config, run_data(config), out)) is None]


def forget(configs: Sequence[RunConfig], out: Path) -> None:
    """Remove the results of runs, so that they are trained again from the first epoch."""
    for config in configs:
        folder = run_folder(config, run_data(config), out)
        for name in _RESULTS:
            (folder / name).unlink(missing_ok=True)


def train_command(config: RunConfig, given: Mapping[str, Any], out: Path) -> str:
    """Return the ``counterpoise train`` command of one run of a comparison.

    Args:
        config: The run.
        given: Settings of the comparison that the user gave explicitly, by section.
        out: Folder of the comparison. The command writes its run there, where the comparison finds it.

    Example:
        >>> train_command(RunConfig("toy", "arm", seed=2), {"fit": {"epochs": 5}}, Path("out"))
        'counterpoise train --data toy --method arm --seed 2 --out out --fit.epochs 5'
    """
    words = ["counterpoise", "train", "--data", config.data, "--method", config.method]
    if config.method_args:
        words += ["--method_args", json.dumps(config.to_dict()["method_args"])]
    if config.rule != "default":
        words += ["--rule", config.rule]
    words += ["--seed", str(config.seed), "--out", str(out)]
    if config.missing:
        words += ["--missing", ",".join(f"{m}={rate:g}" for m, rate in config.missing.items())]
        words += ["--missing-in", config.missing_in]
    for section, values in given.items():
        if section in ("missing", "missing_in"):
            continue
        for name, value in values.items():
            nested = isinstance(value, (Mapping, list, tuple, bool)) or value is None
            shown = json.dumps(value) if nested else str(value)
            words += [f"--{section}.{name}", shown]
    return shlex.join(words)
