"""From whatever a loader yields to one set of samples: inputs by modality, targets, and their positions."""

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
from counterpoise.diagnosis._samples import Value, named_leaves, take_rows, to_value
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
        store: Their inputs, batch by batch.
        target: ``(N,)`` or ``(N, C)``.
        index: ``(N,)`` positions in the loader.
        seen: Number of samples that the loader had.
        first: The inputs of the loader's first batch, whole, by modality.
        first_rows: Positions of those among the samples that were kept, and where they are in the first batch.
        classes: Names of the classes where the labels were words.
        notes: Remarks for the reader.
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
    """Read a loader once, and decide how the model is called.

    Args:
        loader: Yields `Batch`, ``(inputs, target)``, ``(x1, x2, ..., target)`` or mappings with a label; or a data set
            or list of single samples, or a LightningDataModule.
        adapter: How the model is called, as far as it is known.
        label: Key of the target in mappings; by default label, labels, target, targets or y.
        limit: Keep a random subset of at most this many samples.
        seed: Seed of that choice.
        batch_size: Samples in a batch, where the loader yields single samples.
        class_names: Order of the classes, where labels are words.

    Raises:
        DataError: For a loader without samples, or one whose batches cannot be read.
    """
    generator = torch.Generator().manual_seed(seed)
    reader, store = _Reader(adapter, label), Store()
    targets: list[Any] = []
    keys = torch.empty(0, dtype=torch.float64)
    positions: list[Tensor] = []
    threshold, seen = 1.0, 0
    first: dict[str, Value] = {}
    size_first = 0
    for item in batches_of(loader, label, batch_size):
        inputs, target, size = reader.read(item)
        key = torch.rand(size, generator=generator, dtype=torch.float64)
        if not first:
            first, size_first = inputs, size
        rows = (key <= threshold).nonzero().flatten()
        if len(rows):
            whole = len(rows) == size
            store.add(inputs if whole else {m: take_rows(value, rows) for m, value in inputs.items()})
            targets.append(target if whole else target[rows.numpy()])
            positions.append(rows + seen)
            keys = torch.cat([keys, key[rows]])
        seen += size
        if limit is not None and len(keys) > 2 * limit:
            threshold = min(threshold, float(keys.sort().values[limit - 1]))
    if not seen:
        raise DataError(
            "The loader yielded no samples. Give a loader over samples that the model was not trained on (a generator "
            "can be read once only)."
        )
    index, target = torch.cat(positions), np.concatenate(targets)
    if limit is not None and len(index) > limit:
        kept = keys.argsort()[:limit].sort().values
        store.keep(kept)
        index, target = index[kept], target[kept.numpy()]
    labels, classes = _labels(target, class_names)
    inside = (index < size_first).nonzero().flatten()
    samples = Samples(store, labels, index, seen, first, (inside, index[inside]), classes, tuple(reader.notes))
    return samples, reader.adapter


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
    try:
        iterator = iter(loader)
    except TypeError as error:
        raise DataError(
            f"A loader should be iterable over batches. Found {type(loader).__name__}. Give a DataLoader, a data set, "
            "or a list of batches."
        ) from error
    head = list(islice(iterator, 1))
    if head and _is_sample(head[0], label):
        yield from _collated(chain(head, iterator), batch_size)
    else:
        yield from chain(head, iterator)


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
    """Tell whether an item is one sample: its target is a single number or word."""
    if isinstance(item, Batch):
        return False
    if isinstance(item, Mapping):
        names = [k for k in ((label,) if label else LABELS) if k in item]
        return bool(names) and _single(item[names[0]])
    return isinstance(item, tuple | list) and len(item) >= 2 and _single(item[-1])


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
    """Reads batches of one loader; the first one decides names and call."""

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
        wanted = {k for m in adapter.modalities for k in adapter.groups.get(m, (m,))}
        constants = {k: v for k, v in raw.items() if k not in rows and v is not None and k not in wanted}
        nested = {k: tuple(v) for k, v in rows.items() if isinstance(v, Mapping)}
        if wanted:
            spare = [k for k in raw if k not in wanted and k in rows]
            if spare:
                self.notes.append(f"inputs in no modality are left out: {', '.join(map(str, spare))}")
        else:
            rows = self._accepted(rows, nested)
            groups = group_keys(rows)
            adapter = replace(adapter, groups=groups)
        keyed = {k: v for k, v in constants.items() if accepts_keyword(adapter.model, k)}
        adapter = replace(adapter, constants=keyed, nested=nested)
        names = adapter.modalities or tuple(adapter.groups) or tuple(rows)
        self.adapter, self.names = adapter.resolve(names, positional=False), names

    def _accepted(self, rows: dict[str, Any], nested: Mapping[str, Sequence[str]]) -> dict[str, Any]:
        """Leave out what forward does not take, if it takes the rest by keyword."""
        if self.adapter.classifier is not None or self.adapter.call not in ("auto", "kwargs"):
            return rows

        def fits(key: str) -> bool:
            parts = nested.get(key, ())
            return accepts_keyword(self.adapter.model, key) or (
                bool(parts) and all(accepts_keyword(self.adapter.model, k) for k in parts)
            )

        taken = {k: v for k, v in rows.items() if fits(k)}
        if len(taken) < 2 or len(taken) == len(rows):
            return rows
        left = [k for k in rows if k not in taken]
        self.notes.append(f"the model does not take {', '.join(f'`{k}`' for k in left)}, so it is left out")
        return taken

    def _named(self, raw: Mapping[str, Any] | Sequence[Any]) -> dict[str, Value]:
        names, groups = self.names, self.adapter.groups
        if not isinstance(raw, Mapping):
            if len(raw) != len(names):
                raise DataError(f"Every batch should hold the modalities {', '.join(names)}. Found {len(raw)} inputs.")
            return {m: to_value(value) for m, value in zip(names, raw, strict=True)}
        keys = {m: groups.get(m, (m,)) for m in names}
        missing = [k for group in keys.values() for k in group if k not in raw]
        if missing:
            raise DataError(
                f"Every batch should hold {', '.join(missing)}. Found {', '.join(map(str, raw)) or 'nothing'}."
            )
        return {
            m: {k: to_value(raw[k]) for k in group} if m in groups else to_value(raw[m]) for m, group in keys.items()
        }


