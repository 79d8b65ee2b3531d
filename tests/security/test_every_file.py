"""A payload in every file that a command reads: nothing runs, and the command says what is wrong or goes on.

The payloads are a pickle that creates a file, the same pickle inside of the format, YAML tags, import paths, and sizes
that the file does not hold.
"""

from __future__ import annotations

import gzip
import io
import json
import pickle
import shutil
import struct
import wave
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from counterpoise._files import read_npz
from counterpoise.cli.main import main
from counterpoise.data import from_arrays, load_prepared, save_prepared
from counterpoise.data.preparation._pickle import read_pickle
from counterpoise.data.tables import read_table
from counterpoise.errors import DataError


class Payload:
    """Creates a file when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> Any:
        return open, (str(self.target), "w")


def object_npz(target: Path) -> bytes:
    """Return an archive whose arrays hold the payload."""
    buffer = io.BytesIO()
    array = np.array([Payload(target)] * 60, dtype=object)
    np.savez(buffer, a=array, b=array, label=array)
    return buffer.getvalue()


def huge_npz(target: Path) -> bytes:
    """Return an archive whose header promises seven terabytes."""
    header = "{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000, 1000), }".ljust(117) + "\n"
    entry = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + bytes(80)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in ("a", "b", "label"):
            archive.writestr(f"{name}.npy", entry)
    return buffer.getvalue()


def bomb_npz(target: Path) -> bytes:
    """Return a small archive that unpacks to a hundred megabytes."""
    buffer = io.BytesIO()
    zeros = np.zeros((100, 125_000))
    np.savez_compressed(buffer, a=zeros, b=zeros[:, :2], label=np.arange(100) % 2)
    return buffer.getvalue()


def raw_pickle(target: Path) -> bytes:
    return pickle.dumps(Payload(target))


def parquet_with_pickle(target: Path) -> bytes:
    """Return a table whose column claims to be of a pickled extension type."""
    import pyarrow as pa
    from pyarrow import parquet

    meta = {b"ARROW:extension:name": b"arrow.py_extension_type", b"ARROW:extension:metadata": raw_pickle(target)}
    fields = [pa.field("a", pa.float64(), metadata=meta), pa.field("b", pa.float64()), pa.field("label", pa.int64())]
    k = np.arange(60)
    table = pa.table([pa.array(k / 7), pa.array(k % 5 / 3), pa.array(k % 2)], schema=pa.schema(fields))
    buffer = io.BytesIO()
    parquet.write_table(table, buffer)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with one good file of every kind, and a finished run."""
    folder = tmp_path_factory.mktemp("files")
    rng = np.random.default_rng(0)
    y = np.arange(60) % 2
    np.savez(folder / "d.npz", a=rng.normal(size=(60, 2)) + y[:, None], b=rng.normal(size=(60, 2)), label=y)
    fit = ["--fit.epochs", "2", "--model.width", "4", "--fit.accelerator", "cpu", "--out", str(folder / "runs")]
    assert main(["train", "--data", str(folder / "d.npz"), "--method", "joint", *fit]) == 0
    data = from_arrays({"a": rng.normal(size=(60, 2)), "b": rng.normal(size=(60, 2))}, y, name="set")
    save_prepared(data, folder / "set")
    media = folder / "media"
    media.mkdir()
    lines = ["picture,sound,array,number,label"]
    for k in range(40):
        Image.fromarray(rng.integers(256, size=(12, 12, 3)).astype(np.uint8)).save(media / f"p{k}.png")
        with wave.open(str(media / f"s{k}.wav"), "wb") as sound:
            sound.setparams((1, 2, 8000, 0, "NONE", ""))
            sound.writeframes(rng.integers(-9999, 9999, size=16000).astype("<i2").tobytes())
        np.save(media / f"n{k}.npy", rng.normal(size=3))
        lines.append(f"p{k}.png,s{k}.wav,n{k}.npy,{k}.5,{'xy'[k % 2]}")
    (media / "table.csv").write_text("\n".join(lines))
    return folder


Planter = Callable[[Path, Path], list[str]]
"""Plants a payload, whose target is given, in a copy of the sources; returns the command that reads it."""
PLANTED: dict[str, Planter] = {}


def plant(name: str) -> Callable[[Planter], Planter]:
    def keep(function: Planter) -> Planter:
        PLANTED[name] = function
        return function

    return keep


def _run(root: Path) -> Path:
    return next((root / "runs" / "runs").iterdir())


