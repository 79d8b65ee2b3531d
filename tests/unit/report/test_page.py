"""The page: one file, no network, every number that of table.csv, every name from data shown and never run."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import math
import re
import shutil
import subprocess
import time
from html.parser import HTMLParser
from pathlib import Path

import pytest

from counterpoise.errors import DataError, OutputError
from counterpoise.report import render_page, to_csv, write_page, write_report
from counterpoise.runs import RunRecord, write_records

EVIL = "<script>alert(1)</script>"
VOID = {"meta", "link", "br", "img", "input", "hr", "path", "circle"}


class Page(HTMLParser):
    """Just enough of a DOM: elements with attributes and text, and whether every tag is closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str], list[str]]] = []
        self._open: list[tuple[str, dict[str, str], list[str]]] = []
        self.feed(text)
        assert not self._open

    def handle_starttag(self, tag, attrs) -> None:
        element = (tag, {k: v or "" for k, v in attrs}, [])
        self.elements.append(element)
        if tag not in VOID:
            self._open.append(element)

    def handle_startendtag(self, tag, attrs) -> None:
        self.elements.append((tag, {k: v or "" for k, v in attrs}, []))

    def handle_endtag(self, tag) -> None:
        assert self._open[-1][0] == tag, f"</{tag}> closes <{self._open[-1][0]}>"
        self._open.pop()

    def handle_data(self, data) -> None:
        for _, _, text in self._open:
            text.append(data)

    def all(self, tag: str, **attributes: str) -> list[tuple[dict[str, str], str]]:
        return [
            (own, "".join(text))
            for name, own, text in self.elements
            if name == tag and all(own.get(k.rstrip("_").replace("_", "-")) == v for k, v in attributes.items())
        ]


@pytest.fixture(scope="module")
def demo_text(demo_records: list[RunRecord]) -> str:
    return render_page(demo_records)


@pytest.fixture(scope="module")
def demo(demo_text: str) -> Page:
    return Page(demo_text)


@pytest.fixture(scope="module")
def many(many_records: list[RunRecord]) -> Page:
    return Page(render_page(many_records))


def read_csv(records: list[RunRecord]) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(to_csv(records))))


def test_every_number_is_that_of_the_csv(many: Page, many_records: list[RunRecord]) -> None:
    table = {(r["data"], r["method"], r["metric"]): r for r in read_csv(many_records)}
    numbers = [(json.loads(a["data-key"]), a["value"], text) for a, text in many.all("data")]
    assert len(numbers) > 500
    for (data, method, metric, column), value, text in numbers:
        assert value == table[data, method, metric][column], (data, method, metric, column)
        shown = re.match(r"[+−]?\d+(?:\.\d+)?", text)
        if column == "p_value":
            continue
        assert shown, text
        share = metric.partition(":")[0] in {"accuracy", "macro_f1", "ece", "probe"}
        digits = len(shown[0].partition(".")[2])
        expected = float(value) * (100 if share else 1)
        assert float(shown[0].replace("−", "-")) == pytest.approx(expected, abs=0.5001 * 10**-digits)
    keys = {tuple(key) for key, _, _ in numbers}
    assert ("smartwatch", "arm", "accuracy", "diff_to_reference") in keys
    assert ("handwritten", "arm", "phi_cmi:fou", "mean") in keys


def test_the_table_of_every_number_and_the_download_are_the_csv(demo: Page, demo_text: str, demo_records) -> None:
    expected = to_csv(demo_records)
    link = next(a for a, _ in demo.all("a", download="table.csv"))
    assert base64.b64decode(link["href"].partition("base64,")[2]).decode() == expected
    body = demo_text[demo_text.index('id="numbers"') :]
    body = body[body.index("<tbody>") : body.index("</tbody>")]
    rows = [[text for _, text in Page(f"<table>{row}</table>").all("td")] for row in re.findall(r"<tr>.*?</tr>", body)]
    assert rows == list(csv.reader(io.StringIO(expected)))[1:]


