"""Spectrograms and babble against what the physics says."""

from __future__ import annotations

import io
import wave

import numpy as np
import pytest

from counterpoise.data.sound import add_babble, fit_length, log_mel, mel_filters, read_wav
from counterpoise.errors import DataError

RATE, WINDOW, HOP, BANDS = 8000, 256, 200, 32


def tone(frequency: float, n: int = 6400) -> np.ndarray:
    return np.sin(2 * np.pi * frequency * np.arange(n) / RATE).astype(np.float32)


def wav(samples: np.ndarray, *, channels: int = 1, width: int = 2, rate: int = RATE) -> bytes:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes((samples * 32767).astype("<i2").tobytes())
    return buffer.getvalue()


@pytest.mark.parametrize("frequency", [250.0, 700.0, 1500.0, 3000.0])
def test_a_tone_is_loudest_in_the_band_around_it(frequency: float) -> None:
    picture = log_mel(tone(frequency)[None], rate=RATE, window=WINDOW, hop=HOP, bands=BANDS)[0]
    assert picture.shape == (BANDS, 6400 // HOP)
    top = 2595 * np.log10(1 + 4000 / 700)
    expected = 2595 * np.log10(1 + frequency / 700) / top * (BANDS + 1) - 1  # centres are evenly spaced in mel
    assert abs(picture[:, 16].argmax() - expected) <= 0.51
    assert picture.max() == 255


def test_level_is_in_decibels_and_gain_changes_nothing() -> None:
    loud = np.concatenate([tone(1000, 3200), 0.01 * tone(1000, 3200)])[None]  # 40 dB less
    picture = log_mel(loud, rate=RATE, window=WINDOW, hop=HOP, bands=BANDS)[0]
    drop = float(picture[:, 4].max()) - float(picture[:, 26].max())
    assert drop == pytest.approx(40 / 80 * 255, abs=3)
    quieter = log_mel(0.2 * loud, rate=RATE, window=WINDOW, hop=HOP, bands=BANDS)[0]
    assert np.abs(picture.astype(int) - quieter.astype(int)).max() <= 1


def test_silence_is_finite() -> None:
    picture = log_mel(np.zeros((1, 6400), np.float32), rate=RATE, window=WINDOW, hop=HOP, bands=BANDS)
    assert picture.dtype == np.uint8


def test_spectrogram_against_scipy() -> None:
    from scipy.signal import stft

    sound = np.random.default_rng(0).normal(size=6400).astype(np.float32)
    _, _, z = stft(sound, RATE, "hann", WINDOW, WINDOW - HOP, padded=False, scaling="spectrum")
    energy = (np.abs(z[:, : 6400 // HOP]) ** 2).T @ mel_filters(BANDS, WINDOW, RATE)
    decibel = 10 * np.log10(energy)
    expected = np.clip(1 + (decibel - decibel.max()) / 80, 0, 1) * 255
    picture = log_mel(sound[None], rate=RATE, window=WINDOW, hop=HOP, bands=BANDS)[0]
    assert np.abs(picture.T - expected)[1:-1].max() < 1.0


def test_mel_filters_sum_to_one_between_the_outer_centres() -> None:
    filters = mel_filters(8, 1024, RATE)
    top = 2595 * np.log10(1 + RATE / 2 / 700)
    centres = 700 * (10 ** (np.linspace(0, top, 10)[1:-1] / 2595) - 1)
    frequency = np.linspace(0, RATE / 2, 513)
    inside = (frequency >= centres[0]) & (frequency <= centres[-1])
    assert np.allclose(filters[inside].sum(1), 1)
    assert (filters >= 0).all()


@pytest.mark.parametrize("snr", [-6.0, 0.0, 10.0])
def test_babble_has_the_energy_asked_for(snr: float) -> None:
    rng = np.random.default_rng(0)
    sound, noise = rng.normal(size=(5, 800)), 3 * rng.normal(size=(5, 800))
    mixed = add_babble(sound, noise, np.full(5, snr))
    ratio = 10 * np.log10((sound**2).sum(1) / ((mixed - sound) ** 2).sum(1))
    assert np.allclose(ratio, snr)


def test_length() -> None:
    assert fit_length(np.arange(4.0), 4).tolist() == [0, 1, 2, 3]
    assert fit_length(np.ones(3), 6).tolist() == [0, 1, 1, 1, 0, 0]
    assert fit_length(np.arange(10.0), 4).tolist() == [3, 4, 5, 6]


def test_wav_round_trip_and_refusals() -> None:
    samples = tone(440, 800)
    assert np.abs(read_wav(wav(samples), "x.wav", RATE) - samples).max() < 1e-3
    with pytest.raises(DataError, match=r"`x.wav` is not a readable wav"):
        read_wav(b"nothing", "x.wav", RATE)
    with pytest.raises(DataError, match=r"Found 1 channels, 16 bit, 16000 Hz"):
        read_wav(wav(samples, rate=16000), "x.wav", RATE)
    with pytest.raises(DataError, match=r"holds no sound"):
        read_wav(wav(samples[:0]), "x.wav", RATE)
