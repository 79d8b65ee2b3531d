"""Tables of one's own: what columns are taken for, and what is refused with the cell named."""

from __future__ import annotations

import csv
import gzip
import json
import wave
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image as Pillow

from counterpoise._arrays import guess_task
from counterpoise.data import open_data, prepare
from counterpoise.data.preparation import Settings, check_folder
from counterpoise.data.preparation._own import own
from counterpoise.errors import ConfigError, DataError

N = 60
RNG = np.random.default_rng(0)
AGE = [f"{v:.1f}" for v in RNG.normal(50, 9, N)]
TITLE = [f"w{k % 3} and {k % 7}" for k in range(N)]
CLASS = ["a", "b", "c"] * 20


def write(path: Path, **columns: object) -> Path:
    table = pd.DataFrame({"age": AGE, "title": TITLE, "label": CLASS, **columns})
    table.to_csv(path, index=False)
    return path


def read(path: Path, **chosen: object):
    return own(path, Settings(**chosen))  # type: ignore[arg-type]


def kinds(index) -> dict[str, str]:
    return {m: type(reader).__name__ for m, reader in index.readers.items()}


@pytest.mark.parametrize("word", ["n.d.", "unknown", "1,234.5", "?", "12 kg"])
def test_one_word_among_numbers_is_a_finding_with_its_row(word: str, tmp_path: Path) -> None:
    index = read(write(tmp_path / "m.csv", age=[*AGE[:5], word, *AGE[6:]]))
    assert kinds(index) == {"age": "Numbers", "title": "Text"}
    assert [(f.item, f.modality, f.left_out) for f in index.findings] == [("row6", "age", True)]
    assert word in index.findings[0].detail
    assert "row 6" in index.findings[0].detail
    assert len(index.items) == N - 1


@pytest.mark.parametrize("word", ["x", "1,5", "20 %"])
def test_many_words_among_numbers_are_refused_with_the_first(word: str, tmp_path: Path) -> None:
    age = [word if k % 3 == 1 else v for k, v in enumerate(AGE)]
    with pytest.raises(DataError, match=rf"`age`.*row 2: `{word}`"):
        read(write(tmp_path / "m.csv", age=age))


def test_decimal_commas_are_not_text(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"`age`.*row 1"):
        read(write(tmp_path / "m.csv", age=[v.replace(".", ",") for v in AGE]))


@pytest.mark.parametrize("word", ["", "NaN", "NA", "n/a", "None", "null", "-nan"])
def test_words_for_missing_are_empty_cells_among_numbers(word: str, tmp_path: Path) -> None:
    prepared = prepare("own", write(tmp_path / "m.csv", age=[*AGE[:5], word, *AGE[6:]]), tmp_path / "p", jobs=1)
    assert prepared.left_out == 0
    data = open_data(tmp_path / "p")
    assert [m.kind for m in data.info.modalities] == ["vector", "tokens"]
    parts = (data.train, data.val, data.test)
    assert sum(0 if s.present is None else int((~s.present["age"]).sum()) for s in parts) == 1


@pytest.mark.parametrize("word", ["NA", "N/A", "n/a", "nan", "None", "null", "NULL", "-nan", "NaN"])
@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl"])
def test_words_for_missing_are_classes_groups_and_texts(word: str, suffix: str, tmp_path: Path) -> None:
    label = [(word, "EU", "US")[k % 3] for k in range(N)]
    table = pd.DataFrame({"age": np.array(AGE, float), "title": [word] * N, "label": label, "group": label})
    path = tmp_path / f"m.{suffix}"
    if suffix == "jsonl":
        path.write_text("\n".join(json.dumps(row) for row in table.to_dict("records")))
    else:
        table.to_csv(path, index=False, sep="\t" if suffix == "tsv" else ",")
    index = read(path)
    assert set(index.classes) == {word, "EU", "US"}
    assert len(index.items) == N
    assert {item.group for item in index.items} == {word, "EU", "US"}
    assert index.items[0].sources["title"] == word


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_codes_keep_their_spelling(suffix: str, tmp_path: Path) -> None:
    codes = [("007", "012", "1")[k % 3] for k in range(N)]
    path = tmp_path / f"m.{suffix}"
    if suffix == "csv":
        write(path, label=codes)
    else:
        rows = [{"age": float(a), "code": c, "label": c} for a, c in zip(AGE, codes, strict=True)]
        path.write_text("\n".join(map(json.dumps, rows)))
    index = read(path)
    assert set(index.classes) == {"007", "012", "1"}
    if suffix == "jsonl":
        assert kinds(index)["code"] == "Text"


