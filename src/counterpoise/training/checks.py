"""Checks before a training starts, so that errors do not appear after it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import nn

from counterpoise.config import RunConfig
from counterpoise.data import MultimodalData
from counterpoise.errors import ConfigError, CounterpoiseError, DataError, ModelError, OutputError, describe
from counterpoise.model import MultimodalClassifier
from counterpoise.tasks import Task

__all__ = ["check_data", "check_inputs", "check_space"]

FEW: Final = 10
"""Minimum number of test samples for contributions."""
_COPIES: Final = 9
"""Size of the checkpoints in multiples of the weights: three states with two moments each."""


def check_data(data: MultimodalData) -> list[str]:
    """Return notes on the numbers that the record will lack because of the data.

    Raises:
        DataError: If a model cannot be trained or selected on the data.
    """
    for name in ("train", "val", "test"):
        if len(data.split(name)) == 0:
            raise DataError(f"The {name} split of `{data.info.name}` holds no sample. Give every split at least one.")
        for m, array in data.split(name).arrays.items():
            if 0 in array.shape[1:]:
                raise DataError(f"Modality `{m}` has the shape {tuple(array.shape[1:])}: no column. Leave it out.")
    target = np.asarray(data.train.target)
    if len(target) < 2 or bool((target == target[:1]).all()):
        raise DataError(
            f"The target of the {len(target)} training samples of `{data.info.name}` never changes, so there is "
            "nothing to learn. Check the label column and the split."
        )
    return _notes(np.asarray(data.test.target), data.info.make_task())


def _notes(target: np.ndarray, task: Task) -> list[str]:
    if len(target) < FEW:
        return [f"The test split holds {len(target)} samples; contributions need at least {FEW} and are left out."]
    if task.has_classes and len(np.unique(target)) < 2:
        return ["The test split holds one class only; contributions are left out."]
    if target.ndim == 2 and bool((target == target[:1]).all(0).any()):
        return ["A column of the targets never changes in the test split; contributions and scores may be left out."]
    return []


def check_inputs(data: MultimodalData, config: RunConfig, model: MultimodalClassifier) -> None:
    """Run the model once on two samples, to report an encoder that does not fit its data before training.

    Raises:
        ConfigError: If batches hold one sample and the model normalises over the batch.
        ModelError: If an encoder or the fusion cannot read the data.
    """
    normalised = any(isinstance(part, nn.modules.batchnorm._BatchNorm) for part in model.modules())
    if config.fit.batch_size == 1 and normalised:
        raise ConfigError(
            "The model normalises over the samples of a batch. Parameter `batch_size` of `fit` should be at least 2. "
            "Found `batch_size = 1`."
        )
    batch = data.train.batch(torch.arange(min(2, len(data.train))))
    training = {part: part.training for part in model.modules()}
    state = torch.get_rng_state()
    model.eval()
    try:
        with torch.no_grad():
            for m in model.modalities:
                _try_encoder(model, m, batch.inputs[m])
            model(batch.inputs, present=batch.present)
    finally:
        torch.set_rng_state(state)
        for part, mode in training.items():
            part.training = mode


def _try_encoder(model: MultimodalClassifier, m: str, value: object) -> None:
    try:
        model.encoder(m)(value)
    except CounterpoiseError:
        raise
    except Exception as error:
        shape = tuple(value.shape[1:]) if isinstance(value, torch.Tensor) else "nested"
        name = type(model.encoder(m)).__name__
        raise ModelError(
            f"The encoder `{name}` of `{m}` cannot read samples of shape {shape}: {describe(error)}. Choose another "
            f"one with --model.encoders."
        ) from error


def check_space(folder: Path, model: nn.Module) -> None:
    """Check that a disk has enough free space for the checkpoints of a run.

    Raises:
        OutputError: If there is too little space.
    """
    existing = next((p for p in (folder, *folder.parents) if p.exists()), None)
    if existing is None:
        return
    needed = _COPIES * sum(p.numel() * p.element_size() for p in model.parameters())
    free = shutil.disk_usage(existing).free
    if free < needed:
        raise OutputError(
            f"The checkpoints of this run need about {needed / 1e6:,.0f} MB. Found {free / 1e6:,.0f} MB free on the "
            f"disk of `{folder}`. Free some space, or choose another --out."
        )
