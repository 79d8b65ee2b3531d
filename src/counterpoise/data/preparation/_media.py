"""Videos and sound by PyAV: frames at a rate, mono sound at a rate, and what is wrong with a file."""

from __future__ import annotations

import importlib
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np

from counterpoise.data.preparation._findings import UnreadableError
from counterpoise.errors import NotFoundError

__all__ = ["AUDIO_SUFFIXES", "VIDEO_SUFFIXES", "extra", "has_track", "read_audio", "read_frames"]

VIDEO_SUFFIXES: Final = (".mp4", ".webm", ".avi", ".mkv", ".flv", ".mov", ".m4v", ".mpg")
AUDIO_SUFFIXES: Final = (".wav", ".mp3", ".flac", ".ogg", ".m4a", ".opus", ".aac")
COMPLETE: Final = 0.9
"""A file whose content ends before this share of the duration in its header is truncated (0.5 s are always granted)."""
GRACE: Final = 0.5


def extra(module: str, package: str, group: str) -> Any:
    """Import an optional module.

    Raises:
        NotFoundError: if it is not installed, with the command that installs it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise NotFoundError(
            f"This needs the package {package}, which is not installed. Run: pip install 'counterpoise[{group}]'"
        ) from error


@contextmanager
def _open(path: Path) -> Iterator[Any]:
    av = extra("av", "av", "video")
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


def _decoded(container: Any, stream: Any) -> Iterator[Any]:
    """Yield decoded frames until the file ends or cannot be decoded further: how far it came is judged afterwards."""
    av = extra("av", "av", "video")
    stream.thread_count = 1  # clips run in parallel, not a clip's slices
    try:
        yield from container.decode(stream)
    except (av.error.FFmpegError, EOFError):
        return


def _duration(container: Any, stream: Any) -> float:
    """Return the seconds that the header promises, or 0 where it does not say."""
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    return float(container.duration or 0) / 1e6


def _judge(path: Path, what: str, end: float, promised: float, shortest: float) -> None:
    if promised and end < COMPLETE * promised and end < promised - GRACE:
        raise UnreadableError("truncated", f"{path}: {what} ends at {end:.2f} s of {promised:.2f} s")
    if end < shortest:
        raise UnreadableError("too short", f"{path}: {end:.2f} s of {what}, less than {shortest:g} s")


def has_track(path: Path, kind: str) -> bool:
    """Tell whether a file has an ``audio`` or ``video`` track, by its header.

    Raises:
        UnreadableError: if it is missing or cannot be opened.
    """
    with _open(path) as container:
        return bool(getattr(container.streams, kind))


def read_frames(
    path: Path, *, fps: float, size: int, shortest: float = 0.0, following: bool = False
) -> list[tuple[np.ndarray, ...]]:
    """Return the frames at 0, 1/fps, 2/fps, ... seconds.

    Args:
        path: mp4, webm, avi, mkv, flv, ...
        fps: frames per second of video time; 0 takes every frame.
        size: height and width that frames are resized to (both; the aspect is not kept, as in the published recipes).
        shortest: seconds that a clip must have.
        following: return each frame together with the one that comes next in the file (for optical flow).

    Returns:
        One tuple per instant: ``(frame,)``, or ``(frame, next)``; frames are ``(size, size, 3)`` uint8 RGB.

    Raises:
        UnreadableError: no video track, truncated, too short, or not decodable.
    """
    with _open(path) as container:
        if not container.streams.video:
            raise UnreadableError("undecodable", f"{path}: no video track")
        stream = container.streams.video[0]
        rate = float(stream.average_rate or 25)
        promised = _duration(container, stream)
        taken: list[list[np.ndarray]] = []
        scaler = extra("av.video.reformatter", "av", "video").VideoReformatter()
        count, first, end = 0, None, 0.0
        for frame in _decoded(container, stream):
            time = frame.time if frame.time is not None else count / rate
            first = time if first is None else first
            wanted = not fps or time - first >= len(taken) / fps - 0.5 / rate
            before = following and taken and len(taken[-1]) == 1
            if wanted or before:
                image = scaler.reformat(frame, width=size, height=size, format="rgb24").to_ndarray()
                if before:
                    taken[-1].append(image)
                if wanted:
                    taken.append([image])
            count += 1
            end = time - first + 1 / rate
        if not count:
            raise UnreadableError("undecodable", f"{path}: no frame can be decoded")
        _judge(path, "video", end, promised, shortest)
        return [tuple(pair) for pair in taken if len(pair) == 1 + following]


def read_audio(path: Path, *, rate: int, shortest: float = 0.0) -> np.ndarray:
    """Return the sound of a file, channels averaged, ``(T,)`` float32 in [-1, 1].

    Args:
        path: a video or a sound file.
        rate: samples per second.
        shortest: seconds that it must have.

    Raises:
        UnreadableError: silent (no audio track), truncated, too short, or not decodable.
    """
    av = extra("av", "av", "video")
    with _open(path) as container:
        if not container.streams.audio:
            raise UnreadableError("silent", f"{path}: no audio track")
        stream = container.streams.audio[0]
        promised = _duration(container, stream)
        resampler = av.AudioResampler(format="flt", layout="mono", rate=rate)
        pieces = [piece.to_ndarray()[0] for frame in _decoded(container, stream) for piece in resampler.resample(frame)]
        if pieces:
            pieces += [piece.to_ndarray()[0] for piece in resampler.resample(None)]
    sound = np.concatenate(pieces) if pieces else np.zeros(0, np.float32)
    if not len(sound):
        raise UnreadableError("undecodable", f"{path}: no sound can be decoded")
    if not math.isfinite(float(sound.sum())):
        raise UnreadableError("not finite", f"{path}: NaN in the sound")
    _judge(path, "sound", len(sound) / rate, promised, shortest)
    return np.clip(sound, -1, 1)
