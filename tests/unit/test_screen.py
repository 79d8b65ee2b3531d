"""What is shown while something runs: never two seconds without a sign of life."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from counterpoise.cli import _screen
from counterpoise.runs import Metric, RowId, RunRecord


def test_after_the_last_run_the_page_is_named_until_figures_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Console(file=io.StringIO(), force_terminal=True, width=100)
    monkeypatch.setattr(_screen, "console", screen)
    record = RunRecord("k", "toy", RowId("joint"), 0, metrics=(Metric("accuracy", 0.5),))

    def shown() -> list[str]:
        return [task.description for task in progress._bar.tasks if task.visible]

    with _screen.RunProgress() as progress:
        assert shown() == ["opening the data"]
        progress.start(2)
        progress.done(record)
        assert shown() == ["training"]
        progress.done(record)
        assert shown() == ["tables and page", "training"]
        progress.figure(1, 3)
        assert shown() == ["training", "figures"]


def test_a_log_file_gets_a_line_every_two_seconds_and_the_last_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [0.0]
    monkeypatch.setattr(_screen, "console", Console(file=io.StringIO(), force_terminal=False))
    monkeypatch.setattr(_screen.time, "monotonic", lambda: now[0])
    record = RunRecord("k", "toy", RowId("joint"), 3, metrics=(Metric("accuracy", 0.5),))
    with _screen.RunProgress() as progress:
        progress.start(4)
        for seconds in (0.1, 0.5, 2.5, 2.6):
            now[0] = seconds
            progress.done(record)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split("  ")[0] for line in lines] == ["1 of 4", "3 of 4", "4 of 4"]
    assert all("toy" in line and "seed 3" in line for line in lines)
    with _screen.RunProgress(quiet=True) as progress:
        progress.start(1)
        progress.done(record)
    assert not capsys.readouterr().err
