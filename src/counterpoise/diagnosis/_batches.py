"""Batches of any loader, of a data set of single samples, or of a LightningDataModule."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, islice
from typing import Any

import numpy as np
import torch
from torch import Tensor

from counterpoise.diagnosis._targets import label_keys
from counterpoise.errors import DataError
from counterpoise.records import Batch


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
        names = label_keys(item, label)
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
