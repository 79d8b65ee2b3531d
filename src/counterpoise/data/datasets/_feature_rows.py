"""Rows of sets of features and small files. Importing it needs no torch."""

from __future__ import annotations

from counterpoise.data.datasets._entry import DataEntry, fit_recipe

__all__ = ["fashion_rows", "multiview_rows", "sensor_rows", "shipped_rows", "synthetic_rows"]


def shipped_rows() -> list[DataEntry]:
    """Return the sets that need no download."""
    return [
        DataEntry(
            "smartwatch",
            "counterpoise.data.datasets._smartwatch:smartwatch",
            "4,677 windows of seven shoulder exercises, split by subject; inside the package seglearn",
            "Burns et al. 2018 (arXiv 1802.01489)",
            modalities="accelerometer, gyroscope: 100x3",
            terms="BSD",
            recipe=fit_recipe(20),
        ),
        DataEntry(
            "kanji",
            "counterpoise.data.datasets._kanji:kanji",
            "2,200 Japanese characters of 20 radicals; inside this package",
            "KANJIDIC2 (edrdg.org)",
            modalities="picture 1x32x32, meaning: hashed English words",
            terms="CC BY-SA 4.0",
            recipe=fit_recipe(15),
            splits=5,
        ),
    ]


def sensor_rows() -> list[DataEntry]:
    """Return UTD-MHAD."""
    return [
        DataEntry(
            "utd-mhad",
            "counterpoise.data.datasets._utd_mhad:utd_mhad",
            "861 recordings of 27 actions by 8 subjects, split by subject",
            "Chen et al., ICIP 2015",
            modalities="inertial 128x6, skeleton 64x60, depth video 16x48x48",
            files=("utd_mhad/utd_mhad.npz",),
            terms="research",
            recipe=fit_recipe(40, batch_size=32),
        ),
    ]


def fashion_rows() -> list[DataEntry]:
    """Return the sets of fashion products."""
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
            recipe=fit_recipe(12),
            version=2,
        )
        for name, masked, summary in (
            ("fashion", True, "13,978 products of 37 types, photograph and title without the words of its type"),
            ("fashion-titles", False, "the same with full titles, which give the type away"),
        )
    ]


def multiview_rows() -> list[DataEntry]:
    """Return the multi-view feature sets."""
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
            recipe=fit_recipe(epochs),
        )
        for name, file, summary, modalities, terms, epochs in rows
    ]


def synthetic_rows() -> list[DataEntry]:
    """Return synthetic sets whose information is known."""
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
