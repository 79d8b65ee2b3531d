from __future__ import annotations

import csv
import io
import math
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console

from counterpoise.errors import OutputError
from counterpoise.report import comparison_table, rich_table, to_csv, to_latex, to_markdown, write_tables
from counterpoise.report.analysis.comparison import compare
from counterpoise.report.grids import compact_grid
from counterpoise.runs import RunRecord

COLUMNS = ["data", "method", "metric", "mean", "se", "seeds", "diff_to_reference", "diff_se", "p_value"]


def pick(table: pd.DataFrame, method: str, metric: str) -> pd.Series:
    rows = table[(table["method"] == method) & (table["metric"] == metric)]
    assert len(rows) == 1
    return rows.iloc[0]


@pytest.fixture
def three(make_run) -> list[RunRecord]:
    runs = []
    for seed, (joint, arm) in enumerate([(0.80, 0.81), (0.82, 0.84), (0.84, 0.87)]):
        runs.append(make_run("joint", seed, {"accuracy": joint, "step_ms": 4.0 + seed, "probe:gyroscope": 0.6}))
        runs.append(make_run("arm", seed, {"accuracy": arm, "step_ms": 6.0 + 1.5 * seed, "nll": 0.5}))
    return runs


def test_columns_and_numbers_by_hand(three: list[RunRecord]) -> None:
    table = comparison_table(three)
    assert list(table.columns) == COLUMNS
    arm = pick(table, "arm", "accuracy")
    assert arm["mean"] == pytest.approx(0.84)
    assert arm["se"] == pytest.approx(0.03 / math.sqrt(3))
    assert arm["seeds"] == 3
    assert arm["diff_to_reference"] == pytest.approx(0.02)
    assert arm["diff_se"] == pytest.approx(0.01 / math.sqrt(3))
    assert arm["p_value"] == pytest.approx(1 - math.sqrt(12 / 14))
    joint = pick(table, "joint", "accuracy")
    assert joint["diff_to_reference"] == 0
    assert math.isnan(joint["p_value"])


def test_step_ratio_is_taken_seed_by_seed(three: list[RunRecord]) -> None:
    ratio = pick(comparison_table(three), "arm", "step_time_ratio")
    assert (ratio["mean"], ratio["se"]) == pytest.approx((1.5, 0.0), abs=1e-12)  # 6/4, 7.5/5, 9/6


def test_a_metric_that_joint_lacks_has_no_difference(three: list[RunRecord]) -> None:
    row = pick(comparison_table(three), "arm", "nll")
    assert row["mean"] == 0.5
    assert math.isnan(row["diff_to_reference"])


def test_missing_metrics_give_no_row_and_nan_counts_for_nothing(make_run) -> None:
    runs = [make_run("joint", s, {"accuracy": a, "nll": float("nan")}) for s, a in enumerate((0.5, float("nan")))]
    table = comparison_table(runs)
    assert set(table["metric"]) == {"accuracy"}
    assert pick(table, "joint", "accuracy")["seeds"] == 1


def test_required_metrics_are_there(demo_records: list[RunRecord]) -> None:
    table = comparison_table(demo_records)
    wanted = {"accuracy", "macro_f1", "nll", "step_time_ratio"}
    wanted |= {f"{kind}:{m}" for kind in ("probe", "phi_cmi") for m in ("accelerometer", "gyroscope")}
    assert wanted <= set(table[table["method"] == "arm"]["metric"])
    assert not table.duplicated(["data", "method", "metric"]).any()


def test_csv_round_trips(demo_records: list[RunRecord]) -> None:
    table, back = comparison_table(demo_records), pd.read_csv(io.StringIO(to_csv(demo_records)))
    pd.testing.assert_frame_equal(table, back, rtol=1e-9, check_dtype=False)


def test_rows_are_ordered_by_role(demo_records: list[RunRecord]) -> None:
    comparison = compare(list(reversed(demo_records)))[0]
    labels = comparison.labels
    assert set(labels[:2]) == {"unimodal:accelerometer", "unimodal:gyroscope"}
    assert labels[2:4] == ("joint", "joint (calibrated)")
    assert comparison.focus == "arm (calibrated)" or comparison.focus == "arm"
    assert set(labels[-2:]) == {"arm", "arm (calibrated)"}


def test_other_settings_make_other_rows_compared_with_their_own_joint(make_run) -> None:
    runs = [
        make_run(
            label,
            seed,
            {"accuracy": a + seed / 100},
            config={"seed": seed, "optim": {"lr": lr}},
            key=f"{label}{lr}{seed}",
        )
        for label, lr, a in (("joint", 0.1, 0.5), ("joint", 0.2, 0.7), ("arm", 0.1, 0.6), ("arm", 0.2, 0.6))
        for seed in (0, 1)
    ]
    table = comparison_table(runs)
    assert set(table["method"]) == {f"{m} [optim.lr={lr}]" for m in ("joint", "arm") for lr in (0.1, 0.2)}
    assert pick(table, "arm [optim.lr=0.1]", "accuracy")["diff_to_reference"] == pytest.approx(0.1)
    assert pick(table, "arm [optim.lr=0.2]", "accuracy")["diff_to_reference"] == pytest.approx(-0.1)


def test_the_same_run_twice_is_said(make_run) -> None:
    runs = [make_run("joint", 0, {"accuracy": a}, key=key) for a, key in ((0.5, "old"), (0.6, "new"))]
    comparison = compare(runs)[0]
    assert comparison.summary("joint", "accuracy").mean == 0.6
    assert len(comparison.notes) == 1
    assert "new" in comparison.notes[0]


