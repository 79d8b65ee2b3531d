"""AV-MNIST from its raw sources: handwritten digits (MNIST) and spoken ones (Free Spoken Digit Dataset)."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np

from counterpoise.data._core import SPLITS, DataInfo, Modality, MultimodalData, Split
from counterpoise.data._raw import read_idx
from counterpoise.data.sound import add_babble, fit_length, log_mel, read_wav
from counterpoise.errors import DataError

__all__ = ["Recordings", "av_mnist", "pair", "read_recordings", "remove_energy"]

RATE: Final = 8000
LENGTH: Final = 6400  # 0.8 s holds 97 % of the recordings whole
WINDOW: Final = 256
HOP: Final = 200
BANDS: Final = 32
SIZES: Final = (9000, 1000, 2000)
REMOVED: Final = 33  # principal components; they carry 75.0 % of the variance of MNIST
TEST_SPEAKERS: Final = 2
OWN_TEST: Final = 5  # the recordings 0-4 of each speaker and digit are the published test set
CHUNK: Final = 2000


@dataclass(frozen=True)
class Recordings:
    """The spoken digits.

    Attributes:
        sound: ``(N, LENGTH)``.
        digit: ``(N,)``.
        speaker: ``(N,)`` names.
        index: ``(N,)`` number of the recording among those of its speaker and digit.
        broken: One line for every file that was left out.
    """

    sound: np.ndarray
    digit: np.ndarray
    speaker: np.ndarray
    index: np.ndarray
    broken: tuple[str, ...] = ()


def av_mnist(
    source: Path,
    *,
    speakers: bool = False,
    weak_image: bool = False,
    babble: Literal["none", "test", "all"] = "none",
    sizes: tuple[int, int, int] = SIZES,
    seed: int = 0,
) -> MultimodalData:
    """Pair each image with a recording of the same digit.

    No image and no recording is in two splits. Test images are MNIST's test set, test recordings FSDD's (0-4 of each
    speaker and digit; 5-9 are validation), or those of two speakers who are in no other split.

    Args:
        source: Raw data folder.
        speakers: Test on speakers never heard in training.
        weak_image: Remove the principal components that carry 75 % of the images' variance (fitted on the training
            images).
        babble: Splits with background voices. ``test`` mixes four other recordings of the test set, together 0 to 6 dB
            louder, into every test recording and leaves training and validation clean; ``all`` does so in every split,
            with recordings of that split.
        sizes: Number of pairs for training, validation and test; (55000, 5000, 10000) is the published size.
        seed: Seed of the pairing.

    Raises:
        DataError: If a raw file is broken, or ``sizes`` asks for more images than the files hold.
    """
    rng, voices = np.random.default_rng(seed), np.random.default_rng((seed, 1))  # variants share their pairs
    images = _images(source / "mnist", sizes, rng)
    recordings = read_recordings(source / "free-spoken-digit-dataset" / "recordings.zip")
    pools, who = _pools(recordings, speakers)
    notes = [who, *recordings.broken]
    if weak_image:
        pixels, removed = remove_energy(images["train"][0], {part: x for part, (x, _) in images.items()}, REMOVED)
        images = {part: (pixels[part], y) for part, (_, y) in images.items()}
        notes.append(
            f"images without their first {REMOVED} principal components, which carried {removed:.1%} of the variance"
        )
    noisy = {"none": (), "test": ("test",), "all": SPLITS}[babble]
    if noisy:
        where = "in every split" if babble == "all" else "in the test set; training and validation are clean"
        notes.append(f"babble of 4 other recordings behind every digit, at -6 to 0 dB, {where}")
    parts = {}
    for part in SPLITS:
        pixels_, digit = images[part]
        spoken = pair(digit, recordings.digit, pools[part], rng)
        audio = _spectrograms(recordings, spoken, pools[part] if part in noisy else None, voices)
        group = recordings.speaker[spoken] if speakers else None
        parts[part] = Split({"image": pixels_[:, None], "audio": audio[:, None]}, digit, group)
    info = DataInfo(
        name="av-mnist",
        modalities=(Modality("image", "image", (1, 28, 28)), Modality("audio", "image", (1, BANDS, LENGTH // HOP))),
        task="multiclass",
        num_outputs=10,
        class_names=tuple("0123456789"),
        group="speaker" if speakers else "",
        source="MNIST (CC BY-SA 3.0) and the Free Spoken Digit Dataset (CC BY-SA 4.0)",
        notes=(f"{sum(map(len, pools.values()))} recordings, paired by digit with seed {seed}", *notes),
    )
    return MultimodalData(info, **parts)


def _images(
    folder: Path, sizes: tuple[int, int, int], rng: np.random.Generator
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return pixels ``(n, 28, 28)`` and digits ``(n,)`` by split."""
    raw = {}
    for prefix in ("train", "t10k"):
        pixels = read_idx(folder / f"{prefix}-images-idx3-ubyte.gz")
        digits = read_idx(folder / f"{prefix}-labels-idx1-ubyte.gz")
        if len(pixels) != len(digits):
            raise DataError(
                f"`{folder}` holds {len(pixels)} {prefix} images and {len(digits)} labels. Download both again."
            )
        raw[prefix] = (pixels, digits.astype(np.int64))
    train, val, test = sizes
    if train + val > len(raw["train"][0]) or test > len(raw["t10k"][0]):
        raise DataError(
            f"`sizes` asks for {train} + {val} training and validation images and {test} test images. "
            f"There are {len(raw['train'][0])} and {len(raw['t10k'][0])}."
        )
    order, last = rng.permutation(len(raw["train"][0])), rng.permutation(len(raw["t10k"][0]))
    rows = {
        "train": ("train", order[:train]),
        "val": ("train", order[train : train + val]),
        "test": ("t10k", last[:test]),
    }
    return {part: (raw[prefix][0][index], raw[prefix][1][index]) for part, (prefix, index) in rows.items()}


