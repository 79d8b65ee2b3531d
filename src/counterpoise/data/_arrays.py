"""Your own features, as arrays in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np

from counterpoise._validation import nearest
from counterpoise.data._core import SPLITS, DataInfo, Kind, Modality, MultimodalData, Split
from counterpoise.data._sampling import holdout_split
from counterpoise.errors import DataError

__all__ = ["from_arrays"]

ALIASES: Final = {"valid": "val", "validation": "val", "dev": "val", "training": "train"}
SMALLEST_IMAGE: Final = 8


def from_arrays(
    arrays: Mapping[str, np.ndarray],
    label: np.ndarray | Sequence[Any],
    *,
    name: str = "arrays",
    split: np.ndarray | Sequence[str] | None = None,
    group: np.ndarray | Sequence[Any] | None = None,
    kinds: Mapping[str, Kind] | None = None,
    num_classes: int | None = None,
    class_names: Sequence[str] = (),
    rates: Mapping[str, float] | None = None,
    seed: int = 0,
    source: str = "",
    notes: Sequence[str] = (),
    recipe: Mapping[str, Any] | None = None,
) -> MultimodalData:
    """Make a data set of arrays ``(N, ...)``, one per modality.

    The kind of a modality follows from its shape: ``(N,)`` and ``(N, D)`` are vectors (token ids if the modality is called ``tokens``
    or ``*_tokens``), ``(N, T, D)`` a sequence, ``(N, H, W)`` an image if it is uint8 or square from 8 x 8 on, ``(N, C,
    H, W)`` an image, ``(N, T, C, H, W)`` a video; grey images ``(N, H, W)`` get one channel; uint8 pixels count as 0..255. The task follows from the labels:
    integers or strings ``(N,)`` are classes (mapped to 0..C-1, and their names kept, where they are not that already),
    zeros and ones ``(N, C)`` are several labels, floats are regression.

    Args:
        arrays: the modalities, in order.
        label: the targets.
        name: name of the data set.
        split: 'train', 'val' or 'test' of each sample; drawn 70/10/20, stratified, if None.
        group: who must not be in two splits; then whole groups are drawn.
        kinds: the kind of a modality, where the shape does not tell.
        num_classes: C, where the labels do not tell; labels outside 0..C-1 are then an error.
        class_names: C names.
        rates: samples per second of sequences and waveforms, where a page should show seconds and play sound.
        seed: seed of the drawn split.
        source: where the data come from.
        notes: what a reader should know.
        recipe: settings of `RunConfig` that suit the data.

    Raises:
        DataError: for arrays of unequal length, NaN or inf (which modality, which samples), labels outside 0..C-1, an
            unknown split name, an empty split, or one modality only.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> data = from_arrays({"a": rng.normal(size=(100, 4)), "b": rng.normal(size=(100, 50, 3))}, ["no", "yes"] * 50)
        >>> [m.kind for m in data.info.modalities], data.info.class_names, len(data.train), len(data.val), len(data.test)
        (['vector', 'sequence'], ('no', 'yes'), 70, 10, 20)
    """
    label = _no_objects("label", np.asarray(label))
    _check_lengths(name, arrays, label, split, group)
    shaped = {m: _as_modality(m, np.asarray(array), (kinds or {}).get(m)) for m, array in arrays.items()}
    target, task, num_outputs, found_names, remarks = _as_target(label, num_classes, tuple(class_names))
    group = None if group is None else _no_objects("group", np.asarray(group))
    if split is None:
        parts = _draw(target, group, seed)
        remarks.append(
            f"split 70/10/20 drawn {'by group' if group is not None else 'by sample, stratified'}, seed {seed}"
        )
    else:
        parts = _given(np.asarray(split), name)
    info = DataInfo(
        name=name,
        modalities=tuple(replace(modality, rate=float((rates or {}).get(m, 0))) for m, (modality, _) in shaped.items()),
        task=task,
        num_outputs=num_outputs,
        class_names=found_names,
        group="group" if group is not None else "",
        source=source,
        notes=(*notes, *remarks, *_absent(target, parts, task, num_outputs)),
        recipe=recipe or {},
    )
    whole = Split({m: array for m, (_, array) in shaped.items()}, target, group)
    return MultimodalData(info, **{part: whole.subset(rows) for part, rows in parts.items()})


def _no_objects(what: str, array: np.ndarray) -> np.ndarray:
    if array.dtype == object:
        if all(isinstance(value, str) for value in array.flat):
            return array.astype(str)
        raise DataError(f"`{what}` holds Python objects (dtype object). Give numbers or strings of equal shape.")
    return array


def _check_lengths(name: str, arrays: Mapping[str, Any], label: Any, split: Any, group: Any) -> None:
    extra = {"label": label, "split": split, "group": group}
    columns = {**arrays, **{k: v for k, v in extra.items() if v is not None}}
    flat = [k for k, v in columns.items() if not np.ndim(v)]
    if flat:
        raise DataError(f"`{flat[0]}` of `{name}` should have one entry per sample. Found a single value.")
    sizes = {k: len(v) for k, v in columns.items()}
    if len(set(sizes.values())) > 1:
        found = ", ".join(f"`{k}`: {n}" for k, n in sizes.items())
        raise DataError(f"Every array of `{name}` should have one row per sample. Found {found}.")
    if not len(label):
        raise DataError(f"`{name}` holds no samples.")


def _as_modality(m: str, array: np.ndarray, kind: Kind | None) -> tuple[Modality, np.ndarray]:
    array = _no_objects(m, array)
    if array.dtype.kind not in "uibf":
        raise DataError(f"Modality `{m}` should hold numbers. Found {array.dtype}. Encode text as integer token ids.")
    if array.ndim == 1:
        array = array[:, None]
    kind = kind or _kind(m, array)
    if kind == "tokens":
        return _tokens(m, array)
    if kind == "image" and array.ndim == 3:
        array = array[:, None]
    if array.dtype == np.uint8 and kind in ("image", "video"):
        return Modality(m, kind, array.shape[1:]), array
    if array.dtype != np.float16:
        with np.errstate(over="ignore"):  # what does not fit float32 becomes inf and is reported below
            array = array.astype(np.float32)
    bad = np.flatnonzero(~np.isfinite(array.reshape(len(array), -1)).all(1))
    if len(bad):
        shown = ", ".join(map(str, bad[:5])) + (", ..." if len(bad) > 5 else "")
        raise DataError(
            f"Modality `{m}` holds NaN or inf in {len(bad)} of {len(array)} samples: {shown}. Remove or impute them."
        )
    return Modality(m, kind, array.shape[1:]), array


def _tokens(m: str, array: np.ndarray) -> tuple[Modality, np.ndarray]:
    if array.ndim != 2 or array.dtype.kind not in "ui" or array.min(initial=0) < 0:
        raise DataError(
            f"Modality `{m}` should hold token ids: integers from 0 (padding) of shape (N, L). Found {array.dtype} of shape {array.shape}"
            + (f" with {array.min()}." if array.dtype.kind == "i" and array.min(initial=0) < 0 else ".")
        )
    return Modality(m, "tokens", array.shape[1:], vocabulary=max(int(array.max(initial=0)) + 1, 2)), array


def _kind(m: str, array: np.ndarray) -> Kind:
    if array.ndim == 2:
        return "tokens" if m == "tokens" or m.endswith("_tokens") else "vector"
    if array.ndim == 3:
        height, width = array.shape[1:]
        square = height == width >= SMALLEST_IMAGE
        return "image" if array.dtype == np.uint8 or square else "sequence"
    if array.ndim == 4:
        _, first, second, last = array.shape
        if last in (1, 3) and first == second > 3:
            raise DataError(
                f"Modality `{m}` looks like images with the channels last: {array.shape}. Images should be (N, C, H, W); "
                "transpose them: array.transpose(0, 3, 1, 2)."
            )
        return "image"
    if array.ndim == 5:
        return "video"
    raise DataError(
        f"Modality `{m}` should have 1 to 5 dimensions: (N,), (N, D), (N, T, D), (N, H, W), (N, C, H, W) or (N, T, C, H, W). "
        f"Found {array.ndim}: {array.shape}."
    )


Target = tuple[np.ndarray, str, int, tuple[str, ...], list[str]]


def _as_target(label: np.ndarray, num_classes: int | None, names: tuple[str, ...]) -> Target:
    """Return targets, task, number of outputs, class names and remarks."""
    if label.ndim == 2 and label.shape[1] == 1 and label.dtype.kind != "f":
        label = label[:, 0]
    if label.ndim > 2 or label.dtype.kind not in "uibfUS":
        raise DataError(
            f"`label` should be class ids or names (N,), zeros and ones (N, C), or reals (N,) or (N, C). Found {label.dtype} of shape {label.shape}."
        )
    if label.dtype.kind == "f":
        target = label.reshape(len(label), -1).astype(np.float32)
        whole = label.ndim == 1 and len(np.unique(label)) <= 100 and bool((label == np.floor(label)).all())
        remark = ["labels are whole numbers stored as floats: taken as regression; save integers if they are classes"]
        return target, "regression", target.shape[1], names, remark if whole else []
    if label.ndim == 2:
        if label.dtype.kind in "US":
            raise DataError(f"`label` should have one class name per sample. Found shape {label.shape}.")
        target = label.astype(np.int64)
        one_hot = ["every sample has exactly one label: if these are classes, save class ids (N,)"]
        return target, "multilabel", target.shape[1], names, one_hot if (target.sum(1) == 1).all() else []
    return _as_classes(label, num_classes, names)


def _as_classes(label: np.ndarray, num_classes: int | None, names: tuple[str, ...]) -> Target:
    if label.dtype.kind in "uib":
        target = label.astype(np.int64)
        found = np.unique(target)
        as_they_are = num_classes is not None or bool(names) or found[0] < 0 or found[-1] == len(found) - 1
        if as_they_are:
            size = num_classes or len(names) or int(found[-1]) + 1
            _check_classes(found, size)
            return target, "multiclass", size, names, []
        remark = f"class ids {found[0]}..{found[-1]} with gaps or not from 0 were numbered 0..{len(found) - 1}"
    else:
        remark = ""
    values, target = np.unique(label, return_inverse=True)
    known = tuple(v.decode() if isinstance(v, bytes) else str(v) for v in values)
    if names and label.dtype.kind in "US":  # the names give the order
        missing = sorted(set(known) - set(names))
        if missing:
            raise DataError(f"`label` holds `{missing[0]}`, which is not in `class_names`: {', '.join(names)}.")
        position = np.array([names.index(v) for v in known])
        known, target = names, position[target]
    _check_classes(np.unique(target), len(known))
    return target.astype(np.int64), "multiclass", len(known), known, [remark] if remark else []


def _check_classes(found: np.ndarray, size: int) -> None:
    if len(found) < 2 and size < 2:
        raise DataError("All samples have the same label. A task needs at least two classes.")


def _draw(target: np.ndarray, group: np.ndarray | None, seed: int) -> dict[str, np.ndarray]:
    if group is not None and len(np.unique(group)) < 3:
        raise DataError(
            f"A split by group needs at least three groups, one for each of train, val and test. Found {len(np.unique(group))}. "
            "Give `split` yourself, or leave `group` out."
        )
    rest, test = holdout_split(target, group, 0.2, seed)
    kept, held = holdout_split(target[rest], None if group is None else group[rest], 0.125, seed)
    return {"train": rest[kept], "val": rest[held], "test": test}


def _given(split: np.ndarray, name: str) -> dict[str, np.ndarray]:
    words = np.array([ALIASES.get(word, word) for word in _no_objects("split", split).astype(str)])
    strange = sorted(set(words) - set(SPLITS))
    if strange:
        raise DataError(
            f"`split` of `{name}` should say train, val or test of each sample. Found `{strange[0]}`.{nearest(strange[0], SPLITS)}"
        )
    return {part: np.flatnonzero(words == part) for part in SPLITS}


def _absent(target: np.ndarray, parts: Mapping[str, np.ndarray], task: str, size: int) -> list[str]:
    if task != "multiclass" or target.min() < 0 or target.max() >= size:
        return []
    gone = sorted(set(np.unique(target).tolist()) - set(np.unique(target[parts["train"]]).tolist()))
    return [f"classes without a training sample: {', '.join(map(str, gone[:10]))}"] if gone else []