def test_chart_numbers_are_those_of_the_csv(demo: Page, demo_records: list[RunRecord]) -> None:
    charts = json.loads(demo.all("script", id="charts")[0][1])
    table = {(r["method"], r["metric"]): float(r["mean"]) for r in read_csv(demo_records)}
    headings = {a["id"].removesuffix("-title"): text for tag in ("h2", "h3") for a, text in demo.all(tag) if "id" in a}
    scores = charts[next(k for k, title in headings.items() if title == "Test accuracy of every method")][0]
    trace = scores["data"][0]
    assert len(trace["y"]) == 10
    names = dict(zip(*(scores["layout"]["yaxis"][k] for k in ("tickvals", "ticktext")), strict=True))
    for name, x in zip((names[y] for y in trace["y"]), trace["x"], strict=True):
        label = f"unimodal:{name.removesuffix(' alone')}" if name.endswith(" alone") else name
        assert x == pytest.approx(100 * table[label, "accuracy"], rel=1e-5)
    contribution = charts[next(k for k, title in headings.items() if title.startswith("What can be known from each"))]
    bars = [t for t in contribution[0]["data"] if t["type"] == "bar"]
    for bar, kind in zip(bars, ("phi_mi", "phi_cmi"), strict=True):
        for m, x in zip(contribution[0]["layout"]["yaxis"]["ticktext"], bar["x"], strict=True):
            share = 100 * table["joint", f"{kind}:{m}"] / table["joint", "entropy"]
            assert x == pytest.approx(share, rel=1e-5)


def test_same_colour_for_the_same_modality_everywhere(many_records, make_study) -> None:
    mixed = make_study(data="one", modalities=("image", "text")) + make_study(data="two", modalities=("text", "audio"))
    text = render_page(mixed)
    swatches = set(re.findall(r'background:var\(--(m\d)\)"></span>(\w+)', text))
    assert swatches == {("m0", "image"), ("m1", "text"), ("m2", "audio")}
    charts = json.loads(Page(text).all("script", id="charts")[0][1])
    by_name: dict[str, set[str]] = {}
    for options in charts.values():
        for figure in options:
            for trace in figure["data"]:
                axis = figure["layout"]["yaxis"]
                if trace["type"] == "bar":
                    names = dict(zip(axis["tickvals"], axis["ticktext"], strict=True))
                    for y, c in zip(trace["y"], trace["marker"]["color"], strict=True):
                        by_name.setdefault(names[y].removesuffix(" alone"), set()).add(c)
                elif trace.get("name") in {"image", "text", "audio"}:
                    by_name.setdefault(trace["name"], set()).add(trace["line"]["color"])
    assert {m: by_name[m] for m in ("image", "text", "audio")} == {"image": {"@m0"}, "text": {"@m1"}, "audio": {"@m2"}}


def test_every_chart_has_a_title_a_reading_units_and_a_table(many: Page) -> None:
    ids = {a["id"] for _, a, _ in many.elements if "id" in a}
    charts = json.loads(many.all("script", id="charts")[0][1])
    divs = many.all("div", class_="chart")
    assert len(divs) == len(charts) > 20
    for a, _ in divs:
        assert a["id"] in charts
        assert {a["aria-labelledby"], a["aria-describedby"]} <= ids
        for figure in charts[a["id"]]:
            title = figure["layout"]["xaxis"]["title"]["text"]
            assert title == "epoch" or re.search(r"(nats|%|ms|1 is best|points|standard deviations)\)", title), title
            assert title != "epoch" or figure["layout"]["yaxis"]["title"]["text"]
    assert len(many.all("figure")) == len(divs)
    assert sum("Table: " in text for _, text in many.all("summary")) >= len(divs)


