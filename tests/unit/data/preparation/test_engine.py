import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import trees

from counterpoise.cli.main import main
from counterpoise.data import open_data, prepare
from counterpoise.data.preparation import FINDINGS, KINDS, Settings, check_folder
from counterpoise.errors import DataError, NotFoundError


def findings(out: Path) -> list[dict[str, str]]:
    with (out / FINDINGS).open() as file:
        return list(csv.DictReader(file))


@pytest.fixture
def clips(tmp_path):
    return trees.ave(tmp_path / "raw")


def test_the_number_of_processes_changes_nothing(tmp_path):
    raw = tmp_path / "raw"
    rows = []
    for k in range(70):  # three shards
        trees.write_image(raw / f"{k}.png", k % 2, seed=k)
        rows.append(f"{k}.png,{k / 7},{k % 2},{('train', 'train', 'train', 'val', 'test')[k % 5]}")
    (raw / "m.csv").write_text("photo,age,label,split\n" + "\n".join(rows))
    for jobs in (1, 2):
        prepare("own", raw / "m.csv", tmp_path / f"out{jobs}", settings=trees.small("own"), jobs=jobs)
    one, two = (open_data(tmp_path / f"out{jobs}") for jobs in (1, 2))
    assert one.fingerprint() == two.fingerprint()
    np.testing.assert_array_equal(one.train.arrays["photo"], two.train.arrays["photo"])
    ages = np.array([k / 7 for k in range(70) if k % 5 < 3], np.float32)
    np.testing.assert_array_equal(one.train.arrays["age"][:, 0], ages)  # the manifest's order


def test_a_second_run_reads_only_what_is_missing(clips, tmp_path):
    out = tmp_path / "out"
    lost = clips / "AVE" / "vid03.mp4"
    content = lost.read_bytes()
    lost.unlink()
    progress = []
    first = prepare("ave", clips, out, settings=trees.small("ave"), jobs=1)
    assert first.left_out == 1
    assert first.samples == {"train": 23, "val": 6, "test": 12}
    assert {(f["kind"], f["item"], f["left_out"]) for f in findings(out) if f["kind"] != "count"} == {
        ("missing", "vid03", "True")
    }
    lost.write_bytes(content)
    times = {p: p.stat().st_mtime_ns for p in out.rglob("*.arrow")}
    again = prepare(
        "ave", clips, out, settings=trees.small("ave"), jobs=1, on_progress=lambda *count: progress.append(count)
    )
    assert progress == [(42, 42)], "41 were there, one shard with one sample was read"
    assert again.left_out == 0
    assert again.samples["train"] == 24
    assert times
    whole = prepare("ave", clips, tmp_path / "fresh", settings=trees.small("ave"), jobs=1)
    assert whole.samples == again.samples
    assert open_data(out).fingerprint() == open_data(tmp_path / "fresh").fingerprint()
    third = []
    prepare("ave", clips, out, settings=trees.small("ave"), jobs=1, on_progress=lambda *count: third.append(count))
    assert third == []


def test_other_parameters_read_everything_again(clips, tmp_path):
    out, progress = tmp_path / "out", []
    prepare("ave", clips, out, settings=trees.small("ave"), jobs=1)
    prepare(
        "ave",
        clips,
        out,
        settings=Settings(size=24, audio="fbank-small", keep=4),
        jobs=1,
        on_progress=lambda *c: progress.append(c),
    )
    assert progress == [(32, 42), (42, 42)]
    assert open_data(out).info.modalities[1].stored == (4, 3, 24, 24)


