"""Layouts of extracted data: frames, spectrograms, HDF5 sequences and pickles, and sound longer than the part used."""

import json
import pickle

import numpy as np
import pytest
import trees

from counterpoise.data import BatchLoader, open_data, prepare
from counterpoise.data.preparation import RECIPES, Settings, UnreadableError, sound_features
from counterpoise.data.preparation._classes import KINETICS_SOUNDS, KINETICS_SOUNDS_ARM
from counterpoise.data.preparation._readers import Frames, Sound
from counterpoise.errors import DataError, NotFoundError


def ignore(kind: str, detail: str) -> None:
    raise AssertionError(f"{kind}: {detail}")


def spectrogram(path, label: int, shape=(150, 64)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, (np.random.default_rng(label).normal(size=shape) + label).astype(np.float32))


def arm_layout(root, names):
    """``image/{train,val}/<name>/frame_00000.jpg``, ``spec/{train,val}/<name>.npy``; lists hold ``name label``."""
    for part, count in (("train", 70), ("val", 40)):
        lines = []
        for k in range(count):
            clip = f"{part}{k:02d}_000001_000011"
            lines.append(f"{clip} {k % 31 if k % 2 else names[k % 31]}")
            trees.frames(root / "image" / part / clip, k % 31, count=2, first=0, pattern="frame_{:05d}.jpg")
            spectrogram(root / "spec" / part / f"{clip}.npy", k % 31)
        (root / f"{part}.txt").write_text("\n".join(lines))
    return root


@pytest.mark.parametrize(
    ("name", "classes"), [("kinetics-sounds-arm", KINETICS_SOUNDS_ARM), ("kinetics-sounds", KINETICS_SOUNDS)]
)
def test_extracted_frames_and_spectrograms_with_lists_of_name_and_label(name, classes, tmp_path):
    source = arm_layout(tmp_path / "raw", classes)
    summary = prepare(name, source, tmp_path / "out", settings=trees.small(name), jobs=1)
    assert summary.left_out == 0
    assert summary.samples["test"] == 40, "what is called val is everybody's test"
    data = open_data(tmp_path / "out")
    assert data.info.class_names == classes
    np.testing.assert_array_equal(data.test.target, [k % 31 for k in range(40)])
    first = np.load(source / "spec" / "val" / "val03_000001_000011.npy").astype(np.float16)
    np.testing.assert_array_equal(data.test.arrays["audio"][3, 0], first)


def test_ids_of_the_public_list_are_never_read_as_arms(tmp_path):
    source = arm_layout(tmp_path / "raw", KINETICS_SOUNDS)
    (source / "train.txt").rename(source / "my_train.txt")
    (source / "val.txt").unlink()
    with pytest.raises(NotFoundError, match=r"train\.txt and val\.txt"):
        prepare("kinetics-sounds-arm", source, tmp_path / "out", settings=trees.small("kinetics-sounds-arm"), jobs=1)


def test_bmls_json_alone_has_all_three_splits(tmp_path):
    database = {}
    for k in range(62 + 31 + 40):
        subset = "training" if k < 62 else "validation" if k < 93 else "testing"
        database[f"c{k}_000001_000011"] = {"subset": subset, "annotations": {"label": trees.ACTIONS[k % 31]}}
        trees.frames(tmp_path / "raw" / f"c{k}_000001_000011", k % 31, count=1)
        spectrogram(tmp_path / "raw" / "a" / f"c{k}_000001_000011.npy", k)
    (tmp_path / "raw" / "KS_train_val.json").write_text(json.dumps({"database": database}))
    summary = prepare(
        "kinetics-sounds", tmp_path / "raw", tmp_path / "out", settings=trees.small("kinetics-sounds"), jobs=1
    )
    assert summary.samples == {"train": 62, "val": 31, "test": 40}


def sequence(path, images) -> None:
    import h5py

    path.parent.mkdir(parents=True, exist_ok=True)
    encoded = [np.frombuffer(image.read_bytes(), np.uint8) for image in images]
    with h5py.File(path, "w") as file:
        video = file.create_dataset("video", (len(encoded),), dtype=h5py.vlen_dtype(np.uint8))
        for k, content in enumerate(encoded):
            video[k] = content


