"""A seeded part of the bad inputs of ``benchmarks/faults``: each is refused with one clean message."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks" / "faults"))

from bad_inputs import CLEAN, BadInput, bad_inputs, judge

NUMBER = 60


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> list[BadInput]:
    """Return inputs of every area."""
    inputs = bad_inputs(tmp_path_factory.mktemp("bad"))
    assert len(inputs) >= 300
    generator = random.Random(0)
    areas = sorted({bad.area for bad in inputs})
    one_each = [generator.choice([bad for bad in inputs if bad.area == area]) for area in areas]
    return one_each + generator.sample(inputs, NUMBER - len(one_each))


def test_bad_inputs_are_refused_with_one_clean_message(sample: list[BadInput]) -> None:
    outcomes = [judge(bad) for bad in sample]
    assert len(outcomes) == NUMBER
    wrong = [f"{o.verdict}: {o.bad.area}: {o.bad.what}: {o.message[:100]}" for o in outcomes if o.verdict != CLEAN]
    assert wrong == []