@pytest.mark.parametrize("name", ["Unnamed: 0", "index", "number", "s.k"])
@pytest.mark.parametrize("start", [0, 1])
@pytest.mark.parametrize("suffix", ["csv", "parquet", "jsonl"])
def test_a_column_that_counts_the_rows_is_left_out(name: str, start: int, suffix: str, tmp_path: Path) -> None:
    table = pd.DataFrame({name: np.arange(N) + start, "s.x": np.array(AGE, float), "title": TITLE, "label": CLASS})
    path = tmp_path / f"m.{suffix}"
    {"csv": lambda: table.to_csv(path, index=False), "parquet": lambda: table.to_parquet(path)}.get(
        suffix, lambda: path.write_text("\n".join(json.dumps(row) for row in table.to_dict("records")))
    )()
    index = read(path)
    assert list(index.readers) == ["s", "title"]
    assert index.readers["s"].shape == (1,)
    assert any(f"`{name}` counts the rows" in note for note in index.notes)
    assert list(read(path, modality=(f"k={name}", "title=title")).readers) == ["k", "title"]


def test_a_shuffled_index_is_left_out_by_its_name(tmp_path: Path) -> None:
    assert list(read(write(tmp_path / "m.csv", **{"Unnamed: 0": np.arange(N)[::-1]})).readers) == ["age", "title"]


@pytest.mark.parametrize("mark", [";", "\t", "|"])
def test_other_separators_are_seen_and_noted(mark: str, tmp_path: Path) -> None:
    path = write(tmp_path / "m.csv")
    path.write_text(path.read_text().replace(",", mark))
    index = read(path)
    assert list(index.readers) == ["age", "title"]
    assert any("separated by" in note for note in index.notes)


def test_a_missing_label_column_mentions_separators(tmp_path: Path) -> None:
    path = write(tmp_path / "m.csv")
    path.write_text(path.read_text().replace(",", "#"))
    with pytest.raises(DataError, match=r"no column `label`.*separated"):
        read(path)


@pytest.mark.parametrize("suffix", ["CSV", "csv.gz", "json", "TSV"])
def test_more_formats(suffix: str, tmp_path: Path) -> None:
    plain = write(tmp_path / "plain.csv")
    path = tmp_path / f"m.{suffix}"
    if suffix == "csv.gz":
        path.write_bytes(gzip.compress(plain.read_bytes()))
    elif suffix == "json":
        path.write_text(pd.read_csv(plain).to_json(orient="records"))
    else:
        path.write_text(plain.read_text().replace(",", "\t" if suffix == "TSV" else ","))
    assert kinds(read(path)) == {"age": "Numbers", "title": "Text"}


def test_encodings(tmp_path: Path) -> None:
    text = write(tmp_path / "m.csv", title=["größe"] * N).read_text()
    (tmp_path / "wide.csv").write_text(text, encoding="utf-16")
    assert read(tmp_path / "wide.csv").items[0].sources["title"] == "größe"
    (tmp_path / "latin.csv").write_text(text, encoding="latin-1")
    with pytest.raises(DataError, match=r"latin\.csv.*UTF-8"):
        read(tmp_path / "latin.csv")


@pytest.mark.parametrize("suffix", ["tif", "TIFF", "gif", "jfif", "bmp", "PNG", "webp"])
def test_pictures_of_any_suffix_are_pictures(suffix: str, tmp_path: Path) -> None:
    for k in range(N):
        kind = {"tif": "TIFF", "tiff": "TIFF", "jfif": "JPEG"}.get(suffix.lower(), suffix.upper())
        Pillow.new("RGB", (9, 9), (k, 90, 0)).save(tmp_path / f"p{k}.{suffix}", kind)
    index = read(write(tmp_path / "m.csv", photo=[f"p{k}.{suffix}" for k in range(N)]))
    assert kinds(index)["photo"] == "Image"


@pytest.mark.parametrize("suffix", [".pt", ".heic", ".npz", ".dcm", ".xyz1"])
@pytest.mark.parametrize("there", [True, False])
def test_files_that_cannot_be_read_are_refused_by_their_suffix(suffix: str, there: bool, tmp_path: Path) -> None:
    for k in range(N if there else 0):
        (tmp_path / f"p{k}{suffix}").write_bytes(bytes([k, 7, 9]) * 30)
    with pytest.raises(DataError, match=rf"`photo` holds files with {suffix}"):
        read(write(tmp_path / "m.csv", photo=[f"p{k}{suffix}" for k in range(N)]))