def test_balanced_av_as_it_is_distributed(tmp_path):
    source, database = tmp_path / "raw", {}
    for k in range(42):
        subset = "training" if k < 24 else "validation" if k < 30 else "testing"
        database[f"clip{k}"] = {"subset": subset, "annotations": {"label": ("ukulele", "rain")[k % 2]}}
        folder = trees.frames(tmp_path / "frames" / f"{k}", k % 2, count=4)
        sequence(source / "video" / f"clip{k}.hdf5", sorted(folder.iterdir()))
        (source / "audio").mkdir(parents=True, exist_ok=True)
        features = np.random.default_rng(k).normal(size=(150, 64)).astype(np.float32)
        (source / "audio" / f"clip{k}.pkl").write_bytes(pickle.dumps(features))
    (source / "balanced.json").write_text(json.dumps({"database": database}))
    summary = prepare("balanced-av", source, tmp_path / "out", settings=trees.small("balanced-av"), jobs=1)
    assert (summary.left_out, summary.samples) == (0, {"train": 24, "val": 6, "test": 12})
    images = Frames(keep=3, frames=3, size=16).read(tmp_path / "frames" / "0", ignore)
    np.testing.assert_array_equal(open_data(tmp_path / "out").train.arrays["video"][0], images)
    features = np.random.default_rng(30).normal(size=(150, 64)).astype(np.float32).astype(np.float16)
    np.testing.assert_array_equal(open_data(tmp_path / "out").test.arrays["audio"][0, 0], features)


@pytest.mark.parametrize(
    ("damage", "kind", "words"),
    [
        (lambda p: p.unlink(), "missing", "clip"),
        (lambda p: p.write_bytes(b""), "truncated", "empty file"),
        (lambda p: p.write_bytes(p.read_bytes()[:900]), "truncated", "clip"),
        (lambda p: p.write_bytes(b"no hdf5" * 99), "undecodable", "clip"),
    ],
)
def test_a_broken_sequence_is_named(damage, kind, words, tmp_path):
    path = tmp_path / "clip.hdf5"
    sequence(path, sorted(trees.frames(tmp_path / "f", 0).iterdir()))
    damage(path)
    with pytest.raises(UnreadableError, match=words) as info:
        Frames(keep=2, frames=2, size=16).read(path, ignore)
    assert info.value.kind == kind


def test_a_sequence_without_frames_or_with_a_broken_one_says_which(tmp_path):
    path = tmp_path / "clip.h5"
    images = sorted(trees.frames(tmp_path / "f", 0, count=3).iterdir())
    images[1].write_bytes(b"no jpeg")
    sequence(path, images)
    with pytest.raises(UnreadableError, match="frame 1: no image"):
        Frames(keep=3, frames=3, size=16).read(path, ignore)
    sequence(path, [])
    with pytest.raises(UnreadableError, match="no frames"):
        Frames(keep=3, frames=3, size=16).read(path, ignore)


@pytest.mark.parametrize("shape", [(64, 150), (150 * 64,), (149, 64)])
def test_features_that_lie_another_way_are_refused_not_reshaped(shape, tmp_path):
    spectrogram(tmp_path / "a.npy", 0, shape)
    with pytest.raises(UnreadableError, match=r"expected \(1, 150, 64\)"):
        Sound("fbank-small").read(tmp_path / "a.npy", ignore)


def test_a_cut_off_array_and_a_pickle_that_would_run_code_are_told(tmp_path):
    path = tmp_path / "a.npy"
    spectrogram(path, 0)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UnreadableError) as info:
        Sound("fbank-small").read(path, ignore)
    assert info.value.kind == "truncated"
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(print))
    with pytest.raises(UnreadableError, match="could run code"):
        Sound("fbank-small").read(tmp_path / "a.pkl", ignore)


LONG = RECIPES["stft-vggsound"]


