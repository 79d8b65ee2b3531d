"""The rows of the catalogue of data sets. Importing it needs no torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from counterpoise.catalogue import Catalogue, Entry

__all__ = ["DATASETS", "DataEntry"]


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
        splits: number of seeded splits, which ``split`` of the builder chooses from; 1 where the split is fixed.
        version: raised whenever the prepared data change.
        raw: whether ``target`` returns an `Index` of videos, images, texts or features that the user has downloaded: such a set is prepared once into a folder of
            the user's, and opened from there.
        layout: what the raw folder should hold, for such sets.
    """

    modalities: str = ""
    files: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    terms: str = ""
    recipe: Mapping[str, Any] = field(default_factory=dict)
    splits: int = 1
    version: int = 1
    raw: bool = False
    layout: str = ""


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
                        "counterpoise.data.datasets._av_mnist:av_mnist",
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
                        version=2 if babble else 1,
                    )
                )
    full = dataclasses.replace(
        rows[0],
        name="av-mnist-full",
        summary=f"{rows[0].summary}; the published size, 55,000 / 5,000 / 10,000 pairs",
        options={**rows[0].options, "sizes": (55000, 5000, 10000)},
        recipe=_fit(4, width=32),
    )
    return [*rows, full]


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
            "counterpoise.data.datasets._multiview:multiview",
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
            "counterpoise.data.datasets._fashion:fashion",
            summary,
            "Aggarwal, Fashion Product Images (Small)",
            modalities="image 3x40x30, title token ids",
            files=("fashion_small/fashion_small.parquet",),
            options={"masked": masked},
            terms="MIT as published; photographs by Myntra",
            recipe=_fit(12),
            version=2,
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
            "counterpoise.data.datasets._synthetic:synthetic",
            summary,
            modalities="a, b: vectors",
            options={"world": world},
            recipe={"fit": {"epochs": 20}, "model": {"width": 32}},
        )
        for name, world, summary in rows
    ]


_RAW = "counterpoise.data.preparation"


