"""Two gloo processes that train every method of the catalogue, and one process that does so with the double batch."""

from __future__ import annotations

import copy
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from counterpoise.errors import CounterpoiseError
from counterpoise.methods import METHODS, EpochContext, make_method
from counterpoise.methods.passes import batch_rows
from counterpoise.model import MultimodalClassifier
from counterpoise.records import Batch

BATCHES, SIZE, EPOCHS = 2, 25, (0, 2)
"""Batches of all processes per epoch, their odd size (so that the two processes hold 13 and 12 samples), and epochs."""


class Encoder(nn.Module):
    """Two linear layers with a batch norm between them."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(6, 12), nn.BatchNorm1d(12), nn.Tanh(), nn.Dropout(dropout))
        self.last = nn.Linear(12, 8)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.last(self.layers(x))
        return y


def make_model(dropout: float = 0.0) -> MultimodalClassifier:
    torch.manual_seed(0)
    encoders = {m: Encoder(dropout) for m in ("a", "b")}
    dims = dict.fromkeys(encoders, 8)
    return MultimodalClassifier(encoders, num_outputs=3, feature_dims=dims).double().train()


def make_batches(seed: int) -> list[Batch]:
    generator = torch.Generator().manual_seed(seed)
    target = torch.randint(3, (BATCHES * SIZE,), generator=generator)
    noise = torch.randn(2, len(target), 6, generator=generator, dtype=torch.float64)
    noise[..., :3] += torch.tensor([3.0, 1.0]).view(2, 1, 1) * nn.functional.one_hot(target, 3)
    return [Batch({"a": noise[0, r], "b": noise[1, r]}, target[r], r) for r in torch.arange(len(target)).split(SIZE)]


def incomplete(batches: Sequence[Batch]) -> list[Batch]:
    """Return batches of which the first lacks modality ``b`` in all samples of the second process."""
    every, first = torch.ones(SIZE, dtype=torch.bool), torch.arange(SIZE) < SIZE // 2
    masks = [{"a": every, "b": first}, {"a": every, "b": torch.arange(SIZE) % 3 > 0}]
    return [replace(batch, present=mask) for batch, mask in zip(batches, masks, strict=True)]


def share(batch: Batch, rank: int, world: int) -> Batch:
    """Return the samples of a process."""
    return batch_rows(batch, torch.arange(len(batch)).tensor_split(world)[rank])


def train(
    name: str,
    arguments: Mapping[str, Any],
    rank: int = 0,
    world: int = 1,
    dropout: float = 0.0,
    edit: Callable[[Sequence[Batch]], Sequence[Batch]] = list,
) -> dict[str, Any]:
    """Train a method for some epochs; return its losses and the state of model and method."""
    model, batches, held_out = make_model(dropout), edit(make_batches(0)), make_batches(1)
    method = make_method(name, arguments)
    method.use_teachers({required: copy.deepcopy(model) for required in method.requires})
    model = method.prepare(model, torch.cat([b.target for b in batches]))
    parameters = [p for p in [*model.parameters(), *method.parameters()] if p.requires_grad]
    optimizer = torch.optim.SGD(parameters, lr=0.05, momentum=0.9)
    losses = []
    for epoch in EPOCHS:
        torch.manual_seed(epoch)
        context = EpochContext(epoch, 10, train=lambda: batches, held_out=lambda: held_out)
        method.on_epoch_start(model, context)
        for batch in batches:
            for record in method.steps(model, share(batch, rank, world)):
                optimizer.step()
                optimizer.zero_grad()
                losses.append(float(record.loss))
    order = method.resample(torch.arange(BATCHES * SIZE), torch.Generator().manual_seed(0))
    return {"losses": losses, "model": model.state_dict(), "method": method.state_dict(), "order": order}


def arguments_of(name: str) -> dict[str, Any]:
    return dict(METHODS[name].early)


def _process(rank: int, world: int, port: int, folder: Path, work: Callable[[int, int], Any]) -> None:
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", rank=rank, world_size=world)
    try:
        torch.save(work(rank, world), folder / f"{rank}.pt")
    finally:
        torch.distributed.destroy_process_group()


def in_processes(work: Callable[[int, int], Any], folder: Path, world: int = 2) -> list[Any]:
    """Run a function of (rank, world) in forked processes that communicate, and return what each returned."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torch.multiprocessing.start_processes(_process, (world, port, folder, work), world, start_method="fork")
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(world)]


def train_all(names: Sequence[str], rank: int, world: int) -> dict[str, Any]:
    """Train several methods; a refusal is returned in the place of a result."""
    results: dict[str, Any] = {}
    for name in names:
        try:
            results[name] = train(name, arguments_of(name), rank, world)
        except CounterpoiseError as error:
            results[name] = str(error)
    return results
