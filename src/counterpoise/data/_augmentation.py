"""Augmentation of stored clips in training (frames, crops, mirrors), and the fixed choice for evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

if TYPE_CHECKING:
    from counterpoise.data._info import DataInfo, Modality

__all__ = ["ClipAugmentation"]


@dataclass(frozen=True)
class ClipAugmentation:
    """Select and augment samples of stored clips.

    Evaluation takes the middle frame of each segment, whole and unmirrored, and the middle of the sound. Training takes
    a random frame of each segment and, where ``smallest`` is below 1, a random part of the image (RandomResizedCrop:
    area between ``smallest`` and 1, aspect between 3/4 and 4/3), mirrored with probability one half. All visual
    modalities of a sample get the same frames, the same part and the same mirror; the horizontal component of optical
    flow (two channels) changes its sign in the mirror. Sound that is stored longer than a sample's is cut at random in
    training.

    Attributes:
        frames: Frames per sample by modality, for videos that are stored with more.
        parts: Axis of time (counted without the samples' own) and steps per sample by modality, for longer sound.
        visual: Names of the modalities that are cropped and mirrored.
        flow: Names of the modalities that are optical flow.
        smallest: Least area of the crop; 1 leaves images whole and unmirrored.
    """

    frames: Mapping[str, int] = field(default_factory=dict)
    visual: tuple[str, ...] = ()
    flow: tuple[str, ...] = ()
    smallest: float = 1.0
    parts: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    @staticmethod
    def of(info: DataInfo) -> ClipAugmentation | None:
        """Return the augmentation of a data set, or None where samples are used as they are stored."""
        longer = [m for m in info.modalities if m.stored and m.stored != m.shape]
        visual, flow = _visual(info)
        if not longer and not visual:
            return None
        frames = {m.name: m.shape[0] for m in longer if m.kind == "video"}
        parts = {m.name: _longer_axis(m) for m in longer if m.kind != "video"}
        return ClipAugmentation(frames, visual, flow, float(info.augment.get("smallest", 1.0)), parts)

    def select(self, arrays: Mapping[str, np.ndarray], generator: torch.Generator | None) -> dict[str, np.ndarray]:
        """Return the selected part of each stored sample: the middle, or a random choice if a generator is given.

        One frame is selected per segment, at the same relative position for all modalities; of sound, one contiguous
        part.
        """
        selection = dict(arrays)
        place: np.ndarray | None = None
        for m, wanted in self.frames.items():
            array = arrays[m]
            if generator is None:
                share = np.full((len(array), wanted), 0.5)
            else:
                if place is None or place.shape[1] != wanted:
                    place = torch.rand(len(array), wanted, generator=generator).numpy()
                share = place
            frame = ((np.arange(wanted) + share) * array.shape[1] / wanted).astype(int).clip(max=array.shape[1] - 1)
            selection[m] = array[np.arange(len(array))[:, None], frame]
        for m, (axis, wanted) in self.parts.items():
            array = arrays[m]
            spare = array.shape[axis + 1] - wanted
            if generator is None:
                first = np.full(len(array), spare // 2)
            else:
                first = torch.randint(spare + 1, (len(array),), generator=generator).numpy()
            steps = first[:, None] + np.arange(wanted)
            selection[m] = np.take_along_axis(
                array, steps.reshape(len(array), *(wanted if k == axis else 1 for k in range(array.ndim - 1))), axis + 1
            )
        return selection

    def vary(self, inputs: Mapping[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        """Return inputs with the visual ones cropped and mirrored, the same for all modalities of a sample."""
        outputs = dict(inputs)
        if self.smallest >= 1 or not self.visual:
            return outputs
        size = len(next(iter(inputs.values())))
        area, aspect, x, y, mirror = torch.rand(5, size, generator=generator).unbind()
        area = self.smallest + area * (1 - self.smallest)
        ratio = torch.exp((2 * aspect - 1) * np.log(4 / 3))
        width, height = (area * ratio).sqrt().clamp(max=1), (area / ratio).sqrt().clamp(max=1)
        sign = torch.where(mirror < 0.5, -1.0, 1.0)
        zero = torch.zeros(size)
        theta = torch.stack(
            [
                torch.stack([sign * width, zero, (2 * x - 1) * (1 - width)], 1),
                torch.stack([zero, height, (2 * y - 1) * (1 - height)], 1),
            ],
            1,
        )
        for m in self.visual:
            image = outputs[m]
            flat = image.flatten(1, -3)
            grid = affine_grid(theta, [size, 1, *flat.shape[-2:]], align_corners=False)
            moved = grid_sample(flat, grid, padding_mode="reflection", align_corners=False).view_as(image)
            if m in self.flow:  # 0.5 is no motion
                horizontal = torch.where(
                    (sign < 0).view(-1, *[1] * (image.ndim - 2)), 1 - moved[..., 0, :, :], moved[..., 0, :, :]
                )
                moved = torch.stack([horizontal, moved[..., 1, :, :]], -3)
            outputs[m] = moved
        return outputs


def _visual(info: DataInfo) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the names of the modalities that are cropped and mirrored, and which of them are optical flow."""
    visual = tuple(name for name in info.names if name in info.augment.get("visual", ()))
    return visual, tuple(m.name for m in info.modalities if m.name in visual and m.shape[-3] == 2)


def _longer_axis(modality: Modality) -> tuple[int, int]:
    """Return the axis along which more is stored than is used, and the number of steps that are used."""
    axis = next(k for k, size in enumerate(modality.shape) if size != modality.stored[k])
    return axis, modality.shape[axis]