def test_files_without_a_suffix_are_known_by_their_content(tmp_path: Path) -> None:
    for k in range(N):
        Pillow.new("RGB", (9, 9), (k, 90, 0)).save(tmp_path / f"p{k}", "PNG")
    assert kinds(read(write(tmp_path / "m.csv", photo=[f"p{k}" for k in range(N)])))["photo"] == "Image"


def test_backslashes_missing_files_and_addresses(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    for k in range(N):
        Pillow.new("RGB", (9, 9), (k, 90, 0)).save(tmp_path / "sub" / f"p{k}.png")
    cells = [rf"sub\p{k}.png" for k in range(N)]
    cells[3], cells[4] = "sub/nowhere.png", "https://example.org/p.png"
    manifest = write(tmp_path / "m.csv", photo=cells)
    assert prepare("own", manifest, tmp_path / "p", settings=Settings(size=8), jobs=1).left_out == 1
    listing = (tmp_path / "p" / "findings.csv").read_text()
    assert "nowhere.png" in listing
    assert "download" in listing


def pictures(folder: Path, kept: Callable[[int], bool]) -> Path:
    """A table of sixty pictures, of which some are there."""
    for k in filter(kept, range(N)):
        Pillow.new("RGB", (9, 9), (k, 90, 0)).save(folder / f"p{k}.png")
    return write(folder / "m.csv", photo=[f"p{k}.png" for k in range(N)])


def test_a_file_that_does_not_exist_makes_its_modality_absent_and_is_counted(tmp_path: Path) -> None:
    manifest, out = pictures(tmp_path, lambda k: k % 5 > 0), tmp_path / "p"
    lines, _findings, well = check_folder(manifest, "own")
    assert well
    assert any("12 x missing" in line and "p0.png" in line for line in lines)
    assert any("samples that have a modality: photo 80.0%" in line for line in lines)
    report = prepare("own", manifest, out, settings=Settings(size=8), jobs=1)
    assert sum(report.samples.values()) == N
    assert report.left_out == 0
    assert any("12 x missing" in line for line in report.notes)
    data = open_data(out)
    has = np.concatenate([data.split(part).present["photo"] for part in ("train", "val", "test")])
    assert (~has).sum() == 12
    Pillow.new("RGB", (9, 9), (200, 90, 0)).save(tmp_path / "p0.png")  # it is found again
    again = prepare("own", manifest, out, settings=Settings(size=8), jobs=1)
    assert any("11 x missing" in line for line in again.notes)


def test_strict_preparation_leaves_out_rows_whose_files_do_not_exist(tmp_path: Path) -> None:
    manifest = pictures(tmp_path, lambda k: k % 5 > 0)
    report = prepare("own", manifest, tmp_path / "p", settings=Settings(size=8, strict=True), jobs=1)
    assert report.left_out == 12
    assert sum(report.samples.values()) == N - 12
    assert not check_folder(manifest, "own", Settings(strict=True))[2]


def findings(out: Path) -> list[dict[str, str]]:
    with (out / "findings.csv").open() as file:
        return list(csv.DictReader(file))


def sound(path: Path) -> None:
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes((9000 * np.sin(np.arange(64_000) / 9)).astype("<i2").tobytes())


FAULTS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "empty": ("png", lambda path: path.write_bytes(b"")),
    "cut": ("png", lambda path: path.write_bytes(path.read_bytes()[:-30])),
    "page": ("png", lambda path: path.write_bytes(b"<html>404</html>" * 90)),
    "page of sound": ("wav", lambda path: path.write_bytes(b"<html>404</html>" * 90)),
    "empty sound": ("wav", lambda path: path.write_bytes(b"")),
}


