"""Every raw data set the whole way: prepare, train two epochs, diagnose, report."""

import json
import pickle
from collections import Counter

import numpy as np
import pytest
import trees

from counterpoise.cli.main import main
from counterpoise.data import DATASETS, open_data, prepare
from counterpoise.data.preparation import Settings
from counterpoise.data.preparation._classes import KINETICS_SOUNDS, KINETICS_SOUNDS_ARM
from counterpoise.data.preparation._sentiment import CONVENTIONS
from counterpoise.errors import DataError

TREES = {
    "own": trees.own,
    "kinetics-sounds": trees.kinetics_sounds,
    "kinetics-sounds-arm": trees.kinetics_sounds_arm,
    "crema-d": trees.crema_d,
    "crema-d-actors": trees.crema_d,
    "ucf101": trees.ucf101,
    "ucf51": trees.ucf101,
    "ucf51-flow": trees.ucf101,
    "vggsound": trees.vggsound,
    "ave": trees.ave,
    "balanced-av": trees.balanced_av,
    "food101": trees.food101,
    "mosei": lambda root: trees.sentiment(root / "mosei_senti_data_noalign.pkl").parent,
    "mosi": lambda root: trees.sentiment(root / "mosi_data.pkl"),
    "iemocap": lambda root: trees.sentiment(root / "iemocap_data.pkl", emotions=True),
}


def test_every_raw_set_is_tried():
    assert set(TREES) == {name for name, row in DATASETS.items() if row.raw}


@pytest.mark.parametrize("name", TREES)
def test_the_whole_way(name, tmp_path, capsys):
    source, out, runs = TREES[name](tmp_path / "raw"), tmp_path / "prepared", tmp_path / "runs"
    small = trees.small(name)
    chosen = ["--jobs", "1", *(word for key in small.given() for word in (f"--{key}", str(getattr(small, key))))]
    assert main(["prepare", name, "--source", str(source), "--out", str(out), *chosen]) == 0
    assert main(["list", "datasets", "--check", str(out)]) == 0
    fit = ["--fit.epochs", "2", "--fit.batch_size", "8", "--model.width", "8", "--out", str(runs)]
    assert main(["train", "--data", str(out), "--method", "uniform", *fit]) == 0
    (folder,) = runs.glob("runs/*/record.json")
    record = json.loads(folder.read_text())
    losses = [m["value"] for m in record["metrics"] if m["name"] == "nll"]
    assert losses
    assert np.isfinite(losses).all()
    assert main(["diagnose", str(folder.parent), "--json"]) in (0, 1)
    assert main(["report", str(runs), "--out", str(tmp_path / "page.html")]) == 0
    page = (tmp_path / "page.html").read_text()
    assert all(m in page for m in open_data(out).info.names)


def counts(out) -> dict[str, int]:
    data = open_data(out)
    return {part: len(data.split(part)) for part in ("train", "val", "test")}


def test_the_two_lists_of_kinetics_sounds_differ_in_one_class_and_in_26_ids(tmp_path):
    assert len(KINETICS_SOUNDS) == len(KINETICS_SOUNDS_ARM) == 31
    assert set(KINETICS_SOUNDS) - set(KINETICS_SOUNDS_ARM) == {"stomping_grapes"}
    assert [name.replace("_", " ") for name in KINETICS_SOUNDS] == trees.ACTIONS
    assert KINETICS_SOUNDS_ARM[5] == "finger_snapping"
    assert KINETICS_SOUNDS_ARM[:5] == KINETICS_SOUNDS[:5]
    source = trees.kinetics_sounds_arm(tmp_path / "raw")
    prepare("kinetics-sounds-arm", source, tmp_path / "out", settings=trees.small("kinetics-sounds-arm"), jobs=1)
    assert sum(counts(tmp_path / "out").values()) == 155, "the clip of stomping_grapes is not part of it"
    assert counts(tmp_path / "out")["test"] == 62


def test_the_published_validation_list_is_used_and_names_may_have_spaces(tmp_path):
    prepare(
        "kinetics-sounds",
        trees.kinetics_sounds(tmp_path / "raw"),
        tmp_path / "out",
        settings=trees.small("kinetics-sounds"),
        jobs=1,
    )
    assert counts(tmp_path / "out") == {"train": 62, "val": 8, "test": 62}


def test_crema_ds_lists_leak_and_the_split_by_actor_does_not(tmp_path):
    source = trees.crema_d(tmp_path / "raw")
    common = prepare("crema-d", source, tmp_path / "a", settings=trees.small("crema-d"), jobs=1)
    assert any("actors are in train and test" in note for note in common.notes)
    assert common.samples == {"train": 60, "val": 20, "test": 20}
    clean = prepare("crema-d-actors", source, tmp_path / "b", settings=trees.small("crema-d-actors"), jobs=1)
    assert not any("leakage" in note for note in clean.notes)
    data = open_data(tmp_path / "b")
    groups = [set(data.split(part).group) for part in ("train", "val", "test")]
    assert not (groups[0] & groups[1])
    assert not (groups[0] & groups[2])
    assert not (groups[1] & groups[2])