def test_a_stretch_of_stored_sound_is_what_the_sound_alone_would_give():
    sound = np.random.default_rng(0).normal(size=10 * LONG.rate).astype(np.float32) / 10
    whole = sound_features(sound, LONG)
    assert whole.shape == LONG.stored_shape == (1, 129, 1251)
    assert LONG.shape == (1, 129, 626)
    start = 300
    part = sound[start * LONG.hop : start * LONG.hop + 5 * LONG.rate]
    alone = sound_features(np.tile(part, 2), LONG)  # the first five of ten seconds
    np.testing.assert_array_equal(whole[:, :, start + 1 : start + 625], alone[:, :, 1:625])


@pytest.mark.parametrize("seconds", [5.0, 6.5, 9.99, 12.0])
def test_the_middle_of_the_sound_is_the_middle_of_what_is_stored(seconds):
    time = np.arange(round(seconds * LONG.rate)) / LONG.rate
    sound = np.where(np.abs(time - seconds / 2) < 0.1, 0.5 * np.sin(2 * np.pi * 1000 * time), 0).astype(np.float32)
    features = sound_features(sound, LONG)[0].astype(np.float32)
    loud = np.flatnonzero(features[16] > 0)
    assert abs(loud[np.abs(loud - 625) < 40].mean() - 625) < 3


def test_a_short_sound_goes_on_as_if_repeated():
    sound = np.random.default_rng(0).normal(size=6 * LONG.rate).astype(np.float32) / 10
    features = sound_features(sound, LONG)[0].astype(np.float32)
    assert features.mean(0).min() > -4, "noise everywhere, silence nowhere"
    shorter = sound_features(sound[: 3 * LONG.rate], LONG)[0].astype(np.float32)
    assert (shorter.mean(0) < -16).any(), "less than one sample is filled with zeros, as the recipe says"


def test_training_hears_random_stretches_and_evaluation_the_middle(tmp_path):
    rows = [f"{k}.wav,{k / 7},{k % 2},{('train', 'train', 'val', 'test')[k % 4]}" for k in range(24)]
    for k in range(24):
        trees.write_wav(tmp_path / "raw" / f"{k}.wav", k % 2, seconds=8, seed=k)
    (tmp_path / "raw" / "m.csv").write_text("sound,age,label,split\n" + "\n".join(rows))
    prepare("own", tmp_path / "raw" / "m.csv", tmp_path / "out", settings=Settings(audio="stft-vggsound"), jobs=1)
    data = open_data(tmp_path / "out")
    sound = data.info.modalities[0]
    assert (sound.shape, sound.stored) == ((1, 129, 626), (1, 129, 1251))
    stored = data.train.arrays["sound"].astype(np.float32)
    starts = []
    for batch in BatchLoader(data.train, 8, seed=0):
        for row, x in zip(batch.index, batch.inputs["sound"].numpy(), strict=True):
            (start,) = (s for s in range(626) if np.array_equal(stored[row][:, :, s : s + 626], x))
            starts.append(start)
    assert len(set(starts)) > 8
    assert min(starts) < 200
    assert max(starts) > 425
    fixed = data.test.batch([0, 1]).inputs["sound"].numpy()
    np.testing.assert_array_equal(fixed, data.test.arrays["sound"][:2, :, :, 312:938].astype(np.float32))


def test_features_of_one_sample_that_were_computed_before_stay_what_they_are_at_test(tmp_path):
    spectrogram(tmp_path / "a.npy", 0, (129, 626))
    stored = Sound("stft-vggsound").read(tmp_path / "a.npy", ignore)
    assert stored.shape == (1, 129, 1251)
    np.testing.assert_array_equal(stored[0, :, 312:938], np.load(tmp_path / "a.npy").astype(np.float16))


def test_a_damaged_list_is_named_by_the_doctor(tmp_path):
    from counterpoise.data.preparation import check_folder

    (tmp_path / "KS_train_val.json").write_text("{")
    with pytest.raises(DataError, match=r"is not JSON"):
        check_folder(tmp_path)
