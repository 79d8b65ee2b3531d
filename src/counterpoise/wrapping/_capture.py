"""Encoders inside a module: capture their outputs, and run the module again with given outputs."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from counterpoise import distributed
from counterpoise.corruptions import is_mask
from counterpoise.errors import ModelError

__all__ = [
    "Captured",
    "Complete",
    "Recorder",
    "Replay",
    "Site",
    "capture",
    "restore",
    "shared",
    "sites_of",
    "standing_in",
    "time_first",
]


class Complete(BaseException):
    """Raised inside a module once all encoders have run. It is no ``Exception``, so that the module's code does not
    catch it.
    """


@dataclass(frozen=True)
class _Leaf:
    """One tensor that an encoder returned: its shape with the samples first, and whether samples were second."""

    shape: tuple[int, ...]
    rows: int
    second: bool
    dtype: torch.dtype


@dataclass
class Captured:
    """Output of an encoder for a batch.

    Attributes:
        flat: All floating tensors in one, ``(B, F)``; the tensor itself where the encoder returned one ``(B, D)``.
        output: Return value.
        mask: Mask ``(B, T)`` among the encoder's arguments, or None.
    """

    flat: Tensor
    output: Any
    mask: Tensor | None
    leaves: list[_Leaf | None] = field(default_factory=list)


def time_first(module: nn.Module) -> bool:
    """Tell whether a module has layers that expect ``(T, B, ...)``, as torch's recurrent ones and attention may."""
    return any(getattr(part, "batch_first", True) is False for part in module.modules())


def capture(m: str, output: Any, mask: Tensor | None, size: int, *, second: bool = False) -> Captured:
    """Return the output of an encoder as one matrix with a row per sample.

    Args:
        m: The modality, for messages.
        output: A tensor, or any structure of tensors.
        mask: Mask among the encoder's arguments, or None.
        size: B.
        second: Whether samples are along the second axis where both could be.

    Raises:
        ModelError: If no tensor has one row per sample, or if a tensor with a gradient does not.
    """
    parts, leaves = [], []
    for value in pytree.tree_leaves(output):
        leaf = _leaf(m, value, size, second) if isinstance(value, Tensor) and value.is_floating_point() else None
        leaves.append(leaf)
        if leaf is not None:
            ordered = value.transpose(0, 1) if leaf.second else value
            parts.append(ordered if ordered.ndim == 2 and len(ordered) == size else ordered.reshape(size, -1))
    if not parts:
        raise ModelError(
            f"The encoder of `{m}` should return a floating tensor with {size} rows. Found {_described(output)}. Name "
            "another submodule in encoders=."
        )
    return Captured(parts[0] if len(parts) == 1 else torch.cat(parts, 1), output, mask, leaves)


def shared(captured: Captured, size: int) -> Captured:
    """Return the outputs of the encoders of all processes; in one process, return the argument.

    Args:
        captured: Return value of the encoder of this process.
        size: Number of samples of this process.
    """
    if not distributed.is_sharing():
        return captured

    def gathered(value: Any) -> Any:
        rows = isinstance(value, Tensor) and not value.is_floating_point() and value.ndim and len(value) == size
        return distributed.whole_rows(value) if rows else value

    return Captured(
        distributed.shared_features(captured.flat),
        pytree.tree_map(gathered, captured.output),
        None if captured.mask is None else distributed.whole_rows(captured.mask),
        captured.leaves,
    )