def test_regression_is_judged_by_r2(make_run) -> None:
    runs = [make_run(r, 0, {"r2": v, "rmse": 1 - v}, task="regression") for r, v in (("joint", 0.5), ("arm", 0.25))]
    comparison = compare(runs)[0]
    assert comparison.score == "r2"
    assert "R²" in to_markdown(runs)
    assert "**0.500**" in to_markdown(runs)
    assert "**0.750**" not in to_markdown(runs)  # the smaller error is the better one


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def test_markdown_marks_the_best_and_shows_each_number(three: list[RunRecord]) -> None:
    text = to_markdown(three)
    line = next(line for line in text.splitlines() if line.startswith("| arm"))
    assert cells(line)[:4] == ["arm", "**84.0 ± 1.7**", "+2.0 ± 0.6", "0.074"]
    joint = next(line for line in text.splitlines() if line.startswith("| joint"))
    assert cells(joint)[:3] == ["joint", "82.0 ± 1.2", "–"]
    assert "Mean ± standard error over 3 seeds" in text


def test_one_seed_is_said(make_study) -> None:
    text = to_markdown(make_study(seeds=1))
    assert "One seed: there is no error estimate." in text
    assert "±" not in text


def test_summary_ranks_methods_that_ran_everywhere(many_records: list[RunRecord]) -> None:
    text = to_markdown(many_records)
    summary = text[: text.index("## smartwatch")]
    arm = next(line for line in summary.splitlines() if line.startswith("| arm (calibrated)"))
    assert cells(arm)[-1] == "1.00"
    assert "best single modality" in summary
    assert "Nemenyi" in summary


def test_names_are_escaped_for_their_format(make_run) -> None:
    runs = [make_run("joint", 0, {"accuracy": 0.5}, data="<script>|a_b*`&", modalities=("x_1", "[y]"))]
    markdown, latex = to_markdown(runs), to_latex(runs)
    assert "<script>" not in markdown
    assert "\\|a_b\\*\\`&amp;" in markdown
    assert r"\textless{}script\textgreater{}|a\_b*`\&" in latex


def test_latex_tables_are_well_formed(many_records: list[RunRecord]) -> None:
    latex = to_latex(many_records)
    assert latex.count(r"\begin{table}") == latex.count(r"\end{table}") == 1 + 3 * 4
    for block in latex.split(r"\begin{tabular}{")[1:]:
        columns = len(block[: block.index("}")])
        body = block[block.index(r"\toprule") : block.index(r"\end{tabular}")]
        lines = [line for line in body.splitlines() if line.endswith(r"\\")]
        assert lines
        assert {line.replace(r"\&", "").count("&") + 1 for line in lines} == {columns}
    assert not set("±−×φχ²–") & set(latex)


def test_terminal_table_fits_80_columns(demo_records: list[RunRecord]) -> None:
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(rich_table(demo_records, details=True))
    text = console.export_text()
    assert "…" not in text
    lines = [line for line in text.splitlines() if line.startswith((" arm (calibrated)", "arm (calibrated)"))]
    assert len(lines) == 3
    assert "86.8 ± 0.2" in lines[0]
    assert "1.19" in lines[0]


def test_the_first_table_has_at_most_ten_rows_and_six_columns(make_study) -> None:
    methods = [f"method{i}" for i in range(20)]
    runs = make_study(labels=("joint", *methods))
    comparison = compare(runs, focus="method3")[0]
    grid = compact_grid(comparison)
    assert len(grid.header) <= 6
    assert len(grid.rows) == 10
    labels = [row[0] for row in grid.rows]
    assert {"joint", "method3", "unimodal:gyroscope"} <= set(labels)
    assert labels == [label for label in comparison.labels if label in labels]
    assert "13 more rows" in grid.note
    assert not any(head == "p" or "nats" in head for head in grid.header)


@pytest.mark.parametrize("name", ["=HYPERLINK(1)", "+1", "-1", "@SUM(1)", "\t=1", "\r=1", " =1", "=cmd|' /C calc'!A0"])
def test_no_text_cell_of_a_csv_is_a_formula(make_run, name: str) -> None:
    from counterpoise.runs import Metric, RowId

    metrics = (Metric(name, 0.5), Metric("accuracy", 0.5, name))
    record = RunRecord("k", name, RowId(name), 0, modalities=(name,), metrics=metrics)
    rows = list(csv.reader(io.StringIO(to_csv([record]))))
    assert len(rows) == 3
    for cell in (cell for row in rows for cell in row[:3]):
        assert cell.lstrip()[:1] not in tuple("=+-@")
        assert cell[:1] not in tuple("\t\r\n")


def test_markup_in_a_name_is_shown_not_obeyed(make_run) -> None:
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(rich_table([make_run("joint", 0, {"accuracy": 0.5}, data="[red]x[/red]")]))
    assert "[red]x[/red]" in console.export_text()


def test_write_tables(demo_records: list[RunRecord], tmp_path: Path) -> None:
    paths = write_tables(demo_records, tmp_path / "new")
    assert [p.name for p in paths] == ["table.csv", "table.md", "table.tex", "table.parquet"]
    assert paths[0].read_text() == to_csv(demo_records)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        write_tables(demo_records, tmp_path / "file" / "below")


def test_no_records_give_an_empty_table() -> None:
    assert list(comparison_table([]).columns) == COLUMNS
    assert to_markdown([]).strip() == ""
