"""Targets: taken from batches, and joined."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from counterpoise.diagnosis._samples import Rows
from counterpoise.errors import DataError
from counterpoise.records import Batch

LABELS: Final = ("label", "labels", "target", "targets", "y")


class Targets:
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


def label_keys(item: Mapping[str, Any], label: str | None) -> list[str]:
    """Return the keys of a mapping that may hold the target, the likeliest first."""
    return [k for k in ((label,) if label else LABELS) if k in item]


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
    if isinstance(item, tuple) and hasattr(item, "_asdict") and label_keys(item._asdict(), label):  # a named tuple
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
    names = label_keys(item, label)
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


def has_rows(value: Any) -> bool:
    """Return whether an input may have one row per sample: no text, single number or None."""
    if isinstance(value, Mapping):
        return True
    return not (value is None or isinstance(value, str | bool | int | float)) and hasattr(value, "__len__")


def target_array(target: Any) -> np.ndarray:
    """Return a target as a NumPy array."""
    if isinstance(target, Tensor):
        x = target.detach().cpu()
        return np.array((x.float() if x.dtype in (torch.bfloat16, torch.float16) else x).numpy())
    if isinstance(target, list | tuple) and target and isinstance(target[0], Tensor):
        return target_array(torch.stack(list(target)))
    return np.asarray(target)


def labels_of(target: np.ndarray, class_names: Sequence[str]) -> tuple[Tensor, tuple[str, ...]]:
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
