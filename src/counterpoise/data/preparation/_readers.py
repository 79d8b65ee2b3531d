"""One reader per kind of source: what a file, a text or some numbers become."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from counterpoise._validation import Interval
from counterpoise.data._info import Modality
from counterpoise.data._vocabulary import Vocabulary
from counterpoise.data.preparation._files import (
    SEQUENCE_SUFFIXES,
    Remark,
    fitted,
    frames_of,
    open_image,
    open_pickle,
    open_sequence,
    read_npy,
    spread,
)
from counterpoise.data.preparation._findings import UnreadableError
from counterpoise.data.preparation._flow import optical_flow, quantise
from counterpoise.data.preparation._media import read_audio, read_frames
from counterpoise.data.preparation._sound import sound_features, sound_recipe
from counterpoise.errors import ConfigError, DataError, NotFoundError

__all__ = [
    "ArrayFile",
    "Flow",
    "Frames",
    "Image",
    "Numbers",
    "Padded",
    "Reader",
    "Sound",
    "Text",
]


class Reader(ABC):
    """Turns one source of a modality into an array of a fixed shape."""

    def fit(self, sources: Iterable[Any]) -> None:
        """Learn from the *training* sources what depends on them (a vocabulary, a width)."""

    @abstractmethod
    def read(self, source: Any, remark: Remark) -> np.ndarray:
        """Return the array.

        Raises:
            UnreadableError: if the source gives no sample, with the kind of finding.
        """

    @abstractmethod
    def modality(self, name: str) -> Modality:
        """Return what it looks like."""

    @property
    def parameters(self) -> dict[str, Any]:
        """What the result depends on, for the manifest."""
        return {"reader": type(self).__name__, **{k: v for k, v in vars(self).items() if not k.startswith("_")}}


class Frames(Reader):
    """RGB frames ``(keep, 3, size, size)`` uint8 of a video, of a folder of numbered images, or of an HDF5 file of encoded ones.

    Args:
        fps: instants per second that are looked at.
        keep: how many of them are stored: the middles of so many equal segments of the clip.
        frames: how many a sample has when it is used: one per segment, at random in training, the middle one otherwise; 0 takes all
            that are stored.
        size: height and width.
        shortest: seconds that a clip must have.
    """

    def __init__(
        self, fps: float = 1.0, keep: int = 10, frames: int = 3, size: int = 112, shortest: float = 0.5
    ) -> None:
        self.fps, self.keep, self.frames, self.size, self.shortest = fps, keep, frames, size, shortest
        if keep < 1 or not 0 <= frames <= keep or size < 8 or fps < 0:
            raise ConfigError(
                f"Frames need fps >= 0, keep >= frames >= 0, keep >= 1 and size >= 8. Found fps={fps:g}, keep={keep}, frames={frames}, size={size}."
            )

    def read(self, source: Path, remark: Remark) -> np.ndarray:
        """See `Reader.read`."""
        if source.is_dir():
            paths = frames_of(source, remark)
            images = [open_image(paths[k], (self.size, self.size)) for k in spread(len(paths), self.keep)]
        elif source.suffix.lower() in SEQUENCE_SUFFIXES:
            images = open_sequence(source, self.size, self.keep)
        else:
            found = read_frames(source, fps=self.fps, size=self.size, shortest=self.shortest)
            images = [found[k][0] for k in spread(len(found), self.keep)]
        return np.stack(images).transpose(0, 3, 1, 2)

    def modality(self, name: str) -> Modality:
        """See `Reader.modality`."""
        used = self.frames or self.keep
        return Modality(name, "video", (used, 3, self.size, self.size), stored=(self.keep, 3, self.size, self.size))


class Flow(Frames):
    """Optical flow ``(keep, 2, size, size)`` uint8 of a video (computed), or of a pair of folders of images u and v.

    Args:
        method: ``dis`` or ``tvl1``, for videos.
        fps: as for `Frames`.
        keep: as for `Frames`.
        frames: as for `Frames`.
        size: as for `Frames`.
        shortest: as for `Frames`.
    """

    def __init__(
        self, method: str = "dis", fps: float = 1.0, keep: int = 10, frames: int = 3, size: int = 112, shortest: float = 0.5
    ) -> None:  # fmt: skip
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
            return np.stack([[open_image(u[k], square, "L"), open_image(v[k], square, "L")] for k in rows])
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
    """Features of a sound file's or a video's sound, ``(1, H, W)`` float16, or of a ``.npy`` or ``.pkl`` that holds them already.

    Args:
        recipe: name of a recipe (see `RECIPES`).
        shortest: seconds that the sound must have.
    """

    def __init__(self, recipe: str = "fbank", shortest: float = 0.2) -> None:
        self.recipe = sound_recipe(recipe)
        self.shortest = shortest

    def read(self, source: Path, remark: Remark) -> np.ndarray:
        """See `Reader.read`."""
        if source.suffix in (".npy", ".pkl"):
            return self._stored(read_npy(source) if source.suffix == ".npy" else open_pickle(source), source)
        sound = read_audio(source, rate=self.recipe.rate, shortest=self.shortest)
        if not sound.any():
            remark("silent", f"{source}: nothing but zeros")
        return sound_features(sound, self.recipe)

    def _stored(self, array: np.ndarray, source: Path) -> np.ndarray:
        """Return features that were computed before: of as many seconds as are kept, or of one sample, which then is all there is."""
        used, kept = self.recipe.shape, self.recipe.stored_shape
        if array.squeeze().shape == tuple(n for n in used if n > 1) != tuple(n for n in kept if n > 1):
            axis = next(k for k in range(3) if used[k] != kept[k])
            before = (kept[axis] - used[axis]) // 2
            width = [(before, kept[k] - used[k] - before) if k == axis else (0, 0) for k in range(3)]
            return np.pad(array.reshape(used), width, mode="wrap").astype(np.float16)
        return fitted(array, kept, source).astype(np.float16)

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

    def __init__(self, size: int = 112) -> None:
        Interval(8, integer=True).check("Image", "size", size)
        self.size = size

    def read(self, source: Path, remark: Remark) -> np.ndarray:
        """See `Reader.read`."""
        return open_image(source, (self.size, self.size)).transpose(2, 0, 1)

    def modality(self, name: str) -> Modality:
        """See `Reader.modality`."""
        return Modality(name, "image", (3, self.size, self.size))


class Text(Reader):
    """Token ids ``(length,)`` int32, 0 where the text has ended: so the attention mask is ``ids != 0``.

    Args:
        tokenizer: ``words`` (the words of the training texts), or what `transformers` calls a tokenizer: a folder, or a name on
            the hub. Where its padding is another id than 0 the two change places; encoders that are pretrained change them back.
        length: ids per text, special tokens included.
        least: how often a word must occur in training, for ``words``.
    """

    def __init__(self, tokenizer: str = "words", length: int = 40, least: int = 1) -> None:
        Interval(1, integer=True).check("Text", "length", length)
        self.tokenizer, self.length, self.least = str(tokenizer), length, least
        self._words: Any = None

    def fit(self, sources: Iterable[str]) -> None:
        """Count the words."""
        if self.tokenizer == "words":
            self._words = Vocabulary(sources, self.least)

    @cached_property
    def _tokenizer(self) -> Any:
        from transformers import AutoTokenizer

        try:
            found = AutoTokenizer.from_pretrained(self.tokenizer)
        except (OSError, ValueError) as error:
            raise NotFoundError(
                f"The tokenizer `{self.tokenizer}` is neither a folder nor in the local cache of the Hugging Face hub, and could not be "
                "downloaded. Connect to the network, give a folder that holds it, or take --tokenizer words."
            ) from error
        if found.pad_token_id is None:
            raise DataError(
                f"The tokenizer `{self.tokenizer}` has no padding token; give it one and save it to a folder."
            )
        return found

    def read(self, source: str, remark: Remark) -> np.ndarray:
        """See `Reader.read`."""
        if not source.strip():
            raise UnreadableError("missing", "the text is empty")
        if self.tokenizer == "words":
            row: np.ndarray = self._words.encode([source], self.length)[0]
            return row
        found = self._tokenizer(source, truncation=True, max_length=self.length)["input_ids"]
        ids = np.full(self.length, self._tokenizer.pad_token_id, np.int32)
        ids[: len(found)] = found
        return swap_padding(ids, self._tokenizer.pad_token_id)

    def modality(self, name: str) -> Modality:
        """See `Reader.modality`."""
        if self.tokenizer == "words":
            return Modality(name, "tokens", (self.length,), vocabulary=len(self._words), words=self._words.words)
        return Modality(name, "tokens", (self.length,), vocabulary=len(self._tokenizer))

    @property
    def parameters(self) -> dict[str, Any]:
        """See `Reader.parameters`."""
        found = {"reader": "Text", "tokenizer": self.tokenizer, "length": self.length}
        if self.tokenizer == "words":
            return {**found, "words": list(self._words.ids) if self._words else []}
        return {**found, "vocabulary": len(self._tokenizer), "padding": self._tokenizer.pad_token_id}


def swap_padding(ids: np.ndarray, padding: int) -> np.ndarray:
    """Return ids in which ``padding`` and 0 have changed places (which also undoes it).

    Example:
        >>> swap_padding(np.array([0, 5, 2, 1, 1]), padding=1)
        array([1, 5, 2, 0, 0])
    """
    return np.where(ids == padding, 0, np.where(ids == 0, padding, ids)).astype(ids.dtype)


class Numbers(Reader):
    """Numbers of a table's row, ``(D,)`` float32."""

    def __init__(self, size: int) -> None:
        self.size = size

    def read(self, source: Any, remark: Remark) -> np.ndarray:
        """See `Reader.read`."""
        row = np.asarray(source, np.float32)
        if not np.isfinite(row).all():
            raise UnreadableError(
                "not finite", f"{int((~np.isfinite(row)).sum())} of {row.size} numbers are empty or infinite"
            )
        return row

    def modality(self, name: str) -> Modality:
        """See `Reader.modality`."""
        return Modality(name, "vector", (self.size,))


