"""The training loop of the checks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from counterpoise.inference import Rule, make_rule
from counterpoise.methods.base import EpochContext, Method
from counterpoise.methods.checks._batches import synthetic_batches
from counterpoise.model import MultimodalClassifier
from counterpoise.records import Batch, StepRecord


def start_epoch(
    method: Method,
    model: MultimodalClassifier,
    number: int,
    batches: Sequence[Batch],
    held_out: Sequence[Batch] | None = None,
) -> None:
    """Seed the generators and start an epoch as a training loop does."""
    held = held_out or synthetic_batches(len(batches[0].modalities), 1, seed=1)
    torch.manual_seed(number)
    context = EpochContext(number, 10, train=lambda: batches, held_out=lambda: held)
    method.on_epoch_start(model, context)


def optimizer_of(method: Method, model: MultimodalClassifier) -> torch.optim.Optimizer:
    """Return an optimizer of all trainable parameters."""
    parameters = [p for p in [*model.parameters(), *method.parameters()] if p.requires_grad]
    return torch.optim.SGD(parameters, lr=1e-2, momentum=0.9)


def train(
    method: Method,
    model: MultimodalClassifier,
    batches: Sequence[Batch],
    epochs: Iterable[int] = range(2),
    optimizer: torch.optim.Optimizer | None = None,
    held_out: Sequence[Batch] | None = None,
) -> list[StepRecord]:
    """Train for some epochs; return the records of all steps."""
    optimizer = optimizer or optimizer_of(method, model)
    records = []
    for number in epochs:
        start_epoch(method, model, number, batches, held_out)
        for batch in batches:
            for record in method.steps(model, batch):
                optimizer.step()
                optimizer.zero_grad()
                records.append(record)
    return records


def rule_of(method: Method, model: MultimodalClassifier) -> Rule:
    """Return the default decision rule of the method."""
    single = method.single_modality
    return make_rule(
        method.default_rule, model.modalities, model.task, modality=single, feature_dims=model.feature_dims
    )


def weights_of(model: MultimodalClassifier) -> dict[str, Tensor]:
    """Return the weights of the encoders, the unimodal heads and the fused head, comparable across fusions."""
    parts = {f"encoder of `{m}`": model.encoder(m) for m in model.modalities}
    parts |= {f"unimodal head of `{m}`": model.head(m) for m in model.modalities} | {"fused head": model.fusion}
    weights = {}
    for name, part in parts.items():
        for k, p in enumerate(part.parameters()):
            weights[f"{name}, tensor {k}"] = p.detach().clone()
    return weights


def differing(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> list[str]:
    """Return the names of the tensors that are not equal bit for bit."""
    return [name for name, value in one.items() if name not in other or not torch.equal(value, other[name])]
