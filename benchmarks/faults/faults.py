"""Signals, full disks, limits, two commands at once, damaged checkpoints: how a command ends, and its repetition."""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from harness import Commands, Ended, Running, contents, make_sources, preload, start

__all__ = ["FaultResult", "run_faults", "table"]

RESULTS = ("predictions.npz", "best.ckpt", "page.html", "diagnosis.json", ".arrow", "counterpoise.json")
"""Files that hold numbers; a record may note, besides, what was damaged."""
NOBODY = 65534


@dataclass
class FaultResult:
    """What a fault led to.

    Attributes:
        fault: What was done.
        command: Name of the command.
        expected: Statuses that are right.
        tries: Number of tries.
        right: Number of tries with a right status, no traceback and, on failure, one message.
        equal: Number of repetitions without the fault whose results equal those of an undisturbed command.
        failures: What went wrong.
    """

    fault: str
    command: str
    expected: tuple[int, ...]
    tries: int = 0
    right: int = 0
    equal: int = 0
    failures: list[str] = field(default_factory=list)

    def add(self, ended: Ended, needed: Sequence[str] = ()) -> None:
        """Judge how a command ended."""
        self.tries += 1
        missing = [word for word in needed if word not in ended.shown]
        foreign = ended.has_traceback or "This error is unexpected" in ended.shown
        if ended.status in self.expected and not foreign and not missing:
            self.right += 1
        else:
            self.failures.append(f"status {ended.status}, {missing or ''} {ended.shown.strip()[-400:]}")


class _Lab:
    """Undisturbed results of every command, and repetitions to compare with them."""

    def __init__(self, root: Path, commands: Commands) -> None:
        self.root, self.commands = root, commands
        self._expected: dict[str, dict[str, str]] = {}
        self.seconds: dict[str, float] = {}
        self._count = 0

    def arguments(self, name: str) -> list[str]:
        """Return the words of a command."""
        words: list[str] = getattr(self.commands, name)()
        return words

    def expected(self, name: str) -> dict[str, str]:
        """Return the digests of an undisturbed command."""
        if name not in self._expected:
            folder = self.fresh()
            ended = start(self.arguments(name), folder)
            assert ended.status == 0, ended.shown
            self._expected[name], self.seconds[name] = _numbers(folder), ended.seconds
        return self._expected[name]

    def fresh(self) -> Path:
        """Return an empty folder."""
        self._count += 1
        folder = self.root / f"f{self._count}"
        folder.mkdir()
        return folder

    def repeat(self, result: FaultResult, folder: Path) -> None:
        """Run the command again without the fault, and compare."""
        again = start(self.arguments(result.command), folder)
        if again.status or again.has_traceback:
            result.failures.append(f"repetition: status {again.status}: {again.shown[-300:]}")
        elif _numbers(folder) == self.expected(result.command):
            result.equal += 1
        else:
            result.failures.append("repetition: other results")


def _numbers(folder: Path) -> dict[str, str]:
    return {path: digest for path, digest in contents(folder / "out").items() if path.endswith(RESULTS)}


def _limited(
    lab: _Lab, fault: str, name: str, expected: tuple[int, ...], limits: Sequence[Callable[[], None]]
) -> FaultResult:
    lab.expected(name)
    result = FaultResult(fault, name, expected)
    for limit in limits:
        folder = lab.fresh()
        result.add(start(lab.arguments(name), folder, limit))
        lab.repeat(result, folder)
    return result


def _soft(kind: int, value: int) -> Callable[[], None]:
    return lambda: resource.setrlimit(kind, (value, resource.getrlimit(kind)[1]))


def _memory(more: int) -> Callable[[], None]:
    def limit() -> None:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        _soft(resource.RLIMIT_AS, pages * resource.getpagesize() + more)()

    return limit


def _signalled(lab: _Lab, number: signal.Signals, name: str, status: int, tries: int) -> FaultResult:
    lab.expected(name)
    result = FaultResult(number.name, name, (status,))
    for k in range(tries):
        folder = lab.fresh()
        running = Running(lab.arguments(name), folder)
        time.sleep(lab.seconds[name] * (0.3 + 0.4 * k / tries))
        running.kill(number)
        ended = running.wait()
        if ended.status == 0:
            continue
        result.add(ended)
        time.sleep(2 if name == "compare" else 0)
        if running.has_children():
            result.failures.append("a process still runs")
        lab.repeat(result, folder)
    return result


def _read_only(lab: _Lab, name: str) -> FaultResult:
    lab.expected(name)
    result = FaultResult("folder that cannot be written to", name, (2,))
    folder = lab.fresh()
    result.add(start(lab.arguments(name), folder, lambda: os.setuid(NOBODY)))
    lab.repeat(result, folder)
    return result


def _two_at_once(lab: _Lab, name: str) -> FaultResult:
    expected = lab.expected(name)
    result = FaultResult("two commands on one folder", name, (0,))
    for _ in range(3):
        folder = lab.fresh()
        both = [Running(lab.arguments(name), folder) for _ in range(2)]
        for running in both:
            result.add(running.wait())
            result.equal += _numbers(folder) == expected
    return result


