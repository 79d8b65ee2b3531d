"""Data sets from arrays in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, get_args

import numpy as np

from counterpoise._arrays import as_numpy, named_arrays
from counterpoise._validation import Interval, Options, check_keys
from counterpoise.config import MAX_SEED
from counterpoise.data._core import DataInfo, Kind, Modality, MultimodalData, Split
from counterpoise.data._gaps import blanked, separate_absent, without_gaps
from counterpoise.data._kinds import kind_of
from counterpoise.data._mapped import check_finite
from counterpoise.data._precision import keep_digits
from counterpoise.data._schema import check_recipe
from counterpoise.data._splits import draw_splits, first_copies, given_splits, shared_groups, shared_rows
from counterpoise.data._targets import Targets, make_targets, standardise_targets
from counterpoise.data.absence import absence_notes
from counterpoise.errors import DataError

__all__ = ["from_arrays"]

AXES: Final[Mapping[str, tuple[int, ...]]] = {
    "vector": (2,),
    "sequence": (3,),
    "image": (3, 4),
    "video": (5,),
    "tokens": (2,),
}
"""Number of axes of an array of a kind; grey images may lack the axis of the channel."""


def from_arrays(
    arrays: Mapping[str, Any],
    label: Any,
    *,
    name: str = "arrays",
    split: np.ndarray | Sequence[str] | None = None,
    group: np.ndarray | Sequence[Any] | None = None,
    kinds: Mapping[str, Kind] | None = None,
    task: str | None = None,
    num_classes: int | None = None,
    class_names: Sequence[str] = (),
    rates: Mapping[str, float] | None = None,
    present: Mapping[str, Any] | None = None,
    seed: int = 0,
    source: str = "",
    notes: Sequence[str] = (),
    recipe: Mapping[str, Any] | None = None,
) -> MultimodalData:
    """Make a data set of arrays ``(N, ...)``, one per modality.

    The kind of a modality follows from its shape: ``(N,)`` and ``(N, D)`` are vectors (token ids if the modality is
    called ``tokens`` or ``*_tokens``), ``(N, T, D)`` a sequence, ``(N, H, W)`` an image with one channel if it is uint8
    or square from 8 x 8 on, ``(N, C, H, W)`` an image, ``(N, T, C, H, W)`` a video; uint8 pixels count as 0..255. The
    task follows from the labels: names and whole numbers of few values are classes (numbered 0..C-1, and their names
    kept, where they are not that already), zeros and ones ``(N, C)`` are several labels, other numbers are regression.

    `DataInfo.notes` lists these assumptions, copies of samples, and groups that are in two splits. Numbers are stored
    as float32; columns whose digits it cannot hold (seconds since 1970) are standardised first.

    Samples may lack modalities: mark them with ``present``, or with rows that hold only NaN (or None in a list of
    arrays). Every sample needs one modality. A row that is NaN in part is an error. The notes say how often each
    modality is present, and warn if its absence is not independent of the label.

    Args:
        arrays: The modalities, in order: NumPy arrays, tensors, sparse matrices or lists.
        label: The targets.
        name: Name of the data set.
        split: 'train', 'val' or 'test' of each sample; drawn 70/10/20, stratified, if None.
        group: Groups that must not be in two splits; whole groups are drawn then.
        kinds: Kind of each modality whose shape is ambiguous.
        task: ``multiclass``, ``multilabel`` or ``regression``, None to infer it from the labels.
        num_classes: C, None to infer it from the labels; labels outside 0..C-1 are an error.
        class_names: C names.
        rates: Samples per second of sequences and waveforms, where a page should show seconds and play sound.
        present: Which samples have a modality, ``{m: (N,) bool}``, for those that some samples lack. The rows of
            samples that lack it are not read.
        seed: Seed of the drawn split.
        source: Source of the data.
        notes: Notes for the reader of a report.
        recipe: Settings of `RunConfig` that suit the data.

    Raises:
        DataError: If arrays have unequal lengths, hold NaN or inf (which modality, which samples) or channels last, if
            labels are outside 0..C-1, a split has an unknown name or is empty, or there is one modality only.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> data = from_arrays({"a": rng.normal(size=(100, 4)), "b": rng.normal(size=(100, 50, 3))}, ["no", "yes"] * 50)
        >>> [m.kind for m in data.info.modalities], data.info.class_names
        (['vector', 'sequence'], ('no', 'yes'))
        >>> len(data.train), len(data.val), len(data.test)
        (70, 10, 20)

        Half of the samples have no ``b``:

        >>> arrays = {"a": rng.normal(size=(100, 4)), "b": rng.normal(size=(100, 3))}
        >>> data = from_arrays(arrays, ["no", "no", "yes", "yes"] * 25, present={"b": np.arange(100) % 2 == 0})
        >>> data.info.notes[-1], data.is_complete
        ('samples that have a modality: b 50.0%', False)
    """
    _check_settings(arrays, kinds, rates, present, num_classes, class_names, seed)
    given = {m: as_numpy(without_gaps(array)) for m, array in named_arrays(arrays).items()}
    _check_lengths(name, given, as_numpy(label), split, group)
    given, masks = separate_absent(given, present or {})
    shaped = {m: _as_modality(m, array, (kinds or {}).get(m)) for m, array in given.items()}
    stored = {m: blanked(array, None if masks is None else masks[m]) for m, (_, array, _) in shaped.items()}
    assumed = [note for _, _, note in shaped.values() if note]
    targets = make_targets(label, task, num_classes, tuple(class_names))
    group = _groups(group)
    parts, drawn = _parts(_compared(stored, masks), targets, split, group, name, seed)
    targets = standardise_targets(targets, parts["train"])
    info = DataInfo(
        name=name,
        modalities=_with_rates([one for one, _, _ in shaped.values()], rates or {}),
        task=targets.task,
        num_outputs=targets.num_outputs,
        class_names=targets.class_names,
        group="group" if group is not None else "",
        source=source,
        notes=(
            *notes,
            *assumed,
            *targets.notes,
            *drawn,
            *_absent_classes(targets, parts),
            *absence_notes(masks, targets.values, targets.task),
        ),
        recipe=check_recipe(recipe or {}),
        target_offset=targets.offset,
        target_unit=targets.unit,
    )
    whole = Split(stored, targets.values, group, present=masks)
    return MultimodalData(info, **{part: whole.subset(_as_slice(rows)) for part, rows in parts.items()})


def _check_settings(
    arrays: Mapping[str, Any],
    kinds: Mapping[str, Kind] | None,
    rates: Mapping[str, float] | None,
    present: Mapping[str, Any] | None,
    num_classes: int | None,
    class_names: Sequence[str],
    seed: int,
) -> None:
    """Raise an error for arguments of `from_arrays` that are impossible whatever the arrays hold."""
    named = named_arrays(arrays)
    check_keys("`kinds` of `from_arrays`", kinds or {}, named)
    check_keys("`rates` of `from_arrays`", rates or {}, named)
    check_keys("`present` of `from_arrays`", present or {}, named)
    for kind in (kinds or {}).values():
        Options(get_args(Kind)).check("from_arrays", "kinds", kind)
    for rate in (rates or {}).values():
        Interval(0).check("from_arrays", "rates", rate)
    if num_classes is not None:
        Interval(1, integer=True).check("from_arrays", "num_classes", num_classes)
    if not all(isinstance(name, str) for name in class_names) or len(set(class_names)) < len(class_names):
        raise DataError(f"`class_names` should be texts that differ. Found {', '.join(map(repr, class_names))}.")
    Interval(0, MAX_SEED, "[]", integer=True).check("from_arrays", "seed", seed)


def _with_rates(modalities: Sequence[Modality], rates: Mapping[str, float]) -> tuple[Modality, ...]:
    return tuple(replace(m, rate=float(rates.get(m.name, 0))) for m in modalities)


def _parts(
    arrays: Mapping[str, np.ndarray],
    targets: Targets,
    split: np.ndarray | Sequence[str] | None,
    group: np.ndarray | None,
    name: str,
    seed: int,
) -> tuple[dict[str, np.ndarray], list[str]]:
    """Return the positions of each split, and notes."""
    copies = first_copies(arrays) if arrays else None
    if split is None:
        parts = draw_splits(targets.values, group, copies, seed)
        by = "by group" if group is not None else "by sample, stratified"
        notes = [f"split 70/10/20 drawn {by}, seed {seed}"]
        return parts, [*notes, *shared_rows(copies, parts, drawn=group is None)]
    parts = given_splits(split, name)
    leaked = [] if group is None else shared_groups(group, parts)
    return parts, [*leaked, *shared_rows(copies, parts, drawn=False)]


def _compared(arrays: Mapping[str, np.ndarray], masks: Mapping[str, np.ndarray] | None) -> dict[str, np.ndarray]:
    """Return the arrays that are compared to find copies of samples; absent rows never count as equal."""
    if masks is None:
        return dict(arrays)
    complete = np.all(list(masks.values()), 0)
    return {**arrays, "": np.where(complete, 0, np.arange(1, len(complete) + 1))[:, None]}


def _as_slice(rows: np.ndarray) -> Any:
    """Return consecutive positions as a slice, so that a split is a view and not a copy."""
    if len(rows) and rows[-1] - rows[0] == len(rows) - 1 and (np.diff(rows) == 1).all():
        return slice(int(rows[0]), int(rows[-1]) + 1)
    return rows


def _groups(group: Any) -> np.ndarray | None:
    if group is None:
        return None
    values = as_numpy(group)
    if values.dtype != object:
        return values
    missing = [k for k, value in enumerate(values.tolist()) if value is None or value != value]
    if missing:
        raise DataError(
            f"`group` should name a group for every sample. Found none for {len(missing)} of {len(values)} samples: "
            f"{', '.join(map(str, missing[:5]))}. Give each of these a group of its own."
        )
    return values.astype(str)


def _check_lengths(name: str, arrays: Mapping[str, Any], label: Any, split: Any, group: Any) -> None:
    extra = {"label": label, "split": split, "group": group}
    columns = {**arrays, **{k: v for k, v in extra.items() if v is not None}}
    flat = [k for k, v in columns.items() if not np.ndim(v)]
    if flat:
        raise DataError(f"`{flat[0]}` of `{name}` should have one entry per sample. Found a single value.")
    sizes = {k: len(v) for k, v in columns.items()}
    if len(set(sizes.values())) > 1:
        lengths = ", ".join(f"`{k}`: {n}" for k, n in sizes.items())
        raise DataError(f"Every array of `{name}` should have one row per sample. Found {lengths}.")
    if not len(label):
        raise DataError(f"`{name}` holds no samples.")


def _as_modality(m: str, array: np.ndarray, kind: Kind | None) -> tuple[Modality, np.ndarray, str]:
    """Return the description of a modality, its numbers in their storage type, and a list of notes."""
    array = _real_numbers(m, array)
    array = array[:, None] if array.ndim == 1 else array
    if len(array) and not array.size:
        raise DataError(f"Modality `{m}` has no columns: its shape is {array.shape}. Leave it out.")
    if kind is not None and array.ndim not in AXES[kind]:
        raise DataError(
            f"Modality `{m}` of the kind {kind} should have {' or '.join(map(str, AXES[kind]))} axes. Found shape "
            f"{array.shape}."
        )
    kind = kind or kind_of(m, array.shape[1:], array.dtype)
    if kind == "tokens":
        return (*_tokens(m, array), "")
    if kind == "image" and array.ndim == 3:
        array = array[:, None]
    if array.dtype == np.uint8 and kind in ("image", "video"):
        return Modality(m, kind, array.shape[1:]), array, ""
    array, note = _as_floats(m, kind, array)
    return Modality(m, kind, array.shape[1:]), array, note


def _as_floats(m: str, kind: Kind, array: np.ndarray) -> tuple[np.ndarray, str]:
    """Return finite numbers as float32 (float16 stays float16), and a list of notes."""
    note = ""
    if kind in ("vector", "sequence") and array.dtype.kind in "iuf":
        array, note = (array, "") if array.dtype.itemsize == 2 else keep_digits(m, array)
    if array.dtype != np.float16:
        with np.errstate(over="ignore"):  # what does not fit float32 becomes inf and is reported below
            array = array.astype(np.float32, copy=False)
    check_finite(f"Modality `{m}`", array)
    return array, note


def _real_numbers(m: str, array: np.ndarray) -> np.ndarray:
    if array.dtype == object:
        try:
            array = array.astype(np.float64)
        except (TypeError, ValueError) as error:
            raise DataError(
                f"`{m}` holds Python objects (dtype object). Give numbers of equal shape in every row."
            ) from error
    if array.dtype.kind not in "uibf":
        raise DataError(f"Modality `{m}` should hold numbers. Found {array.dtype}. Encode text as integer token ids.")
    return array


def _tokens(m: str, array: np.ndarray) -> tuple[Modality, np.ndarray]:
    if array.ndim != 2 or array.dtype.kind not in "ui" or array.min(initial=0) < 0:
        negative = f" with {array.min()}" if array.dtype.kind == "i" and array.min(initial=0) < 0 else ""
        raise DataError(
            f"Modality `{m}` should hold token ids: integers from 0 (padding) of shape (N, L). Found {array.dtype} of "
            f"shape {array.shape}{negative}."
        )
    return Modality(m, "tokens", array.shape[1:], vocabulary=max(int(array.max(initial=0)) + 1, 2)), array


def _absent_classes(targets: Targets, parts: Mapping[str, np.ndarray]) -> list[str]:
    values = targets.values
    if targets.task != "multiclass" or values.min() < 0 or values.max() >= targets.num_outputs:
        return []
    absent = sorted(set(np.unique(values).tolist()) - set(np.unique(values[parts["train"]]).tolist()))
    names = [targets.class_names[k] if targets.class_names else str(k) for k in absent]
    return [f"classes without a training sample: {', '.join(names[:10])}"] if absent else []
