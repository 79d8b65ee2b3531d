"""The published lists at full size, and lists with lines that are wrong: every one of them is told."""

import csv
import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import trees

from counterpoise.cli.main import main
from counterpoise.data.preparation import Settings, check_index
from counterpoise.data.preparation._audio_visual import (
    CREMA_D_COUNTS,
    EMOTIONS,
    ave,
    crema_d,
    kinetics_sounds,
    vggsound,
)
from counterpoise.data.preparation._food import food101
from counterpoise.data.preparation._sentiment import sentiment
from counterpoise.data.preparation._ucf import ucf101
from counterpoise.errors import DataError

NOTHING = Settings()


def told(index, kind: str) -> list[str]:
    return [f.detail for f in check_index(index) if f.kind == kind]


def crema_d_lists(root: Path) -> Path:
    """The public lists by their numbers: 6,698 / 744 clips of 91 actors, all of them on both sides."""
    trees.write_video(root / "1001_X_NEU_X.flv", sound=False)
    actor = itertools.cycle(range(1001, 1092))
    for part, file in (("train+val", "train.csv"), ("test", "test.csv")):
        counts = dict(zip(EMOTIONS, CREMA_D_COUNTS[part][1:], strict=True))
        labels = [e for e, n in counts.items() for _ in range(n)]
        rows = [f"{next(actor)}_{file[:2]}{k}_{label}_XX,{label}\n" for k, label in enumerate(labels)]
        (root / file).write_text("".join(rows), encoding="utf-8-sig")
    return root


def test_crema_ds_common_split_leaks_all_91_actors(tmp_path):
    index = crema_d(crema_d_lists(tmp_path), NOTHING)
    assert not told(index, "count")
    assert all("of 91 actors are in" in detail and "and test" in detail for detail in told(index, "leakage"))
    leaking = {f.detail.split(" of ")[0] for f in check_index(index) if f.kind == "leakage"}
    assert sum(map(int, leaking)) == 91, "validation is drawn by actor, test has everybody"
    clean = crema_d(tmp_path, NOTHING, by_actor=True)
    assert not told(clean, "leakage")
    assert not told(clean, "count")


def test_every_class_is_counted(tmp_path):
    root = crema_d_lists(tmp_path)
    text = (root / "test.csv").read_text(encoding="utf-8-sig").replace("NEU_XX,NEU", "NEU_XX,SAD", 1)
    (root / "test.csv").write_text(text)
    index = crema_d(root, NOTHING)
    assert told(index, "count") == ["test NEU: 113 listed, 114 published", "test SAD: 141 listed, 140 published"]


def kinetics_lists(root: Path) -> Path:
    trees.write_video(root / "a.mp4", sound=False)
    sizes = np.full(31, 480)
    sizes[[26, 1]] = 197, 690
    sizes[0] += 14799 - sizes.sum()
    labels = np.repeat(np.arange(31), sizes)
    lines = [f"id{k:08d}_{k:06d}_{k + 10:06d},10,{label}" for k, label in enumerate(labels)]
    (root / "my_train.txt").write_text("\n".join(lines))
    (root / "my_test.txt").write_text("\n".join(f"test{k:08d}_000001_000011,10,{k % 31}" for k in range(2597)))
    database = {
        f"val{k:08d}_000001_000011": {"subset": "validation", "annotations": {"label": trees.ACTIONS[k % 31]}}
        for k in range(1320)
    }
    (root / "KS_train_val.json").write_text(json.dumps({"database": database}))
    return root


def test_kinetics_sounds_counts_are_the_published_ones(tmp_path):
    root = kinetics_lists(tmp_path)
    index = kinetics_sounds(root, NOTHING)
    assert not check_index(index)
    lines = (root / "my_train.txt").read_text().splitlines()
    (root / "my_train.txt").write_text("\n".join(lines[1:]))
    assert told(kinetics_sounds(root, NOTHING), "count") == ["train: 14,798 listed, 14,799 published"]
    (root / "KS_train_val.json").unlink()
    assert told(kinetics_sounds(root, NOTHING), "count") == ["train+val: 14,798 listed, 14,799 published"]


def ucf_lists(root: Path, *, by_group: bool = True) -> Path:
    classes = [f"Class{k:03d}" for k in range(101)]
    (root / "classInd.txt").write_text("".join(f"{k + 1} {c}\n" for k, c in enumerate(classes)))
    clips = [(c, g, n) for c in classes for g in range(1, 26) for n in range(1, 9)]
    test = [x for x in clips if x[1] <= 7] if by_group else clips[::2]
    train = [x for x in clips if x[1] > 7] if by_group else clips[1::2]
    for part, rows, count in (("train", train, 9537), ("test", test, 3783)):
        lines = [f"{c}/v_{c}_g{g:02d}_c{n:02d}.avi" for c, g, n in rows[:count]]
        (root / f"{part}list01.txt").write_text("\n".join(lines))
    return root


def test_ucf_groups_that_are_torn_apart_are_told_and_the_official_split_is_not(tmp_path):
    official = ucf101(ucf_lists(tmp_path), NOTHING)
    assert not check_index(official)
    torn = ucf101(ucf_lists(tmp_path, by_group=False), NOTHING)
    details = told(torn, "leakage")
    assert any(" groups are in train and test (Class000 g" in d for d in details)