def _raw() -> list[DataEntry]:
    """Return the sets of videos, photographs, texts and features."""
    clips = "audio, video"
    kinetics = "my_train.txt, my_test.txt, KS_train_val.json, or <split>/<class>/<clip>.mp4; clips anywhere below: videos, or folders of frames and .npy"
    mosei = ("mosei_senti_data_noalign.pkl", "mosei_senti_data.pkl", "mosei_raw.pkl", "mosei.hdf5")
    mosi = ("mosi_data_noalign.pkl", "mosi_data.pkl", "mosi_raw.pkl", "mosi.hdf5")
    rows: list[tuple[str, str, str, str, str, dict[str, Any], str]] = [
        (
            "own",
            "_own:own",
            "your own: a CSV, JSONL or Parquet with paths, texts or numbers, and a label",
            "",
            "one per column",
            {},
            "--source is the table itself",
        ),
        (
            "kinetics-sounds",
            "_audio_visual:kinetics_sounds",
            "31 sounding actions, the public lists: 14,799 / 1,320 / 2,597",
            "Arandjelovic & Zisserman, ICCV 2017",
            clips,
            {"variant": "public"},
            kinetics,
        ),
        (
            "kinetics-sounds-arm",
            "_audio_visual:kinetics_sounds",
            "the class list of ARM's authors: finger_snapping instead of stomping_grapes",
            "Gao et al., AAAI 2025",
            clips,
            {"variant": "arm"},
            "<split>/<class>/<clip>.mp4, or train.txt, val.txt (`name label`), image/<split>/<clip>/, spec/<split>/<clip>.npy",
        ),
        (
            "crema-d",
            "_audio_visual:crema_d",
            "7,442 clips of 91 actors, 6 emotions, by the lists (every actor is on both sides)",
            "Cao et al. 2014",
            clips,
            {},
            "my_train.csv, val.csv, test.csv or train.csv, test.csv; VideoFlash/*.flv, AudioWAV/*.wav",
        ),
        (
            "crema-d-actors",
            "_audio_visual:crema_d",
            "the same with nobody in two splits",
            "Cao et al. 2014",
            clips,
            {"by_actor": True},
            "VideoFlash/*.flv, AudioWAV/*.wav",
        ),
        (
            "ucf101",
            "_ucf:ucf101",
            "101 actions, RGB and optical flow, official split 1",
            "Soomro et al. 2012",
            "rgb, flow",
            {},
            "classInd.txt, trainlist01.txt, testlist01.txt; v_*.avi, or jpegs_256/<video>/ and tvl1_flow/{u,v}/<video>/",
        ),
        (
            "ucf51",
            "_ucf:ucf101",
            "the classes of UCF-101 whose videos have sound, RGB and audio",
            "Soomro et al. 2012",
            "rgb, audio",
            {"sound": True},
            "classInd.txt, trainlist01.txt, testlist01.txt; v_*.avi",
        ),
        (
            "vggsound",
            "_audio_visual:vggsound",
            "309 classes of sounding clips",
            "Chen et al., ICASSP 2020",
            clips,
            {},
            "vggsound.csv; <id>_<start>.mp4",
        ),
        (
            "ave",
            "_audio_visual:ave",
            "28 audio-visual events, 3,339 / 402 / 402",
            "Tian et al., ECCV 2018",
            clips,
            {},
            "trainSet.txt, valSet.txt, testSet.txt; AVE/<id>.mp4",
        ),
        (
            "balanced-av",
            "_audio_visual:balanced_av",
            "clips chosen so that neither modality is easier",
            "Xia et al., CVPR 2023",
            clips,
            {},
            "a JSON with `database`; the clips: videos, or <clip>.hdf5 of frames and <clip>.pkl of sound features",
        ),
        (
            "food101",
            "_food:food101",
            "101 dishes, photograph and title of the page",
            "Wang et al., ICME Workshops 2015",
            "image, text",
            {},
            "texts/{train,test}_titles.csv, images/{train,test}/<class>/*.jpg",
        ),
        (
            "mosei",
            "_sentiment:sentiment",
            "CMU-MOSEI: sentiment of 23,000 utterances, features",
            "Zadeh et al., ACL 2018",
            "text, audio, vision",
            {"corpus": "CMU-MOSEI", "files": mosei, "expected": {"train": 16327, "test": 4659}},
            " or ".join(mosei),
        ),
        (
            "mosi",
            "_sentiment:sentiment",
            "CMU-MOSI: sentiment of 2,200 utterances, features",
            "Zadeh et al. 2016",
            "text, audio, vision",
            {"corpus": "CMU-MOSI", "files": mosi, "expected": {"train": 1284, "test": 686}},
            " or ".join(mosi),
        ),
        (
            "iemocap",
            "_sentiment:sentiment",
            "IEMOCAP: four emotions, features",
            "Busso et al. 2008",
            "text, audio, vision",
            {"corpus": "IEMOCAP", "files": ("iemocap_data_noalign.pkl", "iemocap_data.pkl", "iemocap.hdf5")},
            "iemocap_data_noalign.pkl, iemocap_data.pkl or iemocap.hdf5",
        ),
    ]
    return [
        DataEntry(
            name,
            f"{_RAW}.{target}",
            summary,
            reference,
            modalities=modalities,
            options=options,
            recipe=_fit(30),
            raw=True,
            layout=layout,
        )
        for name, target, summary, reference, modalities, options, layout in rows
    ]


DATASETS = Catalogue(
    "data set",
    [
        DataEntry(
            "smartwatch",
            "counterpoise.data.datasets._smartwatch:smartwatch",
            "4,677 windows of seven shoulder exercises, split by subject; inside the package seglearn",
            "Burns et al. 2018 (arXiv 1802.01489)",
            modalities="accelerometer, gyroscope: 100x3",
            terms="BSD",
            recipe=_fit(20),
        ),
        DataEntry(
            "kanji",
            "counterpoise.data.datasets._kanji:kanji",
            "2,200 Japanese characters of 20 radicals; inside this package",
            "KANJIDIC2 (edrdg.org)",
            modalities="picture 1x32x32, meaning: hashed English words",
            terms="CC BY-SA 4.0",
            recipe=_fit(15),
            splits=5,
        ),
        *_av_mnist(),
        DataEntry(
            "utd-mhad",
            "counterpoise.data.datasets._utd_mhad:utd_mhad",
            "861 recordings of 27 actions by 8 subjects, split by subject",
            "Chen et al., ICIP 2015",
            modalities="inertial 128x6, skeleton 64x60, depth video 16x48x48",
            files=("utd_mhad/utd_mhad.npz",),
            terms="research",
            recipe=_fit(40, batch_size=32),
        ),
        *_fashion(),
        *_multiview(),
        *_raw(),
        *_worlds(),
    ],
)