def read_recordings(path: Path) -> Recordings:
    """Read the wavs ``recordings/DIGIT_SPEAKER_INDEX.wav`` of a zip; broken ones are named and left out.

    Raises:
        DataError: If the file is not a zip archive, or holds no such recording.
    """
    rows: list[tuple[int, str, int, np.ndarray]] = []
    broken: list[str] = []
    try:
        with zipfile.ZipFile(path) as file:
            for name in sorted(file.namelist()):
                words = Path(name).stem.split("_")
                if not name.endswith(".wav") or len(words) != 3 or not (words[0].isdigit() and words[2].isdigit()):
                    continue
                try:
                    sound = read_wav(file.read(name), name, RATE)
                except (DataError, zipfile.BadZipFile, zlib.error) as error:
                    broken.append(f"left out: {name} ({error})")
                else:
                    rows.append((int(words[0]), words[1], int(words[2]), fit_length(sound, LENGTH)))
    except (OSError, zipfile.BadZipFile) as error:
        raise DataError(f"`{path}` is broken ({error}). Download it again.") from error
    if not rows:
        raise DataError(f"`{path}` holds no recordings DIGIT_SPEAKER_INDEX.wav.")
    digit, speaker, index, sounds = zip(*rows, strict=True)
    return Recordings(np.stack(sounds), np.array(digit), np.array(speaker), np.array(index), tuple(broken))


def _pools(recordings: Recordings, speakers: bool) -> tuple[dict[str, np.ndarray], str]:
    """Return the recordings that each split may use, and a description of this division."""
    first, second = recordings.index < OWN_TEST, recordings.index < 2 * OWN_TEST
    if not speakers:
        masks = {"train": ~second, "val": second & ~first, "test": first}
        return {
            part: np.flatnonzero(mask) for part, mask in masks.items()
        }, "recordings 0-4 test, 5-9 validation, others train"
    names = sorted(set(recordings.speaker))
    if len(names) <= TEST_SPEAKERS:
        raise DataError(
            f"Held-out speakers need more than {TEST_SPEAKERS} speakers. Found {len(names)}: {', '.join(names)}."
        )
    new = np.isin(recordings.speaker, names[-TEST_SPEAKERS:])
    masks = {"train": ~new & ~first, "val": ~new & first, "test": new}
    words = f"test speakers {', '.join(names[-TEST_SPEAKERS:])}; of the others recordings 0-4 are validation"
    return {part: np.flatnonzero(mask) for part, mask in masks.items()}, words


