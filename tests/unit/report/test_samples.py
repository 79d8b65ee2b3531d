"""Samples, class heat map, robustness and parts: on the page, escaped, within their budget, and equal to table.csv."""

from __future__ import annotations

import base64
import csv
import io
import json
import math
import re
import wave
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from counterpoise._corruption import Corruption
from counterpoise.errors import DataError
from counterpoise.gallery import Gallery, picture
from counterpoise.report import draw_figures, render_page, to_csv
from counterpoise.report.analysis.comparison import compare
from counterpoise.report.analysis.ranking import Ranking
from counterpoise.report.analysis.robustness import corrupted_scores
from counterpoise.report.figures.classes import robustness_figures, shift_grid
from counterpoise.report.figures.scores import rank_figure
from counterpoise.report.figures.spec import Series
from counterpoise.runs import Metric, RunRecord, read_records, write_records

EVIL = "<script>alert(1)</script>"


def look(kind: str, name: str = "m", **more: object) -> SimpleNamespace:
    return SimpleNamespace(**{"name": name, "kind": kind, "words": (), "rate": 0.0, **more})


def card(**changes: object) -> dict[str, object]:
    rng = np.random.default_rng(0)
    views = {
        "accelerometer": picture(look("sequence", rate=50.0), rng.normal(size=(100, 3))),
        "gyroscope": picture(look("tokens", words=("", "?", EVIL)), np.array([2, 1, 0])),
    }
    predictions = {m: {"answer": EVIL, "sure": 0.75, "right": True, "alone": 1.25, "added": -0.5} for m in views}
    base = {"index": 7, "group": "conflict", "truth": EVIL, "views": views, "predictions": predictions}
    return {**base, "model": {"answer": "walk", "sure": 0.5, "right": False}, **changes}


@pytest.fixture(scope="module")
def records(make_study) -> list[RunRecord]:
    def enrich(r: RunRecord) -> RunRecord:
        if r.row.modality is not None:
            return r
        parts = (("phi_shared", 0.8), ("phi_synergy", 0.1))
        extra = [Metric(name, v + r.seed / 50, m) for name, v in parts for m in r.modalities]
        corruptions = (Corruption("noise", 0.5), Corruption("noise", 1.0), Corruption("zeros"))
        extra += [Metric("accuracy", 0.5 + r.seed / 100, m, c) for m in r.modalities for c in corruptions]
        extra.append(Metric("accuracy_corrupted", 0.5 + r.seed / 100))
        extra += [Metric("accuracy_corrupted", 0.5, m) for m in r.modalities]
        per_class = {f"{k}:{m}": [0.5, None, 1.5] for k in ("mi", "cmi") for m in r.modalities}
        return replace(
            r,
            metrics=(*r.metrics, *extra),
            valuation={**r.valuation, "per_class": per_class},
            class_names=("a", "never", EVIL),
            samples={"n": 100, "counts": {"conflict": 3}, "cards": [card()], "source": "s"},
        )

    return [enrich(r) for r in make_study()]


def test_samples_of_earlier_versions_are_read() -> None:
    new = {"n": 9, "counts": {"relies_on:gyroscope": 2}, "cards": [card(group="relies_on:gyroscope")]}
    old_card = {("said" if k == "predictions" else k): v for k, v in card(group="hang_on:gyroscope").items()}
    assert Gallery.read({"n": 9, "counts": {"hang_on:gyroscope": 2}, "cards": [old_card]}) == Gallery.read(new)


def test_the_page_shows_samples_classes_robustness_and_parts_and_runs_nothing(records: list[RunRecord]) -> None:
    text = render_page(records)
    assert EVIL not in text
    assert text.count("<script") == 3
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    for title in ("Samples to inspect", "Which classes rely on which modality", "Modalities in conflict"):
        assert title in text
    assert "media-src data:" in text
    assert re.search(r'data-gallery="g\d+-\d+"', text)
    charts = json.loads(re.search(r'id="charts">(.*?)</script>', text)[1])  # type: ignore[index]
    heat = next(o for o in charts.values() if o[0]["data"][0]["type"] == "heatmap")
    assert heat[0]["data"][0]["z"] == [[0.5, 0.5], [1.5, 1.5]]  # the class without samples is left out
    assert heat[0]["data"][0]["y"][0] == "a"
    stacked = next(
        o for o in charts.values() if [t.get("name") for t in o[0]["data"]][:3] == ["shared", "unique", "synergy"]
    )
    shared, unique, synergy = stacked[0]["data"][:3]
    table = {(r["method"], r["metric"]): float(r["mean"]) for r in csv.DictReader(io.StringIO(to_csv(records)))}
    share = 100 / table["joint", "entropy"]
    for k, m in enumerate(("accelerometer", "gyroscope")):
        assert shared["x"][k] == pytest.approx(share * table["joint", f"phi_shared:{m}"], rel=1e-5)
        assert shared["x"][k] + unique["x"][k] == pytest.approx(
            max(share * table["joint", f"phi_mi:{m}"], shared["x"][k]), rel=1e-5
        )
        assert synergy["x"][k] == pytest.approx(share * table["joint", f"phi_synergy:{m}"], rel=1e-5)
    table_csv = {(r["data"], r["method"], r["metric"]): r for r in csv.DictReader(io.StringIO(to_csv(records)))}
    keyed = re.findall(r'<data value="([^"]*)" data-key="([^"]*)">', text)
    keys = [(value, json.loads(key.replace("&#34;", '"'))) for value, key in keyed]
    assert any(key[2] == "accuracy_corrupted:gyroscope" for _, key in keys)
    for value, (data, method, metric, column) in keys:
        assert value == table_csv[data, method, metric][column]