def _whole_file(name: str, place: Callable[[Path], Path], command: Callable[[Path], list[str]]) -> None:
    """Replace a file by each of the payloads that are whole files."""
    for kind, make in {"pickle": raw_pickle, "object arrays": object_npz, "huge header": huge_npz}.items():

        def put(root: Path, target: Path, make: Callable[[Path], bytes] = make) -> list[str]:
            place(root).write_bytes(make(target))
            return command(root)

        PLANTED[f"{name}: {kind}"] = put


def _report(root: Path) -> list[str]:
    return ["report", str(root / "runs"), "--out", str(root / "page.html")]


def _diagnose(root: Path) -> list[str]:
    return ["diagnose", str(_run(root))]


def _prepare(root: Path) -> list[str]:
    return ["prepare", "own", "--source", str(root / "media" / "table.csv"), "--out", str(root / "p"), "--jobs", "1"]


def _train(data: str) -> Callable[[Path], list[str]]:
    fit = ["--fit.epochs", "1", "--fit.accelerator", "cpu"]
    return lambda root: ["train", "--data", str(root / data), "--method", "joint", *fit, "--out", str(root / "o")]


def _resume(root: Path) -> list[str]:
    run = _run(root)
    (run / "record.json").unlink()
    shutil.copy(run / "best.ckpt", run / "previous.ckpt")
    fit = ["--fit.epochs", "2", "--model.width", "4", "--fit.accelerator", "cpu", "--out", str(root / "runs")]
    return ["train", "--data", str(root / "d.npz"), "--method", "joint", *fit]


for _name in ("record.json", "samples.json"):
    _whole_file(_name, lambda root, name=_name: _run(root) / name, _report)  # type: ignore[misc]
_whole_file("runs.jsonl", lambda root: root / "runs" / "runs.jsonl", _report)
for _name in ("config.yaml", "best.ckpt"):
    _whole_file(_name, lambda root, name=_name: _run(root) / name, _diagnose)  # type: ignore[misc]
_whole_file("last.ckpt", lambda root: _run(root) / "last.ckpt", _resume)
_whole_file("d.npz (train)", lambda root: root / "d.npz", _train("d.npz"))
_whole_file("d.npz (diagnose)", lambda root: root / "d.npz", lambda root: ["diagnose", "--arrays", str(root / "d.npz")])
for _name in ("counterpoise.json", "dataset_dict.json", "train/state.json", "train/dataset_info.json"):
    _whole_file(f"set/{_name}", lambda root, name=_name: root / "set" / name, _train("set"))  # type: ignore[misc]
_whole_file("set/train/*.arrow", lambda root: next((root / "set" / "train").glob("*.arrow")), _train("set"))
for _name in ("p3.png", "s3.wav", "n3.npy", "table.csv"):
    _whole_file(f"media/{_name}", lambda root, name=_name: root / "media" / name, _prepare)  # type: ignore[misc]


@plant("record.json: import paths, scripts and formulas in every text")
def _(root: Path, target: Path) -> list[str]:
    path = _run(root) / "record.json"

    def planted(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: planted(part) for key, part in value.items()}
        if isinstance(value, list):
            return [planted(part) for part in value]
        return "=cmd|'/c calc'!A1<script>alert(1)</script>os:system" if value == "d" else value

    path.write_text(json.dumps(planted(json.loads(path.read_text()))))
    return _report(root)


@plant("config.yaml: YAML tag")
def _(root: Path, target: Path) -> list[str]:
    (_run(root) / "config.yaml").write_text(f"data: !!python/object/apply:builtins.open ['{target}', w]\n")
    return _diagnose(root)


@plant("table.parquet: pickled extension type")
def _(root: Path, target: Path) -> list[str]:
    (root / "t.parquet").write_bytes(parquet_with_pickle(target))
    return ["diagnose", "--table", str(root / "t.parquet")]


@plant("table.parquet: as a manifest")
def _(root: Path, target: Path) -> list[str]:
    (root / "t.parquet").write_bytes(parquet_with_pickle(target))
    return ["prepare", "own", "--source", str(root / "t.parquet"), "--out", str(root / "p"), "--jobs", "1"]


@plant("table.csv: paths outside the folder")
def _(root: Path, target: Path) -> list[str]:
    table = root / "media" / "table.csv"
    table.write_text(table.read_text().replace("n3.npy", "../d.npz").replace("p3.png", "/etc/passwd"))
    return _prepare(root)


