from __future__ import annotations

import dataclasses
import time
from functools import partial
from itertools import pairwise
from pathlib import Path

import matplotlib.image as image
import pytest

from counterpoise.errors import OutputError
from counterpoise.experiment.parallel import map_jobs
from counterpoise.pages.colours import FOCUS, METHODS, MODALITIES
from counterpoise.report import draw_figures, write_figures
from counterpoise.report.analysis.comparison import compare
from counterpoise.report.analysis.ranking import indistinct
from counterpoise.report.analysis.series import Point
from counterpoise.report.figures._matplotlib import sheet
from counterpoise.report.figures._plotly import render
from counterpoise.report.figures._rows import dash, token
from counterpoise.report.figures.contributions import Scale, _whiskers
from counterpoise.report.figures.curves import curve_figures
from counterpoise.report.figures.scores import difference_figure, encoder_figure, score_figure
from counterpoise.runs import Curve, RunRecord

KINDS = {
    "accuracy",
    "differences",
    "contributions",
    "encoders",
    "curves",
    "coefficients",
    "dominant",
    "gap",
    "joint-contribution",
    "loss",
}


def test_each_figure_in_each_format_and_quickly(demo_records: list[RunRecord], tmp_path: Path) -> None:
    started = time.process_time()
    calls: list[tuple[int, int]] = []
    paths = write_figures(demo_records, tmp_path, on_figure=lambda count, total: calls.append((count, total)))
    assert calls == [(k, len(KINDS)) for k in range(1, len(KINDS) + 1)]
    assert time.process_time() - started < 15
    assert {p.name for p in paths} == {f"{kind}-smartwatch.{f}" for kind in KINDS for f in ("png", "svg", "pdf")}
    for path in paths:
        head = path.read_bytes()[:60]
        assert head.startswith({".png": b"\x89PNG", ".pdf": b"%PDF", ".svg": b"<?xml"}[path.suffix])
    pixels = image.imread(tmp_path / "accuracy-smartwatch.png")
    assert pixels.shape[1] == pytest.approx(4.6 * 300, abs=2)  # 300 dpi


def test_the_same_runs_give_the_same_bytes(make_run, tmp_path: Path) -> None:
    runs = [make_run("joint", s, {"accuracy": 0.5 + s / 10}) for s in (0, 1)]
    first, second = (write_figures(runs, tmp_path / name) for name in ("a", "b"))
    assert {p.stem for p in first} == {"accuracy-smartwatch"}
    for a, b in zip(first, second, strict=True):
        assert a.read_bytes() == b.read_bytes(), a.name


def test_figures_in_parallel_processes_are_the_same_files(make_run, tmp_path: Path) -> None:
    runs = [make_run(label, s, {"accuracy": 0.5 + s / 10}) for label in ("joint", "arm") for s in (0, 1)]
    counts: list[tuple[int, int]] = []
    one = write_figures(runs, tmp_path / "one", dpi=50)
    two = write_figures(
        runs, tmp_path / "two", dpi=50, mapped=partial(map_jobs, jobs=2), on_figure=lambda *c: counts.append(c)
    )
    assert [p.name for p in one] == [p.name for p in two]
    assert [p.read_bytes() for p in one] == [p.read_bytes() for p in two]
    figures = len({p.stem for p in one})
    assert figures > 1
    assert counts == [(k, figures) for k in range(1, figures + 1)]


def test_drawn_numbers_are_those_of_the_runs(make_run) -> None:
    runs = [
        make_run(label, s, {"accuracy": a + s / 100}) for label, a in (("joint", 0.8), ("arm", 0.85)) for s in (0, 1, 2)
    ]
    ax = draw_figures(runs)["accuracy-smartwatch"].axes[0]
    names = [t.get_text() for t in ax.get_yticklabels()]
    dots = [container.lines[0].get_xdata()[0] for container in ax.containers]
    assert dict(zip(names, dots, strict=True)) == pytest.approx({"joint": 81.0, "arm": 86.0})
    low, high = ax.containers[0].lines[2][0].get_segments()[0][:, 0]
    assert high - low == pytest.approx(2 * 4.302653 / 3**0.5, rel=1e-5)  # t (2 d.f.) times s / sqrt(3), s = 1 point
    assert "%" in ax.get_xlabel()


def test_gap_curve_is_max_minus_min_of_phi_cmi(make_run) -> None:
    curves = {
        "train_loss": [1.0, 0.5],
        "val_score": [0.1, 0.2],
        "phi_cmi:accelerometer": [0.5, 0.6],
        "phi_cmi:gyroscope": [0.1, 0.4],
    }
    figure = draw_figures([make_run("joint", 0, {"accuracy": 0.5}, curves=curves)])["curves-smartwatch"]
    gap = next(ax for ax in figure.axes if ax.get_title(loc="left").startswith("Contribution gap"))
    assert gap.lines[0].get_ydata() == pytest.approx([0.4, 0.2])
    assert gap.get_ylabel() == "nats"