def split_target(
    item: Any, label: str | None, *, single: bool = False
) -> tuple[Mapping[str, Any] | Sequence[Any], Any]:
    """Return the inputs and the target of a batch.

    Args:
        item: The batch.
        label: Key of the target in a mapping.
        single: Whether one input is enough.

    Raises:
        DataError: If it is no batch.
    """
    if isinstance(item, Batch):
        return item.inputs, item.target
    if isinstance(item, tuple) and hasattr(item, "_asdict"):  # a named tuple
        fields = item._asdict()
        if any(k in fields for k in ((label,) if label else LABELS)):
            item = fields
    if isinstance(item, Mapping):
        names = [k for k in ((label,) if label else LABELS) if k in item]
        if not names:
            raise DataError(
                f"A batch that is a mapping should hold the target under `{label or 'label'}`. Found the keys "
                f"{', '.join(map(str, item))}. Say label='...'."
            )
        return {k: v for k, v in item.items() if k != names[0]}, item[names[0]]
    if isinstance(item, tuple | list) and len(item) >= 2:
        if len(item) == 2 and isinstance(item[0], Mapping | tuple | list):
            return item[0], item[1]
        if len(item) > 2 or single:
            return item[:-1], item[-1]
        raise DataError(
            "A batch (x, target) has one modality. A diagnosis needs at least two: yield ({name: tensor, ...}, target)."
        )
    raise DataError(
        "A loader should yield Batch, ({name: tensor}, target), ((x1, x2), target), (x1, x2, target) or a mapping with "
        f"a label. Found {type(item).__name__}."
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
    missing = [k for k, y in enumerate(target.tolist()) if y is None or y != y]
    if missing:
        raise DataError(f"Labels are missing at {len(missing)} samples, the first is {missing[0]}. Remove them.")
    words = [y.decode() if isinstance(y, bytes) else str(y) for y in target.tolist()]
    known = [str(name) for name in class_names]
    if not set(words) <= set(known):
        if known:
            unknown = min(set(words) - set(known))
            raise DataError(f"The label `{unknown}` is not among the class names {', '.join(known)}.")
        known = sorted(set(words))
    place = {name: k for k, name in enumerate(known)}
    return torch.tensor([place[word] for word in words]), tuple(known)