def pair(digit: np.ndarray, spoken: np.ndarray, pool: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a recording of the same digit for each image; all recordings of a digit are used about equally often.

    Args:
        digit: ``(n,)`` digits of the images.
        spoken: ``(R,)`` digits of all recordings.
        pool: Positions of the recordings that may be used.
        rng: Generator.

    Raises:
        DataError: If a digit has no recording in the pool.
    """
    result = np.empty(len(digit), dtype=np.int64)
    for d in np.unique(digit):
        rows, candidates = np.flatnonzero(digit == d), pool[spoken[pool] == d]
        if not len(candidates):
            raise DataError(f"There is no recording of digit {d} left for this split.")
        rounds = -(-len(rows) // len(candidates))
        deck = np.concatenate([rng.permutation(candidates) for _ in range(rounds)])
        result[rows] = deck[: len(rows)]
    return result


def _spectrograms(
    recordings: Recordings, spoken: np.ndarray, pool: np.ndarray | None, rng: np.random.Generator
) -> np.ndarray:
    """Return ``(n, bands, frames)`` uint8 of the recordings ``spoken``, with babble from ``pool`` if there is one."""
    chunks = []
    for start in range(0, len(spoken), CHUNK):
        sound = recordings.sound[spoken[start : start + CHUNK]]
        if pool is not None:
            others = np.zeros_like(sound)
            for _ in range(4):
                other = recordings.sound[_other(spoken[start : start + CHUNK], pool, rng)]
                loud = np.sqrt((other**2).sum(1, keepdims=True))
                others += np.roll(other, int(rng.integers(LENGTH)), axis=1) / np.maximum(loud, 1e-6)
            sound = add_babble(sound, others, rng.uniform(-6, 0, size=len(sound)))
        chunks.append(log_mel(sound, rate=RATE, window=WINDOW, hop=HOP, bands=BANDS))
    return np.concatenate(chunks)


def _other(spoken: np.ndarray, pool: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return one recording out of ``pool`` (sorted) for each target, never the target itself."""
    own = np.searchsorted(pool, spoken)
    return pool[(own + rng.integers(1, len(pool), size=len(spoken))) % len(pool)]


def remove_energy(
    fit: np.ndarray, images: Mapping[str, np.ndarray], components: int
) -> tuple[dict[str, np.ndarray], float]:
    """Return images without their first principal components, as uint8, and the share of the variance that these carry.

    What remains is centred at 128 and scaled by one number, so that 99.9 % of the training pixels fit.

    Args:
        fit: ``(n, H, W)`` images whose components are taken.
        images: ``(n, H, W)`` images by name.
        components: Number of components that are removed.
    """
    flat = fit.reshape(len(fit), -1).astype(np.float32)
    mean = flat.mean(0)
    centred = flat - mean
    values, vectors = np.linalg.eigh((centred.T @ centred / len(centred)).astype(np.float64))
    top = vectors[:, ::-1][:, :components].astype(np.float32)

    def residual(x: np.ndarray) -> np.ndarray:
        z = x.reshape(len(x), -1).astype(np.float32) - mean
        return (z - (z @ top) @ top.T).reshape(x.shape)

    scale = 127 / float(np.quantile(np.abs(residual(fit)), 0.999))
    weak = {name: np.rint(np.clip(128 + scale * residual(x), 0, 255)).astype(np.uint8) for name, x in images.items()}
    return weak, float(values[::-1][:components].sum() / values.sum())