@pytest.mark.parametrize("fault", list(FAULTS))
def test_a_broken_file_costs_its_modality_and_is_counted(fault: str, tmp_path: Path) -> None:
    suffix, damage = FAULTS[fault]
    for k in range(N):
        path = tmp_path / f"p{k}.{suffix}"
        if suffix == "png":
            Pillow.new("RGB", (9, 9), (k, 90, 0)).save(path)
        else:
            sound(path)
    for k in (3, 7):
        damage(tmp_path / f"p{k}.{suffix}")
    manifest, out = write(tmp_path / "m.csv", file=[f"p{k}.{suffix}" for k in range(N)]), tmp_path / "p"
    settings = Settings(audio="fbank-small") if suffix == "wav" else Settings(size=8)
    report = prepare("own", manifest, out, settings=settings, jobs=1)
    assert (sum(report.samples.values()), report.left_out) == (N, 0)
    faults = {(f["item"], f["kind"]) for f in findings(out) if f["kind"] not in ("absent", "duplicate")}
    assert {item for item, _ in faults} == {"row4", "row8"}
    assert any(f"2 x {max(faults)[1]}" in line and f"p3.{suffix}" in line for line in report.notes)
    splits = [open_data(out).split(part) for part in ("train", "val", "test")]
    assert sum(int((~split.present["file"]).sum()) for split in splits if split.present is not None) == 2
    strict = prepare("own", manifest, tmp_path / "s", settings=replace(settings, strict=True), jobs=1)
    assert (sum(strict.samples.values()), strict.left_out) == (N - 2, 2)


def test_a_row_without_any_modality_is_left_out_and_named(tmp_path: Path) -> None:
    for k in range(N):
        Pillow.new("RGB", (9, 9), (k, 90, 0)).save(tmp_path / f"p{k}.png")
    (tmp_path / "p3.png").unlink()
    (tmp_path / "p4.png").write_bytes(b"")
    photo = [None if k == 5 else f"p{k}.png" for k in range(N)]
    title = [None if k in (3, 4, 5) else word for k, word in enumerate(TITLE)]
    table = pd.DataFrame({"photo": photo, "title": title, "label": CLASS})
    table.to_csv(tmp_path / "m.csv", index=False)
    checked = [vars(f) | {"left_out": str(f.left_out)} for f in check_folder(tmp_path / "m.csv", "own")[1]]
    report = prepare("own", tmp_path / "m.csv", tmp_path / "p", settings=Settings(size=8), jobs=1)
    for rows in (checked, findings(tmp_path / "p")):
        assert {(f["item"], f["kind"]) for f in rows if f["left_out"] == "True"} == {
            (f"row{k}", "empty") for k in (4, 5, 6)
        }
        assert {(f["item"], f["kind"], f["modality"]) for f in rows if f["kind"] in ("missing", "truncated")} == {
            ("row4", "missing", "photo"),
            ("row5", "truncated", "photo"),
        }
    assert (sum(report.samples.values()), report.left_out) == (N - 3, 3)


def test_a_modality_that_no_training_row_has_is_refused(tmp_path: Path) -> None:
    """The folder is wrong, rather than the modality absent."""
    manifest = pictures(tmp_path, lambda k: False)
    with pytest.raises(DataError, match=r"No training sample has the modality `photo`.*60 x missing"):
        prepare("own", manifest, tmp_path / "p", settings=Settings(size=8), jobs=1)


def test_sentences_that_end_like_files_stay_texts(tmp_path: Path) -> None:
    texts = [f"see w{k % 3}.png and tell us about it, version 2.{k}a" for k in range(N)]
    assert kinds(read(write(tmp_path / "m.csv", note=texts)))["note"] == "Text"


@pytest.mark.parametrize("cell", ["../p{k}.png", "sub/../../p{k}.png", "{root}/p{k}.png"])
def test_files_outside_the_folder_need_consent(cell: str, tmp_path: Path) -> None:
    (tmp_path / "inside" / "sub").mkdir(parents=True)
    for k in range(N):
        Pillow.new("RGB", (9, 9), (k, 90, 0)).save(tmp_path / f"p{k}.png")
    cells = [cell.format(k=k, root=tmp_path) for k in range(N)]
    manifest = write(tmp_path / "inside" / "m.csv", photo=cells)
    with pytest.raises(DataError, match=r"outside the folder.*row 1.*allow_outside"):
        read(manifest)
    assert kinds(read(manifest, allow_outside=True))["photo"] == "Image"


def test_columns_with_dots_become_names_that_models_can_have(tmp_path: Path) -> None:
    index = read(write(tmp_path / "m.csv", **{"title.en": TITLE}))
    assert list(index.readers) == ["age", "title", "title_en"]
    assert any("title.en" in note for note in index.notes)
    with pytest.raises(DataError, match=r"would be one modality `title_en`"):
        read(write(tmp_path / "m.csv", title_en=TITLE, **{"title.en": TITLE}))


def test_two_entries_of_one_modality_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "m.csv", b=AGE[::-1])
    with pytest.raises(DataError, match=r"twice.*v=age,b"):
        read(path, modality=("v=age", "v=b", "t=title"))
    assert read(path, modality=("v=age,b", "t=title")).readers["v"].shape == (2,)


