"""The method under test, with its small models."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from counterpoise.methods.base import Method
from counterpoise.methods.catalogue import METHODS, make_method
from counterpoise.methods.checks._batches import CLASSES, NAMES, WIDTH, synthetic_batches
from counterpoise.model import MultimodalClassifier
from counterpoise.records import Batch


class Subject:
    """The method under test, with the small models and batches of the checks.

    Args:
        name: Name or import path of the method.
        arguments: Hyper-parameters; those with which a row of the catalogue is active early are added.
    """

    def __init__(self, name: str, arguments: Mapping[str, Any]) -> None:
        self.name = name
        entry = METHODS.get(name)
        early = {} if entry is None else entry.early
        self.arguments = {**early, **arguments}
        self.cls: type[Method] = type(self.make())

    def make(self, **changes: Any) -> Method:
        """Return a new method."""
        return make_method(self.name, {**self.arguments, **changes})

    def model(self, modalities: int = 2, *, frozen: bool = False, seed: int = 0) -> MultimodalClassifier:
        """Return a small model, the same for every call with the same arguments."""
        torch.manual_seed(seed)
        names = NAMES[:modalities]
        encoders = {m: _Encoder(frozen=frozen) for m in names}
        model = MultimodalClassifier(encoders, num_outputs=CLASSES, feature_dims=dict.fromkeys(names, 8)).train()
        for part in model.modules():
            if frozen and isinstance(part, nn.BatchNorm1d | nn.Dropout):
                part.eval()
        return model

    def batches(self, modalities: int = 2, count: int = 4) -> list[Batch]:
        """Return the training batches."""
        return synthetic_batches(modalities, count, seed=0)

    def prepared(
        self, model: MultimodalClassifier, batches: Sequence[Batch], **changes: Any
    ) -> tuple[Method, MultimodalClassifier]:
        """Return a prepared method, with untrained teachers if it needs them, and the model to train."""
        method = self.make(**changes)
        method.use_teachers({required: copy.deepcopy(model) for required in method.requires})
        return method, method.prepare(model, torch.cat([b.target for b in batches]))


class _Encoder(nn.Module):
    """Two linear layers, optionally with a batch norm and a dropout between them."""

    def __init__(self, *, frozen: bool) -> None:
        super().__init__()
        middle: list[nn.Module] = [nn.BatchNorm1d(12), nn.Dropout(0.5)] if frozen else []
        self.layers = nn.Sequential(nn.Linear(WIDTH, 12), *middle, nn.ReLU(), nn.Linear(12, 8))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layers(x)
        return y
