"""What a data set is: three splits in memory-mapped or in-memory arrays, and what is known about them."""

from __future__ import annotations

import contextlib
import hashlib
import json
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from counterpoise.errors import DataError, NotFoundError, OutputError
from counterpoise.records import Batch
from counterpoise.tasks import Task, make_task

__all__ = [
    "DataInfo",
    "Modality",
    "MultimodalData",
    "Split",
    "load_prepared",
    "save_prepared",
]

Kind = Literal["vector", "sequence", "image", "video", "tokens"]
META = "counterpoise.json"
SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Modality:
    """What one modality looks like.

    Attributes:
        name: its name.
        kind: ``vector`` (D,), ``sequence`` (T, D), ``image`` (C, H, W), ``video`` (T, C, H, W) or ``tokens`` (L,) of
            integer ids, 0 = padding.
        shape: shape of one sample.
        vocabulary: number of token ids, for tokens.
    """

    name: str
    kind: Kind
    shape: tuple[int, ...]
    vocabulary: int = 0


@dataclass(frozen=True)
class DataInfo:
    """What is known about a data set.

    Attributes:
        name: its name.
        modalities: in order.
        task: multiclass, multilabel or regression.
        num_outputs: C.
        class_names: C names, or empty.
        group: what the group column is (``speaker``, ``subject``), or empty.
        source: where it comes from and under which terms.
        notes: counts, choices and warnings that a reader should know.
        recipe: settings of `RunConfig` that suit this data set (``{"fit": {"epochs": 20}}``).
    """

    name: str
    modalities: tuple[Modality, ...]
    task: str
    num_outputs: int
    class_names: tuple[str, ...] = ()
    group: str = ""
    source: str = ""
    notes: tuple[str, ...] = ()
    recipe: Mapping[str, Any] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """The modalities' names."""
        return tuple(m.name for m in self.modalities)

    def make_task(self) -> Task:
        """Return the task object."""
        return make_task(self.task, self.num_outputs)

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> DataInfo:
        """Read what ``dataclasses.asdict`` wrote."""
        modalities = tuple(Modality(**{**m, "shape": tuple(m["shape"])}) for m in fields["modalities"])
        tuples = {k: tuple(fields[k]) for k in ("class_names", "notes") if k in fields}
        return cls(**{**fields, **tuples, "modalities": modalities})


@dataclass(frozen=True)
class Split:
    """Some samples: one array of shape ``(N, ...)`` per modality, targets, and groups where they are known.

    Arrays keep their storage type (uint8 images, float16 sensors); `batch` gives float32, images and videos of uint8
    divided by 255.
    """

    arrays: Mapping[str, np.ndarray]
    target: np.ndarray
    group: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.target)

    def batch(self, index: Tensor | np.ndarray | list[int]) -> Batch:
        """Return the samples at ``index`` as one `Batch`."""
        index = torch.as_tensor(index, dtype=torch.long)
        rows = index.numpy()
        inputs = {m: _tensor(array[rows]) for m, array in self.arrays.items()}
        return Batch(inputs, torch.from_numpy(self.target[rows]), index)

    def batches(self, size: int) -> Iterator[Batch]:
        """Yield all samples in order, ``size`` at a time."""
        for start in range(0, len(self), size):
            yield self.batch(torch.arange(start, min(start + size, len(self))))

    def subset(self, index: np.ndarray) -> Split:
        """Return a split of some of the samples (renumbered from 0)."""
        group = None if self.group is None else self.group[index]
        return Split({m: array[index] for m, array in self.arrays.items()}, self.target[index], group)


def _tensor(array: np.ndarray) -> Tensor:
    if array.dtype == np.uint8:
        return torch.from_numpy(array).float().div_(255)
    if array.dtype.kind == "f":
        return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.int64))


@dataclass(frozen=True)
class MultimodalData:
    """Train, validation and test: always three sets, checked at construction.

    Selection is on validation and the test set is touched once, so a validation set that equals the test set is
    refused.

    Raises:
        DataError: for an empty split, fewer than two modalities, NaN or infinite inputs (which modality, which
            samples), labels outside 0..C-1, arrays of unequal length or of a type that their kind does not have, or
            validation equal to test (in whatever order).
    """

    info: DataInfo
    train: Split
    val: Split
    test: Split

    def __post_init__(self) -> None:
        names = self.info.names
        if len(names) < 2:
            raise DataError(
                f"A multimodal data set needs at least two modalities. `{self.info.name}` has {len(names)}: "
                f"{', '.join(names) or 'none'}."
            )
        task = self.info.make_task()
        for part in SPLITS:
            _check_split(self.info, part, self.split(part), task)
        if len(self.val) == len(self.test) and _same(self.val, self.test):
            raise DataError(
                f"The validation set of `{self.info.name}` is its test set ({len(self.test)} samples). The best epoch would be chosen "
                "on the test set; give a validation set of its own, cut from the training set."
            )

    def split(self, name: str) -> Split:
        """Return the split called ``train``, ``val`` or ``test``."""
        split: Split = getattr(self, name)
        return split

    def fingerprint(self) -> str:
        """Return a hash of what the arrays hold, so that a run on other data has another key.

        Up to 256 rows of every array go into it. Recipe and notes do not: they change nothing by themselves.
        """
        known = {k: v for k, v in asdict(self.info).items() if k not in ("recipe", "notes")}
        digest = hashlib.sha256(json.dumps(known, sort_keys=True, default=str).encode())
        for part in SPLITS:
            split = self.split(part)
            group = () if split.group is None else (split.group,)
            for array in (*split.arrays.values(), split.target, *group):
                digest.update(str((array.shape, array.dtype)).encode())
                rows = np.linspace(0, len(array) - 1, min(len(array), 256)).astype(int)
                digest.update(np.ascontiguousarray(array[rows]).tobytes())
        return digest.hexdigest()[:16]