def test_names_from_data_are_shown_and_never_run(make_study) -> None:
    records = make_study(data=EVIL, modalities=("<img src=x onerror=alert(2)>", "</script><b>"), seeds=2)
    records += make_study(data='" onmouseover="alert(3)', modalities=("a", "b"), seeds=2)
    text = render_page(records, skipped=[EVIL])
    page = Page(text)
    assert EVIL not in text
    assert "<img src=x" not in text
    assert "<b>" not in text
    assert len(page.all("script")) == 3
    assert not any(name.startswith("on") for _, attributes, _ in page.elements for name in attributes)
    assert any(shown == EVIL for _, shown in page.all("button"))
    assert any(shown == EVIL for _, shown in page.all("li"))
    charts = page.all("script", id="charts")[0][1]
    assert "<" not in charts
    labels = [
        label
        for options in json.loads(charts).values()
        for f in options
        for label in (
            *f["layout"]["yaxis"].get("ticktext", []),
            *(x for t in f["data"] for x in t.get("hovertext", [])),
        )
    ]
    assert "&lt;img src=x onerror=alert(2)&gt;" in labels  # Plotly reads pseudo-HTML, so its labels are escaped too
    assert not any("<" in label for label in labels)


def flat(value: object) -> list[str]:
    if isinstance(value, str):
        return [value]
    return [x for v in value for x in flat(v)] if isinstance(value, list) else []


def test_nothing_leaves_the_file_and_only_its_own_scripts_run(demo: Page) -> None:
    policy = demo.all("meta", http_equiv="Content-Security-Policy")[0][0]["content"]
    assert "default-src 'none'" in policy
    for _, attributes, _ in demo.elements:
        for name in ("src", "href", "srcset", "action", "data"):
            assert attributes.get(name, "#").startswith(("#", "data:")), attributes
    allowed = set(re.findall(r"'sha256-([^']+)'", policy))
    code = [text for a, text in demo.all("script") if a.get("type") != "application/json"]
    assert {base64.b64encode(hashlib.sha256(c.encode()).digest()).decode() for c in code} == allowed
    assert "unsafe-inline" not in policy.partition("script-src")[2].partition(";")[0]
    assert "unsafe-eval" not in policy


def test_size_and_speed(make_study) -> None:
    labels = [f"method-{i}" for i in range(15)] + ["joint", "uniform", "arm"]
    records = [
        r
        for i in range(5)
        for r in make_study(data=f"set {i}", modalities=("image", "text"), seeds=5, labels=labels, world=i, epochs=30)
    ]
    assert len(records) == 5 * 100
    started = time.process_time()
    text = render_page(records)
    assert time.process_time() - started < 20
    assert len(text.encode()) < 8e6


def test_tabs_are_wired(many: Page) -> None:
    tabs = many.all("button", role="tab")
    assert [text for _, text in tabs] == ["All data sets", "smartwatch", "utd-mhad", "fashion", "handwritten"]
    panels = {a["id"]: a for a, _ in many.all("section", role="tabpanel")}
    for a, _ in tabs:
        assert panels[a["aria-controls"]]["aria-labelledby"] == a["id"]
    assert [a["aria-selected"] for a, _ in tabs].count("true") == 1
    assert [a["tabindex"] for a, _ in tabs].count("0") == 1


def test_one_data_set_has_no_tabs(demo: Page) -> None:
    assert not demo.all("button", role="tab")


def test_ids_are_unique_and_labels_point_somewhere(many: Page) -> None:
    ids = [a["id"] for _, a, _ in many.elements if "id" in a]
    assert len(ids) == len(set(ids))
    for a, _ in many.all("label"):
        assert a["for"] in ids
    for a, _ in many.all("select"):
        assert a["data-for"] in ids


def test_verdict_config_seeds_versions_and_command_are_there(demo: Page) -> None:
    verdict = next(text for a, text in demo.all("div", class_="verdict"))
    assert "2.4 points less than accelerometer alone" in verdict
    assert "p = 0.015" in verdict
    text = " ".join(t for _, t in demo.all("section", class_="block made"))
    for expected in ("counterpoise demo --seeds 3", "optim.lr", "0.001", "torch", "2.13.0", "smartwatch-arm-2"):
        assert expected in text


