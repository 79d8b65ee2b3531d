"""Run every kind of model with every kind of input in every call, and write which combinations work.

    python benchmarks/matrix/run.py

writes ``matrix.md`` beside this file (about a minute). A cell works if the call gives the numbers of the plainest form
of the same model and data; otherwise the table has the message of the error. The tests run the same cells.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
import calls
import forms
import torch

from counterpoise.errors import CounterpoiseError

HERE = Path(__file__).resolve().parent
WORKS = "yes"
TABLES: dict[str, tuple[Mapping[str, Any], Mapping[str, Any], Callable[[Any, Any], None]]] = {
    "counterpoise.diagnose(model, data)": (forms.MODELS, forms.INPUTS, calls.diagnosed),
    "counterpoise.wrap(model, ...), and one epoch with a method": (forms.MODULES, calls.METHODS, calls.trained),
    "counterpoise.wrap(model, ...), and one epoch on samples that lack modalities": (
        forms.MODULES,
        calls.METHODS,
        calls.trained_on_incomplete,
    ),
    "counterpoise.diagnose_vlm(model, ...)": (calls.ANSWERERS, calls.SAMPLES, calls.asked),
    "counterpoise.diagnose_retrieval(model, data)": (calls.TOWERS, calls.PAIRS, calls.retrieved),
    "CounterpoiseClassifier and CounterpoiseRegressor": (calls.ESTIMATORS, calls.FRAMES, calls.fitted),
}
"""By call: rows, columns, and the function that runs a cell and raises where it is not right."""


def outcome(run: Callable[[Any, Any], None], row: Any, column: Any) -> str:
    """Return "yes", or the message of the error with which the library refuses a cell."""
    try:
        run(row, column)
    except CounterpoiseError as error:
        return " ".join(str(error).split())
    return WORKS


@contextlib.contextmanager
def one_process() -> Iterator[None]:
    """Start a group of one process, for ``DistributedDataParallel``."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torch.distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=0, world_size=1)
    try:
        yield
    finally:
        torch.distributed.destroy_process_group()


def outcomes(call: str) -> dict[str, dict[str, str]]:
    """Return what came out of each cell of a call, by row and column."""
    rows, columns, run = TABLES[call]
    with one_process(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {r: {c: outcome(run, row, column) for c, column in columns.items()} for r, row in rows.items()}


def table(call: str, cells: Mapping[str, Mapping[str, str]]) -> str:
    """Return the table of a call in Markdown; refusals are numbered, and their messages stand below."""
    columns = list(next(iter(cells.values())))
    messages: list[str] = []
    lines = [f"**`{call}`**\n" if "(" in call else f"**{call}**\n"]
    lines += [f"| | {' | '.join(columns)} |", f"|---{'|:-:' * len(columns)}|"]
    for name, row in cells.items():
        shown = []
        for text in row.values():
            if text != WORKS and text not in messages:
                messages.append(text)
            shown.append(WORKS if text == WORKS else f"no ({1 + messages.index(text)})")
        lines.append(f"| {name} | {' | '.join(shown)} |")
    lines += ["", *(f"{k}. {text}" for k, text in enumerate(messages, 1)), ""] if messages else [""]
    return "\n".join(lines)


def main() -> None:
    logging.disable(logging.WARNING)
    text = ["# What works with what\n"]
    for call in TABLES:
        print(call, file=sys.stderr, flush=True)
        text.append(table(call, outcomes(call)))
    (HERE / "matrix.md").write_text("\n".join(text))


if __name__ == "__main__":
    main()
