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
        progress.start(2)
        progress.done(record)
        assert shown() == ["training"]
        progress.done(record)
        assert shown() == ["tables and page", "training"]
        progress.figure(1, 3)
        assert shown() == ["training", "figures"]
