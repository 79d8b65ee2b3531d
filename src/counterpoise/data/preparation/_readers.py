"""Readers of media: frames, optical flow, sound and photographs."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from counterpoise._validation import Interval
from counterpoise.data._info import Modality
from counterpoise.data.preparation._files import (
    SEQUENCE_SUFFIXES,
    fitted,
    frames_of,
    open_pickle,
    open_sequence,
    read_npy,
    spread,
)
from counterpoise.data.preparation._findings import Remark, UnreadableError
from counterpoise.data.preparation._flow import optical_flow, quantise
from counterpoise.data.preparation._images import open_image
from counterpoise.data.preparation._media import read_audio, read_frames
from counterpoise.data.preparation._reader import Reader
from counterpoise.data.preparation._sound import sound_features, sound_recipe
from counterpoise.errors import ConfigError

__all__ = ["Flow", "Frames", "Image", "Sound"]


class Frames(Reader):
    """RGB frames ``(keep, 3, size, size)`` uint8 of a video, a folder of numbered images or an HDF5 file of images.

    Args:
        fps: Frames per second that are read.
        keep: Number of frames that are stored: the middles of ``keep`` equal segments of the clip.
        frames: Number of frames of a sample when it is used: one per segment, at random in training, the middle one
            otherwise; 0 uses all stored frames.
        size: Height and width.
        shortest: Seconds that a clip must have.
    """

    settings: ClassVar[tuple[str, ...]] = ("fps", "keep", "frames", "size")
    dtype = "uint8"

    def __init__(
        self, fps: float = 1.0, keep: int = 10, frames: int = 3, size: int = 112, shortest: float = 0.5
    ) -> None:
        self.fps, self.keep, self.frames, self.size, self.shortest = fps, keep, frames, size, shortest
        if keep < 1 or not 0 <= frames <= keep or size < 8 or fps < 0:
            raise ConfigError(
                f"Frames need fps >= 0, keep >= frames >= 0, keep >= 1 and size >= 8. Found fps={fps:g}, keep={keep}, "
                f"frames={frames}, size={size}."
            )

    def read(self, source: Path, remark: Remark) -> np.ndarray:
        """See `Reader.read`."""
        if source.is_dir():
            paths = frames_of(source, remark)
            images = [open_image(paths[k], (self.size, self.size), remark) for k in spread(len(paths), self.keep)]
        elif source.suffix.lower() in SEQUENCE_SUFFIXES:
            images = open_sequence(source, self.size, self.keep, remark)
        else:
            frames = read_frames(source, fps=self.fps, size=self.size, shortest=self.shortest)
            images = [frames[k][0] for k in spread(len(frames), self.keep)]
        return np.stack(images).transpose(0, 3, 1, 2)

    def modality(self, name: str) -> Modality:
        """See `Reader.modality`."""
        used = self.frames or self.keep
        return Modality(name, "video", (used, 3, self.size, self.size), stored=(self.keep, 3, self.size, self.size))


class Flow(Frames):
    """Optical flow ``(keep, 2, size, size)`` uint8 of a video (computed), or of a pair of folders of images u and v.

    Args:
        method: ``dis`` or ``tvl1``, for videos.
        fps: See `Frames`.
        keep: See `Frames`.
        frames: See `Frames`.
        size: See `Frames`.
        shortest: See `Frames`.
    """

    settings = (*Frames.settings, "flow")

    def __init__(
        self,
        method: str = "dis",
        fps: float = 1.0,
        keep: int = 10,
        frames: int = 3,
        size: int = 112,
        shortest: float = 0.5,
    ) -> None:
        super().__init__(fps, keep, frames, size, shortest)
        self.method = method

    def read(self, source: Path | tuple[Path, Path], remark: Remark) -> np.ndarray:
        """See `Reader.read`."""
        if isinstance(source, tuple):
            u, v = (frames_of(folder, remark) for folder in source)
            if len(u) != len(v):
                remark("numbering", f"{source[0]}: {len(u)} images of u, {len(v)} of v")
            rows = spread(min(len(u), len(v)), self.keep)
            square = (self.size, self.size)
            return np.stack([[open_image(folder[k], square, remark, "L") for folder in (u, v)] for k in rows])
        pairs = read_frames(source, fps=self.fps, size=self.size, shortest=self.shortest, following=True)
        if not pairs:
            raise UnreadableError("too short", f"{source}: one frame has no flow")
        return np.stack(
            [quantise(optical_flow(pairs[k][0], pairs[k][1], self.method)) for k in spread(len(pairs), self.keep)]
        )

    def modality(self, name: str) -> Modality:
        """See `Reader.modality`."""
        used = self.frames or self.keep
        return Modality(name, "video", (used, 2, self.size, self.size), stored=(self.keep, 2, self.size, self.size))


class Sound(Reader):
    """Features of a file's sound, ``(1, H, W)`` float16; a ``.npy`` or ``.pkl`` holds such features already.

    Args:
        recipe: Name of a recipe (see `RECIPES`).
        shortest: Seconds that the sound must have.
    """

    settings = ("audio",)
    dtype = "float16"

    def __init__(self, recipe: str = "fbank", shortest: float = 0.2) -> None:
        self.recipe = sound_recipe(recipe)
        self.shortest = shortest

    def read(self, source: Path, remark: Remark) -> np.ndarray:
        """See `Reader.read`."""
        suffix = source.suffix.lower()
        if suffix in (".npy", ".pkl"):
            return self._stored(read_npy(source) if suffix == ".npy" else open_pickle(source), source)
        sound = read_audio(source, rate=self.recipe.rate, shortest=self.shortest, remark=remark)
        if not sound.any():
            remark("silent", f"{source}: nothing but zeros")
        return sound_features(sound, self.recipe)

    def _stored(self, array: np.ndarray, source: Path) -> np.ndarray:
        """Return features that were computed before: of the seconds that are kept, or of one sample's seconds."""
        used, kept = self.recipe.shape, self.recipe.stored_shape
        if array.squeeze().shape == tuple(n for n in used if n > 1) != tuple(n for n in kept if n > 1):
            axis = next(k for k in range(3) if used[k] != kept[k])
            before = (kept[axis] - used[axis]) // 2
            width = [(before, kept[k] - used[k] - before) if k == axis else (0, 0) for k in range(3)]
            array = np.pad(array.reshape(used), width, mode="wrap")
        with np.errstate(over="ignore"):
            features = fitted(array, kept, source).astype(np.float16)
        if not np.isfinite(features).all():
            raise UnreadableError("not finite", f"{source}: features beyond {np.finfo(np.float16).max:g}")
        return features

    def modality(self, name: str) -> Modality:
        """See `Reader.modality`."""
        used, kept = self.recipe.shape, self.recipe.stored_shape
        return Modality(name, "image", used, stored=kept if kept != used else ())

    @property
    def parameters(self) -> dict[str, Any]:
        """See `Reader.parameters`."""
        return {"reader": "Sound", "recipe": self.recipe.to_dict(), "shortest": self.shortest}


class Image(Reader):
    """A photograph ``(3, size, size)`` uint8."""

    settings = ("size",)
    dtype = "uint8"

    def __init__(self, size: int = 112) -> None:
        Interval(8, integer=True).check("Image", "size", size)
        self.size = size

    def read(self, source: Path, remark: Remark) -> np.ndarray:
        """See `Reader.read`."""
        return open_image(source, (self.size, self.size), remark).transpose(2, 0, 1)

    def modality(self, name: str) -> Modality:
        """See `Reader.modality`."""
        return Modality(name, "image", (3, self.size, self.size))
