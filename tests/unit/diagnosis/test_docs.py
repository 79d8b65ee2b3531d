"""The page shows the example files themselves, and its tables the thresholds that the code has."""

from __future__ import annotations

import dataclasses
import re
import runpy
from pathlib import Path

import pytest

from counterpoise.diagnosis import Thresholds

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "diagnose.md").read_text()


def test_every_example_is_shown_as_it_is() -> None:
    shown = dict(re.findall(r"<!-- include: (\S+) -->\n```python\n(.*?)```\n", PAGE, re.DOTALL))
    assert set(shown) == {f"examples/{path.name}" for path in (ROOT / "examples").glob("diagnose_*.py")}
    for name, text in shown.items():
        assert text == (ROOT / name).read_text(), f"{name} has changed: copy it into docs/diagnose.md"


def test_thresholds_are_documented_with_their_defaults() -> None:
    for field in dataclasses.fields(Thresholds):
        assert re.search(rf"`{field.name}={field.default:g}`", PAGE), field.name


def test_printed_outputs_are_those_of_the_examples(capsys: pytest.CaptureFixture[str]) -> None:
    """The arrays example prints, but for rounding, what the page shows."""
    runpy.run_path(str(ROOT / "examples" / "diagnose_arrays.py"), run_name="__main__")
    verdicts = [
        line.split()[:2] for line in capsys.readouterr().out.splitlines() if line.startswith(("blood ", "scan "))
    ]
    for name, verdict in verdicts:
        assert re.search(rf"^{name} +{verdict}", PAGE, re.MULTILINE)
