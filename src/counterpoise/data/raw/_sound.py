"""What the published recipes make of sound: every parameter in one table."""

from __future__ import annotations

import warnings
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from counterpoise.errors import unknown

__all__ = ["RECIPES", "SoundRecipe", "sound_features", "sound_recipe"]


@dataclass(frozen=True)
class SoundRecipe:
    """How a waveform becomes an image ``(1, H, W)`` float16.

    Attributes:
        kind: ``fbank`` (time x mel, as Kaldi's) or ``stft`` (frequency x time, logarithm of the modulus).
        rate: samples per second.
        seconds: length of sound that is used: the middle of longer sounds.
        fill: what is done with shorter ones: ``zeros`` behind, or ``tile``.
        window: samples per Hann window.
        hop: samples between windows.
        fft: length of the transform.
        bands: mel bands of ``fbank``.
        length: time steps that features are cut or zero-padded to; 0 keeps them.
        shift: subtracted from the features.
        scale: what they are divided by then.
        source: where the numbers come from.
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
    source: str = ""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of the features of one sound."""
        steps = 1 + round(self.seconds * self.rate) // self.hop
        return (1, self.length, self.bands) if self.kind == "fbank" else (1, self.fft // 2 + 1, steps)

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
        source="OGM-GE's script for Kinetics-Sounds: Kaldi fbank, 128 mel bands, 25 ms Hanning windows every 10 ms, 1,024 steps",
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
        source="OGM-GE for VGGSound: five seconds, 256-point windows every 128 samples",
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
        NotFoundError: for an unknown name, with the nearest.
    """
    if name not in RECIPES:
        raise unknown("sound recipe", name, RECIPES)
    return RECIPES[name]


def sound_features(sound: np.ndarray, recipe: SoundRecipe) -> np.ndarray:
    """Return the features of one sound, ``recipe.shape`` float16.

    ``fbank``: Kaldi's filter bank on the mean-free waveform (pre-emphasis 0.97, offset of each window removed, power spectrum, mel scale
    ``1127 log(1 + f / 700)`` from 20 Hz, logarithm); ``stft``: ``log(|S| + 1e-7)``.

    Args:
        sound: ``(T,)`` at ``recipe.rate``, in [-1, 1].
        recipe: the parameters.

    Example:
        >>> sound_features(np.zeros(100, np.float32), RECIPES["stft-crema-d"]).shape
        (1, 257, 188)
    """
    from transformers.audio_utils import mel_filter_bank, spectrogram, window_function

    wanted = round(recipe.seconds * recipe.rate)
    if len(sound) < wanted and recipe.fill == "tile":
        sound = np.tile(sound, -(-wanted // len(sound)))
    start = max(len(sound) - wanted, 0) // 2
    sound = sound[start : start + wanted]
    if recipe.kind == "fbank":
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", UserWarning
            )  # 128 bands over 257 frequencies: the lowest ones are empty, as in the published features
            filters = mel_filter_bank(
                num_frequency_bins=recipe.fft // 2 + 1,
                num_mel_filters=recipe.bands,
                min_frequency=20,
                max_frequency=recipe.rate / 2,
                sampling_rate=recipe.rate,
                norm=None,
                mel_scale="kaldi",
                triangularize_in_mel_space=True,
            )
        sound = np.pad(sound - sound.mean(), (0, max(recipe.window - len(sound), 0)))
        features = spectrogram(
            sound,
            window_function(recipe.window, "hann", periodic=False),
            frame_length=recipe.window,
            hop_length=recipe.hop,
            fft_length=recipe.fft,
            power=2.0,
            center=False,
            preemphasis=0.97,
            mel_filters=filters,
            log_mel="log",
            mel_floor=float(np.finfo(np.float32).eps),
            remove_dc_offset=True,
        ).T[: recipe.length]
        features = np.pad(features, ((0, recipe.length - len(features)), (0, 0)))
        return (((features - recipe.shift) / recipe.scale)[None]).astype(np.float16)
    sound = np.pad(sound, (0, wanted - len(sound)))
    modulus = spectrogram(
        sound,
        window_function(recipe.window, "hann"),
        frame_length=recipe.window,
        hop_length=recipe.hop,
        fft_length=recipe.fft,
        power=1.0,
        pad_mode="constant",
    )
    return (np.log(modulus + 1e-7)[None]).astype(np.float16)
