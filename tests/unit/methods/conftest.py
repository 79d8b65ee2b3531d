"""What the tests of single methods share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch

from counterpoise.methods import EpochContext, Method
from counterpoise.model import MultimodalClassifier
from counterpoise.records import Batch, StepRecord


def prepare(method: Method, model: MultimodalClassifier, batches: Sequence[Batch]) -> Method:
    """Set a method up as a loop does, in the model's precision."""
    index = torch.cat([b.index for b in batches])
    model.fusion = method.prepare(model, torch.cat([b.target for b in batches])[index.argsort()]).fusion
    return method.to(next(model.parameters()).dtype)


def run(
    method: Method,
    model: MultimodalClassifier,
    batches: Sequence[Batch],
    *,
    epochs: int = 10,
    lr: float = 1e-2,
    first: int = 0,
    total: int | None = None,
) -> list[StepRecord]:
    """Train with Adam; return the records of the last epoch."""
    optimizer = torch.optim.Adam([*model.parameters(), *method.parameters()], lr=lr)
    records: list[StepRecord] = []
    for number in range(first, first + epochs):
        torch.manual_seed(number)
        where = EpochContext(number, total or first + epochs, train=lambda: batches, held_out=lambda: batches[:1])
        method.on_epoch_start(model, where)
        records = []
        for batch in batches:
            for record in method.steps(model, batch):
                optimizer.step()
                optimizer.zero_grad()
                records.append(record)
    return records


def softmax(z: np.ndarray) -> np.ndarray:
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def nll(z: np.ndarray, y: np.ndarray) -> np.ndarray:
    return -np.log(softmax(z)[..., np.arange(len(y)), y])


def features_of(model: MultimodalClassifier, batch: Batch) -> dict[str, np.ndarray]:
    return {m: model.encoder(m)(batch.inputs[m]).detach().numpy() for m in model.modalities}


def slices_of(model: MultimodalClassifier, batch: Batch) -> dict[str, np.ndarray]:
    """W_m h_m + b/M of a concat head by plain NumPy."""
    weight, bias = (p.detach().numpy() for p in model.fusion.parameters())
    start, slices = 0, {}
    for m, h in features_of(model, batch).items():
        slices[m] = h @ weight[:, start : start + h.shape[1]].T + bias / len(model.modalities)
        start += h.shape[1]
    return slices


def heads_of(model: MultimodalClassifier, batch: Batch) -> dict[str, np.ndarray]:
    """The unimodal logits by plain NumPy."""
    logits = {}
    for m, h in features_of(model, batch).items():
        weight, bias = (p.detach().numpy() for p in model.head(m).parameters())
        logits[m] = h @ weight.T + bias
    return logits


def grads(model: MultimodalClassifier, m: str) -> list[torch.Tensor]:
    return [p.grad.clone() for p in model.encoder(m).parameters() if p.grad is not None]


class Tools:
    """The functions above, as one fixture."""

    prepare = staticmethod(prepare)
    run = staticmethod(run)
    softmax = staticmethod(softmax)
    nll = staticmethod(nll)
    features = staticmethod(features_of)
    slices = staticmethod(slices_of)
    heads = staticmethod(heads_of)
    grads = staticmethod(grads)


@pytest.fixture
def tools() -> Any:
    return Tools


@pytest.fixture
def warm(make_model: Callable[..., Any], make_batches: Callable[..., Any]) -> Callable[..., Any]:
    """A model in which modality `a` dominates after joint training, in float64, and its batches."""
    from counterpoise.methods import Joint

    def build(modalities: int = 2, *, epochs: int = 20, dtype: torch.dtype = torch.float64, **kwargs: Any) -> Any:
        model = make_model(modalities, dtype=dtype, **kwargs)
        batches = make_batches(modalities, dtype=dtype)
        run(Joint(), model, batches, epochs=epochs)
        model.zero_grad()
        return model, batches

    return build