def _leaf(m: str, value: Tensor, size: int, second: bool) -> _Leaf | None:
    if second and value.ndim > 1 and value.shape[1] == size:
        return _Leaf((value.shape[0], *value.shape[2:]), 1, True, value.dtype)
    if value.ndim and len(value) and len(value) % size == 0:
        return _Leaf(tuple(value.shape[1:]), len(value) // size, False, value.dtype)
    if value.ndim > 1 and value.shape[1] == size:
        return _Leaf((value.shape[0], *value.shape[2:]), 1, True, value.dtype)
    if value.requires_grad:
        raise ModelError(
            f"The encoder of `{m}` should return tensors with {size} rows, one per sample. Found shape "
            f"{tuple(value.shape)}. Name another submodule in encoders=."
        )
    return None


def _described(output: Any) -> str:
    if isinstance(output, Tensor):
        return f"a tensor of shape {tuple(output.shape)} and {output.dtype}"
    return type(output).__name__


def restore(captured: Captured, flat: Tensor) -> Any:
    """Return ``flat`` ``(R, F)`` in the structure that the encoder returned; R is a multiple of B."""
    values, spec = pytree.tree_flatten(captured.output)
    only = sum(leaf is not None for leaf in captured.leaves) == 1
    start = 0
    restored = []
    for value, leaf in zip(values, captured.leaves, strict=True):
        if leaf is None:
            restored.append(value)
            continue
        count = leaf.rows * _product(leaf.shape)
        part = flat if only else flat[:, start : start + count]
        start += count
        shape = (len(flat) * leaf.rows, *leaf.shape)
        part = part if part.shape == shape else part.reshape(shape)
        part = part if only else part.to(leaf.dtype)
        restored.append(part.transpose(0, 1) if leaf.second else part)
    return pytree.tree_unflatten(restored, spec)


def _product(shape: Sequence[int]) -> int:
    total = 1
    for n in shape:
        total *= n
    return total


# -- stand-ins ---------------------------------------------------------------------------------------------------------


class _StandIn(nn.Module):
    """Replacement of a submodule, which forwards all attributes to it."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.__dict__["original"] = module  # not a child: the submodule keeps its names

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["original"], name)

    def __getitem__(self, key: Any) -> Any:
        return self.__dict__["original"][key]


class Recorder(_StandIn):
    """Replacement that runs the submodule and records its output.

    Args:
        m: The modality.
        module: The encoder.
        run: Function that is called with the modality, the output and the mask.
        compiled: The encoder compiled by `torch.compile`, or the encoder itself.
    """

    def __init__(
        self, m: str, module: nn.Module, run: Callable[[str, Any, Tensor | None], None], compiled: Callable[..., Any]
    ) -> None:
        super().__init__(module)
        self.__dict__.update(m=m, run=run, compiled=compiled)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Run the encoder."""
        here = self.__dict__
        output = here["compiled"](*args, **kwargs)
        here["run"](here["m"], output, _mask(here["original"], args, kwargs))
        return output


class Replay(_StandIn):
    """Replacement that returns a given value; the submodule does not run."""

    def __init__(self, m: str, module: nn.Module, value: Any) -> None:
        super().__init__(module)
        self.__dict__["value"] = value

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Return the value."""
        return self.__dict__["value"]


def _mask(module: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Tensor | None:
    """Return the mask ``(B, T)`` among the arguments of an encoder."""
    named = dict(kwargs)
    if args:
        with suppress(TypeError, ValueError):
            named |= inspect.signature(module.forward).bind_partial(*args, **kwargs).arguments
    masks = [v for k, v in named.items() if is_mask(k) and isinstance(v, Tensor) and v.ndim == 2]
    return masks[0] if masks else None


@dataclass(frozen=True)
class Site:
    """A submodule and all its places in a module."""

    module: nn.Module
    places: tuple[tuple[nn.Module, str], ...]


def sites_of(net: nn.Module, module: nn.Module) -> Site:
    """Return all places of a submodule inside a module."""
    places = [(parent, name) for parent in net.modules() for name, child in parent._modules.items() if child is module]
    return Site(module, tuple(places))


@contextmanager
def standing_in(sites: Mapping[str, Site], stand_ins: Mapping[str, nn.Module]) -> Iterator[None]:
    """Replace submodules inside this context, and restore them afterwards."""
    try:
        for m, stand_in in stand_ins.items():
            for parent, name in sites[m].places:
                parent._modules[name] = stand_in
        yield
    finally:
        for m in stand_ins:
            for parent, name in sites[m].places:
                parent._modules[name] = sites[m].module
