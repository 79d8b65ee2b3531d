"""The catalogue of data sets, and functions that open and prepare them. Importing it needs no torch."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from counterpoise._validation import Interval
from counterpoise.catalogue import Catalogue
from counterpoise.data.datasets._av_mnist_rows import av_mnist_rows
from counterpoise.data.datasets._entry import DataEntry
from counterpoise.data.datasets._feature_rows import (
    fashion_rows,
    multiview_rows,
    sensor_rows,
    shipped_rows,
    synthetic_rows,
)
from counterpoise.data.datasets._raw_rows import raw_rows
from counterpoise.errors import ConfigError, NotFoundError, OutputError

if TYPE_CHECKING:
    from counterpoise.data._core import MultimodalData
    from counterpoise.data.preparation import Settings

__all__ = [
    "DATASETS",
    "DEFAULT_RAW",
    "DataEntry",
    "PrepareSummary",
    "cache_folder",
    "open_data",
    "prepare",
    "split_of_seed",
]

DATASETS: Final = Catalogue(
    "data set",
    [
        *shipped_rows(),
        *av_mnist_rows(),
        *sensor_rows(),
        *fashion_rows(),
        *multiview_rows(),
        *raw_rows(),
        *synthetic_rows(),
    ],
)
DEFAULT_RAW: Final = Path("data")
"""Default folder of the raw data, in the current folder; the environment variable COUNTERPOISE_DATA overrides it."""


@dataclass(frozen=True)
class PrepareSummary:
    """Result of preparing a data set.

    Attributes:
        name: The data set.
        out: Folder of the prepared set.
        samples: Number of samples by split.
        classes: Number of classes, labels or targets.
        modalities: Shape of one sample by modality.
        notes: Choices that were made, and what was missing or broken.
        left_out: Number of samples that could not be read.
    """

    name: str
    out: Path
    samples: Mapping[str, int]
    classes: int
    modalities: Mapping[str, tuple[int, ...]]
    notes: tuple[str, ...] = ()
    left_out: int = 0

    def __str__(self) -> str:
        counts = ", ".join(f"{count:,} {part}" for part, count in self.samples.items())
        shapes = ", ".join(f"{m} {'x'.join(map(str, shape))}" for m, shape in self.modalities.items())
        lines = [f"{self.name}: {counts}; {self.classes} outputs; {shapes}", *(f"  {note}" for note in self.notes)]
        return "\n".join(
            [*lines, f"Written to {self.out}. Use it: counterpoise train --data {self.out} --method joint"]
        )


def raw_folder(source: Path | str | None = None) -> Path:
    """Return the folder of the raw data: ``source``, else COUNTERPOISE_DATA, else `DEFAULT_RAW`."""
    return Path(source or os.environ.get("COUNTERPOISE_DATA") or DEFAULT_RAW)


def cache_folder(entry: DataEntry) -> Path:
    """Return the folder in which a prepared data set is kept, below COUNTERPOISE_CACHE or ``~/.cache/counterpoise``."""
    root = os.environ.get("COUNTERPOISE_CACHE")
    return (Path(root) if root else Path.home() / ".cache" / "counterpoise") / f"{entry.name}-v{entry.version}"


def split_of_seed(name: Path | str, seed: int) -> int | None:
    """Return the split that a run with a seed uses: seed k uses split k (modulo their number), if there are several.

    Example:
        >>> split_of_seed("kanji", 3), split_of_seed("kanji", 7), split_of_seed("smartwatch", 3)
        (3, 2, None)
    """
    entry = DATASETS.get(str(name))
    return seed % entry.splits if entry is not None and entry.splits > 1 else None


def open_data(name: Path | str, *, split: int | None = None) -> MultimodalData:
    """Open a data set: a name of the catalogue, a folder of prepared data, or an ``.npz`` of your own.

    A set of the catalogue that needs raw files is prepared into the cache the first time.

    Args:
        name: Name, folder or file.
        split: Number of the seeded split, from 0, for a set of the catalogue that has several (``kanji`` has five);
            the first if None.

    Raises:
        ConfigError: If the data set has no such split.
        NotFoundError: For an unknown name (with the nearest), a path that does not exist, or missing raw files (which
            ones, and in which folder).
        DataError: If the data would silently produce incorrect results.

    Example:
        >>> open_data("world-xor").info.names
        ('a', 'b')
    """
    from counterpoise.data._npz import load_npz
    from counterpoise.data._prepared import META, load_prepared

    if not isinstance(name, (str, Path)):
        raise ConfigError(f"A data set is opened by its name or path. Found {name!r}.")
    path = Path(name)
    _check_split(name, split)
    if path.suffix == ".npz":
        return load_npz(path)
    if (path / META).is_file():
        return load_prepared(path)
    entry = _entry_of(name, path)
    if entry.raw:
        raise NotFoundError(
            f"`{name}` is prepared once from the files that you have downloaded, and opened from where it was written: "
            f"counterpoise prepare {name} --source RAW --out DIR, then --data DIR. RAW should hold: {entry.layout}."
        )
    if not entry.files:
        chosen = {"split": split or 0} if entry.splits > 1 else {}
        return _named(entry, entry.load()(**entry.options, **chosen))
    return _named(entry, load_prepared(_prepared_cache(entry)))


def _entry_of(name: Path | str, path: Path) -> DataEntry:
    """Return the entry of a name; paths get a message of their own."""
    if str(name) not in DATASETS and (path.exists() or len(path.parts) > 1):
        problem = "holds no prepared data" if path.exists() else "does not exist"
        raise NotFoundError(
            f"`{name}` {problem}. Give an .npz, a folder written by `counterpoise prepare`, or one of: "
            f"{', '.join(DATASETS)}."
        )
    return DATASETS[str(name)]


def _prepared_cache(entry: DataEntry) -> Path:
    """Return the folder of a data set in the cache, which is prepared the first time."""
    from counterpoise.data._prepared import META

    cached = cache_folder(entry)
    if not (cached / META).is_file():
        try:
            prepare(entry.name, raw_folder(), cached)
        except OutputError:
            if not (cached / META).is_file():  # else another run was quicker
                raise
    return cached


def _check_split(name: Path | str, split: int | None) -> None:
    entry = DATASETS.get(str(name))
    splits = 1 if entry is None else entry.splits
    if split is not None and (isinstance(split, bool) or split not in range(splits)):
        known = f"0 to {splits - 1}" if splits > 1 else "0, because the data set has one split only"
        raise ConfigError(f"Parameter `split` of `{name}` should be {known}. Found `split = {split}`.")


def prepare(
    name: str,
    source: Path | str | None,
    out: Path | str,
    *,
    settings: Settings | None = None,
    jobs: int | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> PrepareSummary:
    """Build a data set from its raw files and write it as a Hugging Face ``DatasetDict``.

    Args:
        name: A name of the catalogue.
        source: Folder of the raw data; COUNTERPOISE_DATA or `DEFAULT_RAW` if None.
        out: Folder to write. It must be empty, new, or hold an earlier version of the same set.
        settings: Choices, for sets of videos, images, texts and features.
        jobs: Number of processes, for such sets; None uses one per core.
        on_progress: Function that is called with the numbers of prepared samples and of all samples.

    Raises:
        NotFoundError: For an unknown name, or missing raw files.
        OutputError: If ``out`` holds other files or cannot be written.
        ConfigError: For a setting that the data set does not depend on.
    """
    from counterpoise.data._core import SPLITS
    from counterpoise.data._prepared import META, save_prepared

    entry, out = DATASETS[name], Path(out)
    if jobs is not None:
        Interval(1, integer=True).check("prepare", "jobs", jobs)
    if out.is_file() or (out.is_dir() and any(out.iterdir()) and not (out / META).is_file()):
        raise OutputError(f"`{out}` exists and is not a prepared set of this data. Choose an empty --out.")
    if not entry.raw:
        _refuse_ignored(entry, settings, ())
    if entry.raw:
        return _prepare_raw(entry, Path(source or "."), out, settings, jobs, on_progress)
    if entry.files:
        folder = raw_folder(source)
        _require(entry, folder)
        built = entry.load()(folder, **entry.options)
    else:
        built = entry.load()(**entry.options)
    data = _named(entry, built)
    save_prepared(data, out)
    return PrepareSummary(
        name=name,
        out=out,
        samples={part: len(data.split(part)) for part in SPLITS},
        classes=data.info.num_outputs,
        modalities={m.name: m.shape for m in data.info.modalities},
        notes=data.info.notes,
    )


def _prepare_raw(
    entry: DataEntry,
    source: Path,
    out: Path,
    settings: Settings | None,
    jobs: int | None,
    on_progress: Callable[[int, int], None] | None,
) -> PrepareSummary:
    from counterpoise.data.preparation import FINDINGS, Settings, prepare_index

    if not source.exists():
        raise NotFoundError(
            f"There is no `{source}`. Give the folder of the download as --source; it should hold: {entry.layout}."
        )
    index = entry.load()(source, settings or Settings(), **entry.options)
    _refuse_ignored(entry, settings, [name for reader in index.readers.values() for name in reader.settings])
    name = source.stem if entry.name == "own" else entry.name
    report = prepare_index(index, out, name=name, recipe=entry.recipe, jobs=jobs, on_progress=on_progress)
    pointer = [f"the whole list of findings: {out / FINDINGS}"] if report.findings else []
    return PrepareSummary(
        name=name,
        out=out,
        samples=report.samples,
        classes=report.info.num_outputs,
        modalities={m.name: m.shape for m in report.info.modalities},
        notes=(*report.info.notes, *pointer),
        left_out=report.left_out,
    )


def _refuse_ignored(entry: DataEntry, settings: Settings | None, read: Iterable[str]) -> None:
    """Raise `ConfigError` for a setting that would change nothing."""
    used = {*entry.choices, *read}
    ignored = [name for name in (settings.given() if settings is not None else ()) if name not in used]
    if ignored:
        options = " and ".join(f"--{name}" for name in ignored)
        taken = ", ".join(f"--{name}" for name in sorted(used)) or "none"
        raise ConfigError(
            f"The preparation of `{entry.name}` does not depend on {options}. Leave it out. It takes: {taken}."
        )


def _named(entry: DataEntry, data: MultimodalData) -> MultimodalData:
    """Return the data with the catalogue's name and recipe, which an earlier version may have stored differently."""
    return dataclasses.replace(data, info=dataclasses.replace(data.info, name=entry.name, recipe=entry.recipe))


def _require(entry: DataEntry, folder: Path) -> None:
    missing = [file for file in entry.files if not (folder / file).is_file()]
    if missing:
        raise NotFoundError(
            f"The raw files of `{entry.name}` are not in `{folder}`: missing {', '.join(missing)}. Download them "
            f"({entry.reference}) into a folder, then set COUNTERPOISE_DATA to it or run: counterpoise prepare "
            f"{entry.name} --source FOLDER --out DIR"
        )
