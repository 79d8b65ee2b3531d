"""Processing of sound with NumPy: wav files, mel filters, log-mel spectrograms, babble."""

from __future__ import annotations

import io
import warnings
from functools import lru_cache
from typing import Final, Literal

import numpy as np

from counterpoise.errors import DataError

__all__ = ["add_babble", "fit_length", "log_mel", "mel_filters", "read_wav"]

FLOOR_DB: Final = 80.0


def read_wav(content: bytes, name: str, rate: int) -> np.ndarray:
    """Return the samples ``(T,)`` of a mono 16-bit wav, in [-1, 1).

    Raises:
        DataError: If the file is not a mono 16-bit wav.
    """
    from scipy.io import wavfile

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", wavfile.WavFileWarning)  # chunks besides the sound
            found_rate, samples = wavfile.read(io.BytesIO(content))
    except (ValueError, EOFError, IndexError) as error:
        raise DataError(f"`{name}` is not a readable wav ({error}).") from error
    if samples.ndim != 1 or samples.dtype != np.int16 or found_rate != rate:
        channels = 1 if samples.ndim == 1 else samples.shape[1]
        raise DataError(
            f"`{name}` should be mono, 16 bit, {rate} Hz. Found {channels} channels, {8 * samples.dtype.itemsize} bit, "
            f"{found_rate} Hz."
        )
    if not len(samples):
        raise DataError(f"`{name}` holds no sound.")
    return samples.astype(np.float32) / 32768


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


def _mel(frequency: np.ndarray | float) -> np.ndarray:
    return 1127 * np.log1p(np.asarray(frequency) / 700)


@lru_cache(maxsize=8)
def mel_filters(
    bands: int, window: int, rate: int, *, lowest: float = 0.0, slopes: Literal["hertz", "mel"] = "hertz"
) -> np.ndarray:
    """Return ``(window // 2 + 1, bands)`` triangles of height one, evenly spaced in mel, ``1127 log(1 + f / 700)``.

    Args:
        bands: Number of filters.
        window: Length of the Fourier transform.
        rate: Samples per second; the last triangle ends at half of it.
        lowest: Frequency in Hz at which the first triangle begins.
        slopes: Scale on which the slopes are straight: ``hertz``, or ``mel`` as Kaldi's. With many bands the lowest
            ones may lie between two frequencies and are then empty.
    """
    edges = np.linspace(_mel(lowest), _mel(rate / 2), bands + 2)
    places = np.linspace(0, rate / 2, window // 2 + 1)[:, None]
    if slopes == "mel":
        places = _mel(places)
    else:
        edges = 700 * np.expm1(edges / 1127)
    rising = (places - edges[:-2]) / np.diff(edges)[:-1]
    falling = (edges[2:] - places) / np.diff(edges)[1:]
    return np.minimum(rising, falling).clip(min=0)


def log_mel(sound: np.ndarray, *, rate: int, window: int, hop: int, bands: int) -> np.ndarray:
    """Return ``(N, bands, T // hop)`` uint8: energy in each mel band, from 80 dB below the loudest of the sample to it.

    Args:
        sound: ``(N, T)``.
        rate: Samples per second.
        window: Samples per Hann window.
        hop: Samples between windows.
        bands: Mel bands.
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
    """Return ``(N, T)``: sounds with babble behind them.

    Args:
        sound: ``(N, T)``.
        babble: ``(N, T)``.
        snr_db: Energy of the sound over that of the babble, ``(N,)`` in decibels.
    """
    own = (sound**2).sum(1)
    other = np.maximum((babble**2).sum(1), 1e-12)
    gain = np.sqrt(own / other / 10 ** (snr_db / 10))
    return sound + gain[:, None] * babble
