"""From whatever a loader yields to one set of samples: inputs by modality, targets, and where they came from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import torch
from torch import Tensor

from counterpoise._tree import take
from counterpoise.diagnosis._adapt import Adapter
from counterpoise.diagnosis._nested import join, to_tensors
from counterpoise.errors import DataError
from counterpoise.records import Batch, Inputs, Nested, batch_size

__all__ = ["Samples", "collect"]

_Part: TypeAlias = tuple[dict[str, Nested], Tensor, Tensor, Tensor]
"""Inputs, targets, positions, and a random key per sample."""

LABELS: Final = ("label", "labels", "target", "targets", "y")


@dataclass(frozen=True)
class Samples:
    """Some samples.

    Attributes:
        inputs: one tensor ``(N, ...)``, or mapping of such, per modality.
        target: ``(N,)`` or ``(N, C)``.
        index: ``(N,)`` position in the loader.
        seen: how many the loader had.
    """

    inputs: Inputs
    target: Tensor
    index: Tensor
    seen: int


def collect(
    loader: Iterable[Any], adapter: Adapter, *, label: str | None = None, limit: int | None = None, seed: int = 0
) -> tuple[Samples, Adapter]:
    """Read a loader once, and decide how the model is called.

    Args:
        loader: yields `Batch`, ``(inputs, target)``, ``(x1, x2, ..., target)`` or mappings with a label.
        adapter: how the model is called, as far as it is known.
        label: the key of the target in mappings; by default label, labels, target, targets or y.
        limit: keep a random subset of so many samples.
        seed: of that choice.

    Raises:
        DataError: for a loader without samples, or one whose batches cannot be read.
    """
    if isinstance(loader, Batch):
        loader = [loader]
    generator = torch.Generator().manual_seed(seed)
    parts: list[_Part] = []
    names: tuple[str, ...] = ()
    seen, held = 0, 0
    for item in loader:
        raw, target = _split(item, label)
        if not names:
            names = adapter.names(raw)
            adapter = adapter.resolve(names, positional=not isinstance(raw, Mapping))
        inputs = _named(raw, names, adapter)
        size = batch_size(inputs)
        y = to_tensors(target)
        if not isinstance(y, Tensor) or not y.ndim or len(y) != size:
            found = tuple(y.shape) if isinstance(y, Tensor) else type(target).__name__
            raise DataError(f"A batch of {size} samples should have {size} targets. Found {found}.")
        key = torch.rand(size, generator=generator, dtype=torch.float64)
        parts.append((inputs, y, torch.arange(seen, seen + size), key))
        seen, held = seen + size, held + size
        if limit is not None and held > 2 * limit:
            parts, held = [_prune(parts, limit)], limit
    if not seen:
        raise DataError(
            "The loader yielded no samples. Give a loader over samples that the model was not trained on (a generator "
            "can be read once only)."
        )
    inputs, target, index, _ = _prune(parts, limit or seen)
    return Samples(inputs, target, index, seen), adapter


def _prune(parts: Sequence[_Part], limit: int) -> _Part:
    """Join the parts and keep the samples with the smallest keys, in their order."""
    inputs = {m: join([p[0][m] for p in parts]) for m in parts[0][0]}
    targets, indices, keys = [p[1] for p in parts], [p[2] for p in parts], [p[3] for p in parts]
    target, index, key = torch.cat(targets), torch.cat(indices), torch.cat(keys)
    if len(target) <= limit:
        return inputs, target, index, key
    rows = key.argsort()[:limit].sort().values
    return {m: take(value, rows) for m, value in inputs.items()}, target[rows], index[rows], key[rows]


def _split(item: Any, label: str | None) -> tuple[Mapping[str, Any] | Sequence[Any], Any]:
    if isinstance(item, Batch):
        return item.inputs, item.target
    if isinstance(item, Mapping):
        found = [k for k in ((label,) if label else LABELS) if k in item]
        if not found:
            raise DataError(
                f"A batch that is a mapping should hold the target under `{label or 'label'}`. Found the keys "
                f"{', '.join(map(str, item))}. Say label='...'."
            )
        return {k: v for k, v in item.items() if k != found[0]}, item[found[0]]
    if isinstance(item, tuple | list) and len(item) >= 2:
        if len(item) == 2 and isinstance(item[0], Mapping | tuple | list):
            return item[0], item[1]
        if len(item) > 2:
            return item[:-1], item[-1]
        raise DataError(
            "A batch (x, target) has one modality. A diagnosis needs at least two: yield ({name: tensor, ...}, target)."
        )
    raise DataError(
        "A loader should yield Batch, ({name: tensor}, target), ((x1, x2), target), (x1, x2, target) or a mapping with "
        f"a label. Found {type(item).__name__}."
    )


def _named(raw: Mapping[str, Any] | Sequence[Any], names: tuple[str, ...], adapter: Adapter) -> dict[str, Nested]:
    if not isinstance(raw, Mapping):
        if len(raw) != len(names):
            raise DataError(f"Every batch should hold the modalities {', '.join(names)}. Found {len(raw)} inputs.")
        return {m: to_tensors(value) for m, value in zip(names, raw, strict=True)}
    keys = {m: adapter.groups.get(m, (m,)) for m in names}
    missing = [k for group in keys.values() for k in group if k not in raw]
    if missing:
        raise DataError(f"Every batch should hold {', '.join(missing)}. Found {', '.join(map(str, raw)) or 'nothing'}.")
    return {
        m: {k: to_tensors(raw[k]) for k in group} if m in adapter.groups else to_tensors(raw[m])
        for m, group in keys.items()
    }