def test_vggsound_counts_are_the_published_ones(tmp_path):
    trees.write_video(tmp_path / "a.mp4", sound=False)
    with (tmp_path / "vggsound.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        for k in range(183730 + 15446):
            writer.writerow([f"id{k}", k % 300, f"class, {k % 309}", "train" if k < 183730 else "test"])
    index = vggsound(tmp_path, NOTHING)
    assert not check_index(index)
    assert len(index.classes) == 309


def test_ave_food_and_sentiment_counts_are_compared(tmp_path):
    a, f, m = (tmp_path / name for name in "afm")
    assert "train: 24 listed, 3,339 published" in told(ave(trees.ave(a), NOTHING), "count")
    assert "train+val: 40 listed, 62,970 published" in told(food101(trees.food101(f), NOTHING), "count")
    source = trees.sentiment(m / "mosi_data.pkl")
    options = {"corpus": "CMU-MOSI", "files": (), "expected": {"train": 1284}}
    assert told(sentiment(source, NOTHING, **options), "count") == ["train: 24 listed, 1,284 published"]
    without = sentiment(source, Settings(label="signed"), **options)
    assert not told(without, "count"), "neutral samples are left out on purpose, and the notes say how many"
    assert any("neutral samples are not part" in note for note in without.notes)


BAD = {
    "kinetics-sounds": (trees.kinetics_sounds, "my_train.txt", "justaname\n", 1, "line"),
    "crema-d": (trees.crema_d, "my_train.csv", "1001_IOM_NEU_X0\n", 1, "line"),
    "crema-d (label)": (trees.crema_d, "my_train.csv", "1001_IOM_NEU_X0,NEUTRAL\n", 1, "label"),
    "ucf101": (trees.ucf101, "classInd.txt", "3\n", 1, "line"),
    "vggsound": (trees.vggsound, "vggsound.csv", "abc,soon,dog,train\n", 1, "line"),
    "vggsound (short)": (trees.vggsound, "vggsound.csv", "abc,3\n", 1, "line"),
    "ave": (trees.ave, "testSet.txt", "Church bell\n", 1, "line"),
    "food101": (trees.food101, "train_titles.csv", "nothing.jpg,of,use\n", 1, "line"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_line_that_cannot_be_read_is_told_and_costs_the_exit_status(case, tmp_path, monkeypatch, capsys):
    make, file, line, count, kind = BAD[case]
    monkeypatch.setattr(trees, "write_video", lambda path, *_, **__: path.parent.mkdir(parents=True, exist_ok=True))
    root = make(tmp_path / "raw")
    (root / "one.mp4").write_bytes(b"")
    path = next(root.rglob(file))
    path.write_text(path.read_text(encoding="utf-8-sig") + line)
    table = tmp_path / "findings.csv"
    name = case.partition(" (")[0]
    assert main(["list", "datasets", "--check", str(root), "--name", name, "--out", str(table)]) == 1
    with table.open() as opened:
        rows = [row for row in csv.DictReader(opened) if row["kind"] == kind]
    assert len(rows) == count
    assert rows[0]["left_out"] == "True"
    assert f"left out: 1 x {kind}" in capsys.readouterr().out


def test_an_entry_of_a_database_that_says_nothing_is_told(tmp_path):
    root = tmp_path
    trees.write_video(root / "a.mp4", sound=False)
    database = {f"a{k}": {"subset": "training", "annotations": {"label": trees.ACTIONS[k % 2]}} for k in range(40)}
    database |= {"b": {"subset": "unknown"}, "c": 3}
    (root / "KS_train_val.json").write_text(json.dumps({"database": database}))
    index = kinetics_sounds(root, NOTHING)
    assert [item.id for item in index.items] == [f"a{k}" for k in range(40)]
    assert [(f.kind, f.item, f.left_out) for f in index.findings] == [("line", "b", True), ("line", "c", True)]


def test_headers_are_no_samples(tmp_path):
    root = trees.crema_d(tmp_path / "raw")
    for name in ("my_train.csv", "test.csv"):
        path = root / name
        path.write_text("file,label\n" + path.read_text(encoding="utf-8-sig"), encoding="utf-8-sig")
    index = crema_d(root, NOTHING)
    assert not told(index, "line")
    assert len(index.items) == 100


def test_the_byte_order_mark_is_no_part_of_the_first_name(tmp_path):
    index = crema_d(trees.crema_d(tmp_path / "raw"), NOTHING)
    assert index.items[0].id == "1001_IOM_NEU_X0"
    assert index.items[0].group == "1001"


def test_two_files_of_one_name_are_told(tmp_path):
    root = trees.crema_d(tmp_path / "raw")
    name = "1001_IOM_NEU_X0"
    (root / "copy").mkdir()
    (root / "copy" / f"{name}.wav").write_bytes((root / "AudioWAV" / f"{name}.wav").read_bytes())
    (detail,) = told(crema_d(root, NOTHING), "ambiguous")
    assert str(Path("AudioWAV", f"{name}.wav is taken")) in detail


def test_an_id_of_your_own_that_names_two_rows_is_refused(tmp_path):
    from counterpoise.data import prepare

    table = tmp_path / "m.csv"
    table.write_text("id,a,b,label\n" + "\n".join(f"{k % 9},{k * k},{k % 4},{k % 2}" for k in range(30)))
    with pytest.raises(DataError, match=r"should name each row once\. Found `0` 4 times"):
        prepare("own", table, tmp_path / "out", jobs=1)
