"""Run commands in forked processes that can be killed or limited, and compare what they leave bit by bit.

The modules that the commands need are imported once, before the first fork, so that one command costs a second or two.
"""

from __future__ import annotations

import codecs
import hashlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["Commands", "Ended", "Running", "contents", "make_sources", "start"]

TIMES = ("seconds", "command", "environment", "key")
"""Fields of a record that may differ between equal runs."""


def preload() -> None:
    """Import what the commands import, without starting a thread."""
    import importlib

    for name in (
        "counterpoise.cli._commands",
        "counterpoise.experiment.compare",
        "counterpoise.experiment.demo",
        "counterpoise.experiment.runner",
        "counterpoise.report",
        "counterpoise.diagnosis",
        "counterpoise.data.preparation",
        "counterpoise.data._prepared",
        "matplotlib.pyplot",
        "pandas",
        "plotly.graph_objects",
        "torchmetrics",
    ):
        importlib.import_module(name)
    codecs.lookup("unicode-escape")  # templates need it, and an unprivileged process may not read the standard library


@dataclass(frozen=True)
class Ended:
    """How a command ended.

    Attributes:
        status: Exit status; minus the number of the signal that ended it.
        shown: What it printed.
        seconds: Wall time.
    """

    status: int
    shown: str
    seconds: float

    @property
    def has_traceback(self) -> bool:
        """Whether a traceback was printed."""
        return "Traceback (most recent call last)" in self.shown


class Running:
    """A command in a process of its own.

    Args:
        arguments: Words after ``counterpoise``.
        folder: Working folder; what is printed goes to a file beside it.
        before: Function that the child calls first, for limits.
    """

    def __init__(self, arguments: Sequence[str], folder: Path, before: Callable[[], None] | None = None) -> None:
        self._log = folder.parent / f".{folder.name}.{time.monotonic_ns()}.log"
        self._started = time.monotonic()
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            self._run(arguments, folder, before)

    def _run(self, arguments: Sequence[str], folder: Path, before: Callable[[], None] | None) -> None:
        code = 70
        try:
            log = os.open(self._log, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o644)
            os.dup2(log, 1)
            os.dup2(log, 2)
            os.chdir(folder)
            os.setsid()
            signal.signal(signal.SIGINT, signal.default_int_handler)  # a background process may ignore it
            sys.argv = ["counterpoise", *arguments]
            if before is not None:
                before()
            from counterpoise.cli.main import main

            code = main(arguments)
            sys.stdout.flush()
        except BaseException:  # a child must never return into the parent's code
            import traceback

            traceback.print_exc()
        finally:
            os._exit(code)

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send a signal to the command, not to processes that it started."""
        os.kill(self.pid, number)

    def wait(self) -> Ended:
        """Wait for the end."""
        _, status = os.waitpid(self.pid, 0)
        shown = self._log.read_text(errors="replace") if self._log.exists() else ""
        self._log.unlink(missing_ok=True)
        return Ended(os.waitstatus_to_exitcode(status), shown, time.monotonic() - self._started)

    def has_children(self) -> bool:
        """Whether a process of the command's session still runs."""
        for path in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = path.read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[3]) == self.pid and fields[0] not in "ZX":
                return True
        return False


def start(arguments: Sequence[str], folder: Path, before: Callable[[], None] | None = None) -> Ended:
    """Run a command to its end."""
    return Running(arguments, folder, before).wait()


@dataclass(frozen=True)
class Commands:
    """The commands that are interrupted, by name. Each works in its own folder and writes to ``out`` there."""

    sources: Path

    def train(self, *more: str) -> list[str]:
        """Return a training of six short epochs with a rule that is fitted on held-out samples."""
        data = str(self.sources / "small.npz")
        return [*("train", "--data", data, "--method", "arm", "--fit.epochs", "6"), *_SMALL, *("--out", "out"), *more]

    def compare(self, *more: str) -> list[str]:
        """Return a comparison of two methods with two jobs."""
        names = ("--methods", "ogm-ge", "--seeds", "1", "--jobs", "2", "--fit.epochs", "4")
        data = str(self.sources / "small.npz")
        return ["compare", "--data", data, *names, *_SMALL, "--out", "out", *more]

    def prepare(self, *more: str) -> list[str]:
        """Return a preparation of pictures and numbers."""
        table = str(self.sources / "table.csv")
        return ["prepare", "own", "--source", table, "--out", "out", "--size", "16", "--jobs", "1", *more]

    def report(self, *more: str) -> list[str]:
        """Return a page of finished runs."""
        return ["report", str(self.sources / "runs"), "--out", "out/page.html", *more]

    def diagnose(self, *more: str) -> list[str]:
        """Return a diagnosis of arrays."""
        return ["diagnose", "--arrays", str(self.sources / "small.npz"), "--out", "out", *more]


_SMALL = ("--fit.batch_size", "16", "--model.width", "8", "--fit.accelerator", "cpu")


def make_sources(folder: Path) -> Commands:
    """Write the data that the commands read: arrays, a table with pictures, and the record of a run."""
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    y = rng.integers(3, size=120)
    a, b = rng.normal(size=(120, 4)) + y[:, None], rng.normal(size=(120, 3)) - 0.5 * y[:, None]
    np.savez(folder / "small.npz", a=a, b=b, label=y)
    lines = ["picture,number,label"]
    for k in range(160):
        Image.fromarray(rng.integers(256, size=(24, 24, 3)).astype(np.uint8)).save(folder / f"p{k}.png")
        lines.append(f"p{k}.png,{rng.normal():.6f},{'yn'[k % 2]}")
    (folder / "table.csv").write_text("\n".join(lines) + "\n")
    commands = Commands(folder)
    made = start([*commands.train("--seed", "7")[:-2], "--seed", "7", "--out", str(folder / "runs")], folder)
    if made.status:
        raise RuntimeError(f"The run for the report could not be trained: {made.shown}")
    return commands


def contents(folder: Path) -> dict[str, str]:
    """Return a digest of every file below a folder, by path; of records, arrays and weights without times."""
    hashes = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            hashes[str(path.relative_to(folder))] = hashlib.sha256(_stable(path)).hexdigest()[:16]
    return hashes


def _stable(path: Path) -> bytes:
    if path.name == "record.json":
        return _record(json.loads(path.read_text()))
    if path.name == "runs.jsonl":
        return b"".join(sorted(_record(json.loads(line)) for line in path.read_text().splitlines()))
    if path.suffix == ".npz":
        with np.load(path) as arrays:
            return b"".join(name.encode() + arrays[name].tobytes() for name in sorted(arrays.files))
    if path.suffix == ".ckpt":
        import torch

        state = torch.load(path, weights_only=True)["state_dict"]
        return b"".join(name.encode() + value.numpy().tobytes() for name, value in state.items())
    if path.name in TIMED:
        return b""
    return path.read_bytes()


TIMED = (".outputs", "report.html", "table.csv", "table.md", "table.tex")
"""Files of a comparison that show the time of a step. Their rows are in the records; here only their names count."""


def _record(content: dict[str, Any]) -> bytes:
    kept = {key: value for key, value in content.items() if key not in TIMES}
    kept["metrics"] = [m for m in content.get("metrics", []) if m["name"] != "step_ms"]
    return json.dumps(kept, sort_keys=True).encode()
