"""Small pictures of single samples, as JSON: a few kilobytes each for samples of any size."""

from __future__ import annotations

import base64
import io
import itertools
import wave
from typing import Any, Final, Protocol

import numpy as np

from counterpoise._extras import extra
from counterpoise.data.sound import log_mel

__all__ = ["SOUND_NAMES", "Described", "caption", "picture"]

SIDE: Final = 112
"""Longest side of an image, in pixels."""
FRAMES: Final = 5
FRAME_SIDE: Final = 64
POINTS: Final = 60
COLUMNS: Final = 4
"""Maximum number of columns of a sequence that are shown: those that vary most."""
BARS: Final = 48
WORDS: Final = 60
SECONDS: Final = 1.0
PLAYED: Final = 8000
"""Samples per second of the sound that is kept."""
HEARD: Final = 2000
"""Minimum number of samples per second of a sound."""
SOUND_NAMES: Final = ("audio", "sound", "speech", "voice", "spectrogram", "wav")


class Described(Protocol):
    """Description of a modality, such as `counterpoise.data.Modality`."""

    @property
    def name(self) -> str:
        """Name of the modality."""
        ...

    @property
    def kind(self) -> str:
        """Kind: vector, sequence, image, video or tokens."""
        ...

    @property
    def words(self) -> tuple[str, ...]:
        """Words of the token ids."""
        ...

    @property
    def rate(self) -> float:
        """Samples per second, or 0."""
        ...


def picture(
    modality: Described, value: np.ndarray, *, mean: np.ndarray | None = None, std: np.ndarray | None = None
) -> dict[str, Any]:
    """Return a small view of one sample of one modality, as JSON.

    Args:
        modality: Description of the modality.
        value: The sample, of the modality's shape, as the model gets it.
        mean: ``(D,)`` of the samples, for vectors: bars are then in standard deviations.
        std: ``(D,)``.

    Returns:
        ``kind`` (image, spectrogram, sound, video, text, trace or bars), the fields of that kind, and a ``note``.

    Example:
        >>> from types import SimpleNamespace
        >>> title = SimpleNamespace(name="title", kind="tokens", words=("", "?", "blue", "shirt"), rate=0)
        >>> picture(title, np.array([2, 3, 0, 0]))
        {'kind': 'text', 'words': ['blue', 'shirt'], 'note': ''}
    """
    value = np.asarray(value)
    if modality.kind == "tokens":
        return _text(modality, value)
    if modality.kind == "image":
        return _spectrogram(value) if _is_spectrogram(modality, value) else _image(value)
    if modality.kind == "video":
        return _video(value)
    if modality.rate >= HEARD and (value.ndim == 1 or value.shape[-1] == 1):
        return _sound(value.reshape(-1).astype(np.float64), modality.rate)
    return _bars(value, mean, std) if value.ndim == 1 else _trace(value, modality.rate)


def _is_spectrogram(modality: Described, value: np.ndarray) -> bool:
    """Return whether an image has one channel and the name of a sound."""
    return value.ndim == 3 and len(value) == 1 and any(word in modality.name.lower() for word in SOUND_NAMES)


def caption(text: str) -> dict[str, Any]:
    """Return a text that represents a sample of a modality, with at most 60 words, as JSON.

    Example:
        >>> caption("small island")
        {'kind': 'text', 'words': ['small', 'island'], 'note': ''}
    """
    words = text.split()
    note = f"the first {WORDS} of {len(words)} words" if len(words) > WORDS else ""
    return {"kind": "text", "words": words[:WORDS], "note": note}


def _text(modality: Described, value: np.ndarray) -> dict[str, Any]:
    ids = [int(i) for i in value.reshape(-1) if i][:WORDS]
    known = modality.words
    words = [known[i] if i < len(known) else "?" for i in ids] if known else [str(i) for i in ids]
    note = "" if known else "token ids: the data hold no words for them"
    return {"kind": "text", "words": words, "note": note}


def _pixels(value: np.ndarray) -> tuple[np.ndarray, str]:
    """Return ``(H, W)`` or ``(H, W, 3)`` uint8, and a note on the conversion."""
    note = ""
    if len(value) == 2:
        value, note = np.sqrt(((value - 0.5) ** 2).sum(0, keepdims=True)), "length of the optical flow"
    elif len(value) not in (1, 3):
        value, note = value.mean(0, keepdims=True), f"mean of {len(value)} channels"
    value = value.astype(np.float64)
    low, high = float(value.min()), float(value.max())
    if note or low < 0 or high > 1:
        value = (value - low) / (high - low or 1.0)
        note = note or "stretched from the least to the largest value"
    pixels = np.rint(255 * value).astype(np.uint8).transpose(1, 2, 0)
    return (pixels[..., 0] if pixels.shape[-1] == 1 else pixels), note


