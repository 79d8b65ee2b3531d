"""Conversion of the batches of a loader to samples: inputs by modality, targets, and their positions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from counterpoise.diagnosis._adapter import Adapter
from counterpoise.diagnosis._keys import group_keys
from counterpoise.diagnosis._samples import Rows, Value, named_leaves, take_rows, to_value
from counterpoise.diagnosis._signature import accepts_keyword
from counterpoise.diagnosis._store import Store
from counterpoise.errors import DataError
from counterpoise.records import Batch

__all__ = ["Samples", "batches_of", "collect", "split_target"]

LABELS: Final = ("label", "labels", "target", "targets", "y")


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
    targets = _Targets()
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
    labels, classes = _labels(target, class_names)
    inside = (index < size_first).nonzero().flatten()
    samples = Samples(store, labels, index, subset.seen, first, (inside, index[inside]), classes, tuple(reader.notes))
    return samples, reader.adapter


class _Targets:
    """Targets of all batches: numbers in one block of memory, words as they are."""

    def __init__(self) -> None:
        self._numbers, self._others = Rows(), list[np.ndarray]()

    def add(self, target: np.ndarray) -> None:
        """Add the targets of a batch."""
        if target.dtype.kind in "fib" and not self._others:
            self._numbers.add(torch.from_numpy(np.require(target, requirements=["C", "W"])))
        else:
            self._others.append(target)

    def joined(self) -> np.ndarray:
        """Return the targets of all samples."""
        numbers = [self._numbers.joined().numpy()] if len(self._numbers) else []
        return np.concatenate([*numbers, *self._others])


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


# -- loaders ----------------------------------------------------------------------------------------------------------


def batches_of(loader: Any, label: str | None, batch_size: int) -> Iterator[Any]:
    """Yield the batches of a loader; single samples of a data set are collated."""
    if isinstance(loader, Batch):
        yield loader
        return
    if hasattr(loader, "test_dataloader") and hasattr(loader, "val_dataloader"):
        loader = _of_module(loader)
    if isinstance(loader, torch.utils.data.Dataset) or hasattr(loader, "column_names"):
        rows: Iterable[Any] = (loader[i] for i in range(len(loader))) if hasattr(loader, "__len__") else loader
        yield from _collated(iter(rows), batch_size)
        return
    items = _iterator(loader)
    head = list(islice(items, 1))
    if head and _is_sample(head[0], label):
        yield from _collated(chain(head, items), batch_size)
    else:
        yield from chain(head, items)


def _iterator(loader: Any) -> Iterator[Any]:
    try:
        return iter(loader)
    except TypeError as error:
        raise DataError(
            f"A loader should be iterable over batches. Found {type(loader).__name__}. Give a DataLoader, a data set, "
            "or a list of batches."
        ) from error


def _of_module(module: Any) -> Any:
    """Return the test loader of a LightningDataModule, else its validation loader."""
    module.prepare_data()
    for stage, name in (("test", "test_dataloader"), ("validate", "val_dataloader")):
        try:
            module.setup(stage)
            loader = getattr(module, name)()
        except Exception as error:  # Lightning raises MisconfigurationException where there is none
            failure = error
            continue
        if loader is not None:
            return loader[0] if isinstance(loader, list) else loader
    raise DataError(f"The data module has no test and no validation loader: {failure}.")


def _is_sample(item: Any, label: str | None) -> bool:
    """Return whether an item is one sample, whose target is a single number or word."""
    if isinstance(item, Batch):
        return False
    if isinstance(item, Mapping):
        names = _label_keys(item, label)
        return bool(names) and _single(item[names[0]])
    return isinstance(item, tuple | list) and len(item) >= 2 and _single(item[-1])


def _label_keys(item: Mapping[str, Any], label: str | None) -> list[str]:
    """Return the keys of a mapping that may hold the target, the likeliest first."""
    return [k for k in ((label,) if label else LABELS) if k in item]


def _single(value: Any) -> bool:
    return isinstance(value, str) or (np.ndim(value) == 0 and not isinstance(value, Mapping | list | tuple))


def _collated(rows: Iterator[Any], size: int) -> Iterator[Any]:
    while part := list(islice(rows, size)):
        yield _collate(part)


def _collate(rows: list[Any]) -> Any:
    first = rows[0]
    if isinstance(first, Mapping):
        return {key: _collate([row[key] for row in rows]) for key in first}
    if isinstance(first, tuple):
        return tuple(_collate([row[k] for row in rows]) for k in range(len(first)))
    if isinstance(first, Tensor) and len({row.shape for row in rows}) == 1:
        return torch.stack(rows)
    return rows


# -- batches ----------------------------------------------------------------------------------------------------------


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
        y = _array(target)
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
        rows = {k: v for k, v in raw.items() if _has_rows(v)}
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
        others = {k: v for k, v in raw.items() if v is not None and k not in wanted and not _has_rows(v)}
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


def split_target(
    item: Any, label: str | None, *, single: bool = False
) -> tuple[Mapping[str, Any] | Sequence[Any], Any]:
    """Return the inputs and the target of a batch.

    Args:
        item: The batch.
        label: Key of the target in a mapping.
        single: Whether one input is enough.

    Raises:
        DataError: If the item is not a batch.
    """
    if isinstance(item, Batch):
        if item.present is not None:
            raise DataError(
                "`diagnose` replaces modalities by those of other samples, so it needs samples that have all of them. "
                "Found samples that lack modalities. Give complete ones: `data.test.complete().batches(512)`."
            )
        return item.inputs, item.target
    if isinstance(item, tuple) and hasattr(item, "_asdict") and _label_keys(item._asdict(), label):  # a named tuple
        item = item._asdict()
    if isinstance(item, Mapping):
        return _split_mapping(item, label)
    if isinstance(item, tuple | list) and len(item) >= 2:
        return _split_sequence(item, single)
    raise DataError(
        "A loader should yield Batch, ({name: tensor}, target), ((x1, x2), target), (x1, x2, target) or a mapping with "
        f"a label. Found {type(item).__name__}."
    )


def _split_mapping(item: Mapping[str, Any], label: str | None) -> tuple[Mapping[str, Any], Any]:
    names = _label_keys(item, label)
    if not names:
        raise DataError(
            f"A batch that is a mapping should hold the target under `{label or 'label'}`. Found the keys "
            f"{', '.join(map(str, item))}. Set label='...'."
        )
    return {k: v for k, v in item.items() if k != names[0]}, item[names[0]]


def _split_sequence(item: Sequence[Any], single: bool) -> tuple[Mapping[str, Any] | Sequence[Any], Any]:
    if len(item) == 2 and isinstance(item[0], Mapping | tuple | list):
        return item[0], item[1]
    if len(item) > 2 or single:
        return item[:-1], item[-1]
    raise DataError(
        "A batch (x, target) has one modality. A diagnosis needs at least two: yield ({name: tensor, ...}, target), or "
        "cut x along its second axis with modalities={'image': slice(1, 577), 'text': slice(577, None)}."
    )


def _has_rows(value: Any) -> bool:
    if isinstance(value, Mapping):
        return True
    return not (value is None or isinstance(value, str | bool | int | float)) and hasattr(value, "__len__")


def _size(inputs: Mapping[str, Value]) -> int:
    sizes = {m: sorted({len(leaf) for leaf in named_leaves(value).values()}) for m, value in inputs.items()}
    if len({size for known in sizes.values() for size in known}) != 1:
        shown = ", ".join(f"`{m}`: {'/'.join(map(str, s))}" for m, s in sizes.items()) or "no modality"
        raise DataError(f"Every modality should have the same number of samples. Found {shown}.")
    return next(iter(sizes.values()))[0]


# -- targets ----------------------------------------------------------------------------------------------------------


def _array(target: Any) -> np.ndarray:
    if isinstance(target, Tensor):
        x = target.detach().cpu()
        return np.array((x.float() if x.dtype in (torch.bfloat16, torch.float16) else x).numpy())
    if isinstance(target, list | tuple) and target and isinstance(target[0], Tensor):
        return _array(torch.stack(list(target)))
    return np.asarray(target)


def _labels(target: np.ndarray, class_names: Sequence[str]) -> tuple[Tensor, tuple[str, ...]]:
    """Return targets as a tensor; words become classes in the order of ``class_names``, else sorted.

    Raises:
        DataError: For a word that is not among the class names, or missing labels.
    """
    if target.dtype.kind in "fiub":
        if target.dtype.kind == "u":
            target = target.astype(np.int64)
        return torch.from_numpy(np.ascontiguousarray(target)), ()
    words, known = _words(target), [str(name) for name in class_names]
    unknown = set(words) - set(known)
    if known and unknown:
        raise DataError(f"The label `{min(unknown)}` is not among the class names {', '.join(known)}.")
    known = known or sorted(set(words))
    place = {name: k for k, name in enumerate(known)}
    return torch.tensor([place[word] for word in words]), tuple(known)


def _words(target: np.ndarray) -> list[str]:
    missing = [k for k, y in enumerate(target.tolist()) if y is None or y != y]
    if missing:
        raise DataError(f"Labels are missing at {len(missing)} samples, the first is {missing[0]}. Remove them.")
    return [y.decode() if isinstance(y, bytes) else str(y) for y in target.tolist()]
