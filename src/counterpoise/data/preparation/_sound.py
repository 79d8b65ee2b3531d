"""Sound features of published recipes: every parameter in one table."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from counterpoise._validation import unknown
from counterpoise.data.sound import mel_filters

__all__ = ["RECIPES", "SoundRecipe", "sound_features", "sound_recipe"]

LOWEST: Final = 20.0
"""Frequency in Hz at which Kaldi's first mel band begins."""


@dataclass(frozen=True)
class SoundRecipe:
    """Parameters of the conversion of a waveform to an image ``(1, H, W)`` float16.

    Attributes:
        kind: ``fbank`` (time x mel, as Kaldi's) or ``stft`` (frequency x time, logarithm of the modulus).
        rate: Samples per second.
        seconds: Length of sound that a sample has: the middle of longer sounds.
        fill: Extension of shorter sounds: ``zeros`` at the end, or ``tile``.
        window: Samples per Hann window.
        hop: Samples between windows.
        fft: Length of the transform.
        bands: Mel bands of ``fbank``.
        length: Time steps that features are cut or zero-padded to; 0 keeps them.
        shift: Number that is subtracted from the features.
        scale: Number by which the features are then divided.
        stored: Length of sound that is kept where it is more: training takes ``seconds`` of it at random, evaluation
            the middle; 0 keeps ``seconds``.
        source: Source of the numbers.
    """

    kind: str
    rate: int
    seconds: float
    window: int
    hop: int
    fft: int
    fill: str = "zeros"
    bands: int = 0
    length: int = 0
    shift: float = 0.0
    scale: float = 1.0
    stored: float = 0.0
    source: str = ""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of the features of one sample."""
        return self._shape(self.seconds)

    @property
    def stored_shape(self) -> tuple[int, int, int]:
        """Shape of the features that are kept of one sound."""
        return self._shape(self.kept)

    @property
    def kept(self) -> float:
        """Seconds that are kept of one sound."""
        return max(self.stored, self.seconds)

    def _shape(self, seconds: float) -> tuple[int, int, int]:
        if self.kind == "fbank":
            return (1, round(self.length * seconds / self.seconds), self.bands)
        return (1, self.fft // 2 + 1, 1 + round(seconds * self.rate) // self.hop)

    def to_dict(self) -> dict[str, Any]:
        """Return all parameters."""
        return asdict(self)


RECIPES: Final = {
    "fbank": SoundRecipe(
        "fbank",
        16000,
        10.24,
        400,
        160,
        512,
        bands=128,
        length=1024,
        shift=-4.503877,
        scale=2 * 5.141276,
        source="OGM-GE's script for Kinetics-Sounds: Kaldi fbank, 128 mel bands, 25 ms Hanning windows every 10 ms, "
        "1,024 steps",
    ),
    "stft-crema-d": SoundRecipe(
        "stft",
        22050,
        3.0,
        512,
        353,
        512,
        fill="tile",
        source="OGM-GE for CREMA-D: three seconds tiled, 512-point windows every 353 samples",
    ),
    "stft-vggsound": SoundRecipe(
        "stft",
        16000,
        5.0,
        256,
        128,
        256,
        stored=10.0,
        source="OGM-GE for VGGSound: five of ten seconds (at random in training, the middle at test), 256-point "
        "windows every 128 samples",
    ),
    "fbank-small": SoundRecipe(
        "fbank",
        16000,
        3.0,
        400,
        320,
        512,
        bands=64,
        length=150,
        shift=-4.503877,
        scale=2 * 5.141276,
        source="ours: three seconds, 64 mel bands every 20 ms, for small encoders",
    ),
}
"""The recipes by name."""  # fmt: skip


def sound_recipe(name: str) -> SoundRecipe:
    """Return a recipe.

    Raises:
        NotFoundError: For an unknown name, with the nearest.
    """
    if name not in RECIPES:
        raise unknown("sound recipe", name, RECIPES)
    return RECIPES[name]


def sound_features(sound: np.ndarray, recipe: SoundRecipe) -> np.ndarray:
    """Return the features of one sound, ``recipe.stored_shape`` float16.

    ``fbank``: Kaldi's filter bank on the mean-free waveform (pre-emphasis 0.97, offset of each window removed, power
    spectrum, mel scale ``1127 log(1 + f / 700)`` from 20 Hz, logarithm); ``stft``: ``log(|S| + 1e-7)``, windows
    centred.

    Args:
        sound: ``(T,)`` at ``recipe.rate``, in [-1, 1].
        recipe: The parameters.

    Example:
        >>> sound_features(np.zeros(100, np.float32), RECIPES["stft-crema-d"]).shape
        (1, 257, 188)
    """
    sound = _cut(sound, recipe)
    rows = _fbank(sound, recipe) if recipe.kind == "fbank" else _log_modulus(sound, recipe)
    return ((rows - recipe.shift) / recipe.scale)[None].astype(np.float16)


def _cut(sound: np.ndarray, recipe: SoundRecipe) -> np.ndarray:
    """Return the part that is kept: the middle of longer sounds.

    Sounds of less than one sample's seconds are filled as the recipe says (``fbank`` pads its features instead); those
    between one sample and what is kept go on at both ends as if they were repeated, so that a random part is never
    silence and the middle stays the middle.
    """
    used, kept = round(recipe.seconds * recipe.rate), round(recipe.kept * recipe.rate)
    if len(sound) < used and recipe.fill == "tile":
        sound = np.tile(sound, -(-used // len(sound)))[:used]
    elif len(sound) < used and (recipe.kind == "stft" or kept > used):
        sound = np.pad(sound, (0, used - len(sound)))
    if len(sound) < kept and kept > used:
        before = (kept - len(sound)) // 2
        return np.pad(sound, (before, kept - len(sound) - before), mode="wrap")
    start = max(len(sound) - kept, 0) // 2
    return sound[start : start + kept]


def _windows(sound: np.ndarray, recipe: SoundRecipe) -> np.ndarray:
    return np.lib.stride_tricks.sliding_window_view(sound.astype(np.float64), recipe.window)[:: recipe.hop]


def _fbank(sound: np.ndarray, recipe: SoundRecipe) -> np.ndarray:
    """Return ``(steps, bands)``; zeros (before shift and scale) where the sound has ended, as published."""
    steps = recipe.stored_shape[1]
    sound = np.pad(sound - sound.mean(), (0, max(recipe.window - len(sound), 0)))
    windows = _windows(sound, recipe)[:steps]
    windows = windows - windows.mean(1, keepdims=True)
    windows = np.concatenate([0.03 * windows[:, :1], windows[:, 1:] - 0.97 * windows[:, :-1]], 1)
    power = np.abs(np.fft.rfft(windows * np.hanning(recipe.window), recipe.fft)) ** 2
    filters = mel_filters(recipe.bands, recipe.fft, recipe.rate, lowest=LOWEST, slopes="mel")
    rows = np.log(np.maximum(power @ filters, np.finfo(np.float32).eps))
    return np.pad(rows, ((0, steps - len(rows)), (0, 0)))


def _log_modulus(sound: np.ndarray, recipe: SoundRecipe) -> np.ndarray:
    """Return ``(frequencies, steps)``; the sound is padded, so that step k is centred at sample ``k * hop``."""
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(recipe.window) / recipe.window)
    windows = _windows(np.pad(sound, recipe.window // 2), recipe)
    return np.log(np.abs(np.fft.rfft(windows * hann, recipe.fft)) + 1e-7).T
