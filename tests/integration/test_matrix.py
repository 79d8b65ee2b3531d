"""Every cell of the table of models, inputs and calls in the documents is what the call really does."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest

for package in ("transformers", "accelerate", "peft", "datasets", "sklearn", "lightning"):
    pytest.importorskip(package)
FOLDER = Path(__file__).parents[2] / "benchmarks" / "matrix"
CALLS = (
    "counterpoise.diagnose(model, data)",
    "counterpoise.wrap(model, ...), and one epoch with a method",
    "counterpoise.wrap(model, ...), and one epoch on samples that lack modalities",
    "counterpoise.diagnose_vlm(model, ...)",
    "counterpoise.diagnose_retrieval(model, data)",
    "CounterpoiseClassifier and CounterpoiseRegressor",
)


@pytest.fixture(scope="module")
def matrix() -> Any:
    names = ("forms", "calls", "run")
    others = {name: sys.modules.pop(name) for name in names if name in sys.modules}  # of other benchmarks
    sys.path.insert(0, str(FOLDER))
    try:
        yield importlib.import_module("run")
    finally:
        sys.path.remove(str(FOLDER))
        for name in names:
            sys.modules.pop(name, None)
        sys.modules.update(others)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("call", CALLS)
def test_the_table_in_the_documents_is_current(call: str, matrix: Any) -> None:
    cells = matrix.outcomes(call)
    written = (FOLDER / "matrix.md").read_text()
    assert matrix.table(call, cells) in written, "run `python benchmarks/matrix/run.py`"
    works = [text == matrix.WORKS for row in cells.values() for text in row.values()]
    assert sum(works) > 0.6 * len(works)


def test_every_call_is_in_the_table(matrix: Any) -> None:
    assert tuple(matrix.TABLES) == CALLS