@pytest.mark.parametrize("label", [["cat"] * N, [1] * N, [0.5] * N])
def test_one_label_is_refused(label: list[object], tmp_path: Path) -> None:
    with pytest.raises(DataError, match="same label"):
        read(write(tmp_path / "m.csv", label=label))


@pytest.mark.parametrize("dtype", ["Int64", "string", "category", "boolean", "Float64"])
def test_a_missing_label_of_any_type_costs_its_row(dtype: str, tmp_path: Path) -> None:
    label = pd.Series(np.arange(N) % 2).astype("string" if dtype in ("string", "category") else dtype).astype(dtype)
    label[4] = pd.NA
    table = pd.DataFrame({"age": np.array(AGE, float), "title": TITLE, "label": label})
    table.to_parquet(tmp_path / "m.parquet")
    index = read(tmp_path / "m.parquet")
    assert [f.item for f in index.findings] == ["row5"]
    assert len(index.items) == N - 1
    assert len(index.classes) == 2


def rows(path: Path, **columns: object) -> Path:
    table = {"age": [float(a) for a in AGE], "title": TITLE, "label": CLASS, **columns}
    path.write_text("\n".join(json.dumps({k: v[i] for k, v in table.items()}) for i in range(N)))  # type: ignore[index]
    return path


def test_lists_of_names_are_several_labels(tmp_path: Path) -> None:
    genres = [["Drama"], ["Drama", "Comedy"], [], ["War"]] * 15
    index = read(rows(tmp_path / "m.jsonl", label=genres))
    assert (index.task, index.classes) == ("multilabel", ("Comedy", "Drama", "War"))
    assert [item.label.tolist() for item in index.items[:4]] == [[0, 1, 0], [1, 1, 0], [0, 0, 0], [0, 0, 1]]


def test_lists_of_ids_and_rows_of_zeros_and_ones(tmp_path: Path) -> None:
    ids = read(rows(tmp_path / "ids.jsonl", label=[[0], [0, 2], [1]] * 20))
    assert [item.label.tolist() for item in ids.items[:3]] == [[1, 0, 0], [1, 0, 1], [0, 1, 0]]
    hot = read(rows(tmp_path / "hot.jsonl", label=[[0, 1, 1], [1, 0, 0], [0, 0, 0]] * 20))
    assert [item.label.tolist() for item in hot.items[:3]] == [[0, 1, 1], [1, 0, 0], [0, 0, 0]]


@pytest.mark.parametrize("at", [0, 7])
def test_an_unequal_row_is_a_finding_wherever_it_stands(at: int, tmp_path: Path) -> None:
    vectors = [[0.1 * k, 1.0, 2.0] for k in range(N)]
    vectors[at] = [1.0, 2.0]
    summary = prepare("own", rows(tmp_path / "m.jsonl", emb=vectors), tmp_path / "p", jobs=1)
    assert summary.left_out == 1
    assert f"row{at + 1}," in (tmp_path / "p" / "findings.csv").read_text()
    assert open_data(tmp_path / "p").info.modalities[-1].shape == (3,)


def test_matrices_are_sequences_and_lists_of_sentences_one_text(tmp_path: Path) -> None:
    signal = RNG.normal(size=(N, 5, 3)).tolist()
    index = read(rows(tmp_path / "m.jsonl", signal=signal, title=[["w1", "two words"]] * N))
    assert index.readers["signal"].modality("signal").kind == "sequence"
    assert index.items[0].sources["title"] == "w1 two words"


def test_a_broken_line_of_json_is_named(tmp_path: Path) -> None:
    path = rows(tmp_path / "m.jsonl")
    path.write_text(path.read_text().replace("}\n", "\n", 1))
    with pytest.raises(DataError, match="Line 1 is not JSON"):
        read(path)


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("at", [0, 7])
@pytest.mark.parametrize("bad", ["strings", "overflow", "complex", "records"])
def test_one_odd_array_is_a_finding(bad: str, at: int, jobs: int, tmp_path: Path) -> None:
    arrays = {
        "strings": np.array(list("abcd")),
        "overflow": np.full(4, 1e300),
        "complex": np.full(4, 1j),
        "records": np.zeros(4, [("x", float)]),
    }
    for k in range(N):
        np.save(tmp_path / f"e{k}.npy", arrays[bad] if k == at else RNG.normal(size=4))
    manifest = write(tmp_path / "m.csv", emb=[f"e{k}.npy" for k in range(N)])
    summary = prepare("own", manifest, tmp_path / "p", jobs=jobs)
    assert summary.left_out == 1
    assert f"e{at}.npy" in (tmp_path / "p" / "findings.csv").read_text()


