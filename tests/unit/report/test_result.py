"""What `compare` returns, as tables and figures."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import pandas as pd
import pytest

from counterpoise.errors import ConfigError, DataError
from counterpoise.experiment.parallel import Failure
from counterpoise.experiment.result import ComparisonResult
from counterpoise.runs import RunRecord

mpl.use("agg")


def two_data_sets(make_run: object) -> list[RunRecord]:
    scores = {"joint": (0.5, 0.6), "arm": (0.7, 0.9)}
    return [
        make_run(label, seed, {"accuracy": value, "accuracy_corrupted": value / 2}, data=data)  # type: ignore[operator]
        for data in ("watch", "<b>digits</b>")
        for label, values in scores.items()
        for seed, value in enumerate(values)
    ]


def test_a_result_is_a_pair_and_a_compact_table(make_run: object) -> None:
    result = ComparisonResult(two_data_sets(make_run), [])
    records, failures = result
    assert len(records) == 8
    assert failures == []
    frame = result.to_pandas(compact=True).set_index(["data", "method"])
    assert len(frame) == 4
    row = frame.loc["watch", "arm"]
    assert row.score == pytest.approx(0.8)
    assert row.diff_to_reference == pytest.approx(0.25)
    assert row.score_corrupted == pytest.approx(0.4)
    assert row.seeds == 2
    longer = result.to_pandas()
    wanted = longer[(longer["data"] == "watch") & (longer.method == "arm") & (longer.metric == "accuracy")]
    assert wanted["mean"].item() == pytest.approx(row.score)


@pytest.mark.parametrize("compact", [True, False])
def test_csv_and_parquet_hold_the_same(make_run: object, tmp_path: Path, compact: bool) -> None:
    pytest.importorskip("pyarrow")
    result = ComparisonResult(two_data_sets(make_run), [])
    csv = pd.read_csv(result.to_csv(tmp_path / "deep" / "a.csv", compact=compact))
    parquet = pd.read_parquet(result.to_parquet(tmp_path / "a.parquet", compact=compact))
    pd.testing.assert_frame_equal(csv, parquet, check_dtype=False)


def test_plot_returns_axes(make_run: object) -> None:
    from matplotlib import pyplot as plt

    records = two_data_sets(make_run)
    axes = ComparisonResult(records, []).plot()
    assert [axis.get_title(loc="left") or axis.get_title() for axis in axes] == ["watch", "<b>digits</b>"]
    _, own = plt.subplots()
    one = ComparisonResult([r for r in records if r.data == "watch"], [])
    assert one.plot(own) is own
    assert [text.get_text() for text in own.get_yticklabels()] == ["arm", "joint"]
    with pytest.raises(ConfigError, match="2 data sets"):
        ComparisonResult(records, []).plot(own)
    with pytest.raises(DataError, match="at least one finished run"):
        ComparisonResult([], []).plot()
    plt.close("all")


def test_a_notebook_shows_the_finding_and_escapes_names(make_run: object) -> None:
    shown = ComparisonResult(two_data_sets(make_run), [Failure(None, "<i>no disk</i>")])._repr_html_()
    assert shown.count("<table>") == 2
    assert "80.0 ± " in shown
    assert "&lt;b&gt;digits&lt;/b&gt;" in shown
    assert "&lt;i&gt;no disk" in shown
    assert "<b>" not in shown
    assert "<i>" not in shown
    assert "No run" in ComparisonResult([], [])._repr_html_()