class Padded(Reader):
    """Feature sequences ``(T, D)`` of any length, cut to the last ``length`` steps or padded with zeros in front.

    Infinite and NaN entries (COVAREP has -inf where a frame has no pitch) become 0, and are told.

    Args:
        size: D.
        length: steps.
    """

    def __init__(self, size: int, length: int) -> None:
        Interval(1, integer=True).check("Padded", "length", length)
        self.size, self.length = size, length

    def read(self, source: Any, remark: Remark) -> np.ndarray:
        """See `Reader.read`."""
        rows = np.asarray(source, np.float32)
        if rows.ndim != 2 or rows.shape[1] != self.size:
            raise UnreadableError("undecodable", f"shape {rows.shape}, expected (T, {self.size})")
        bad = ~np.isfinite(rows)
        if bad.any():
            remark("not finite", f"{int(bad.sum())} of {rows.size} entries, set to 0")
        rows = np.where(bad, 0, rows)[-self.length :]
        return np.pad(rows, ((self.length - len(rows), 0), (0, 0)))

    def modality(self, name: str) -> Modality:
        """See `Reader.modality`."""
        return Modality(name, "sequence", (self.length, self.size))


class ArrayFile(Reader):
    """A ``.npy`` per sample, all of the shape of the first."""

    def __init__(self) -> None:
        self.shape: tuple[int, ...] = ()

    def fit(self, sources: Iterable[Path]) -> None:
        """Take the shape of the first readable file."""
        for source in sources:
            try:
                self.shape = read_npy(source).shape
            except UnreadableError:
                continue
            return

    def read(self, source: Path, remark: Remark) -> np.ndarray:
        """See `Reader.read`."""
        array = fitted(read_npy(source), self.shape, source)
        return array if array.dtype == np.uint8 and array.ndim > 2 else array.astype(np.float32)

    def modality(self, name: str) -> Modality:
        """See `Reader.modality`."""
        kind = {1: "vector", 2: "sequence", 3: "image", 4: "video"}.get(len(self.shape))
        if kind is None:
            raise DataError(
                f"Modality `{name}` should have arrays (D,), (T, D), (C, H, W) or (T, C, H, W). Found {self.shape}."
            )
        return Modality(name, kind, self.shape)  # type: ignore[arg-type]