def _encode(pixels: np.ndarray, side: int | None = SIDE) -> dict[str, Any]:
    """Return data URI, width and height: PNG where that is smaller than WebP."""
    with extra("report"):
        from PIL import Image

    image = Image.fromarray(np.ascontiguousarray(pixels))
    if side is not None and max(image.size) > side:
        image.thumbnail((side, side))
    best = b""
    for format_, options in (("PNG", {"optimize": True}), ("WEBP", {"quality": 70})):
        buffer = io.BytesIO()
        try:
            image.save(buffer, format_, **options)
        except (OSError, KeyError):  # a Pillow without WebP
            continue
        if not best or buffer.tell() < len(best):
            best, kind = buffer.getvalue(), format_.lower()
    source = f"data:image/{kind};base64,{base64.b64encode(best).decode()}"
    return {"src": source, "width": image.width, "height": image.height}


def _image(value: np.ndarray) -> dict[str, Any]:
    value = value[None] if value.ndim == 2 else value
    pixels, note = _pixels(value)
    return {"kind": "image", **_encode(pixels), "note": note}


def _spectrogram(value: np.ndarray) -> dict[str, Any]:
    pixels, _ = _pixels(value)
    bands, frames = pixels.shape
    note = f"spectrogram, {bands} bands (low ones below) by {frames} instants; the data hold no sound to play"
    return {"kind": "spectrogram", **_encode(pixels[::-1]), "note": note}


def _sound(sound: np.ndarray, rate: float) -> dict[str, Any]:
    length = min(len(sound), int(SECONDS * rate))
    start = (len(sound) - length) // 2
    whole, sound = len(sound) / rate, sound[start : start + length]
    wanted = min(PLAYED, int(rate))
    kept = max(int(length * wanted / rate), 1)
    width = max(int(rate / wanted), 1)  # a moving average, so that high tones do not alias
    smooth = np.convolve(sound, np.ones(width) / width, "same")
    heard = np.interp(np.arange(kept) * rate / wanted, np.arange(length), smooth)
    peak = float(np.abs(heard).max()) or 1.0
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(1)
        file.setframerate(wanted)
        file.writeframes(np.rint(127.5 + 127 * heard / peak).astype(np.uint8).tobytes())
    window = 256
    padded = heard[None].astype(np.float32) if kept >= window else np.pad(heard, (0, window - kept))[None]
    pixels = log_mel(padded.astype(np.float32), rate=wanted, window=window, hop=max(kept // 64, 32), bands=32)[0]
    note = f"spectrogram and sound: {kept / wanted:.2g} s at {wanted} Hz, 8 bit"
    note += f", the middle of {whole:.2g} s" if whole > SECONDS else ""
    player = f"data:audio/wav;base64,{base64.b64encode(buffer.getvalue()).decode()}"
    return {"kind": "sound", **_encode(pixels[::-1]), "audio": player, "note": note}


def _video(value: np.ndarray) -> dict[str, Any]:
    count = min(FRAMES, len(value))
    chosen = np.linspace(0, len(value) - 1, count).round().astype(int)
    pixels, note = _pixels(np.concatenate(list(value[chosen]), axis=-1))
    height = pixels.shape[0]
    strip = _encode(pixels, int(np.ceil(pixels.shape[1] * min(1.0, FRAME_SIDE / max(height, value.shape[-1])))))
    said = f"{count} of {len(value)} frames"
    return {"kind": "video", **strip, "note": f"{said}, {note}" if note else said}


def _trace(value: np.ndarray, rate: float) -> dict[str, Any]:
    value = value.reshape(len(value), -1).astype(np.float64)
    steps, columns = value.shape
    chosen = np.sort(np.argsort(-value.std(0), kind="stable")[:COLUMNS])
    edges = np.linspace(0, steps, min(POINTS, steps) + 1).astype(int)
    means = np.stack([value[a:b, chosen].mean(0) for a, b in itertools.pairwise(edges)], 1)
    low, high = float(means.min()), float(means.max())
    lines = np.rint(99 * (means - low) / (high - low or 1.0)).astype(int).tolist()
    span = f"{steps / rate:.3g} s" if rate > 0 else f"{steps} steps"
    note = f"{span}; {'all' if len(chosen) == columns else f'{len(chosen)} of {columns}'} columns"
    return {"kind": "trace", "lines": lines, "low": _short(low), "high": _short(high), "span": span, "note": note}


def _bars(value: np.ndarray, mean: np.ndarray | None, std: np.ndarray | None) -> dict[str, Any]:
    value = value.astype(np.float64)
    unit = ""
    if mean is not None and std is not None:
        value, unit = (value - mean) / np.where(std > 0, std, 1.0), "standard deviations from the mean"
    edges = np.linspace(0, len(value), min(BARS, len(value)) + 1).astype(int)
    means = np.array([value[a:b].mean() for a, b in itertools.pairwise(edges)])
    top = float(np.abs(means).max()) or 1.0
    note = f"{len(value)} numbers" + (f", means of neighbours in {len(means)} bars" if len(means) < len(value) else "")
    note += f"; {unit}" if unit else ""
    return {"kind": "bars", "values": np.rint(99 * means / top).astype(int).tolist(), "top": _short(top), "note": note}


def _short(value: float) -> float:
    return float(f"{value:.3g}")