def test_a_modality_has_one_colour_in_every_figure(many_records: list[RunRecord]) -> None:
    figures = draw_figures(many_records)
    bars = figures["contributions-utd-mhad"].axes[0].patches
    line = {line.get_label(): line.get_color() for line in figures["coefficients-utd-mhad"].axes[0].lines}
    # inertial, skeleton and depth come third to fifth; first all pale bars, then all solid ones
    assert [line[m] for m in ("inertial", "skeleton", "depth")] == list(MODALITIES[2:5])
    from matplotlib.colors import to_hex

    assert [to_hex(bar.get_facecolor()).upper() for bar in bars] == 2 * list(MODALITIES[2:5])


def test_critical_difference_needs_three_data_sets(many_records: list[RunRecord]) -> None:
    assert "critical-difference" in draw_figures(many_records)
    two = [r for r in many_records if r.data in {"smartwatch", "fashion"}]
    assert "critical-difference" not in draw_figures(two)


def test_groups_of_methods_that_cannot_be_told_apart() -> None:
    assert indistinct([1.0, 1.5, 2.6, 4.0], 1.2) == [(0, 1), (1, 2)]
    assert indistinct([1.0, 1.2, 1.4], 1.0) == [(0, 2)]
    assert indistinct([1.0, 3.0], 1.0) == []


def test_names_become_safe_distinct_files(make_run, tmp_path: Path) -> None:
    runs = [make_run("joint", 0, {"accuracy": 0.5}, data=name) for name in ("../a/b$x$", "..a.b x", "<>")]
    names = {p.name for p in write_figures(runs, tmp_path, formats=["png"], dpi=50)}
    assert names == {"accuracy-a-b-x.png", "accuracy-a-b-x-2.png", "accuracy-data.png"}


def test_records_without_numbers_draw_nothing(make_run, tmp_path: Path) -> None:
    assert draw_figures([make_run("joint", 0, {})]) == {}
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        write_figures([make_run("joint", 0, {"accuracy": 0.5})], tmp_path / "file", formats=["png"])


def test_colours_of_modalities_and_methods_never_meet() -> None:
    assert len({*MODALITIES, *METHODS, FOCUS}) == len(MODALITIES) + len(METHODS) + 1


def test_the_figures_of_the_paper_stand_alone_and_show_what_was_recorded(make_run) -> None:
    curves = {
        "val_score": [0.5, 0.6],
        "val_score:accelerometer": [0.4, 0.45],
        "phi_mi": [0.1, 0.3],
        "phi_cmi:accelerometer": [0.3, 0.2],
        "phi_cmi:gyroscope": [0.1, 0.15],
        "train_loss": [2.0, 1.0],
    }
    metrics = {"accuracy": 0.6, "phi_mi:accelerometer": 0.9, "phi_mi:gyroscope": 0.2}
    runs = [make_run("joint", 0, metrics, curves=curves)]
    runs += [make_run("arm", s, metrics, curves={**curves, "train_loss": [2.0, 0.8 + s / 10]}) for s in range(3)]
    figures = draw_figures(runs)
    dominant, gap = figures["dominant-smartwatch"].axes[0], figures["gap-smartwatch"].axes[0]
    drawn = {line.get_label(): list(line.get_ydata()) for line in dominant.lines}
    assert drawn["arm"] == pytest.approx([40.0, 45.0])
    assert drawn["joint, all modalities"] == pytest.approx([50.0, 60.0])
    assert list(gap.lines[0].get_ydata()) == pytest.approx([0.2, 0.05])
    joint = figures["joint-contribution-smartwatch"].axes[0]
    assert [list(line.get_ydata()) for line in joint.lines] == [pytest.approx([0.1, 0.3])] * 2
    losses = [tuple(line.get_ydata()) for line in figures["loss-smartwatch"].axes[0].lines]
    assert sorted(losses) == sorted([(2.0, 1.0), (2.0, 0.8), (2.0, 0.9), (2.0, 1.0)])


def test_the_title_of_a_single_panel_fits_above_it(demo_records: list[RunRecord]) -> None:
    for name, figure in draw_figures(demo_records).items():
        if name.startswith(("dominant", "gap", "joint-contribution", "loss")):
            figure.draw_without_rendering()
            title = figure.axes[0]._left_title.get_window_extent()  # type: ignore[attr-defined]
            assert title.width > 0
            assert title.x1 <= figure.bbox.x1, name