def test_any_exception_of_a_reader_is_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from counterpoise.data.preparation import Image

    for k in range(N):
        Pillow.new("RGB", (9, 9), (k, 90, 0)).save(tmp_path / f"p{k}.png")
    whole = Image.read

    def read_or_fail(self: Image, source: Path, remark: object) -> np.ndarray:
        if source.name == "p7.png":
            raise ZeroDivisionError("odd header")
        return whole(self, source, remark)  # type: ignore[arg-type]

    monkeypatch.setattr(Image, "read", read_or_fail)
    manifest = write(tmp_path / "m.csv", photo=[f"p{k}.png" for k in range(N)])
    for strict in (False, True):
        report = prepare("own", manifest, tmp_path / str(strict), settings=Settings(size=8, strict=strict), jobs=1)
        assert report.left_out == strict
        assert "p7.png: ZeroDivisionError: odd header" in (tmp_path / str(strict) / "findings.csv").read_text()


@pytest.mark.parametrize("offset", [1.7e9, 1.7e12])
def test_seconds_and_milliseconds_keep_their_digits(offset: float, tmp_path: Path) -> None:
    seconds = offset + RNG.normal(size=N)
    prepare("own", write(tmp_path / "m.csv", time=seconds), tmp_path / "p", jobs=1)
    data = open_data(tmp_path / "p")
    values = np.concatenate([data.split(part).arrays["time"][:, 0] for part in ("train", "val", "test")])
    assert len(np.unique(values)) == len(np.unique(seconds))
    assert any("`time`" in note and "standardised" in note for note in data.info.notes)


@pytest.mark.parametrize(
    ("label", "task"),
    [
        ([str(k % 3) for k in range(N)], "multiclass"),
        ([f"{k % 3}.0" for k in range(N)], "multiclass"),
        ([str(20 + k) for k in range(N)], "regression"),
        (AGE, "regression"),
        ([("True", "False")[k % 2] for k in range(N)], "multiclass"),
    ],
)
@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_the_task_of_numbers_is_that_of_the_one_rule(label: list[str], task: str, suffix: str, tmp_path: Path) -> None:
    path = write(tmp_path / "m.csv", label=label)
    if suffix == "parquet":
        pd.read_csv(path).to_parquet(tmp_path / "m.parquet")
    index = read(tmp_path / f"m.{suffix}")
    assert index.task == task == guess_task(pd.read_csv(path)["label"].to_numpy()).task


def test_a_task_that_is_given_is_taken(tmp_path: Path) -> None:
    path = write(tmp_path / "m.csv", label=[20 + k % 30 for k in range(N)])
    assert read(path, task="multiclass").task == "multiclass"
    assert read(path, task="regression").task == "regression"
    with pytest.raises(DataError, match="suits the task"):
        read(write(tmp_path / "m.csv"), task="regression")
    with pytest.raises(ConfigError, match="`task`"):
        read(path, task="classes")


@pytest.mark.parametrize(
    "chosen", [{"flow": "dis"}, {"fps": 2.0}, {"audio": "fbank"}, {"size": 32}, {"tokenizer": "words"}, {"length": 5}]
)
def test_options_that_would_change_nothing_are_refused(tmp_path: Path, chosen: dict[str, object]) -> None:
    rows = "".join(f"{k % 5},{k % 3}.5,{k % 2}\n" for k in range(40))
    (tmp_path / "m.csv").write_text(f"a,b,label\n{rows}")
    with pytest.raises(ConfigError, match=f"--{next(iter(chosen))}"):
        prepare("own", tmp_path / "m.csv", tmp_path / "out", settings=Settings(**chosen), jobs=1)
    with pytest.raises(ConfigError, match=f"--{next(iter(chosen))}"):
        prepare("world-xor", None, tmp_path / "out", settings=Settings(**chosen))  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "chosen", [{"length": 0}, {"size": 1}, {"fps": 0.0}, {"keep": 0}, {"flow": "nope"}, {"seed": -1}, {"length": 1.5}]
)
def test_options_out_of_range_are_refused(chosen: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(chosen))):
        Settings(**chosen)  # type: ignore[arg-type]