@plant("state.json: files outside the folder")
def _(root: Path, target: Path) -> list[str]:
    path = root / "set" / "train" / "state.json"
    content = json.loads(path.read_text())
    content["_data_files"] = [{"filename": "../../../../../etc/passwd"}]
    path.write_text(json.dumps(content))
    return _train("set")(root)


@plant("dataset_info.json: a feature of another type")
def _(root: Path, target: Path) -> list[str]:
    path = root / "set" / "train" / "dataset_info.json"
    content = json.loads(path.read_text())
    content["features"] = {"a": {"_type": "os.system"}, "b": {"_type": "Pdf"}, "label": {"_type": "Value"}}
    path.write_text(json.dumps(content))
    return _train("set")(root)


@pytest.fixture
def nothing_ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Yield the file that a payload would create; fail if it exists, or if a name of a user's own was imported."""

    def refuse(kind: str, path: str) -> None:
        raise AssertionError(f"{kind} `{path}` would have been imported")

    monkeypatch.setattr("counterpoise.catalogue.import_object", refuse)
    target = tmp_path / "ran"
    yield target
    assert not target.exists()


@pytest.mark.parametrize("name", PLANTED)
def test_a_payload_runs_nowhere(
    name: str, sources: Path, tmp_path: Path, nothing_ran: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "copy"
    shutil.copytree(sources, root)
    config = _run(root) / "config.yaml"
    config.write_text(config.read_text().replace(str(sources), str(root)))
    command = PLANTED[name](root, nothing_ran)
    capsys.readouterr()
    status = main(command)
    shown = capsys.readouterr()
    assert status in (0, 1, 2)
    assert "This error is unexpected" not in shown.err, shown.err
    if status == 2:
        assert shown.err.count("error:") == 1
    if (root / "page.html").exists():
        assert "<script>alert(1)" not in (root / "page.html").read_text()


@pytest.mark.parametrize("make", [object_npz, huge_npz, bomb_npz, raw_pickle], ids=lambda make: make.__name__)
def test_arrays_are_checked_before_they_are_unpacked(tmp_path: Path, nothing_ran: Path, make: Any) -> None:
    (tmp_path / "x.npz").write_bytes(make(nothing_ran))
    with pytest.raises(DataError):
        read_npz(tmp_path / "x.npz")


def test_what_does_not_fit_the_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez(tmp_path / "x.npz", a=np.random.default_rng(0).normal(size=10_000_000))
    assert len(read_npz(tmp_path / "x.npz")["a"]) == 10_000_000
    monkeypatch.setattr("counterpoise._files._free_memory", lambda: 1000)
    with pytest.raises(DataError, match="Found 1,000 free"):
        read_npz(tmp_path / "x.npz")


def test_a_table_that_unpacks_to_far_more_than_its_file_is_refused(tmp_path: Path) -> None:
    with gzip.open(tmp_path / "t.csv.gz", "wb") as file:
        file.write(b"a,b,label\n")
        for _ in range(70):
            file.write(b"1,2,0\n" * 200_000)
    with pytest.raises(DataError, match="unpacks from"):
        read_table(tmp_path / "t.csv.gz")


@pytest.mark.parametrize("payload", ["open", "huge", "deep"])
def test_a_pickle_of_arrays_holds_arrays_only(tmp_path: Path, nothing_ran: Path, payload: str) -> None:
    content = {
        "open": pickle.dumps({"train": Payload(nothing_ran)}),
        "huge": b"cnumpy\nndarray\n(I99999999999999\ntR.",
        "deep": b"(" * 10 + b"N" + b"t" * 10 + b"R.",
    }[payload]
    (tmp_path / "x.pkl").write_bytes(content)
    with pytest.raises(DataError):
        read_pickle(tmp_path / "x.pkl")


def test_a_manifest_opens_nothing_outside_its_folder(sources: Path, tmp_path: Path) -> None:
    from counterpoise.data.preparation._result import MANIFEST, checksum, read_manifest, undamaged

    shutil.copytree(sources / "set", tmp_path / "set")
    other = sources / "d.npz"
    names = {str(other): checksum(other), "../../etc/hostname": "0"}
    known = {"format": 3, "name": "x", "left_out": 0, "samples": {}, "listed": {}, "published": {}, "findings": {}}
    (tmp_path / "set" / MANIFEST).write_text(json.dumps({**known, "files": names, "unreadable": {}}))
    assert undamaged(tmp_path / "set", read_manifest(tmp_path / "set")) == []
    assert load_prepared(tmp_path / "set").info.name == "set"
