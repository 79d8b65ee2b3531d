"""A layer that its owner has put in evaluation mode stays there under every method, and its statistics do not move."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from counterpoise.evaluation.collect import collect
from counterpoise.inference import predict
from counterpoise.methods import METHODS, EpochContext, make_method
from counterpoise.model import MultimodalClassifier, evaluation_mode


class Normalised(nn.Module):
    """An encoder with a batch norm and a dropout, as pretrained encoders have them."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.first, self.norm, self.dropout = nn.Linear(6, width), nn.BatchNorm1d(width), nn.Dropout(0.5)
        self.last = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.last(self.dropout(self.norm(self.first(x)).relu()))
        return y


def frozen_model() -> MultimodalClassifier:
    torch.manual_seed(0)
    model = MultimodalClassifier({m: Normalised() for m in "ab"}, num_outputs=3, feature_dims={"a": 8, "b": 8})
    for part in model.train().modules():
        if isinstance(part, nn.BatchNorm1d | nn.Dropout):
            part.eval()
    return model


def assert_frozen(model: MultimodalClassifier) -> None:
    for part in model.modules():
        assert part.training != isinstance(part, nn.BatchNorm1d | nn.Dropout), type(part).__name__
        if isinstance(part, nn.BatchNorm1d):
            assert int(part.num_batches_tracked) == 0  # type: ignore[arg-type]


@pytest.mark.parametrize("name", sorted(METHODS))
def test_frozen_layers_stay_frozen(name: str, make_batches: Callable[..., Any]) -> None:
    model, batches = frozen_model(), make_batches(2)
    method = make_method(name, dict(METHODS[name].early))
    method.use_teachers(dict.fromkeys(method.requires, copy.deepcopy(model)))
    model.fusion = method.prepare(model, torch.cat([b.target for b in batches])).fusion
    optimizer = torch.optim.SGD([*model.parameters(), *method.parameters()], lr=0.01)
    for number in range(2):
        method.on_epoch_start(model, EpochContext(number, 2, train=lambda: batches, held_out=lambda: batches[:1]))
        for _ in method.steps(model, batches[0]):
            optimizer.step()
            optimizer.zero_grad()
    assert_frozen(model)


def test_evaluation_between_epochs_keeps_the_modes(make_batches: Callable[..., Any]) -> None:
    model, batches = frozen_model(), make_batches(2)
    collect(model, batches)
    predict(model, batches[0].inputs)
    assert_frozen(model)
    with evaluation_mode(model):
        assert not any(part.training for part in model.modules())
    assert_frozen(model)
    with pytest.raises(KeyError), evaluation_mode(model):
        dict[str, int]()["an error inside"]
    assert_frozen(model)
