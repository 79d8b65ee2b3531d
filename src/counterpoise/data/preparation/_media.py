"""Videos and sound by PyAV: frames at a rate, mono sound at a rate, and what is wrong with a file."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np

from counterpoise._extras import load
from counterpoise.data.preparation._containers import Ends
from counterpoise.data.preparation._findings import Remark, UnreadableError

__all__ = ["AUDIO_SUFFIXES", "VIDEO_SUFFIXES", "has_track", "read_audio", "read_frames"]

VIDEO_SUFFIXES: Final = (
    *(".mp4", ".webm", ".avi", ".mkv", ".flv", ".mov", ".m4v", ".mpg", ".mpeg", ".wmv", ".asf", ".3gp", ".3g2"),
    *(".ts", ".m2ts", ".mts", ".vob", ".ogv", ".f4v"),
)
AUDIO_SUFFIXES: Final = (
    *(".wav", ".mp3", ".flac", ".ogg", ".oga", ".m4a", ".m4b", ".opus", ".aac", ".wma", ".aiff", ".aif", ".aifc"),
    *(".amr", ".au", ".ac3", ".caf", ".mka", ".mp2", ".w64", ".weba"),
)
FULL_SCALE: Final = {"u1": 128.0, "i2": 2.0**15, "i4": 2.0**31, "i8": 2.0**63}
"""Largest amplitude of a sample that is stored as an integer."""
LOUD: Final = 1.1
"""Peak from which a remark says that a sound was scaled; lossy codecs decode to a little more than 1."""


@contextmanager
def _open(path: Path) -> Iterator[Any]:
    av = load("av", "prepare")
    if path.is_dir():
        raise UnreadableError("undecodable", f"{path}: a folder, not a file")
    if not path.is_file():
        raise UnreadableError("missing", str(path))
    if not path.stat().st_size:
        raise UnreadableError("truncated", f"{path}: empty file")
    try:
        container = av.open(str(path))
    except (av.error.FFmpegError, ValueError) as error:
        with path.open("rb") as file:
            promised = file.read(8)[4:] == b"ftyp"  # an mp4, whose index comes last
        if promised:
            raise UnreadableError("truncated", f"{path}: an mp4 without its index, which comes last") from error
        raise UnreadableError("undecodable", f"{path}: {_words(error)}") from error
    with container:
        yield container


def _words(error: Exception) -> str:
    return re.sub(r"^\[Errno -?\d+\] ", "", str(error).split(";")[0].split(": '")[0])


def _decoded(container: Any, stream: Any, ends: Ends) -> Iterator[Any]:
    """Yield a track's decoded frames until the file ends or cannot be decoded further.

    The packets of all tracks are read to the end of the file, whatever can be decoded, so that ``ends`` tells a file
    that was cut off from one whose tracks have different lengths.
    """
    av = load("av", "prepare")
    stream.thread_count = 1  # clips run in parallel, not a clip's slices
    try:
        for packet in container.demux():
            ends.add(packet)
            if packet.stream_index == stream.index and not ends.broken:
                try:
                    yield from packet.decode()
                except (av.error.FFmpegError, EOFError):
                    ends.broken = True
    except (av.error.FFmpegError, EOFError):
        ends.broken = True


def has_track(path: Path, kind: str) -> bool:
    """Tell whether a file has an ``audio`` or ``video`` track, by its header.

    Raises:
        UnreadableError: If it is missing or cannot be opened.
    """
    with _open(path) as container:
        return bool(getattr(container.streams, kind))


def _check_length(path: Path, what: str, end: float, shortest: float) -> None:
    if end < shortest:
        raise UnreadableError("too short", f"{path}: {end:.2f} s of {what}, less than {shortest:g} s")


class _Sampler:
    """Takes the frames at 0, 1/fps, 2/fps, ... seconds, upright and resized, each with the next one if wanted."""

    def __init__(self, fps: float, size: int, rate: float, following: bool) -> None:
        self.taken: list[list[np.ndarray]] = []
        self.count = 0
        self.end = 0.0
        self._fps, self._size, self._rate, self._following = fps, size, rate, following
        self._first: float | None = None
        self._scaler = load("av.video.reformatter", "prepare").VideoReformatter()

    def add(self, frame: Any) -> None:
        time = frame.time if frame.time is not None else self.count / self._rate
        self._first = time if self._first is None else self._first
        wanted = not self._fps or time - self._first >= len(self.taken) / self._fps - 0.5 / self._rate
        before = self._following and self.taken and len(self.taken[-1]) == 1
        if wanted or before:
            image = self._image(frame)
            if before:
                self.taken[-1].append(image)
            if wanted:
                self.taken.append([image])
        self.count += 1
        self.end = time - self._first + 1 / self._rate

    def _image(self, frame: Any) -> np.ndarray:
        image = self._scaler.reformat(frame, width=self._size, height=self._size, format="rgb24").to_ndarray()
        quarters = round(getattr(frame, "rotation", 0) / 90) % 4  # counter-clockwise, as the display matrix asks
        return np.ascontiguousarray(np.rot90(image, quarters)) if quarters else image


def read_frames(
    path: Path, *, fps: float, size: int, shortest: float = 0.0, following: bool = False
) -> list[tuple[np.ndarray, ...]]:
    """Return the frames at 0, 1/fps, 2/fps, ... seconds, upright as players show them.

    Args:
        path: File: mp4, webm, avi, mkv, flv, ...
        fps: Frames per second of video time; 0 takes every frame.
        size: Height and width that frames are resized to (the aspect is not kept, as in the published recipes).
        shortest: Seconds that a clip must have.
        following: Return each frame together with the one that comes next in the file (for optical flow).

    Returns:
        One tuple per instant: ``(frame,)``, or ``(frame, next)``; frames are ``(size, size, 3)`` uint8 RGB.

    Raises:
        UnreadableError: If there is no video track, or it is truncated, too short, or not decodable.
    """
    with _open(path) as container:
        if not container.streams.video:
            raise UnreadableError("undecodable", f"{path}: no video track")
        stream = container.streams.video[0]
        ends = Ends(path, container, stream)
        sampler = _Sampler(fps, size, float(stream.average_rate or 25), following)
        for frame in _decoded(container, stream, ends):
            sampler.add(frame)
    if not sampler.count:
        raise UnreadableError("undecodable", f"{path}: no frame can be decoded")
    ends.check("video", sampler.end)
    _check_length(path, "video", sampler.end, shortest)
    return [tuple(pair) for pair in sampler.taken if len(pair) == 1 + following]


def read_audio(path: Path, *, rate: int, shortest: float = 0.0, remark: Remark | None = None) -> np.ndarray:
    """Return the sound of a file, the mean of its channels, ``(T,)`` float32 in [-1, 1].

    Sound beyond full scale (float samples) is divided by its peak.

    Args:
        path: Video or sound file.
        rate: Samples per second.
        shortest: Seconds that it must have.
        remark: Function that is called with each change.

    Raises:
        UnreadableError: If it is silent (no audio track), truncated, too short, or not decodable.
    """
    with _open(path) as container:
        if not container.streams.audio:
            raise UnreadableError("silent", f"{path}: no audio track")
        stream = container.streams.audio[0]
        ends = Ends(path, container, stream)
        pieces = list(_resampled(_decoded(container, stream, ends), rate))
    sound = np.concatenate(pieces) if pieces else np.zeros(0, np.float32)
    if not len(sound):
        raise UnreadableError("undecodable", f"{path}: no sound can be decoded")
    if not np.isfinite(sound).all():
        raise UnreadableError("not finite", f"{path}: NaN in the sound")
    ends.check("sound", len(sound) / rate)
    _check_length(path, "sound", len(sound) / rate, shortest)
    peak = float(np.abs(sound).max())
    if peak > LOUD and remark is not None:
        remark("range", f"{path}: peak {peak:.3g} instead of at most 1, divided by it")
    return sound / np.float32(peak) if peak > 1 else sound


def _resampled(frames: Iterator[Any], rate: int) -> Iterator[np.ndarray]:
    """Yield the mean of the channels at another rate; a stream may change its rate and its channels."""
    av = load("av", "prepare")
    resampler, source = None, 0
    for frame in frames:
        mono = av.AudioFrame.from_ndarray(_mean_of_channels(frame)[None], format="fltp", layout="mono")
        mono.sample_rate = frame.sample_rate
        if resampler is None or source != frame.sample_rate:
            if resampler is not None:
                yield from (piece.to_ndarray()[0] for piece in resampler.resample(None))
            resampler, source = av.AudioResampler(format="fltp", layout="mono", rate=rate), frame.sample_rate
        yield from (piece.to_ndarray()[0] for piece in resampler.resample(mono))
    if resampler is not None:
        yield from (piece.to_ndarray()[0] for piece in resampler.resample(None))


def _mean_of_channels(frame: Any) -> np.ndarray:
    """Return ``(T,)`` float32: integers divided by their full scale, channels averaged."""
    samples = frame.to_ndarray()
    channels = len(frame.layout.channels)
    samples = samples if frame.format.is_planar else samples.reshape(-1, channels).T
    kind = samples.dtype.str[1:]
    values = samples.astype(np.float64)
    if kind in FULL_SCALE:
        values = values / FULL_SCALE[kind] - (kind == "u1")
    mean: np.ndarray = values.mean(0).astype(np.float32)
    return mean