def test_crema_ds_two_way_lists_get_a_validation_set_by_actor(tmp_path):
    source = trees.crema_d(tmp_path / "raw", three_way=False)
    prepare("crema-d", source, tmp_path / "out", settings=trees.small("crema-d"), jobs=1)
    data = open_data(tmp_path / "out")
    assert not set(data.train.group) & set(data.val.group)
    assert len(data.test) == 20


def test_ucf_validation_keeps_groups_whole_and_test_is_official(tmp_path):
    prepare("ucf101", trees.ucf101(tmp_path / "raw"), tmp_path / "out", settings=trees.small("ucf101"), jobs=1)
    data = open_data(tmp_path / "out")
    assert not set(data.train.group) & set(data.val.group)
    assert {g[-3:] for g in data.test.group} == {"g08", "g09", "g10"}


def test_ucf_takes_extracted_frames_and_flow_where_they_are(tmp_path):
    prepare(
        "ucf101",
        trees.ucf101(tmp_path / "raw", extracted=True),
        tmp_path / "out",
        settings=trees.small("ucf101"),
        jobs=1,
    )
    assert open_data(tmp_path / "out").info.modalities[1].shape == (3, 2, 16, 16)


def test_ucf51_is_what_has_a_track(tmp_path):
    source = trees.ucf101(tmp_path / "raw")
    for video in (source / "UCF-101" / "Basketball").glob("*.avi"):
        trees.write_video(video, 1, sound=False)
    for video in list((source / "UCF-101" / "Archery").glob("*_c01.avi")):
        trees.write_video(video, 0, sound=False)
    from counterpoise.data.preparation._ucf import ucf101

    index = ucf101(source, trees.small("ucf51"), sounding=True, flow=False)
    assert index.classes == ("Archery",)
    assert len(index.items) == 10
    assert list(index.readers) == ["rgb", "audio"]
    other = ucf101(source, trees.small("ucf51-flow"), sounding=True)
    assert list(other.readers) == ["rgb", "flow"]
    assert [(i.id, i.split, i.label) for i in other.items] == [(i.id, i.split, i.label) for i in index.items]


def test_vggsound_classes_may_hold_commas(tmp_path):
    prepare("vggsound", trees.vggsound(tmp_path / "raw"), tmp_path / "out", settings=trees.small("vggsound"), jobs=1)
    assert open_data(tmp_path / "out").info.class_names == ("dog barking, growling", "people whistling")


def test_commas_in_titles_with_and_without_quotes(tmp_path):
    from counterpoise.data.preparation._food import food101

    index = food101(trees.food101(tmp_path / "raw"), trees.small("food101"))
    titles = {item.sources["text"] for item in index.items if item.split == "test"}
    assert titles == {f"Best {('apple', 'baby')[k % 2]} ever, easy, and quick {k}" for k in range(12)}
    assert not index.findings


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_what_becomes_of_neutral_is_a_named_choice(convention, tmp_path):
    source = trees.sentiment(tmp_path / "mosei_senti_data_noalign.pkl")
    summary = prepare("mosei", source, tmp_path / "out", settings=Settings(label=convention, length=8), jobs=1)
    data = open_data(tmp_path / "out")
    labels = dict(Counter(data.train.target.ravel().tolist()))
    scores = Counter(np.resize([-2.0, 0.0, 1.5, -1.0, 3.0], 24).tolist())
    negative, neutral, positive = scores[-2.0] + scores[-1.0], scores[0.0], scores[1.5] + scores[3.0]
    wanted = {
        "non-negative": {0: negative, 1: neutral + positive},
        "signed": {0: negative, 1: positive},
        "three": {0: negative, 1: neutral, 2: positive},
        "score": dict(scores),
    }
    assert labels == wanted[convention]
    assert any(CONVENTIONS[convention] in note for note in summary.notes)


def test_sentiment_sequences_end_where_they_ended(tmp_path):
    source = trees.sentiment(tmp_path / "mosi_data.pkl")
    prepare("mosi", source, tmp_path / "out", settings=Settings(length=8), jobs=1)
    text = open_data(tmp_path / "out").train.arrays["text"]
    raw = pickle.loads(source.read_bytes())["train"]["text"]
    np.testing.assert_array_equal(text[:, :2], 0)
    np.testing.assert_array_equal(text[:, 2:], raw)


