"""Data sets: three splits in memory-mapped or in-memory arrays, with a description."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import torch
from torch import Tensor

from counterpoise._validation import Interval, Options, check_keys
from counterpoise.config import MAX_SEED
from counterpoise.data._info import SPLITS, DataInfo, Kind, Modality
from counterpoise.data._mapped import MappedRows, check_finite
from counterpoise.errors import DataError
from counterpoise.records import Batch
from counterpoise.tasks import Task

if TYPE_CHECKING:
    from counterpoise.data._augmentation import ClipAugmentation

_BATCH: Final = 1 << 24
"""Maximum size in bytes of the inputs of an evaluation batch."""

__all__ = ["SPLITS", "DataInfo", "Kind", "Modality", "MultimodalData", "Split"]


@dataclass(frozen=True)
class Split:
    """Samples of one split: one array of shape ``(N, ...)`` per modality, targets, and groups if they are known.

    Arrays keep their storage type (uint8 images, float16 sensors); `batch` gives float32, images and videos of uint8
    divided by 255. ``augmentation`` selects the frames of a stored clip and varies them in training.
    ``captions`` holds, for modalities whose numbers cannot be read by people (hashed words), a text per sample that
    pages show instead. ``present`` marks which samples have which modality, ``{m: (N,) bool}`` for every modality; it
    is None if nothing is missing. The contents of absent rows are never used: batches hold zeros there.

    Example:
        >>> arrays = {"a": np.ones((3, 2), np.float32), "b": np.ones((3, 1), np.float32)}
        >>> present = {"a": np.array([True, False, True]), "b": np.array([True, True, True])}
        >>> batch = Split(arrays, np.array([0, 1, 1]), present=present).batch([0, 1])
        >>> batch.inputs["a"].tolist(), batch.present["a"].tolist()
        ([[1.0, 1.0], [0.0, 0.0]], [True, False])
    """

    arrays: Mapping[str, np.ndarray]
    target: np.ndarray
    group: np.ndarray | None = None
    augmentation: ClipAugmentation | None = None
    captions: Mapping[str, np.ndarray] = field(default_factory=dict)
    present: Mapping[str, np.ndarray] | None = None

    def __post_init__(self) -> None:
        if self.present is not None and all(mask.all() for mask in self.present.values()):
            object.__setattr__(self, "present", None)

    def __len__(self) -> int:
        return len(self.target)

    def batch(self, index: Tensor | np.ndarray | list[int], generator: torch.Generator | None = None) -> Batch:
        """Return the samples at ``index`` as one `Batch`; with a generator, they are augmented as in training."""
        index = torch.as_tensor(index, dtype=torch.long)
        rows = index.numpy()
        arrays: Mapping[str, np.ndarray] = {m: array[rows] for m, array in self.arrays.items()}
        if self.augmentation is not None:
            arrays = self.augmentation.select(arrays, generator)
        inputs = {m: _tensor(array) for m, array in arrays.items()}
        if self.augmentation is not None and generator is not None:
            inputs = self.augmentation.vary(inputs, generator)
        present = None
        if self.present is not None:
            present = {m: torch.from_numpy(mask[rows]) for m, mask in self.present.items()}
            for m, mask in present.items():
                inputs[m][~mask] = 0
        return Batch(inputs, torch.from_numpy(self.target[rows]), index, present)

    @property
    def is_mapped(self) -> bool:
        """Whether samples are read from files when a batch asks for them."""
        return any(isinstance(array, MappedRows) for array in self.arrays.values())

    @property
    def sample_bytes(self) -> int:
        """Bytes of one sample in its storage type."""
        return sum(math.prod(array.shape[1:]) * array.dtype.itemsize for array in self.arrays.values())

    def batch_size(self, size: int) -> int:
        """Return ``size``, or fewer if ``size`` samples would take more than 16 MiB as float32."""
        values = sum(math.prod(array.shape[1:]) for array in self.arrays.values())
        return min(size, max(_BATCH // max(4 * values, 1), 1))

    def batches(self, size: int) -> Iterator[Batch]:
        """Yield all samples in order, ``size`` at a time, or fewer where samples are large (see `batch_size`)."""
        size = self.batch_size(size)
        for start in range(0, len(self), size):
            yield self.batch(torch.arange(start, min(start + size, len(self))))

    def subset(self, index: np.ndarray) -> Split:
        """Return a split of some of the samples (renumbered from 0)."""
        group = None if self.group is None else self.group[index]
        arrays, captions = ({m: rows[index] for m, rows in part.items()} for part in (self.arrays, self.captions))
        present = None if self.present is None else {m: mask[index] for m, mask in self.present.items()}
        return Split(arrays, self.target[index], group, self.augmentation, captions, present)

    def complete(self) -> Split:
        """Return the samples that have every modality (renumbered from 0); the split itself if nothing is missing."""
        if self.present is None:
            return self
        return self.subset(np.flatnonzero(np.all(list(self.present.values()), 0)))

    def rates(self) -> dict[str, float]:
        """Return the share of the samples that have each modality."""
        return {m: 1.0 if self.present is None else float(self.present[m].mean()) for m in self.arrays}


def _tensor(array: np.ndarray) -> Tensor:
    if array.dtype == np.uint8:
        return torch.from_numpy(array).float().div_(255)
    if array.dtype.kind == "f":
        return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.int64))


_COLUMNS: Final = ("label", "group", "item")
"""Columns of prepared data that are not modalities."""
_PREFIXES: Final = ("caption:", "present:")
"""Starts of the names of such columns."""


@dataclass(frozen=True)
class MultimodalData:
    """Training, validation and test samples of one data set, checked at construction.

    The best epoch is selected on the validation set, and the test set is used once. A validation set that equals the
    test set is therefore refused.

    Raises:
        DataError: For an empty split, fewer than two modalities, NaN or infinite inputs (which modality, which
            samples), labels outside 0..C-1, arrays of unequal length or of a type that their kind does not have, or
            validation equal to test (in any order).
    """

    info: DataInfo
    train: Split
    val: Split
    test: Split

    def __post_init__(self) -> None:
        _check_names(self.info)
        task = self.info.make_task()
        for part in SPLITS:
            _check_split(self.info, part, self.split(part), task)
        if len(self.val) == len(self.test) and _same(self.val, self.test):
            raise DataError(
                f"The validation set of `{self.info.name}` is its test set ({len(self.test)} samples). The best epoch "
                "would be chosen on the test set; give a validation set of its own, cut from the training set."
            )

    def split(self, name: str) -> Split:
        """Return the split called ``train``, ``val`` or ``test``."""
        split: Split = getattr(self, name)
        return split

    @property
    def is_complete(self) -> bool:
        """Whether every sample of every split has every modality."""
        return all(self.split(part).present is None for part in SPLITS)

    def rates(self) -> dict[str, dict[str, float]]:
        """Return the share of the samples that have each modality, by split: ``{split: {modality: share}}``."""
        return {part: self.split(part).rates() for part in SPLITS}

    def with_missing(
        self, rates: Mapping[str, float], *, where: Literal["train", "test", "both"] = "both", seed: int = 0
    ) -> MultimodalData:
        """Return the data with modalities taken away from samples, completely at random.

        Whether a sample loses a modality depends only on the data, the seed, the modality and the sample. It is the
        same for every method, and modalities that are missing at a low rate are also missing at a higher rate. A sample
        that would lose all modalities that it has keeps one, drawn at random, so that the rates reached are lower than
        those asked for where these are high; the notes of the data list the rates reached. Modalities that were missing
        before stay missing.

        Args:
            rates: Probability that a sample loses the modality, in [0, 1], by modality; those left out lose nothing.
            where: Which splits lose modalities. The validation set, which selects the epoch, follows the training set.
            seed: Seed.

        Raises:
            ConfigError: For an unknown modality or split, or a rate outside [0, 1].

        Example:
            >>> from counterpoise.data import open_data
            >>> data = open_data("world-xor")
            >>> incomplete = data.with_missing({data.info.names[0]: 0.3}, where="test")
            >>> incomplete.train is data.train, 0.6 < incomplete.test.rates()[data.info.names[0]] < 0.8
            (True, True)
        """
        check_keys("`rates` of `with_missing`", rates, self.info.names)
        for rate in rates.values():
            Interval(0, 1, "[]").check("with_missing", "rates", rate)
        Options(("train", "test", "both")).check("with_missing", "where", where)
        Interval(0, MAX_SEED, "[]", integer=True).check("with_missing", "seed", seed)
        parts = {"train": ("train", "val"), "test": ("test",), "both": SPLITS}[where]
        lost = {m: rate for m, rate in rates.items() if rate > 0}
        key = f"{self.fingerprint()} {seed}"
        thinned = {part: self._thinned(part, lost, f"{key} {part}") for part in parts}
        reached = [_described(part, split) for part, split in thinned.items() if split.present is not None]
        info = replace(self.info, notes=(*self.info.notes, *reached))
        return replace(self, info=info, **thinned)

    def _thinned(self, part: str, rates: Mapping[str, float], key: str) -> Split:
        split, names = self.split(part), self.info.names
        before = split.present or {m: np.ones(len(split), bool) for m in names}
        draws = {m: _uniform(f"{key} {m}", len(split)) for m in rates}
        masks = {m: before[m] & (draws[m] >= rates[m]) if m in rates else before[m] for m in names}
        empty = ~np.any(list(masks.values()), 0)
        # Given that all are lost, draw / rate is uniform for each modality, so the largest is one at random.
        order = [np.where(before[m], draws[m] / rates[m], -1) if m in rates else np.full(len(split), -1) for m in names]
        kept = np.argmax(order, 0)
        return replace(split, present={m: mask | (empty & (kept == k)) for k, (m, mask) in enumerate(masks.items())})

    def fingerprint(self) -> str:
        """Return a hash of the contents of the arrays, so that a run on other data has another key.

        It covers up to 256 rows of every array. Recipe, notes, words and rates are left out, because they change no
        number. It is computed once.
        """
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:
        digest = hashlib.sha256(json.dumps(_hashed_fields(self.info), sort_keys=True, default=str).encode())
        for part in SPLITS:
            split = self.split(part)
            group = () if split.group is None else (split.group,)
            masks = () if split.present is None else tuple(np.packbits(split.present[m]) for m in self.info.names)
            for array in (*split.arrays.values(), split.target, *group, *masks):
                digest.update(str((array.shape, array.dtype)).encode())
                rows = np.linspace(0, len(array) - 1, min(len(array), 256)).astype(int)
                digest.update(np.ascontiguousarray(array[rows]).tobytes())
        return digest.hexdigest()[:16]


def _uniform(key: str, n: int) -> np.ndarray:
    """Return one number in [0, 1) per sample, ``(n,)``, that depends only on the arguments."""
    digest = hashlib.sha256(key.encode()).digest()
    return np.random.default_rng(np.frombuffer(digest, np.uint32)).random(n)


def _described(part: str, split: Split) -> str:
    shares = ", ".join(f"{m} {share:.0%}" for m, share in split.rates().items() if share < 1)
    return f"{part} samples that have a modality: {shares}"


def _check_names(info: DataInfo) -> None:
    """Raise `DataError` for names of modalities that cannot be kept apart, stored or shown."""
    names = info.names
    faults = (
        ("should not be empty or contain dots", lambda name: not name or "." in name),
        ("should not be those of other columns", lambda name: name in _COLUMNS or name.startswith(_PREFIXES)),
        ("should hold no control characters", lambda name: not name.isprintable()),
    )
    for rule, is_bad in faults:
        bad = next((name for name in names if is_bad(name)), None)
        if bad is not None:
            shown = bad if bad.isprintable() else repr(bad)
            raise DataError(f"Names of modalities {rule}. Found `{shown}`. Rename it.")
    if len(names) < 2:
        raise DataError(
            f"A multimodal data set needs at least two modalities. `{info.name}` has {len(names)}: "
            f"{', '.join(names) or 'none'}."
        )


def _hashed_fields(info: DataInfo) -> dict[str, Any]:
    """Return the fields of the description that affect numbers, for `MultimodalData.fingerprint`."""
    later = ("augment", "target_offset", "target_unit")  # left out where empty, so that older fingerprints hold
    known = {k: v for k, v in asdict(info).items() if k not in ("recipe", "notes") and (k not in later or v)}
    known["modalities"] = [
        {k: v for k, v in m.items() if k not in ("words", "rate") and (k != "stored" or v)} for m in known["modalities"]
    ]
    return known


def _same(a: Split, b: Split) -> bool:
    """Return whether two splits of equal length hold the same samples, in any order."""
    if not np.array_equal(np.sort(a.target, axis=0), np.sort(b.target, axis=0)):
        return False
    if np.array_equal(a.target, b.target) and all(np.array_equal(a.arrays[m], b.arrays[m]) for m in a.arrays):
        return True
    rows_a, rows_b = _row_hashes(a), _row_hashes(b)
    # Where samples repeat (few discrete values), equal counts may be chance.
    return len(set(rows_a)) > len(rows_a) / 2 and sorted(rows_a) == sorted(rows_b)


def _row_hashes(split: Split) -> list[int]:
    columns = [np.ascontiguousarray(array).reshape(len(split), -1) for array in (*split.arrays.values(), split.target)]
    return [hash(tuple(column[i].tobytes() for column in columns)) for i in range(len(split))]


def _check_split(info: DataInfo, part: str, split: Split, task: Task) -> None:
    where = f"`{info.name}` ({part})"
    if not len(split):
        raise DataError(f"Split `{part}` of `{info.name}` is empty. Every one of train, val and test needs samples.")
    if set(split.arrays) != set(info.names):
        raise DataError(f"{where} should have the modalities {', '.join(info.names)}. Found {', '.join(split.arrays)}.")
    for modality in info.modalities:
        array = split.arrays[modality.name]
        wanted = (len(split), *(modality.stored or modality.shape))
        if array.shape != wanted:
            raise DataError(f"Modality `{modality.name}` of {where} should have shape {wanted}. Found {array.shape}.")
        _check_type(where, modality, array)
        check_finite(f"Modality `{modality.name}` of {where}", array)
    _check_presence(info, where, split)
    if split.group is not None and len(split.group) != len(split):
        raise DataError(f"{where} should have one group per sample. Found {len(split.group)} for {len(split)} samples.")
    try:
        task.check_target(torch.from_numpy(np.asarray(split.target)))
    except DataError as error:
        raise DataError(f"{where}: {error}") from error


def _check_presence(info: DataInfo, where: str, split: Split) -> None:
    """Raise `DataError` unless there is one mask per modality, and every sample has a modality."""
    if split.present is None:
        return
    if set(split.present) != set(info.names):
        raise DataError(
            f"`present` of {where} should have one mask for each of {', '.join(info.names)}. Found "
            f"{', '.join(split.present) or 'none'}."
        )
    for m, mask in split.present.items():
        if mask.dtype != bool or mask.shape != (len(split),):
            raise DataError(
                f"`present[{m!r}]` of {where} should be boolean of shape ({len(split)},). Found {mask.dtype} of shape "
                f"{mask.shape}."
            )
    empty = np.flatnonzero(~np.any(list(split.present.values()), 0))
    if len(empty):
        shown = ", ".join(map(str, empty[:5])) + (", ..." if len(empty) > 5 else "")
        raise DataError(
            f"Every sample of {where} should have at least one modality. Found none in {len(empty)}: {shown}. Leave "
            "these samples out."
        )


def _check_type(where: str, modality: Modality, array: np.ndarray) -> None:
    name = f"Modality `{modality.name}` of {where}"
    if modality.kind == "tokens":
        low, high = (int(array.min()), int(array.max())) if array.dtype.kind in "iu" and array.size else (0, -1)
        if array.dtype.kind not in "iu" or low < 0 or high >= modality.vocabulary:
            contents = f"{array.dtype} in {low}..{high}" if array.dtype.kind in "iu" else str(array.dtype)
            raise DataError(f"{name} should hold token ids in 0..{modality.vocabulary - 1}. Found {contents}.")
    elif array.dtype.kind != "f" and array.dtype != np.uint8:
        raise DataError(
            f"{name} should hold floats, or uint8 pixels. Found {array.dtype}; give array.astype('float32')."
        )