def test_one_seed_says_so_once_in_the_lead(make_study) -> None:
    page = Page(render_page(make_study(seeds=1)))
    lead = page.all("p", class_="lead")[0][1]
    assert lead.count("one seed") == 1
    assert "±" not in page.all("div", class_="verdict")[0][1]


def test_skipped_files_are_named(demo_records: list[RunRecord]) -> None:
    page = Page(render_page(demo_records, skipped=["runs/a/record.json:1: no JSON", "runs/b: empty"]))
    warning = page.all("div", class_="warning")[0][1]
    assert "2 files or folders could not be read" in warning
    assert "runs/a/record.json:1: no JSON" in warning


def test_notes_of_runs_are_shown(make_run) -> None:
    """A note of some runs names them; a note of all runs stands there once."""
    scores = {"accuracy": 0.5}
    runs = [make_run("joint", s, scores, notes=["drawn by class", *["audio was skipped"] * (s > 0)]) for s in range(3)]
    notes = [text for _, text in Page(render_page(runs)).all("li")]
    assert notes[-2:] == ["drawn by class", "joint, seed 1, 2: audio was skipped"]


def test_a_bare_record_still_makes_a_page(make_run) -> None:
    page = Page(render_page([make_run("joint", 0, {}), make_run("arm", 1, {"accuracy": math.inf})]))
    assert "No run reports a test score" in page.all("p", class_="lead")[0][1]


def test_regression_has_no_per_cent(make_run) -> None:
    scores = {"rmse": 0.3, "probe:a": 0.41, "phi_mi": 0.6, "phi_cmi:a": 0.1, "entropy": -2.0}
    runs = [
        make_run(label, s, {"r2": 0.5 + s / 50, **scores},
                 task="regression", modalities=("a", "b"))
        for label in ("joint", "arm", "unimodal:a") for s in range(3)
    ]  # fmt: skip
    page = Page(render_page(runs))
    charts = page.all("script", id="charts")[0][1]
    assert "%" not in charts.replace("95 %", "").replace("%{y", "")
    assert "H(Y)" not in charts
    shown = [text for _, text in page.all("data")]
    assert "0.410" in shown
    assert not any(text.startswith("41.0") for text in shown)


def test_errors(demo_records: list[RunRecord], tmp_path: Path) -> None:
    with pytest.raises(DataError, match="at least one finished run"):
        write_page([], tmp_path / "page.html")
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        write_page(demo_records[:1], tmp_path / "file" / "page.html")
    assert not (tmp_path / "page.html").exists()


def test_write_report_reads_folders_and_names_what_it_skipped(demo_records: list[RunRecord], tmp_path: Path) -> None:
    write_records(tmp_path / "good" / "runs.jsonl", demo_records)
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "record.json").write_text("{broken")
    skipped = write_report([tmp_path / "good", tmp_path / "bad"], tmp_path / "page.html")
    assert len(skipped) == 1
    assert "bad" in Page((tmp_path / "page.html").read_text()).all("div", class_="warning")[0][1]
    assert write_report(demo_records, tmp_path / "other.html") == []
    assert (tmp_path / "other.html").stat().st_size > 4e6


CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_in_a_real_browser_charts_are_drawn_and_nothing_complains(make_study, tmp_path: Path) -> None:
    out = write_page(make_study(data=EVIL, modalities=("<img src=x onerror=alert(2)>", "b")), tmp_path / "page.html")
    done = subprocess.run(
        [
            *(str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
            *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
            *("--enable-logging=stderr", "--virtual-time-budget=8000", f"--user-data-dir={tmp_path / 'profile'}"),
            *("--dump-dom", out.as_uri()),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert not [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    drawn = done.stdout[: done.stdout.index('<script type="application/json"')]  # what comes after is code
    drawn = drawn[drawn.index("<main") :]
    assert drawn.count('class="chart js-plotly-plot"') == drawn.count('class="chart') > 5
    assert drawn.count('class="point"') > 20
    assert "&lt;img src=x onerror=alert(2)&gt;" in drawn
    assert "<img" not in drawn
