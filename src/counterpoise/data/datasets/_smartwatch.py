"""Shoulder exercises recorded by a smart watch: the demo's data, inside the PyPI package ``seglearn``."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from counterpoise._extras import extra
from counterpoise.data._core import DataInfo, Modality, MultimodalData, Split

__all__ = ["smartwatch", "windows"]

RATE: Final = 50
LENGTH: Final = 100  # 2 s
STEP: Final = 50
SUBJECTS: Final = {"train": range(1, 7), "val": range(7, 8), "test": range(8, 11)}
EXERCISES: Final = (
    "pendulum",
    "abduction",
    "forward elevation",
    "internal rotation",
    "external rotation",
    "trapezius extension",
    "upright row",
)


def windows(recording: np.ndarray, length: int, step: int) -> np.ndarray:
    """Cut ``(T, D)`` into overlapping windows ``(n, length, D)``; a tail that fills no window is dropped.

    Example:
        >>> windows(np.arange(5)[:, None], length=3, step=2)[:, :, 0]
        array([[0, 1, 2],
               [2, 3, 4]])
    """
    if len(recording) < length:
        return np.empty((0, length, *recording.shape[1:]), recording.dtype)
    return np.lib.stride_tricks.sliding_window_view(recording, length, axis=0)[::step].swapaxes(1, 2)


def smartwatch() -> MultimodalData:
    """Build the smart-watch set: 4,677 windows of 2 s, accelerometer and gyroscope, 7 exercises, split by subject.

    D. M. Burns et al., "Shoulder physiotherapy exercise recognition: machine learning the inertial signals from a
    smartwatch", Physiological Measurement 2018.

    Raises:
        MissingExtraError: If ``seglearn`` is not installed.
    """
    with extra("demo"):
        from seglearn.datasets import load_watch
    raw: dict[str, Any] = load_watch()
    cut = [windows(np.asarray(recording, np.float32), LENGTH, STEP) for recording in raw["X"]]
    counts = [len(w) for w in cut]
    inputs = np.concatenate(cut)
    target = np.repeat(np.asarray(raw["y"], np.int64), counts)
    subject = np.repeat(np.asarray(raw["subject"], np.int64), counts)
    whole = Split(
        {
            "accelerometer": np.ascontiguousarray(inputs[..., :3]),
            "gyroscope": np.ascontiguousarray(inputs[..., 3:6]),
        },
        target,
        subject,
    )
    info = DataInfo(
        name="smartwatch",
        modalities=tuple(Modality(m, "sequence", (LENGTH, 3), rate=RATE) for m in whole.arrays),
        task="multiclass",
        num_outputs=len(EXERCISES),
        class_names=EXERCISES,
        group="subject",
        source="seglearn.datasets.load_watch (Burns et al. 2018), BSD",
        notes=(
            f"{len(raw['X'])} recordings at 50 Hz cut into windows of 2 s with half overlap",
            "subjects 1-6 train, 7 validation, 8-10 test",
        ),
    )
    return MultimodalData(info, **{part: whole.subset(np.isin(subject, list(who))) for part, who in SUBJECTS.items()})
