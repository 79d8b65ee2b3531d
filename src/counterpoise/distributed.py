"""Communication between processes that train one model, so that a method uses the samples of all of them.

Each process encodes its own samples. The features of all samples are then gathered, so that fusion, heads, losses and
the statistics of a method are computed with the whole batch in every process, from the same numbers in the same order.
Gradients of parameters are averaged over the processes as soon as they arrive. With W processes of B samples, a step
therefore has the features, logits and gradients of one process with W B samples.

In one process every function here returns its argument.

Example:
    >>> world_size(), rank(), total_rows(8)
    (1, 0, 8)
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, TypeAlias

import torch
from torch import Tensor, nn

from counterpoise._tree import Nested, map_leaves
from counterpoise.errors import ModelError

__all__ = [
    "averaged_gradients",
    "broadcast_state",
    "exchange",
    "gather_masks",
    "gather_rows",
    "is_sharing",
    "local_randomness",
    "local_rows",
    "on_all_rows",
    "rank",
    "share_batch_norms",
    "shared_features",
    "sharing",
    "total_rows",
    "whole_inputs",
    "whole_rows",
    "world_size",
]

Inputs: TypeAlias = Mapping[str, Nested]


class _Step:
    """Numbers of samples of each process in the current step; empty outside of a step."""

    def __init__(self) -> None:
        self.counts: list[int] = []


# Not a context variable: autograd runs backward passes of a GPU in a thread of its own.
_STEP: Final = _Step()


def world_size() -> int:
    """Return the number of processes that train together."""
    available = torch.distributed.is_available() and torch.distributed.is_initialized()
    return torch.distributed.get_world_size() if available else 1


def rank() -> int:
    """Return the number of this process, from 0."""
    return torch.distributed.get_rank() if world_size() > 1 else 0


def is_sharing() -> bool:
    """Return whether a step is in progress in which features are gathered from several processes."""
    return bool(_STEP.counts)


@contextmanager
def sharing(counts: Sequence[int]) -> Iterator[None]:
    """Gather the features that models compute inside of the block.

    Args:
        counts: Number of samples of each process.
    """
    before, _STEP.counts = _STEP.counts, list(counts)
    try:
        yield
    finally:
        _STEP.counts = before


def total_rows(size: int) -> int:
    """Return the number of samples in all processes, where ``size`` is that of this one in the present step."""
    counts = _STEP.counts
    return sum(counts) if counts and size == counts[rank()] else size


# -- rows --------------------------------------------------------------------------------------------------------------


def exchange(numbers: Sequence[int], device: torch.device) -> list[list[int]]:
    """Return the whole numbers that each process passes, one list per process.

    Args:
        numbers: Numbers of this process; their count is the same in all processes.
        device: Device that the processes communicate with.
    """
    if world_size() == 1:
        return [list(numbers)]
    mine = torch.tensor(numbers, dtype=torch.int64, device=device)
    every = [torch.empty_like(mine) for _ in range(world_size())]
    torch.distributed.all_gather(every, mine)
    listed: list[list[int]] = torch.stack(every).tolist()
    return listed


def gather_rows(x: Tensor, counts: Sequence[int]) -> Tensor:
    """Return the rows of all processes, in the order of the processes; no gradients flow.

    Args:
        x: Rows of this process, ``(counts[rank], ...)``.
        counts: Number of rows of each process.
    """
    if world_size() == 1:
        return x
    kind, x = x.dtype, x.detach()
    x = (x.to(torch.uint8) if kind == torch.bool else x).contiguous()
    largest = max(counts)
    padded = x if len(x) == largest else torch.cat([x, x.new_zeros(largest - len(x), *x.shape[1:])])
    parts = [torch.empty_like(padded) for _ in counts]
    torch.distributed.all_gather(parts, padded)
    return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)]).to(kind)


def gather_masks(
    names: Collection[str], masks: Mapping[str, Tensor] | None, like: Tensor, counts: Sequence[int]
) -> dict[str, Tensor]:
    """Return the masks of all processes, of which some may have none because nothing is missing there.

    Args:
        names: Names of the masks.
        masks: ``{m: (n,) bool}`` of this process, or None.
        like: Tensor with n rows, on the device that the processes communicate with.
        counts: Number of rows of each process.
    """
    ones = torch.ones(len(like), dtype=torch.bool, device=like.device)
    columns = [ones if masks is None else masks[m].to(like.device) for m in names]
    rows = gather_rows(torch.stack(columns, 1), counts)
    return dict(zip(names, rows.T, strict=True))


def local_rows(x: Tensor) -> Tensor:
    """Return the rows of this process of a tensor with one row per sample of the present step."""
    counts = _STEP.counts
    if not counts:
        return x
    start = sum(counts[: rank()])
    return x[start : start + counts[rank()]]


def on_all_rows(function: Callable[[Inputs], Inputs], inputs: Inputs) -> dict[str, Nested]:
    """Return this process's rows of a function of the inputs of all processes.

    It is meant for functions that mix the inputs of several samples or draw random numbers for them. Exchanging the
    inputs costs more than exchanging their features.

    Args:
        function: Function of the inputs by modality, with one row per sample.
        inputs: Inputs of this process, by modality.
    """
    changed = function(whole_inputs(inputs))
    return {m: map_leaves(local_rows, value) for m, value in changed.items()} if is_sharing() else dict(changed)


def whole_inputs(inputs: Inputs) -> Inputs:
    """Return the inputs of all processes in the present step.

    Raises:
        ModelError: If inputs that are not tensors would have to be exchanged.
    """
    if not is_sharing():
        return inputs
    try:
        return {m: map_leaves(whole_rows, value) for m, value in inputs.items()}
    except AttributeError as error:
        raise ModelError("Several processes exchange tensors only. Found inputs of another type.") from error


def whole_rows(x: Tensor) -> Tensor:
    """Return the rows of all processes in the present step, without gradients; outside of a step the argument."""
    return gather_rows(x, _STEP.counts) if is_sharing() else x


class _Gather(torch.autograd.Function):
    """Rows of all processes. The gradient of this process's rows is multiplied by W, because gradients are averaged."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, counts: list[int]) -> Tensor:
        ctx.counts = counts
        return gather_rows(x, counts)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        with sharing(ctx.counts):
            return local_rows(grads[0]) * len(ctx.counts), None


