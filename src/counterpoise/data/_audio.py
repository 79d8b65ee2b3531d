"""Sound in a few lines of NumPy: wav files, log-mel spectrograms, babble."""

from __future__ import annotations

import io
import wave
from typing import Final

import numpy as np

from counterpoise.errors import DataError

__all__ = ["add_babble", "fit_length", "log_mel", "mel_filters", "read_wav"]

FLOOR_DB: Final = 80.0


def read_wav(content: bytes, name: str, rate: int) -> np.ndarray:
    """Return the samples ``(T,)`` of a mono 16-bit wav, in [-1, 1).

    Raises:
        DataError: if it is something else.
    """
    try:
        with wave.open(io.BytesIO(content)) as file:
            layout = (file.getnchannels(), file.getsampwidth(), file.getframerate())
            frames = file.readframes(file.getnframes())
    except (wave.Error, EOFError) as error:
        raise DataError(f"`{name}` is no readable wav ({error}).") from error
    if layout != (1, 2, rate):
        raise DataError(
            f"`{name}` should be mono, 16 bit, {rate} Hz. Found {layout[0]} channels, {8 * layout[1]} bit, {layout[2]} Hz."
        )
    if not frames:
        raise DataError(f"`{name}` holds no sound.")
    return np.frombuffer(frames, "<i2").astype(np.float32) / 32768


def fit_length(sound: np.ndarray, length: int) -> np.ndarray:
    """Return ``(length,)``: the middle of the sound, or the sound in the middle of silence.

    Example:
        >>> fit_length(np.array([1.0, 2.0]), 4), fit_length(np.arange(5.0), 3)
        (array([0., 1., 2., 0.]), array([1., 2., 3.]))
    """
    excess = len(sound) - length
    if excess >= 0:
        return sound[excess // 2 : excess // 2 + length]
    before = -excess // 2
    return np.pad(sound, (before, -excess - before))


def mel_filters(bands: int, window: int, rate: int) -> np.ndarray:
    """Return ``(window // 2 + 1, bands)``: triangles evenly spaced in mel, 2595 log10(1 + f / 700), up to half the
    rate.
    """
    top = 2595 * np.log10(1 + rate / 2 / 700)
    edges = 700 * (10 ** (np.linspace(0, top, bands + 2) / 2595) - 1)
    frequency = np.linspace(0, rate / 2, window // 2 + 1)[:, None]
    rising = (frequency - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - frequency) / (edges[2:] - edges[1:-1])
    return np.maximum(0, np.minimum(rising, falling))


def log_mel(sound: np.ndarray, *, rate: int, window: int, hop: int, bands: int) -> np.ndarray:
    """Return ``(N, bands, T // hop)`` uint8: the energy in each mel band, 0 = 80 dB below the loudest of the sample, 255 = the
    loudest.

    Args:
        sound: ``(N, T)``.
        rate: samples per second.
        window: samples per Hann window.
        hop: samples between windows.
        bands: mel bands.
    """
    padded = np.pad(sound, ((0, 0), (window // 2, window // 2)))
    frames = np.lib.stride_tricks.sliding_window_view(padded, window, axis=1)[:, ::hop][:, : sound.shape[1] // hop]
    hann = np.hanning(window + 1)[:-1].astype(np.float32)
    power = np.abs(np.fft.rfft(frames * hann)) ** 2
    energy = power.astype(np.float32) @ mel_filters(bands, window, rate).astype(np.float32)
    decibel = 10 * np.log10(np.maximum(energy, 1e-10))
    decibel -= decibel.max((1, 2), keepdims=True)
    return np.rint(np.clip(1 + decibel / FLOOR_DB, 0, 1) * 255).astype(np.uint8).swapaxes(1, 2)


def add_babble(sound: np.ndarray, babble: np.ndarray, snr_db: np.ndarray) -> np.ndarray:
    """Return ``(N, T)``: sounds with babble behind them, ``snr_db`` ``(N,)`` their energy over the babble's."""
    own = (sound**2).sum(1)
    other = np.maximum((babble**2).sum(1), 1e-12)
    gain = np.sqrt(own / other / 10 ** (snr_db / 10))
    return sound + gain[:, None] * babble