def test_hdf5_is_read_as_the_pickle_is(tmp_path):
    import h5py

    content = pickle.loads(trees.sentiment(tmp_path / "mosi_data.pkl").read_bytes())
    with h5py.File(tmp_path / "h" / "mosi.hdf5" if (tmp_path / "h").mkdir() is None else "", "w") as file:
        for part, fields in content.items():
            for key, value in fields.items():
                file[f"{part}/{key}"] = value.astype("S") if key == "id" else value
    for name, source in (("a", tmp_path / "mosi_data.pkl"), ("b", tmp_path / "h")):
        prepare("mosi", source, tmp_path / name, settings=Settings(length=8), jobs=1)
    a, b = open_data(tmp_path / "a"), open_data(tmp_path / "b")
    np.testing.assert_array_equal(a.train.arrays["audio"], b.train.arrays["audio"])
    np.testing.assert_array_equal(a.train.target, b.train.target)


def test_a_pickle_that_would_run_code_is_refused(tmp_path):
    class Evil:
        def __reduce__(self):
            import os

            return os.system, (f"touch {tmp_path / 'ran'}",)

    (tmp_path / "mosi_data.pkl").write_bytes(pickle.dumps({"train": Evil()}))
    with pytest.raises(DataError, match="could run code"):
        prepare("mosi", tmp_path, tmp_path / "out", jobs=1)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet", ".tsv"])
def test_your_own_in_every_format_is_the_same(suffix, tmp_path):
    import pandas as pd

    manifest = trees.own(tmp_path / "raw")
    table = pd.read_csv(manifest)
    other = manifest.with_name(f"other{suffix}")
    {
        ".csv": lambda: table.to_csv(other, index=False, encoding="utf-8-sig"),
        ".tsv": lambda: table.to_csv(other, index=False, sep="\t"),
        ".jsonl": lambda: table.to_json(other, orient="records", lines=True),
        ".parquet": lambda: table.to_parquet(other),
    }[suffix]()
    prepare("own", other, tmp_path / "out", settings=trees.small("own"), jobs=1)
    data = open_data(tmp_path / "out")
    assert data.info.names == ("clip", "audio", "photo", "note", "sensor")
    assert [m.kind for m in data.info.modalities] == ["video", "image", "image", "tokens", "vector"]
    assert data.info.class_names == ("cat", "dog")
    groups = [set(data.split(part).group) for part in ("train", "val", "test")]
    assert not groups[0] & groups[2]
    assert len(data.train) == 42


def test_columns_can_be_put_together_by_hand_and_typos_are_named(tmp_path):
    manifest = trees.own(tmp_path / "raw")
    settings = Settings(modality=("motion=sensor.x,sensor.y", "words=note"))
    prepare("own", manifest, tmp_path / "out", settings=settings, jobs=1)
    assert open_data(tmp_path / "out").info.names == ("motion", "words")
    with pytest.raises(DataError, match=r"no column `sensor\.z`\. Did you mean `sensor\."):
        prepare("own", manifest, tmp_path / "x", settings=Settings(modality=("m=sensor.z",)), jobs=1)
    with pytest.raises(DataError, match="Did you mean `label`"):
        prepare("own", manifest, tmp_path / "x", settings=Settings(label="labell"), jobs=1)


def test_rows_without_a_label_are_left_out_and_told_and_rows_without_a_number_kept(tmp_path):
    manifest = tmp_path / "m.csv"
    rows = [f"{k * k},{k % 3},{k % 2}" for k in range(40)]
    rows[3], rows[5] = "9,,1", "25,2,"
    manifest.write_text("a,b,label\n" + "\n".join(rows))
    summary = prepare("own", manifest, tmp_path / "out", jobs=1)
    assert summary.left_out == 1
    assert sum(summary.samples.values()) == 39
    assert any("row 6 has no label" in note for note in summary.notes)
    assert open_data(tmp_path / "out").info.num_outputs == 2


def test_silent_videos_are_kept_without_their_sound(tmp_path):
    """A clip without a sound track lacks the modality; one whose file is not there is still a fault."""
    for k in range(12):
        trees.write_video(tmp_path / f"c{k}.mp4", k % 2, sound=k % 4 != 1, seed=k)
    rows = [f"c{k}.mp4,c{k}.mp4,{'ab'[k % 2]},{('train', 'val', 'test')[k % 3]}" for k in range(13)]
    (tmp_path / "m.csv").write_text("clip,audio,label,split\n" + "\n".join(rows))
    summary = prepare("own", tmp_path / "m.csv", tmp_path / "out", settings=Settings(size=16), jobs=1)
    assert summary.left_out == 1  # c12.mp4
    data = open_data(tmp_path / "out")
    parts = (data.train, data.val, data.test)
    assert sum(map(len, parts)) == 12
    lacking = sum(0 if s.present is None else int((~s.present["audio"]).sum()) for s in parts)
    assert lacking == 3
    assert all(s.present is None or s.present["clip"].all() for s in parts)
