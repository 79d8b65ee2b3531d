"""Steps and epoch hooks that compute the same in several processes as in one."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from counterpoise import distributed
from counterpoise.methods._backward import Backward, backward
from counterpoise.model import MultimodalClassifier
from counterpoise.records import Batch, StepRecord

if TYPE_CHECKING:
    from counterpoise.methods.base import EpochContext, Method


def in_all_processes(steps: Callable[..., Iterator[StepRecord]]) -> Callable[..., Iterator[StepRecord]]:
    """Return steps that compute with the samples of all processes; in one process these are the steps themselves."""

    @functools.wraps(steps)
    def shared(
        self: Method, model: MultimodalClassifier, batch: Batch, *, backward: Backward = backward
    ) -> Iterator[StepRecord]:
        if distributed.world_size() == 1 or distributed.is_sharing():  # a step inside a step shares already
            return steps(self, model, batch, backward=backward)
        return _shared_steps(self, steps, model, batch, backward)

    return shared


def _shared_steps(
    method: Method,
    steps: Callable[..., Iterator[StepRecord]],
    model: MultimodalClassifier,
    batch: Batch,
    backward: Backward,
) -> Iterator[StepRecord]:
    counts, whole = _of_all_processes(batch)
    with distributed.sharing(counts):
        records = steps(method, model, Batch(**whole), backward=backward)
    with distributed.averaged_gradients([*model.parameters(), *method.parameters()]):
        while True:
            with distributed.sharing(counts):
                record = next(records, None)
            if record is None:
                return
            yield record


def _of_all_processes(batch: Batch) -> tuple[list[int], dict[str, Any]]:
    """Return the number of samples of each process, and the fields of the batch: own inputs, targets of all."""
    device = batch.target.device
    counts, lacking = zip(*distributed.exchange([len(batch), batch.present is not None], device), strict=True)
    whole: dict[str, Any] = {"inputs": batch.inputs}
    for name in ("target", "index"):
        whole[name] = distributed.gather_rows(getattr(batch, name).to(device), counts)
    if any(lacking):
        whole["present"] = distributed.gather_masks(batch.modalities, batch.present, batch.target, counts)
    return list(counts), whole


def then_broadcast(hook: Callable[..., None]) -> Callable[..., None]:
    """Return an epoch hook after which method and model are equal in all processes, bit for bit."""

    @functools.wraps(hook)
    def shared(self: Method, model: MultimodalClassifier, epoch: EpochContext) -> None:
        hook(self, model, epoch)
        distributed.broadcast_state(model, self)

    return shared
