"""Names of modalities, classes, methods and data sets may hold any characters: nothing collides, escapes or runs."""

from __future__ import annotations

import csv
import io
import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from counterpoise._files import csv_text
from counterpoise.config import RunConfig
from counterpoise.data import from_arrays, load_prepared, save_prepared
from counterpoise.data.preparation import Finding, to_csv
from counterpoise.errors import DataError
from counterpoise.experiment.folders import run_folder
from counterpoise.report import render_page, to_latex
from counterpoise.report import to_csv as table_to_csv
from counterpoise.runs import Metric, RowId, RunRecord
from counterpoise.valuation import estimate

HOSTILE = [
    "=cmd|'/c calc'!A1",
    "@SUM(1+1)",
    "+1",
    "-1",
    "\t=1",
    "../../etc/passwd",
    "a/b\\c",
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "{{7*7}}{% raw %}",
    "\\input{/etc/passwd}\\write18{id}",
    "$x_1^2$ & 50% #1 ~ {}",
    "[10cm]",
    "*",
    "a+b",
    "名前 é\u202e\u0000",
]
ANY = st.text(min_size=1, max_size=12).filter(lambda text: "." not in text and bool(text.strip()))
QUICK = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def make_records(data: str, modalities: tuple[str, str], classes: tuple[str, str], method: str) -> list[RunRecord]:
    """Return two seeds of joint training and of another method."""

    def metrics(seed: int) -> tuple[Metric, ...]:
        scores = [Metric("accuracy", 0.5 + seed / 10), *(Metric("accuracy", 0.4, m) for m in modalities)]
        return (
            *scores,
            *(Metric("phi_mi", 0.1, m) for m in modalities),
            *(Metric("phi_cmi", 0.1, m) for m in modalities),
        )

    common = {"task": "multiclass", "modalities": modalities, "score": "accuracy", "class_names": classes}
    return [
        RunRecord(f"{k}{seed}", data, row, seed, metrics=metrics(seed), **common)  # type: ignore[arg-type]
        for k, row in enumerate((RowId("joint"), RowId(method)))
        for seed in (0, 1)
    ]


def is_formula(cell: str) -> bool:
    return cell[:1] in tuple("=+@\t\r") or (cell[:1] == "-" and not re.fullmatch(r"-?[\d.e+-]*", cell))


@QUICK
@given(st.text(max_size=20))
def test_no_text_cell_is_a_formula(text: str) -> None:
    assert not is_formula(csv_text(text)) or not csv_text(text)


@QUICK
@given(ANY, ANY, ANY)
def test_no_cell_of_a_table_is_a_formula(data: str, first: str, second: str) -> None:
    if first == second:
        second += "2"
    for text in (
        table_to_csv(make_records(data, (first, second), ("no", "yes"), "uniform")),
        to_csv([Finding("missing", first, second, data, True)]),
    ):
        cells = [cell for row in csv.reader(io.StringIO(text)) for cell in row]
        assert not [cell for cell in cells if is_formula(cell)]


@pytest.mark.parametrize("name", HOSTILE)
def test_latex_sees_text_only(name: str) -> None:
    plain = to_latex(make_records("data", ("one", "two"), ("no", "yes"), "uniform"))
    hostile = to_latex(make_records(name, (name, "two"), (name, "yes"), f"uniform {name}"))
    words = set(re.findall(r"\\[A-Za-z]+", hostile)) - set(re.findall(r"\\[A-Za-z]+", plain))
    assert words <= {r"\textbackslash", r"\textasciitilde", r"\textasciicircum", r"\textless", r"\textgreater"}
    lines, expected = hostile.splitlines(), plain.splitlines()
    assert len(lines) == len(expected)
    for line, other in zip(lines, expected, strict=True):
        assert len(re.findall(r"(?<!\\)&", line)) == len(re.findall(r"(?<!\\)&", other))
        bare = re.sub(r"\\[{}]", "", line)
        assert bare.count("{") == bare.count("}")
    for before, line in pairwise(lines):
        assert not (before.endswith(r"\\") and line[:1] in "[*"), "read as an option of the line break"


class _Page(HTMLParser):
    """Collects what a page could run."""

    def __init__(self) -> None:
        super().__init__()
        self.scripts, self.handlers, self.links = 0, [], []  # type: ignore[var-annotated]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.scripts += tag == "script"
        self.handlers += [name for name, _ in attrs if name.startswith("on")]
        self.links += [v for name, v in attrs if name in ("src", "href") and v and v.startswith(("http", "javascript"))]


def test_a_page_shows_text_only() -> None:
    def read(records: list[RunRecord]) -> _Page:
        page = _Page()
        page.feed(render_page(records))
        return page

    plain = read(make_records("data", ("one", "two"), ("no", "yes"), "uniform"))
    hostile = read(
        [
            record
            for name, other in zip(HOSTILE[::2], HOSTILE[1::2], strict=True)
            for record in make_records(name, (name, other), (name, other), other)
        ]
    )
    assert plain.scripts == hostile.scripts
    assert hostile.handlers == plain.handlers
    assert hostile.links == plain.links


@QUICK
@given(ANY, ANY)
def test_a_run_stays_in_its_folder_and_runs_differ(name: str, other: str) -> None:
    rng = np.random.default_rng(0)
    arrays = {"a": rng.normal(size=(40, 2)), "b": rng.normal(size=(40, 2))}
    out = Path("/out")
    folders = []
    for text in (name, other):
        data = from_arrays(arrays, np.arange(40) % 2, name=text)
        folder = run_folder(RunConfig(text, "joint"), data, out)
        assert folder.parent == out / "runs"
        assert folder.name not in (".", "..")
        assert len(folder.name) < 120
        folders.append(folder)
    assert (folders[0] == folders[1]) == (name == other)


def test_a_prepared_set_keeps_any_name_and_writes_nowhere_else(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    names = [name for name in HOSTILE if "." not in name and name.isprintable()]
    arrays = {name: rng.normal(size=(40, 2)) for name in names}
    data = from_arrays(arrays, np.array(["=1", "<b>"] * 20), name=HOSTILE[5])
    save_prepared(data, tmp_path / "set")
    again = load_prepared(tmp_path / "set")
    assert again.info.names == tuple(names)
    assert again.info.class_names == data.info.class_names
    for name in names:
        np.testing.assert_array_equal(np.asarray(again.train.arrays[name]), data.train.arrays[name])
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


@pytest.mark.parametrize("name", ["label", "group", "item", "caption:b", "a\x00", "a\nb", "\u202ea"])
def test_names_that_would_collide_or_hide_are_refused(name: str) -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(DataError):
        from_arrays({name: rng.normal(size=(40, 2)), "b": rng.normal(size=(40, 2))}, np.arange(40) % 2)


def test_names_change_no_number() -> None:
    rng = np.random.default_rng(0)
    y = np.arange(150) % 2
    columns = [rng.normal(size=(150, 2)) + y[:, None], rng.normal(size=(150, 2)), rng.normal(size=(150, 1))]
    values = []
    for names in (("a", "b", "c"), ("a", "b", "a+b"), ("mi:a", "a", "cmi:a"), tuple(HOSTILE[:3])):
        valuation = estimate(dict(zip(names, columns, strict=True)), y, estimator="variational-linear")
        values.append(
            [
                valuation.joint_mi.value,
                *(valuation.mi[m].value for m in names),
                *(valuation.cmi[m].value for m in names),
            ]
        )
    np.testing.assert_allclose(values, np.tile(values[0], (4, 1)), rtol=1e-9)
