"""A seeded part of the bad inputs of ``benchmarks/faults``: each is refused with one clean message."""

from __future__ import annotations

import importlib
import random
import sys
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks" / "faults"
sys.path.insert(0, str(FOLDER))
try:
    faults = importlib.import_module("bad_inputs")
finally:
    sys.path.remove(str(FOLDER))

NUMBER = 60


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """Return at least one input of every area."""
    inputs = faults.bad_inputs(tmp_path_factory.mktemp("bad"))
    assert len(inputs) >= 300
    generator = random.Random(0)
    areas = sorted({bad.area for bad in inputs})
    one_each = [generator.choice([bad for bad in inputs if bad.area == area]) for area in areas]
    return one_each + generator.sample(inputs, NUMBER - len(one_each))


def test_bad_inputs_are_refused_with_one_clean_message(sample: list[Any]) -> None:
    outcomes = [faults.judge(bad) for bad in sample]
    assert len(outcomes) == NUMBER
    unclean = [o for o in outcomes if o.verdict != faults.CLEAN]
    wrong = [f"{o.verdict}: {o.bad.area}: {o.bad.what}: {o.message[:100]}" for o in unclean]
    assert wrong == []