def _damaged(lab: _Lab) -> FaultResult:
    lab.expected("train")
    result = FaultResult("damaged last checkpoint", "train", (0,))
    for spoil in (lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b"<html></html>", lambda b: bytes(len(b))):
        folder = lab.fresh()
        running = Running(lab.arguments("train"), folder)
        until = time.monotonic() + 60
        while time.monotonic() < until and not list((folder / "out").rglob("previous.ckpt")):
            time.sleep(0.01)
        running.kill()
        running.wait()
        for path in (folder / "out").rglob("last.ckpt"):
            path.write_bytes(spoil(path.read_bytes()))
        result.add(start(lab.arguments("train"), folder))
        result.equal += _numbers(folder) == lab.expected("train")
    return result


def _diverged(lab: _Lab) -> FaultResult:
    result = FaultResult("divergence (learning rate 1e30)", "train", (2,))
    for name in ("sgd", "adam"):
        more = ("--optim.lr", "1e30", "--optim.name", name)
        result.add(start(lab.commands.train(*more), lab.fresh()), ("diverged in epoch", "--optim.lr"))
    return result


def _broken_outputs(lab: _Lab, module: str, function: str, status: int, name: str) -> FaultResult:
    """Let a function that writes pages, figures or pictures fail in the middle of a run."""
    result = FaultResult(f"`{function}` fails", name, (status,))

    def spoil() -> None:
        import importlib

        def fail(*values: object, **named: object) -> None:
            raise RuntimeError("broken on purpose")

        setattr(importlib.import_module(module), function, fail)

    folder = lab.fresh()
    more = ("--jobs", "1") if name == "compare" else ()
    result.add(start([*lab.arguments(name), *more], folder, spoil))
    contents_now = {
        path: digest for path, digest in _numbers(folder).items() if path.endswith(("predictions.npz", "best.ckpt"))
    }
    known = {
        path: digest for path, digest in lab.expected(name).items() if path.endswith(("predictions.npz", "best.ckpt"))
    }
    result.equal += contents_now == known
    return result


def run_faults(say: Callable[[str], None] = print) -> list[FaultResult]:
    """Try every fault and return its outcome."""
    preload()
    root = Path(tempfile.mkdtemp(prefix="faults-"))
    root.chmod(0o755)
    results = []
    try:
        lab = _Lab(root, make_sources(root / "sources"))
        sizes = [_soft(resource.RLIMIT_FSIZE, size) for size in (2_000, 4_000, 12_000, 40_000)]
        steps: list[Callable[[], FaultResult]] = [
            lambda: _signalled(lab, signal.SIGTERM, "train", 143, 4),
            lambda: _signalled(lab, signal.SIGINT, "train", 130, 4),
            lambda: _signalled(lab, signal.SIGTERM, "prepare", 143, 3),
            lambda: _signalled(lab, signal.SIGINT, "diagnose", 130, 3),
            lambda: _signalled(lab, signal.SIGTERM, "compare", 143, 2),
            lambda: _signalled(lab, signal.SIGINT, "compare", 130, 1),
            lambda: _limited(lab, "full disk", "train", (0, 2), sizes),
            lambda: _limited(lab, "full disk", "prepare", (0, 2), sizes),
            lambda: _limited(lab, "full disk", "report", (0, 2), sizes),
            lambda: _limited(lab, "full disk", "diagnose", (0, 2), sizes),
            *(lambda name=name: _read_only(lab, name) for name in ("train", "prepare", "report", "diagnose")),
            lambda: _limited(lab, "32 file handles", "train", (0, 2), [_soft(resource.RLIMIT_NOFILE, 32)]),
            lambda: _limited(lab, "32 file handles", "prepare", (0, 2), [_soft(resource.RLIMIT_NOFILE, 32)]),
            lambda: _limited(lab, "32 file handles", "report", (0, 2), [_soft(resource.RLIMIT_NOFILE, 32)]),
            lambda: _limited(lab, "memory limit", "train", (0, 1, 2), [_memory(m << 20) for m in (16, 64, 256)]),
            lambda: _limited(lab, "memory limit", "diagnose", (0, 1, 2), [_memory(m << 20) for m in (16, 64)]),
            *(lambda name=name: _two_at_once(lab, name) for name in ("train", "report", "diagnose")),
            lambda: _damaged(lab),
            lambda: _diverged(lab),
            lambda: _broken_outputs(lab, "counterpoise.report", "write_page", 1, "compare"),
            lambda: _broken_outputs(lab, "counterpoise.report", "write_figures", 1, "compare"),
            lambda: _broken_outputs(lab, "counterpoise.evaluation.sample_selection", "make_gallery", 0, "train"),
            lambda: _broken_outputs(lab, "counterpoise.experiment.record", "estimate", 0, "train"),
        ]
        for step in steps:
            results.append(step())
            say(
                f"{results[-1].fault}, {results[-1].command}: {results[-1].right} of {results[-1].tries} right, "
                f"{results[-1].equal} equal {results[-1].failures[:1]}"
            )
    finally:
        shutil.rmtree(root, ignore_errors=True)
    return results


def table(results: list[FaultResult]) -> str:
    """Return the results as a Markdown table."""
    lines = [
        "| fault | command | tries | right status and one message | results bit-equal afterwards |",
        "|---|---|---:|---:|---:|",
    ]
    for r in results:
        equal = "–" if r.fault.startswith("divergence") else r.equal
        lines.append(f"| {r.fault} | `{r.command}` | {r.tries} | {r.right} | {equal} |")
    return "\n".join(lines)


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()
    print(table(run_faults(lambda text: print(text, flush=True))))