def test_what_was_damaged_afterwards_is_read_again(clips, tmp_path):
    out, progress = tmp_path / "out", []
    prepare("ave", clips, out, settings=trees.small("ave"), jobs=1)
    content = {p: p.read_bytes() for p in out.rglob("*.arrow")}
    shard = next(out.rglob("val/*.arrow"))
    broken = bytearray(content[shard])
    broken[len(broken) // 2] ^= 255
    shard.write_bytes(broken)
    prepare("ave", clips, out, settings=trees.small("ave"), jobs=1, on_progress=lambda *count: progress.append(count))
    assert progress == [(42, 42)], "six samples of one damaged file, in one shard"
    assert {p: p.read_bytes() for p in out.rglob("*.arrow")} == content


def test_a_shard_that_was_cut_off_is_read_again(clips, tmp_path):
    prepare("ave", clips, tmp_path / "fresh", settings=trees.small("ave"), jobs=1)
    work = tmp_path / ".out.partial"
    work.mkdir()
    (work / "half.arrow").write_bytes(next((tmp_path / "fresh").rglob("train/*.arrow")).read_bytes()[:5000])
    prepare("ave", clips, tmp_path / "out", settings=trees.small("ave"), jobs=1)
    assert open_data(tmp_path / "out").fingerprint() == open_data(tmp_path / "fresh").fingerprint()


def test_what_was_told_of_a_sample_is_told_again_by_a_second_run(tmp_path):
    manifest = trees.own(tmp_path / "raw")
    frames = trees.frames(tmp_path / "raw" / "media" / "gap", 0, count=6)
    (frames / "frame_00003.jpg").unlink()
    text = manifest.read_text().replace("media/c0.mp4,media", "media/gap,media", 1)
    manifest.write_text(text)
    for _ in range(2):
        prepare("own", manifest, tmp_path / "out", settings=trees.small("own"), jobs=1)
        assert [(f["item"], f["kind"]) for f in findings(tmp_path / "out")] == [("row1", "numbering")]


def test_a_frame_that_changes_inside_its_folder_is_read_again(tmp_path):
    source = trees.ucf101(tmp_path / "raw", extracted=True)
    progress = []
    prepare("ucf101", source, tmp_path / "out", settings=trees.small("ucf101"), jobs=1)
    trees.write_image(source / "tvl1_flow" / "u" / "v_Archery_g01_c01" / "frame000002.jpg", 7, size=40)
    prepare(
        "ucf101",
        source,
        tmp_path / "out",
        settings=trees.small("ucf101"),
        jobs=1,
        on_progress=lambda *c: progress.append(c),
    )
    assert progress == [(40, 40)]


def test_a_file_that_stands_in_two_splits_is_told_by_modality(tmp_path):
    source = trees.food101(tmp_path / "raw")
    image = source / "images" / "train" / "apple_pie" / "apple_pie_train0.jpg"
    (source / "images" / "test" / "apple_pie" / "apple_pie_test0.jpg").write_bytes(image.read_bytes())
    prepare("food101", source, tmp_path / "out", settings=trees.small("food101"), jobs=1)
    duplicates = [(f["modality"], f["detail"]) for f in findings(tmp_path / "out") if f["kind"] == "duplicate"]
    assert [m for m, _ in duplicates] == ["image"]
    assert "test/apple_pie_test0 (test) is the same as of train/apple_pie_train0" in duplicates[0][1]


def test_few_files_are_open_however_many_there_are(tmp_path):
    from counterpoise.data.preparation._shards import OPEN, Sample, Shards, write_shard

    shards = Shards()
    for k in range(3 * OPEN):
        write_shard(tmp_path / f"{k}.arrow", [Sample(str(k), ("",), (), {"a": np.full((2, 3), k, np.float32)})])
        assert shards.add(tmp_path / f"{k}.arrow")
    for k in (*range(3 * OPEN), 0):
        np.testing.assert_array_equal(shards.cell(str(k), "a"), np.full(6, k))
        maps = Path("/proc/self/maps").read_text() if Path("/proc/self/maps").exists() else ""
        assert maps.count(str(tmp_path)) <= OPEN


def test_processes_that_read_import_what_they_need():
    code = """if True:
        import sys
        import counterpoise.data.preparation._engine
        from counterpoise.data.preparation import RECIPES, sound_features
        import numpy as np
        sound_features(np.zeros(9, np.float32), RECIPES["fbank"])
        print(*({"torch", "datasets", "transformers", "pandas", "sklearn"} & set(sys.modules)))
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "", "")


def test_a_process_that_dies_says_what_to_do(tmp_path, monkeypatch):
    from counterpoise.data.preparation import _parallel

    def die(*_: object, **__: object) -> None:
        from joblib.externals.loky.process_executor import TerminatedWorkerError

        raise TerminatedWorkerError("killed")

    monkeypatch.setattr(_parallel, "_chunk", die)
    with pytest.raises(DataError, match="--jobs 1"):
        prepare("own", trees.own(tmp_path / "raw"), tmp_path / "out", settings=trees.small("own"), jobs=1)


def test_a_full_disk_is_an_error_of_writing_and_the_next_run_goes_on(clips, tmp_path, monkeypatch, capsys):
    from counterpoise.data import _arrow
    from counterpoise.data.preparation import _parallel

    calls = []

    def full(file: int) -> None:
        calls.append(file)
        if len(calls) > 1:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(_arrow.os, "fsync", full)
    arguments = [
        "prepare",
        "ave",
        "--source",
        str(clips),
        "--out",
        str(tmp_path / "out"),
        "--size",
        "16",
        "--jobs",
        "1",
    ]
    assert main(arguments) == 2
    assert "No space left on device. Free some disk space" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    monkeypatch.undo()
    read = []
    monkeypatch.setattr(_parallel, "read_item", lambda *a, read_=_parallel.read_item: read.append(a[0].id) or read_(*a))
    assert main(arguments) == 0
    assert len(read) == 42 - _parallel.CHUNK


def test_every_planted_defect_is_found_and_the_exit_status_says_so(clips, tmp_path, capsys):
    folder = clips / "AVE"
    (folder / "vid00.mp4").unlink()
    trees.cut(folder / "vid01.mp4", 0.4)
    trees.write_video(folder / "vid02.mp4", sound=False)
    (folder / "vid03.mp4").write_bytes(b"<html>" * 200)
    trees.write_video(folder / "vid04.mp4", seconds=0.1)
    (folder / "vid35.mp4").write_bytes((folder / "vid05.mp4").read_bytes())
    (folder / "vid06.mp4").write_bytes(b"")
    with (clips / "testSet.txt").open("a") as file:
        file.write("Church bell&vid07&good&0&10\n")
    out = tmp_path / "out"
    status = main(
        [
            "prepare",
            "ave",
            "--source",
            str(clips),
            "--out",
            str(out),
            "--size",
            "16",
            "--audio",
            "fbank-small",
            "--jobs",
            "1",
        ]
    )
    assert status == 1
    reported = {(f["item"], f["kind"]) for f in findings(out) if f["left_out"] == "True"}
    assert {item for item, _ in reported} == {"vid00", "vid01", "vid02", "vid03", "vid04", "vid06"}
    assert {
        ("vid00", "missing"),
        ("vid01", "truncated"),
        ("vid02", "silent"),
        ("vid03", "undecodable"),
        ("vid04", "too short"),
        ("vid06", "truncated"),
    } <= reported
    details = {f["kind"]: f["detail"] for f in findings(out) if f["left_out"] == "False"}
    assert details["duplicate"] == "video of vid35 (test) is the same as of vid05 (train)"
    assert "1 of 42 source videos are in train and test (vid07)" in details["leakage"]
    assert set(details) | {kind for _, kind in reported} <= set(KINDS)
    screen = capsys.readouterr().out
    assert "left out: 1 x silent" in screen
    assert str(out / FINDINGS) in screen
    assert (
        main(
            [
                "prepare",
                "ave",
                "--source",
                str(clips),
                "--out",
                str(out),
                "--size",
                "16",
                "--audio",
                "fbank-small",
                "--jobs",
                "1",
            ]
        )
        == 1
    )


def test_the_doctor_names_what_lies_in_a_folder_before_and_after(clips, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["list", "datasets", "--check", str(clips)]) == 0
    assert "ave: 24 train, 6 val, 12 test listed" in capsys.readouterr().out
    (clips / "AVE" / "vid00.mp4").unlink()
    trees.write_video(clips / "AVE" / "vid02.mp4", sound=False)
    table = tmp_path / "findings.csv"
    assert main(["list", "datasets", "--check", str(clips), "--name", "ave", "--out", str(table)]) == 1
    with table.open() as file:
        rows = {(f["item"], f["modality"], f["kind"]) for f in csv.DictReader(file) if f["left_out"] == "True"}
    assert rows == {("vid00", "audio", "missing"), ("vid00", "video", "missing"), ("vid02", "audio", "silent")}
    prepare("ave", clips, out, settings=trees.small("ave"), jobs=1)
    lines, _, well = check_folder(out)
    assert not well
    assert "left out: 2 samples" in lines[-1]
    shard = next(out.rglob("train/*.arrow"))
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 255
    shard.write_bytes(content)
    assert any(line.startswith("damaged: train/") for line in check_folder(out)[0])


def test_a_foreign_folder_is_refused_with_what_to_do(tmp_path, capsys):
    assert main(["list", "datasets", "--check", str(tmp_path)]) == 2
    assert "neither prepared data nor" in capsys.readouterr().err
    assert main(["prepare", "ave", "--source", str(tmp_path / "nowhere"), "--out", str(tmp_path / "o")]) == 2
    assert "trainSet.txt" in capsys.readouterr().err
    with pytest.raises(NotFoundError, match="prepared once from the files"):
        open_data("ave")


def test_a_split_of_which_nothing_can_be_read_stops_and_leaves_the_list(clips, tmp_path):
    for k in range(24, 30):
        (clips / "AVE" / f"vid{k}.mp4").unlink()
    with pytest.raises(DataError, match="split `val`"):
        prepare("ave", clips, tmp_path / "out", settings=trees.small("ave"), jobs=1)
    assert (tmp_path / ".out.partial" / FINDINGS).is_file()
