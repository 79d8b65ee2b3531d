"""Ends of the tracks of a media file, and whether they agree with its header."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any, Final

from counterpoise.data.preparation._findings import UnreadableError

__all__ = ["Ends"]

COMPLETE: Final = 0.9
"""A file whose content ends before this share of the promised duration is truncated (`GRACE` is always granted)."""
GRACE: Final = 0.5
BY_TRACK: Final = ("mov", "avi", "wav", "w64", "flac", "aiff", "caf", "au")
"""Formats whose header holds the duration of every track."""
BY_FILE: Final = ("matroska", "flv", "asf")
"""Formats whose header holds one duration, that of the longest track. In all others the duration is estimated from the
bit rate or from the end of the file, and is no evidence of truncation."""
EBML_SEGMENT: Final = bytes.fromhex("18538067")


class Ends:
    """The ends of a file's tracks, by the packets that were read.

    Args:
        path: The file.
        container: PyAV's container.
        stream: The track that is decoded.
    """

    def __init__(self, path: Path, container: Any, stream: Any) -> None:
        self.path = path
        self.broken = False
        self._index = stream.index
        self._first: dict[int, float] = {}
        self._last: dict[int, float] = defaultdict(float)
        formats = set(container.format.name.split(","))
        self._by_file = bool(formats & set(BY_FILE))
        self._promised = 0.0
        self._whole = "matroska" in formats and _matroska_is_whole(path)
        if formats & set(BY_TRACK) or ("mp3" in formats and _counts_its_frames(path)):
            self._promised = float((stream.duration or 0) * (stream.time_base or 0))
        elif self._by_file:
            self._promised = float(container.duration or 0) / 1e6

    def add(self, packet: Any) -> None:
        """Record a packet of any track."""
        if packet.pts is not None and packet.time_base is not None:
            start = float(packet.pts * packet.time_base)
            track = packet.stream_index
            self._first.setdefault(track, start)
            self._last[track] = max(self._last[track], start + float((packet.duration or 0) * packet.time_base))

    def _length(self, track: int) -> float:
        return self._last[track] - self._first.get(track, 0.0)

    def check(self, what: str, decoded: float) -> None:
        """Raise `UnreadableError` if the file was cut off, or if a track cannot be decoded to its end.

        Args:
            what: ``video`` or ``sound``, for the message.
            decoded: Seconds that could be decoded.
        """
        own = self._length(self._index)
        if self.broken and not self._promised:
            raise UnreadableError("truncated", f"{self.path}: {what} cannot be decoded beyond {decoded:.2f} s")
        if _short(decoded, own) and self.broken:
            raise UnreadableError("truncated", f"{self.path}: {what} ends at {decoded:.2f} s of {own:.2f} s")
        reached = max(decoded, own)
        if self._by_file:  # the longest track counts, from the start of the file
            reached = max([reached, *self._last.values()])
        if not self._whole and _short(reached, self._promised):
            raise UnreadableError("truncated", f"{self.path}: {what} ends at {decoded:.2f} s of {self._promised:.2f} s")


def _short(end: float, promised: float) -> bool:
    return end < COMPLETE * promised and end < promised - GRACE


def _counts_its_frames(path: Path) -> bool:
    """Return whether an mp3 declares its number of frames (by a Xing, Info or VBRI header in its first frame)."""
    with path.open("rb") as file:
        head = file.read(10)
        skipped = 0
        if head[:3] == b"ID3" and len(head) == 10:  # the tag's size is written with 7 bits per byte
            skipped = 10 + sum((byte & 127) << shift for byte, shift in zip(head[6:], (21, 14, 7, 0), strict=True))
        file.seek(skipped)
        frame = file.read(512)
    return any(mark in frame for mark in (b"Xing", b"Info", b"VBRI"))


def _matroska_is_whole(path: Path) -> bool:
    """Return whether a Matroska file has the length that its segment declares; False if the length is unknown."""
    with path.open("rb") as file:
        head = file.read(4096)
    at = head.find(EBML_SEGMENT) + len(EBML_SEGMENT)
    if at < len(EBML_SEGMENT) or at >= len(head) or not head[at]:
        return False
    length = 9 - head[at].bit_length()  # the leading zeros of the first byte say how many bytes there are
    bits = 7 * length
    size = int.from_bytes(head[at : at + length], "big") & ((1 << bits) - 1)
    return size != (1 << bits) - 1 and path.stat().st_size >= at + length + size
