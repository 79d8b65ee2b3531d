"""The page on diagnosis shows every example, the outputs of today's code, and the thresholds of the code."""

from __future__ import annotations

import dataclasses
import re
import runpy
from pathlib import Path

import pytest

from counterpoise.diagnosis import Thresholds

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "diagnose.md").read_text()


def test_every_example_is_shown() -> None:
    shown = set(re.findall(r"<!-- begin:file (\S+) -->", PAGE))
    assert shown == {f"examples/{path.name}" for path in (ROOT / "examples").glob("diagnose_*.py")}


def test_thresholds_are_documented_with_their_defaults() -> None:
    for field in dataclasses.fields(Thresholds):
        assert re.search(rf"`{field.name}={field.default:g}`", PAGE), field.name


@pytest.mark.parametrize("name", ["diagnose_arrays", "diagnose_concat"])
def test_outputs_on_the_page_are_those_of_the_examples(name: str) -> None:
    """Small changes of numbers are left to `make screenshots`."""
    diagnosis = runpy.run_path(str(ROOT / "examples" / f"{name}.py"))["main"]()
    shown = (ROOT / "benchmarks" / "demo" / f"{name}.txt").read_text(encoding="utf-8")
    assert _without_numbers(shown.removesuffix("...\n")) in _without_numbers(str(diagnosis))


def _without_numbers(text: str) -> str:
    return re.sub(r"-?\d+(\.\d+)?", "#", " ".join(text.split()))