def shared_features(x: Tensor) -> Tensor:
    """Return the rows of all processes in the present step, with gradients; outside of a step the argument.

    Args:
        x: Rows of this process.

    Raises:
        ModelError: If the number of rows is not that of this process's samples.
    """
    counts = _STEP.counts
    if not counts:
        return x
    if len(x) != counts[rank()]:
        raise ModelError(
            f"In several processes, a step encodes all samples of its batch. Found {len(x)} of {counts[rank()]} "
            "samples of this process. Train in one process."
        )
    gathered: Tensor = _Gather.apply(x, counts)
    return gathered


# -- gradients ---------------------------------------------------------------------------------------------------------


@contextmanager
def averaged_gradients(parameters: Iterable[nn.Parameter]) -> Iterator[None]:
    """Average every gradient of the parameters over the processes as soon as it arrives.

    Hooks that are registered inside of the block, ``.grad`` and the result of `torch.autograd.grad` see the average.
    """
    handles = [p.register_hook(_mean) for p in parameters if p.requires_grad]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _mean(gradient: Tensor) -> Tensor:
    total = gradient.clone(memory_format=torch.contiguous_format)
    torch.distributed.all_reduce(total)
    return total / world_size()


class _Sum(torch.autograd.Function):
    """Sum over the processes, forward and backward."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone()
        torch.distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        total = grads[0].contiguous().clone()
        torch.distributed.all_reduce(total)
        return total


# -- state -------------------------------------------------------------------------------------------------------------


@torch.no_grad()
def broadcast_state(*modules: nn.Module) -> None:
    """Copy the parameters and buffers of modules from the first process to all others."""
    if world_size() == 1:
        return
    for module in modules:
        for x in [*module.parameters(), *module.buffers()]:
            value = x.to(torch.uint8) if x.dtype == torch.bool else x.contiguous()
            torch.distributed.broadcast(value, 0)
            x.copy_(value)


def _generators(device: torch.device) -> list[Any]:
    return [torch.random, torch.cuda] if device.type == "cuda" else [torch.random]


@contextmanager
def local_randomness(device: torch.device) -> Iterator[None]:
    """Draw random numbers that differ between the processes inside this context, and leave the same state in all of
    them.

    Encoders draw numbers for their own samples (dropout), whereas numbers for the whole batch must be equal in all
    processes. The encoders' draws therefore start from a hash of the common state and the process's number. If the
    encoders drew any number, the common state advances by one draw.

    Args:
        device: Device of the samples.
    """
    if not is_sharing():
        yield
        return
    generators = _generators(device)
    common = [g.get_rng_state() for g in generators]
    digest = hashlib.sha256(common[-1].numpy().tobytes() + bytes([rank() % 256, rank() // 256])).digest()
    torch.manual_seed(int.from_bytes(digest[:7], "little"))
    seeded = [g.get_rng_state() for g in generators]
    try:
        yield
    finally:
        drew = [not torch.equal(g.get_rng_state(), s) for g, s in zip(generators, seeded, strict=True)]
        for g, state in zip(generators, common, strict=True):
            g.set_rng_state(state)
        if any(drew):
            torch.rand(1)
            torch.rand(1, device=device)


# -- batch norms -------------------------------------------------------------------------------------------------------


class _SharedNorm(nn.modules.batchnorm._BatchNorm):
    """A batch norm with the mean and the variance of the samples of all processes."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise; outside of a step, or in evaluation mode, as any batch norm does."""
        if not (self.training and is_sharing()):
            return super().forward(x)
        self._check_input_dim(x)
        axes = [0, *range(2, x.ndim)]
        shape = [1, -1, *[1] * (x.ndim - 2)]
        wide = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
        count = wide.new_full((1,), x.numel() / x.shape[1])
        totals = _Sum.apply(torch.cat([wide.sum(axes), count]))
        count = totals[-1].detach()
        mean = totals[:-1] / count
        centred = wide - mean.view(shape)
        variance = _Sum.apply(centred.square().sum(axes)) / count
        self._track(mean.detach(), variance.detach() * count / (count - 1).clamp_min(1))
        y = centred * (variance + self.eps).rsqrt().view(shape)
        if self.affine:
            y = y * self.weight.view(shape) + self.bias.view(shape)
        return y.to(x.dtype)

    @torch.no_grad()
    def _track(self, mean: Tensor, variance: Tensor) -> None:
        if not self.track_running_stats or self.running_mean is None or self.running_var is None:
            return
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        share = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean), share)
        self.running_var.lerp_(variance.to(self.running_var), share)


class _SharedNorm1d(_SharedNorm, nn.BatchNorm1d):
    pass


class _SharedNorm2d(_SharedNorm, nn.BatchNorm2d):
    pass


class _SharedNorm3d(_SharedNorm, nn.BatchNorm3d):
    pass


_SHARED_NORMS: Final[dict[type[nn.Module], type[_SharedNorm]]] = {
    nn.BatchNorm1d: _SharedNorm1d,
    nn.BatchNorm2d: _SharedNorm2d,
    nn.BatchNorm3d: _SharedNorm3d,
}


def share_batch_norms(*modules: nn.Module) -> None:
    """Let the batch norms of encoders use the samples of all processes during steps.

    Parameters, buffers and names stay. A batch norm of another class than torch's own keeps its local statistics.
    """
    for part in (p for module in modules for p in module.modules()):
        if type(part) in _SHARED_NORMS:
            part.__class__ = _SHARED_NORMS[type(part)]