def _same(a: Split, b: Split) -> bool:
    """Tell whether two splits of equal length hold the same samples, in whatever order."""
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
        if array.shape != (len(split), *modality.shape):
            raise DataError(
                f"Modality `{modality.name}` of {where} should have shape {(len(split), *modality.shape)}. Found {array.shape}."
            )
        _check_type(where, modality, array)
        if array.dtype.kind == "f":
            bad = np.flatnonzero(~np.isfinite(array.reshape(len(array), -1)).all(1))
            if len(bad):
                shown = ", ".join(map(str, bad[:5])) + (", ..." if len(bad) > 5 else "")
                raise DataError(
                    f"Modality `{modality.name}` of {where} holds NaN or inf in {len(bad)} of {len(split)} samples: {shown}. "
                    "Remove or impute them."
                )
    if split.group is not None and len(split.group) != len(split):
        raise DataError(f"{where} should have one group per sample. Found {len(split.group)} for {len(split)} samples.")
    try:
        task.check_target(torch.from_numpy(np.asarray(split.target)))
    except DataError as error:
        raise DataError(f"{where}: {error}") from error


def _check_type(where: str, modality: Modality, array: np.ndarray) -> None:
    name = f"Modality `{modality.name}` of {where}"
    if modality.kind == "tokens":
        low, high = (int(array.min()), int(array.max())) if array.dtype.kind in "iu" and array.size else (0, -1)
        if array.dtype.kind not in "iu" or low < 0 or high >= modality.vocabulary:
            found = f"{array.dtype} in {low}..{high}" if array.dtype.kind in "iu" else str(array.dtype)
            raise DataError(f"{name} should hold token ids in 0..{modality.vocabulary - 1}. Found {found}.")
    elif array.dtype.kind != "f" and array.dtype != np.uint8:
        raise DataError(
            f"{name} should hold floats, or uint8 pixels. Found {array.dtype}; give array.astype('float32')."
        )


def save_prepared(data: MultimodalData, out: Path) -> None:
    """Write a data set as a Hugging Face ``DatasetDict`` with one fixed-size list per modality, and what is known
    about it in a JSON beside it.

    Written into a temporary folder and renamed, so that nothing half-written is left.

    Raises:
        OutputError: if ``out`` exists and is no prepared data set, or cannot be written.
    """
    import shutil

    import datasets

    if out.is_file() or (out.is_dir() and any(out.iterdir()) and not (out / META).is_file()):
        raise OutputError(f"`{out}` exists and holds something else. Choose an empty --out.")
    temporary: Path | None = None
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))  # its own: runs may prepare at once
        parts = {part: _to_arrow(data.info, data.split(part)) for part in SPLITS}
        with _quiet():
            datasets.DatasetDict(parts).save_to_disk(str(temporary))
        (temporary / META).write_text(json.dumps(asdict(data.info), indent=1, default=list))
        temporary.chmod(0o755)
        if out.exists():
            shutil.rmtree(out)
        temporary.replace(out)
    except OSError as error:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
        raise OutputError(
            f"Could not write `{out}`: {error.strerror or error}. Nothing was left half-written."
        ) from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Switch the progress bars of `datasets` off, and on again if they were."""
    import datasets

    shown = datasets.is_progress_bar_enabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if shown:
            datasets.enable_progress_bars()


def _to_arrow(info: DataInfo, split: Split) -> Any:
    import datasets
    import pyarrow as pa

    columns: dict[str, Any] = {}
    for m, array in split.arrays.items():
        flat = pa.array(np.ascontiguousarray(array).reshape(-1))
        columns[m] = pa.FixedSizeListArray.from_arrays(flat, int(np.prod(array.shape[1:])))
    target = split.target
    columns["label"] = (
        pa.array(target)
        if target.ndim == 1
        else pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(target).reshape(-1)), target.shape[1])
    )
    if split.group is not None:
        columns["group"] = pa.array(split.group.tolist() if split.group.dtype.kind == "U" else split.group)
    return datasets.Dataset(pa.table(columns))


def load_prepared(folder: Path) -> MultimodalData:
    """Read what `save_prepared` wrote. Arrays come memory-mapped from Arrow and are copied once, contiguous.

    Raises:
        NotFoundError: if the folder is not there or holds no prepared data.
        DataError: if what is there is damaged.
    """
    import datasets

    if not (folder / META).is_file():
        raise NotFoundError(
            f"There is no prepared data set in `{folder}`. `counterpoise prepare NAME --out {folder}` makes one."
        )
    try:
        info = DataInfo.from_dict(json.loads((folder / META).read_text()))
        parts = datasets.load_from_disk(str(folder))
        splits = {part: _from_arrow(info, parts[part]) for part in SPLITS}
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise DataError(
            f"The prepared data set in `{folder}` is damaged ({type(error).__name__}: {error}). "
            "Delete the folder and prepare it again."
        ) from error
    return MultimodalData(info, **splits)


def _from_arrow(info: DataInfo, part: Any) -> Split:
    table = part.data.table

    def column(name: str, shape: tuple[int, ...]) -> np.ndarray:
        chunks = [chunk.flatten() if shape else chunk for chunk in table.column(name).chunks]
        flat = np.concatenate([chunk.to_numpy(zero_copy_only=False) for chunk in chunks])
        return flat.reshape(-1, *shape)

    arrays = {m.name: column(m.name, m.shape) for m in info.modalities}
    target = column("label", () if info.task == "multiclass" else (info.num_outputs,))
    group = column("group", ()) if "group" in part.column_names else None
    if group is not None and group.dtype == object:
        group = group.astype(str)
    return Split(arrays, target, group)
