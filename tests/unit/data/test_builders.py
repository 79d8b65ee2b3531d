"""The builders on made-up raw files of the published layout, and on the real ones where they are."""

from __future__ import annotations

import gzip
import io
import wave
import zipfile
from pathlib import Path

import numpy as np
import pytest

from counterpoise.data import DATASETS, MultimodalData
from counterpoise.data._raw import read_idx
from counterpoise.data._vocabulary import Vocabulary
from counterpoise.data.datasets._av_mnist import Recordings, av_mnist, pair, read_recordings, remove_energy
from counterpoise.data.datasets._fashion import fashion
from counterpoise.data.datasets._multiview import multiview
from counterpoise.data.datasets._utd_mhad import utd_mhad
from counterpoise.errors import DataError

SPEAKERS = ("ann", "bob", "cid", "dan")


def write_idx(path: Path, array: np.ndarray) -> None:
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    path.write_bytes(gzip.compress(header + array.astype(np.uint8).tobytes()))


def wav(samples: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes((samples * 32767).astype("<i2").tobytes())
    return buffer.getvalue()


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Raw files in which every image and every recording says which one it is.

    Image k of a file has its number in base 256 in two pixels; every recording is a tone of a frequency of its own.
    """
    root = tmp_path_factory.mktemp("raw")
    (root / "mnist").mkdir()
    rng = np.random.default_rng(0)
    for prefix, n, shift in (("train", 300, 0), ("t10k", 80, 1000)):
        pixels = rng.integers(256, size=(n, 28, 28))
        pixels[:, 0, 0], pixels[:, 0, 1] = (np.arange(n) + shift) // 256, (np.arange(n) + shift) % 256
        write_idx(root / "mnist" / f"{prefix}-images-idx3-ubyte.gz", pixels)
        write_idx(root / "mnist" / f"{prefix}-labels-idx1-ubyte.gz", np.arange(n) % 10)
    (root / "free-spoken-digit-dataset").mkdir()
    with zipfile.ZipFile(root / "free-spoken-digit-dataset" / "recordings.zip", "w") as file:
        for digit in range(10):
            for s, speaker in enumerate(SPEAKERS):
                for index in range(12):
                    t = np.arange(1500 + 100 * index) / 8000
                    sound = 0.5 * np.sin(2 * np.pi * (200 + 300 * digit + 60 * s) * t)
                    file.writestr(f"recordings/{digit}_{speaker}_{index}.wav", wav(sound))
        file.writestr("recordings/readme.txt", "not a recording")
    return root


def image_ids(data: MultimodalData) -> list[set[int]]:
    parts = (data.train, data.val, data.test)
    return [{int(a) * 256 + int(b) for a, b in part.arrays["image"][:, 0, 0, :2]} for part in parts]


def disjoint(sets: list[set[int]]) -> bool:
    return len(set.union(*sets)) == sum(map(len, sets))


# --- AV-MNIST -------------------------------------------------------------------------------------------------------


def test_av_mnist_layout(digits: Path) -> None:
    data = av_mnist(digits, sizes=(200, 50, 60))
    assert [len(data.train), len(data.val), len(data.test)] == [200, 50, 60]
    assert data.train.arrays["image"].shape == (200, 1, 28, 28)
    assert data.train.arrays["audio"].shape == (200, 1, 32, 32)
    assert {array.dtype for array in data.train.arrays.values()} == {np.dtype(np.uint8)}
    assert data.train.group is None
    ids = image_ids(data)
    assert disjoint(ids)
    assert [len(part) for part in ids] == [200, 50, 60]
    assert min(ids[2]) >= 1000 > max(ids[0] | ids[1])  # test images are the published test images
    # Images are numbered so that number % 10 is the digit.
    numbers = [int(a) * 256 + int(b) for a, b in data.test.arrays["image"][:, 0, 0, :2]]
    assert [k % 10 for k in numbers] == data.test.target.tolist()


def test_av_mnist_pairs_by_digit_and_shares_no_recording(digits: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spoken: list[np.ndarray] = []

    def spy(digit: np.ndarray, of: np.ndarray, pool: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        chosen = pair(digit, of, pool, rng)
        assert (of[chosen] == digit).all()
        assert set(chosen) <= set(pool)
        spoken.append(chosen)
        return chosen

    monkeypatch.setattr("counterpoise.data.datasets._av_mnist.pair", spy)
    for speakers in (False, True):
        spoken.clear()
        av_mnist(digits, speakers=speakers, sizes=(200, 50, 60))
        assert len(spoken) == 3
        assert disjoint([set(chosen.tolist()) for chosen in spoken])


def test_av_mnist_tone_of_the_digit_is_in_the_spectrogram(digits: Path) -> None:
    data = av_mnist(digits, sizes=(100, 30, 40))
    peak = data.train.arrays["audio"][:, 0, :, 16].argmax(1).astype(float)
    by_digit = [peak[data.train.target == d].mean() for d in range(10)]
    assert (np.diff(by_digit) > 0).all()  # a higher digit is a higher tone


def test_av_mnist_held_out_speakers(digits: Path) -> None:
    data = av_mnist(digits, speakers=True, sizes=(200, 50, 60))
    groups = [set(part.group.tolist()) for part in (data.train, data.val, data.test) if part.group is not None]
    assert groups == [{"ann", "bob"}, {"ann", "bob"}, {"cid", "dan"}]
    assert data.info.group == "speaker"


def test_av_mnist_is_seeded(digits: Path) -> None:
    first = av_mnist(digits, sizes=(50, 20, 20), babble="all")
    assert first.fingerprint() == av_mnist(digits, sizes=(50, 20, 20), babble="all").fingerprint()
    assert first.fingerprint() != av_mnist(digits, sizes=(50, 20, 20), babble="all", seed=1).fingerprint()


def test_babble_changes_the_sound_and_not_the_pairs(digits: Path) -> None:
    clean, shifted, noisy = (av_mnist(digits, sizes=(50, 20, 20), babble=b) for b in ("none", "test", "all"))
    for part in ("train", "val", "test"):
        a, b, c = (data.split(part) for data in (clean, shifted, noisy))
        assert np.array_equal(a.arrays["image"], c.arrays["image"])
        assert np.array_equal(a.target, c.target)
        changed = [np.abs(a.arrays["audio"].astype(int) - x.arrays["audio"]).mean() for x in (b, c)]
        assert changed[1] > 10
        assert (changed[0] > 10) == (part == "test")


def test_av_mnist_refuses_more_than_there_is(digits: Path) -> None:
    with pytest.raises(DataError, match=r"asks for 280 \+ 50 training and validation images and 60 test images"):
        av_mnist(digits, sizes=(280, 50, 60))


def test_broken_recording_is_left_out_and_named(digits: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "r.zip", "w") as file:
        file.writestr("recordings/3_ann_0.wav", wav(np.ones(50) / 2))
        file.writestr("recordings/4_ann_0.wav", b"broken")
    recordings = read_recordings(tmp_path / "r.zip")
    assert recordings.digit.tolist() == [3]
    assert len(recordings.broken) == 1
    assert "4_ann_0.wav" in recordings.broken[0]
    (tmp_path / "r.zip").write_bytes(b"PK")
    with pytest.raises(DataError, match=r"r.zip` is broken"):
        read_recordings(tmp_path / "r.zip")


def test_pairing_uses_recordings_about_equally() -> None:
    rng = np.random.default_rng(0)
    digit, of = np.zeros(25, int), np.array([0] * 10 + [1] * 10)
    chosen = pair(digit, of, np.arange(20), rng)
    counts = np.bincount(chosen, minlength=20)
    assert set(counts[:10]) == {2, 3}
    assert counts[10:].sum() == 0
    with pytest.raises(DataError, match="no recording of digit 5"):
        pair(np.array([5]), of, np.arange(20), rng)


def test_removed_energy_against_the_singular_values() -> None:
    rng = np.random.default_rng(0)
    images = (128 + 20 * rng.normal(size=(200, 6, 6)) @ np.diag([4, 1, 1, 1, 1, 1])).clip(0, 255).astype(np.uint8)
    weak, share = remove_energy(images, {"x": images}, 6)
    centred = images.reshape(200, -1) - images.reshape(200, -1).mean(0)
    _, s, v = np.linalg.svd(centred.astype(float), full_matrices=False)
    assert share == pytest.approx((s[:6] ** 2).sum() / (s**2).sum(), abs=1e-5)
    residual = (centred - (centred @ v[:6].T) @ v[:6]).reshape(-1)
    assert np.corrcoef(residual, weak["x"].reshape(-1).astype(float))[0, 1] > 0.999


def test_idx_files(tmp_path: Path) -> None:
    array = np.arange(24).reshape(2, 3, 4)
    write_idx(tmp_path / "x.gz", array)
    assert np.array_equal(read_idx(tmp_path / "x.gz"), array)
    whole = gzip.decompress((tmp_path / "x.gz").read_bytes())
    (tmp_path / "cut.gz").write_bytes(gzip.compress(whole[:-5]))
    with pytest.raises(DataError, match=r"cut.gz` should hold \(2, 3, 4\) bytes. Found 19"):
        read_idx(tmp_path / "cut.gz")
    (tmp_path / "raw.gz").write_bytes(whole)
    with pytest.raises(DataError, match=r"raw.gz` is broken"):
        read_idx(tmp_path / "raw.gz")
    (tmp_path / "other.gz").write_bytes(gzip.compress(b"hello world"))
    with pytest.raises(DataError, match=r"other.gz` is not an idx file"):
        read_idx(tmp_path / "other.gz")


# --- the others -----------------------------------------------------------------------------------------------------


def test_utd_mhad_by_subject_with_the_root_at_the_origin(tmp_path: Path) -> None:
    (tmp_path / "utd_mhad").mkdir()
    rng = np.random.default_rng(0)
    subject = np.repeat(np.arange(1, 9), 4).astype(np.int8)
    skeleton = rng.normal(size=(32, 64, 20, 3)).astype(np.float16)
    np.savez(
        tmp_path / "utd_mhad" / "utd_mhad.npz",
        accel_gyro=rng.normal(size=(32, 128, 6)).astype(np.float16),
        skeleton=skeleton,
        depth=rng.integers(256, size=(32, 16, 48, 48)).astype(np.uint8),
        label=np.arange(32) % 4,
        subject=subject,
        class_names=["a_b", "c", "d", "e"],
    )
    data = utd_mhad(tmp_path)
    assert [len(data.train), len(data.val), len(data.test)] == [12, 4, 16]
    assert {m.name: m.shape for m in data.info.modalities} == {
        "inertial": (128, 6),
        "skeleton": (64, 60),
        "depth": (16, 1, 48, 48),
    }
    groups = [set(part.group.tolist()) for part in (data.train, data.val, data.test) if part.group is not None]
    assert groups == [{1, 3, 5}, {7}, {2, 4, 6, 8}]
    joints = data.val.arrays["skeleton"].reshape(4, 64, 20, 3)
    assert (joints[:, :, 2] == 0).all()
    raw = skeleton[subject == 7].astype(np.float32)
    assert np.abs(joints[:, :, 5] - (raw[:, :, 5] - raw[:, :, 2])).max() < 4e-3
    assert data.info.class_names[0] == "a b"


def test_wikipedia_uses_its_own_test_set(tmp_path: Path) -> None:
    (tmp_path / "multiview").mkdir()
    rng = np.random.default_rng(0)
    test = rng.random(80) < 0.25
    views = {"view_0": rng.normal(size=(80, 8)), "view_1": rng.normal(size=(80, 5))}
    np.savez(
        tmp_path / "multiview" / "wikipedia_img_text.npz",
        label=np.arange(80) % 4,
        view_names=["image8", "text5"],
        is_train=~test,
        is_test=test,
        **views,
    )
    data = multiview(tmp_path, "wikipedia")
    assert data.info.names == ("image", "text")
    assert np.allclose(data.test.arrays["text"], views["view_1"][test])
    assert len(data.val) == round((80 - test.sum()) / 8)
    assert len(data.train) + len(data.val) == (~test).sum()


def test_vocabulary_is_of_the_training_titles_only(tmp_path: Path) -> None:
    pd = pytest.importorskip("pandas")
    from PIL import Image

    (tmp_path / "fashion_small").mkdir()

    def jpeg(grey: int, size: tuple[int, int] = (60, 80)) -> bytes:
        buffer = io.BytesIO()
        Image.new("L", size, grey).save(buffer, "JPEG")  # grey-scale files occur too
        return buffer.getvalue()

    table = pd.DataFrame(
        {
            "image_jpeg": [jpeg(20 * k) if k != 5 else b"broken" for k in range(12)],
            "title": ["Red shirt", "Blue shoe"] * 6,
            "title_masked": ["Red", "Blue"] * 4 + ["Green", "Red Green", None, ""],
            "articleType": ["Shirts", "Shoes"] * 6,
            "split": ["train"] * 8 + ["val"] * 2 + ["test"] * 2,
        }
    )
    table.to_parquet(tmp_path / "fashion_small" / "fashion_small.parquet")
    data = fashion(tmp_path)
    assert [len(data.train), len(data.val), len(data.test)] == [7, 2, 2]  # one broken image
    assert any("left out: image 5" in note for note in data.info.notes)
    assert data.info.class_names == ("Shirts", "Shoes")
    assert data.train.arrays["image"].shape == (7, 3, 40, 30)
    assert (
        np.abs(
            data.train.arrays["image"][:, :, 5, 5].astype(int) - 20 * np.array([[0], [1], [2], [3], [4], [6], [7]])
        ).max()
        <= 2
    )
    # red and blue are known; green occurs in validation only; no words at all is one unknown word
    assert data.info.modalities[1].vocabulary == 4
    assert data.val.arrays["title"][:, :3].tolist() == [[1, 0, 0], [2, 1, 0]]
    assert data.test.arrays["title"][:, 0].tolist() == [1, 1]
    assert fashion(tmp_path, masked=False).info.modalities[1].vocabulary == 6


def test_vocabulary_order_and_cut() -> None:
    words = Vocabulary(["b b a", "b c c", "a's"], least=2)
    assert words.ids == {"b": 2, "a": 3, "c": 4}
    assert words.encode(["c b zebra c b", ""], length=4).tolist() == [[4, 2, 1, 4], [1, 0, 0, 0]]


# --- the real files -------------------------------------------------------------------------------------------------


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "counts", "classes"),
    [
        ("utd-mhad", (323, 108, 430), 27),
        ("handwritten", (1400, 200, 400), 10),
        ("leaves100", (1120, 160, 320), 100),
        ("scene15", (3140, 448, 897), 15),
        ("wikipedia", (1901, 272, 693), 10),
        ("fashion", (9791, 1354, 2833), 37),
        ("av-mnist-speakers-weak-image", (9000, 1000, 2000), 10),
    ],
)
def test_real_files(raw_data: Path, name: str, counts: tuple[int, int, int], classes: int) -> None:
    row = DATASETS[name]
    data = row.load()(raw_data, **row.options)
    assert (len(data.train), len(data.val), len(data.test)) == counts
    assert data.info.num_outputs == classes
    for part in (data.train, data.val, data.test):
        assert set(np.unique(part.target)) == set(range(classes))


@pytest.mark.data
def test_real_recordings(raw_data: Path) -> None:
    recordings: Recordings = read_recordings(raw_data / "free-spoken-digit-dataset" / "recordings.zip")
    assert len(recordings.digit) == 3000
    assert recordings.broken == ()
    assert np.bincount(recordings.digit).tolist() == [300] * 10
    assert len(set(recordings.speaker)) == 6


@pytest.mark.data
def test_thirty_three_components_carry_three_quarters_of_mnist(raw_data: Path) -> None:
    """What 'energy removed (75 %): the top 33 components' means: taking them away leaves a quarter."""
    images = read_idx(raw_data / "mnist" / "train-images-idx3-ubyte.gz")
    _, share = remove_energy(images, {"few": images[:10]}, 33)
    assert share == pytest.approx(0.75, abs=0.001)