@pytest.mark.parametrize("methods", [5, 15, 34])
def test_ranks_on_the_line_do_not_overlap(methods: int, make_run) -> None:
    runs = [
        make_run(f"m{i}", s, {"accuracy": 0.5 + ((7 * i + d) % methods) / 100}, data=data)
        for i in range(methods)
        for s in (0, 1)
        for d, data in enumerate(("one", "two", "three"))
    ]
    figure = draw_figures(runs)["critical-difference"]
    figure.draw_without_rendering()
    ax = figure.axes[0]
    for ticks, axis in ((ax.get_xticklabels(), 0), (ax.get_yticklabels(), 1)):
        boxes = [t.get_window_extent() for t in ticks if t.get_text()]
        ends = sorted((box.intervalx if axis == 0 else box.intervaly).tolist() for box in boxes)
        assert all(right <= left for (_, right), (left, _) in pairwise(ends))
    assert len([t for t in ax.get_yticklabels() if t.get_text()]) == methods


def test_page_and_file_draw_the_same_numbers(demo_records: list[RunRecord]) -> None:
    comparison = compare(demo_records)[0]
    colours = comparison.modalities
    figures = [score_figure(comparison, colours), difference_figure(comparison, colours)]
    figures += [encoder_figure(comparison, colours), *curve_figures(comparison, colours).values()]
    for figure in figures:
        assert figure is not None
        ax = sheet([figure.panel]).axes[0]
        drawn = {round(float(x), 6) for line in ax.lines for x in line.get_xdata()}
        traces = [t for t in render(figure.panel)["data"] if t.get("fill") != "toself"]
        shown = {round(float(x), 6) for t in traces for x in t["x"]}
        assert shown
        assert shown <= drawn


def test_the_plane_of_gradients_is_drawn_with_a_dot_at_its_end(make_run) -> None:
    run = make_run("joint", 0, {"accuracy": 0.5})
    axes = {"non-conflict": (-0.5, 0.0, 0.25), "balance": (0.9, 0.4, -0.2)}
    curves = tuple(Curve("gradient", name, None, values) for name, values in axes.items())
    ax = draw_figures([dataclasses.replace(run, curves=curves)])["plane-smartwatch"].axes[0]
    path = ax.lines[0]
    assert list(path.get_xdata()) == pytest.approx([-0.5, 0.0, 0.25])
    assert list(path.get_ydata()) == pytest.approx([0.9, 0.4, -0.2])
    dots = [container.lines[0] for container in ax.containers]
    assert [(float(d.get_xdata()[0]), float(d.get_ydata()[0])) for d in dots] == [pytest.approx((0.25, -0.2))]
    assert "plane-smartwatch" not in draw_figures([run])


def test_a_shifted_whisker_ends_at_the_entropy() -> None:
    """What a modality adds is drawn behind what it shares; the sum cannot exceed what can be known."""
    known = {
        ("phi_cmi", "image"): Point(0.75, 0.6, 0.9, 1, "samples"),
        ("phi_cmi", "text"): Point(0.75, 0.6, 1.1, 1, "samples"),
    }
    for m, end in (("image", 100.0), ("text", 110.0)):
        drawn = _whiskers([m], [0.0], 0.0, [90.0], known, "phi_cmi", Scale(100.0, "%"))
        ((low, high),) = drawn.intervals
        assert low == pytest.approx(75.0)
        assert high == pytest.approx(end)


def test_rows_of_one_colour_differ_in_line_style(make_run) -> None:
    rules = ["fused", "calibrated", "dynamic"]
    runs = [
        make_run(
            f"{method} ({rule})" if rule != "fused" else method, s, {"accuracy": 0.8}, curves={"val_score": [0.1, 0.2]}
        )
        for method in ("joint", "uniform", "ogm-ge")
        for rule in rules
        for s in (0, 1)
    ]
    comparison = compare(runs)[0]
    assert len(comparison.labels) == 9
    looks = {
        label: (token(comparison, label, comparison.modalities), dash(comparison, label)) for label in comparison.labels
    }
    assert len(set(looks.values())) == 9
    assert looks["joint"][1] == "solid"


def test_a_curve_of_one_epoch_is_seen(make_run) -> None:
    runs = [make_run("joint", s, {"accuracy": 0.8}, curves={"val_score": [0.3], "train_loss": [1.0]}) for s in (0, 1)]
    comparison = compare(runs)[0]
    figures = curve_figures(comparison, comparison.modalities)
    assert {"scores", "loss"} <= set(figures)
    for figure in figures.values():
        assert all(mark.marker for _, panel in figure.options for mark in panel.marks)
    longer = [make_run("joint", 0, {"accuracy": 0.8}, curves={"val_score": [0.3, 0.4]})]
    (line,) = curve_figures(compare(longer)[0], ("accelerometer", "gyroscope"))["scores"].options[0][1].marks
    assert not line.marker
