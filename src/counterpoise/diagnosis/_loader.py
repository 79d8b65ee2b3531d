"""Conversion of the batches of a loader to samples: inputs by modality, targets, and their positions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from counterpoise.diagnosis._adapter import Adapter
from counterpoise.diagnosis._batches import batches_of
from counterpoise.diagnosis._keys import group_keys
from counterpoise.diagnosis._samples import Rows, Value, named_leaves, take_rows, to_value
from counterpoise.diagnosis._signature import accepts_keyword
from counterpoise.diagnosis._store import Store
from counterpoise.diagnosis._targets import Targets, has_rows, labels_of, split_target, target_array
from counterpoise.errors import DataError

__all__ = ["Samples", "collect"]


@dataclass(frozen=True)
class Samples:
    """Some samples of a loader.

    Attributes:
        store: Inputs of the samples, batch by batch.
        target: ``(N,)`` or ``(N, C)``.
        index: ``(N,)`` positions in the loader.
        seen: Number of samples that the loader had.
        first: Inputs of the loader's whole first batch, by modality.
        first_rows: Positions of these samples among those that were kept, and their positions in the first batch.
        classes: Names of the classes, if the labels are words.
        notes: Assumptions that were made.
    """

    store: Store
    target: Tensor
    index: Tensor
    seen: int
    first: dict[str, Value]
    first_rows: tuple[Tensor, Tensor]
    classes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def collect(
    loader: Any,
    adapter: Adapter,
    *,
    label: str | None = None,
    limit: int | None = None,
    seed: int = 0,
    batch_size: int = 256,
    class_names: Sequence[str] = (),
) -> tuple[Samples, Adapter]:
    """Read a loader once, and infer how the model is called.

    Args:
        loader: Yields `Batch`, ``(inputs, target)``, ``(x1, x2, ..., target)`` or mappings with a label; or a data set
            or list of single samples, or a LightningDataModule.
        adapter: Adapter of the model, whose open fields are inferred from the first batch.
        label: Key of the target in mappings; by default label, labels, target, targets or y.
        limit: Keep a random subset of at most this many samples.
        seed: Seed of the random subset.
        batch_size: Samples in a batch, where the loader yields single samples.
        class_names: Order of the classes, where labels are words.

    Raises:
        DataError: For a loader without samples, or one whose batches cannot be read.
    """
    reader, store, subset = _Reader(adapter, label), Store(), _Subset(limit, seed)
    targets = Targets()
    first: dict[str, Value] = {}
    size_first = 0
    for item in batches_of(loader, label, batch_size):
        inputs, target, size = reader.read(item)
        if not first:
            first, size_first = inputs, size
        rows = subset.draw(size)
        if len(rows) == size:
            store.add(inputs)
            targets.add(target)
        elif len(rows):
            store.add({m: take_rows(value, rows) for m, value in inputs.items()})
            targets.add(target[rows.numpy()])
    if not subset.seen:
        raise DataError(
            "The loader yielded no samples. Give a loader over samples that the model was not trained on (a generator "
            "can be read once only)."
        )
    index, kept = subset.result()
    target = targets.joined()
    if kept is not None:
        store.keep(kept)
        target = target[kept.numpy()]
    labels, classes = labels_of(target, class_names)
    inside = (index < size_first).nonzero().flatten()
    samples = Samples(store, labels, index, subset.seen, first, (inside, index[inside]), classes, tuple(reader.notes))
    return samples, reader.adapter


class _Subset:
    """A random subset of a stream of samples: each sample draws a key, and those of the smallest keys are kept.

    Attributes:
        seen: Number of samples that were offered.
    """

    def __init__(self, limit: int | None, seed: int) -> None:
        self.limit, self.seen = limit, 0
        self._generator = torch.Generator().manual_seed(seed)
        self._keys, self._positions = Rows(), Rows()
        self._threshold = 1.0

    def draw(self, size: int) -> Tensor:
        """Return which of the next samples are kept, unless later samples replace them."""
        key = torch.rand(size, generator=self._generator, dtype=torch.float64)
        rows = (key <= self._threshold).nonzero().flatten()
        self._keys.add(key[rows])
        self._positions.add(rows + self.seen)
        self.seen += size
        if self.limit is not None and len(self._keys) > 2 * self.limit:
            self._threshold = min(self._threshold, float(self._keys.joined().sort().values[self.limit - 1]))
        return rows

    def result(self) -> tuple[Tensor, Tensor | None]:
        """Return the positions of the subset in the stream, and its positions among the samples returned by `draw`."""
        index = self._positions.joined()
        if self.limit is None or len(index) <= self.limit:
            return index, None
        kept = self._keys.joined().argsort()[: self.limit].sort().values
        return index[kept], kept


class _Reader:
    """Reader of the batches of one loader; names and call are inferred from the first batch."""

    def __init__(self, adapter: Adapter, label: str | None) -> None:
        self.adapter, self.label = adapter, label
        self.names: tuple[str, ...] = adapter.modalities if adapter.order else ()
        self.notes: list[str] = []

    def read(self, item: Any) -> tuple[dict[str, Value], np.ndarray, int]:
        """Return inputs by modality, targets ``(B, ...)`` and B."""
        raw, target = split_target(item, self.label)
        if not self.names:
            self._decide(raw)
        inputs = self._named(raw)
        size = _size(inputs)
        y = target_array(target)
        if not y.ndim or len(y) != size:
            shown = tuple(y.shape) if y.ndim else type(target).__name__
            raise DataError(f"A batch of {size} samples should have {size} targets. Found {shown}.")
        return inputs, y, size

    def _decide(self, raw: Mapping[str, Any] | Sequence[Any]) -> None:
        adapter = self.adapter
        if not isinstance(raw, Mapping):
            names = adapter.names(raw)
            self.adapter, self.names = adapter.resolve(names, positional=True), names
            return
        rows = {k: v for k, v in raw.items() if has_rows(v)}
        nested = {k: tuple(v) for k, v in raw.items() if isinstance(v, Mapping)}
        wanted = set(adapter.keys(adapter.modalities))
        adapter = replace(adapter, constants=self._constants(raw, wanted), nested=nested)
        if wanted:
            self._note_left_out(rows, wanted)
        else:
            rows = self._accepted(rows, nested)
            adapter = replace(adapter, groups=group_keys(rows))
        names = adapter.modalities or tuple(adapter.groups) or tuple(rows)
        self.adapter, self.names = adapter.resolve(names, positional=False), names

    def _note_left_out(self, rows: Iterable[str], wanted: set[str]) -> None:
        keys = [str(k) for k in rows if k not in wanted]
        if keys:
            self.notes.append(f"inputs in no modality are left out: {', '.join(keys)}")

    def _constants(self, raw: Mapping[str, Any], wanted: set[str]) -> dict[str, Any]:
        """Return the inputs without rows (a flag, a temperature) that the model's call accepts as keywords."""
        others = {k: v for k, v in raw.items() if v is not None and k not in wanted and not has_rows(v)}
        return {k: v for k, v in others.items() if accepts_keyword(self.adapter.model, k)}

    def _accepted(self, rows: dict[str, Any], nested: Mapping[str, Sequence[str]]) -> dict[str, Any]:
        """Leave out the inputs that forward does not accept, if it accepts the others by keyword."""
        if self.adapter.classifier is not None or self.adapter.call not in ("auto", "kwargs"):
            return rows
        taken = {k: v for k, v in rows.items() if self._takes(k, nested.get(k, ()))}
        if len(taken) < 2 or len(taken) == len(rows):
            return rows
        left = [k for k in rows if k not in taken]
        self.notes.append(f"the model does not take {', '.join(f'`{k}`' for k in left)}, so it is left out")
        return taken

    def _takes(self, key: str, parts: Sequence[str]) -> bool:
        """Return whether the model's call has this keyword, or one for each part of a nested input."""
        if accepts_keyword(self.adapter.model, key):
            return True
        return bool(parts) and all(accepts_keyword(self.adapter.model, part) for part in parts)

    def _positional(self, raw: Sequence[Any]) -> dict[str, Value]:
        if len(raw) != len(self.names):
            known = ", ".join(self.names)
            raise DataError(f"Every batch should hold the modalities {known}. Found {len(raw)} inputs.")
        return {m: to_value(value) for m, value in zip(self.names, raw, strict=True)}

    def _named(self, raw: Mapping[str, Any] | Sequence[Any]) -> dict[str, Value]:
        if not isinstance(raw, Mapping):
            return self._positional(raw)
        missing = [k for k in self.adapter.keys(self.names) if k not in raw]
        if missing:
            raise DataError(
                f"Every batch should hold {', '.join(missing)}. Found {', '.join(map(str, raw)) or 'nothing'}."
            )
        groups = self.adapter.groups
        return {m: to_value({k: raw[k] for k in groups[m]} if m in groups else raw[m]) for m in self.names}


def _size(inputs: Mapping[str, Value]) -> int:
    sizes = {m: sorted({len(leaf) for leaf in named_leaves(value).values()}) for m, value in inputs.items()}
    if len({size for known in sizes.values() for size in known}) != 1:
        shown = ", ".join(f"`{m}`: {'/'.join(map(str, s))}" for m, s in sizes.items()) or "no modality"
        raise DataError(f"Every modality should have the same number of samples. Found {shown}.")
    return next(iter(sizes.values()))[0]
