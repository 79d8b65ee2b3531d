"""UTD-MHAD: 27 actions recorded by a wrist sensor, a skeleton tracker and a depth camera."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np

from counterpoise._files import read_npz
from counterpoise.data._core import DataInfo, Kind, Modality, MultimodalData, Split

__all__ = ["utd_mhad"]

SUBJECTS: Final = {"train": (1, 3, 5), "val": (7,), "test": (2, 4, 6, 8)}
ROOT: Final = 2  # the joint that stays where the body is


def utd_mhad(source: Path) -> MultimodalData:
    """Build the cross-subject split: odd subjects train (7 of them validation), even ones test.

    Chen, Jafari, Kehtarnavaz, "UTD-MHAD: a multimodal dataset for human action recognition utilizing a depth camera
    and a wearable inertial sensor", ICIP 2015. Joints are taken relative to the torso of the same frame, so that the
    position of the person does not matter.

    Raises:
        DataError: If the file is not laid out as published.
    """
    path = source / "utd_mhad" / "utd_mhad.npz"
    raw = read_npz(path, ("accel_gyro", "skeleton", "depth", "label", "subject", "class_names"))
    skeleton = raw["skeleton"].astype(np.float32)
    skeleton = (skeleton - skeleton[:, :, ROOT : ROOT + 1]).reshape(*skeleton.shape[:2], -1)
    subject = raw["subject"].astype(np.int64)
    whole = Split(
        {"inertial": raw["accel_gyro"], "skeleton": skeleton.astype(np.float16), "depth": raw["depth"][:, :, None]},
        raw["label"].astype(np.int64),
        subject,
    )
    kinds: dict[str, Kind] = {"inertial": "sequence", "skeleton": "sequence", "depth": "video"}
    info = DataInfo(
        name="utd-mhad",
        modalities=tuple(Modality(m, kinds[m], array.shape[1:]) for m, array in whole.arrays.items()),
        task="multiclass",
        num_outputs=len(raw["class_names"]),
        class_names=tuple(str(name).replace("_", " ") for name in raw["class_names"]),
        group="subject",
        source="UTD-MHAD (Chen et al., ICIP 2015), for research",
        notes=(
            "subjects 1, 3, 5 train, 7 validation, 2, 4, 6, 8 test",
            f"joints relative to joint {ROOT} (torso) of the same frame",
        ),
    )
    return MultimodalData(info, **{part: whole.subset(np.isin(subject, who)) for part, who in SUBJECTS.items()})
