"""The data sets by name, how they are opened, and how they are prepared from raw files. Importing it needs no torch."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from counterpoise.catalogue import Catalogue, Entry
from counterpoise.errors import NotFoundError, OutputError

if TYPE_CHECKING:
    from counterpoise.data._core import MultimodalData

__all__ = ["DATASETS", "DEFAULT_RAW", "DataEntry", "PrepareSummary", "cache_folder", "open_data", "prepare"]

DEFAULT_RAW: Final = Path("../shared/data")
"""The raw data folder beside the checkout; the environment variable COUNTERPOISE_DATA names another."""


@dataclass(frozen=True)
class DataEntry(Entry):
    """A data set's row. ``target`` is its builder: called with the raw folder and ``options``, or with ``options`` alone
    where ``files`` is empty.

    Attributes:
        modalities: what they are.
        files: the raw files that the builder reads, below the raw folder; empty if it needs none.
        options: what distinguishes a variant, handed to the builder.
        terms: licence or terms of use.
        recipe: settings of `RunConfig` that suit this data set.
        version: raised whenever the prepared data change.
    """

    modalities: str = ""
    files: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    terms: str = ""
    recipe: Mapping[str, Any] = field(default_factory=dict)
    version: int = 1


def _fit(epochs: int, batch_size: int = 64, width: int = 64, lr: float = 1e-3) -> dict[str, Any]:
    return {"fit": {"epochs": epochs, "batch_size": batch_size}, "model": {"width": width}, "optim": {"lr": lr}}


def _av_mnist() -> list[DataEntry]:
    rows = []
    for speakers in (False, True):
        for weak_image in (False, True):
            for babble in (False, True):
                flags = {"speakers": speakers, "weak-image": weak_image, "babble": babble}
                words = {
                    "speakers": "test speakers never heard in training",
                    "weak-image": "75 % of the image energy removed",
                    "babble": "four other recordings at -6 to 0 dB behind every test digit",
                }
                rows.append(
                    DataEntry(
                        "-".join(["av-mnist", *(flag for flag, on in flags.items() if on)]),
                        "counterpoise.data._av_mnist:av_mnist",
                        "; ".join(
                            ["written and spoken digits, paired by digit", *(words[f] for f in flags if flags[f])]
                        ),
                        "Vielzeuf et al. 2018 (arXiv 1808.07275)",
                        modalities="image 28x28, audio log-mel 32x32",
                        files=(
                            "mnist/train-images-idx3-ubyte.gz",
                            "mnist/train-labels-idx1-ubyte.gz",
                            "mnist/t10k-images-idx3-ubyte.gz",
                            "mnist/t10k-labels-idx1-ubyte.gz",
                            "free-spoken-digit-dataset/recordings.zip",
                        ),
                        options={
                            "speakers": speakers,
                            "weak_image": weak_image,
                            "babble": "test" if babble else "none",
                        },
                        terms="CC BY-SA (MNIST 3.0, FSDD 4.0)",
                        recipe=_fit(8, width=32),
                    )
                )
    return rows


def _multiview() -> list[DataEntry]:
    rows = (
        ("handwritten", "handwritten", "2,000 digits, six feature sets, 10 classes", "six vectors", "CC BY 4.0", 40),
        ("leaves100", "leaves100", "1,600 leaves of 100 species", "shape, margin, texture", "CC BY 4.0", 40),
        ("scene15", "scene15", "4,485 photographs of 15 scenes", "GIST, PHOG, LBP", "research", 40),
        (
            "wikipedia",
            "wikipedia_img_text",
            "2,866 Wikipedia articles of 10 topics, image and text features",
            "image, text",
            "research",
            40,
        ),
    )
    return [
        DataEntry(
            name,
            "counterpoise.data._multiview:multiview",
            summary,
            {"handwritten": "UCI Multiple Features", "leaves100": "UCI 100 plant species leaves"}.get(
                name, {"scene15": "Lazebnik et al. 2006", "wikipedia": "Rasiwasia et al. 2010"}.get(name, "")
            ),
            modalities=modalities,
            files=(f"multiview/{file}.npz",),
            options={"name": name},
            terms=terms,
            recipe=_fit(epochs),
        )
        for name, file, summary, modalities, terms, epochs in rows
    ]


def _fashion() -> list[DataEntry]:
    return [
        DataEntry(
            name,
            "counterpoise.data._fashion:fashion",
            summary,
            "Aggarwal, Fashion Product Images (Small)",
            modalities="image 3x40x30, title token ids",
            files=("fashion_small/fashion_small.parquet",),
            options={"masked": masked},
            terms="MIT as published; photographs by Myntra",
            recipe=_fit(12),
        )
        for name, masked, summary in (
            ("fashion", True, "13,978 products of 37 types, photograph and title without the words of its type"),
            ("fashion-titles", False, "the same with full titles, which give the type away"),
        )
    ]


def _worlds() -> list[DataEntry]:
    rows = (
        ("world-redundant", "Redundant", "known truth: both modalities show the same noisy copy of the class"),
        ("world-unique", "Unique", "known truth: each modality shows its own part of the class"),
        ("world-xor", "XOR", "known truth: the class is the exclusive or of the two modalities"),
        ("world-dominant", "Dominant", "known truth: an easy modality and a hard one, both needed"),
    )
    return [
        DataEntry(
            name,
            "counterpoise.data._synthetic:synthetic",
            summary,
            modalities="a, b: vectors",
            options={"world": world},
            recipe={"fit": {"epochs": 20}, "model": {"width": 32}},
        )
        for name, world, summary in rows
    ]


DATASETS = Catalogue(
    "data set",
    [
        DataEntry(
            "smartwatch",
            "counterpoise.data._smartwatch:smartwatch",
            "4,677 windows of seven shoulder exercises, split by subject; inside the package seglearn",
            "Burns et al. 2018 (arXiv 1802.01489)",
            modalities="accelerometer, gyroscope: 100x3",
            terms="BSD",
            recipe=_fit(20),
        ),
        *_av_mnist(),
        DataEntry(
            "utd-mhad",
            "counterpoise.data._utd_mhad:utd_mhad",
            "861 recordings of 27 actions by 8 subjects, split by subject",
            "Chen et al., ICIP 2015",
            modalities="inertial 128x6, skeleton 64x60, depth video 16x48x48",
            files=("utd_mhad/utd_mhad.npz",),
            terms="research",
            recipe=_fit(40, batch_size=32),
        ),
        *_fashion(),
        *_multiview(),
        *_worlds(),
    ],
)


@dataclass(frozen=True)
class PrepareSummary:
    """What came of preparing a data set.

    Attributes:
        name: the data set.
        out: where it is.
        samples: number of samples by split.
        classes: number of classes, labels or targets.
        modalities: shape of one sample by modality.
        notes: choices that were made, and what was missing or broken.
    """

    name: str
    out: Path
    samples: Mapping[str, int]
    classes: int
    modalities: Mapping[str, tuple[int, ...]]
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        counts = ", ".join(f"{count:,} {part}" for part, count in self.samples.items())
        shapes = ", ".join(f"{m} {'x'.join(map(str, shape))}" for m, shape in self.modalities.items())
        lines = [f"{self.name}: {counts}; {self.classes} outputs; {shapes}", *(f"  {note}" for note in self.notes)]
        return "\n".join(
            [*lines, f"Written to {self.out}. Use it: counterpoise train --data {self.out} --method joint"]
        )


def raw_folder(source: Path | str | None = None) -> Path:
    """Return where raw data are looked for: ``source``, else COUNTERPOISE_DATA, else `DEFAULT_RAW`."""
    return Path(source or os.environ.get("COUNTERPOISE_DATA") or DEFAULT_RAW)


def cache_folder(entry: DataEntry) -> Path:
    """Return where a data set is kept once it is prepared: below COUNTERPOISE_CACHE, or ``~/.cache/counterpoise``."""
    root = os.environ.get("COUNTERPOISE_CACHE")
    return (Path(root) if root else Path.home() / ".cache" / "counterpoise") / f"{entry.name}-v{entry.version}"


def open_data(name: Path | str) -> MultimodalData:
    """Open a data set: a name of the catalogue, a folder of prepared data, or an ``.npz`` of your own.

    A set of the catalogue that needs raw files is prepared into the cache the first time.

    Raises:
        NotFoundError: for an unknown name (with the nearest), a path that is not there, or missing raw files (which,
            and where they were looked for).
        DataError: if the data would give wrong numbers.

    Example:
        >>> open_data("world-xor").info.names
        ('a', 'b')
    """
    from counterpoise.data._arrays import load_npz
    from counterpoise.data._core import META, load_prepared

    path = Path(name)
    if path.suffix == ".npz":
        return load_npz(path)
    if (path / META).is_file():
        return load_prepared(path)
    if str(name) not in DATASETS and (path.exists() or len(path.parts) > 1):
        found = "holds no prepared data" if path.exists() else "is not there"
        raise NotFoundError(
            f"`{name}` {found}. Give an .npz, a folder written by `counterpoise prepare`, or one of: {', '.join(DATASETS)}."
        )
    entry = DATASETS[str(name)]
    if not entry.files:
        return _named(entry, entry.load()(**entry.options))
    cached = cache_folder(entry)
    if not (cached / META).is_file():
        prepare(entry.name, raw_folder(), cached)
    return _named(entry, load_prepared(cached))


def prepare(name: str, source: Path | str | None, out: Path | str) -> PrepareSummary:
    """Build a data set from its raw files and write it as a Hugging Face ``DatasetDict``.

    Args:
        name: a name of the catalogue.
        source: folder of the raw data; COUNTERPOISE_DATA or `DEFAULT_RAW` if None.
        out: folder to write; must be empty, not there, or an earlier version of the same.

    Raises:
        NotFoundError: for an unknown name, or missing raw files.
        OutputError: if ``out`` holds something else or cannot be written.
    """
    from counterpoise.data._core import META, SPLITS, save_prepared

    entry, out = DATASETS[name], Path(out)
    if out.is_file() or (out.is_dir() and any(out.iterdir()) and not (out / META).is_file()):
        raise OutputError(f"`{out}` exists and holds something else. Choose an empty --out.")
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


def _named(entry: DataEntry, data: MultimodalData) -> MultimodalData:
    """Give the data the catalogue's name and recipe, also where they were prepared by an earlier version."""
    return dataclasses.replace(data, info=dataclasses.replace(data.info, name=entry.name, recipe=entry.recipe))


def _require(entry: DataEntry, folder: Path) -> None:
    missing = [file for file in entry.files if not (folder / file).is_file()]
    if missing:
        raise NotFoundError(
            f"The raw files of `{entry.name}` are not in `{folder}`: missing {', '.join(missing)}. Download them ({entry.reference}) "
            f"into a folder, then set COUNTERPOISE_DATA to it or run: counterpoise prepare {entry.name} --source FOLDER --out DIR"
        )