def test_damage_is_the_mean_over_seeds_with_students_interval(records: list[RunRecord]) -> None:
    rows = corrupted_scores(compare(records)[0], "joint", "gyroscope")
    assert [d.words for d in rows] == ["clean", "noise 0.5", "noise 1", "zeros"]
    assert rows[1].point.mean == pytest.approx(0.51)
    assert rows[1].point.high - rows[1].point.mean == pytest.approx(4.302653 * 0.01 / 3**0.5, rel=1e-5)
    assert corrupted_scores(compare(records)[0], "unimodal:gyroscope", "gyroscope") == []


def test_figures_of_classes_and_robustness(records: list[RunRecord]) -> None:
    figures = draw_figures(records)
    assert {"classes-smartwatch", "robustness-smartwatch", "differences-smartwatch"} <= set(figures)
    assert [t.get_text() for t in figures["robustness-smartwatch"].axes[0].get_xticklabels()] == [
        "clean",
        "0.5",
        "1",
        "zeros",
    ]


def test_cliques_of_the_critical_difference_diagram() -> None:
    chart = rank_figure(Ranking(("a", "b", "c"), (1.0, 1.5, 3.0), 1.0, 5.0, 0.04, 6))
    (bar,) = [mark for mark in chart.panel.marks if isinstance(mark, Series) and mark.colour == "@accent"]  # one clique
    assert bar.x[0] < 1.0 < 1.5 < bar.x[1] < 3.0
    assert chart.table.rows == [["a", "1.00", "b"], ["b", "1.50", "a"], ["c", "3.00", "none"]]


def test_samples_lie_beside_the_record_and_a_broken_file_is_named(tmp_path: Path, records: list[RunRecord]) -> None:
    one = next(r for r in records if r.samples)
    assert "samples" not in json.loads(one.to_json())
    write_records(tmp_path / "runs.jsonl", [one])
    beside = tmp_path / "runs" / one.key
    beside.mkdir(parents=True)
    (beside / "samples.json").write_text(json.dumps(one.samples))
    read, skipped = read_records([tmp_path])
    assert (read[0].samples, skipped) == (one.samples, [])
    (beside / "samples.json").write_text("{")
    read, skipped = read_records([tmp_path])
    assert read[0].samples == {}
    assert len(skipped) == 1
    assert "samples.json" in skipped[0]


def test_records_of_the_first_layout_are_read() -> None:
    line = (
        '{"key": "k", "data": "d", "method": "joint", "rule": "fused", "seed": 0, "task": "multiclass", '
        '"modalities": ["a"], "schema": 1}'
    )
    record = RunRecord.from_json(line)
    assert (record.class_names, record.samples) == ((), {})
    render_page([record])


@pytest.mark.parametrize("view", [
    {"kind": "image", "src": "http://x/y.png", "width": 1, "height": 1},
    {"kind": "image", "src": 'data:image/png;base64,A" onload="x', "width": 1, "height": 1},
    {"kind": "trace", "lines": [[math.nan]], "low": 0, "high": 1},
    {"kind": "odd"},
])  # fmt: skip
def test_malformed_cards_are_left_out(view: dict[str, object]) -> None:
    cards = [card(views={"m": view}), card(), {"odd": 1}, None]
    assert len(Gallery.read({"cards": cards}).cards) == 1
    with pytest.raises(DataError):
        Gallery.read([])


def test_pictures_are_small_and_true() -> None:
    rng = np.random.default_rng(0)
    image = picture(look("image"), rng.random((3, 224, 224)))
    assert max(image["width"], image["height"]) == 112
    video = picture(look("video"), rng.random((30, 3, 112, 112)))
    assert video["note"] == "5 of 30 frames"
    assert len(json.dumps([image, video])) < 40_000
    spectrogram = picture(look("image", "audio"), rng.random((1, 32, 40)))
    assert spectrogram["kind"] == "spectrogram"
    assert "no sound" in spectrogram["note"]
    sound = picture(look("sequence", rate=16000.0), np.sin(2 * np.pi * 440 * np.arange(32000) / 16000)[:, None])
    with wave.open(io.BytesIO(base64.b64decode(sound["audio"].partition(",")[2]))) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), np.uint8).astype(float) - 127.5
        assert (file.getframerate(), len(samples)) == (8000, 8000)
    assert np.abs(np.fft.rfft(samples)).argmax() == 440
    trace = picture(look("sequence", rate=50.0), np.linspace(0, 1, 100)[:, None])
    assert trace["lines"][0] == sorted(trace["lines"][0])
    assert trace["span"] == "2 s"
    bars = picture(look("vector"), np.array([1.0, 3.0]), mean=np.array([1.0, 1.0]), std=np.array([1.0, 2.0]))
    assert (bars["values"], bars["top"]) == ([0, 99], 1.0)
    assert picture(look("tokens"), np.array([5, 0]))["words"] == ["5"]


def test_only_modalities_that_were_not_noisy_are_said_to_take_no_noise(records: list[RunRecord]) -> None:
    comparison = compare(records)[0]
    assert "token" not in shift_grid(comparison).note
    tokens = [
        replace(r, metrics=tuple(x for x in r.metrics if (x.modality, getattr(x.corruption, "kind", "")) != NOISY))
        for r in records
    ]
    mixed = compare(tokens)[0]
    assert "of gyroscope, token ids" in shift_grid(mixed).note
    readings = [figure.reading for figure in robustness_figures(mixed, mixed.modalities)]
    assert ["noise" in reading for reading in readings] == [True, False]


NOISY = ("gyroscope", "noise")
