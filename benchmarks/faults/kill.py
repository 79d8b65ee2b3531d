"""Kill commands at random moments, run the same command again, and compare the result with an uninterrupted one."""

from __future__ import annotations

import argparse
import random
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from harness import Ended, Running, contents, make_sources, preload, start

__all__ = ["KILLS", "KillResult", "run_kills", "table"]

KILLS = {"train": 46, "prepare": 24, "report": 12, "diagnose": 12, "compare": 6}
"""Number of kills per command; a comparison with two jobs costs most."""
IGNORED = ("figures/",)
"""Parts of a comparison that show the time of a step."""


@dataclass
class KillResult:
    """What the kills of one command left.

    Attributes:
        command: Name of the command.
        kills: Number of kills that hit the command before it ended.
        early: Number of commands that ended before the kill.
        equal: Number of repetitions whose results equal those of an uninterrupted command.
        lost: Number of files that were finished before the kill and missing or changed after it.
        left: Number of temporary files that were left after the repetition.
        running: Number of commands whose processes still ran five seconds after the kill.
        failures: What went wrong, in words.
    """

    command: str
    kills: int = 0
    early: int = 0
    equal: int = 0
    lost: int = 0
    left: int = 0
    running: int = 0
    failures: list[str] = field(default_factory=list)


def run_kills(
    share: float = 1.0, seed: int = 0, say: Callable[[str], None] = print, only: str | None = None
) -> list[KillResult]:
    """Kill every command, as often as `KILLS` says times ``share``, and return one result per command."""
    preload()
    root = Path(tempfile.mkdtemp(prefix="faults-"))
    try:
        commands = make_sources(root / "sources")
        generator = random.Random(seed)
        return [
            _kill(name, getattr(commands, name)(), max(1, round(count * share)), root, generator, say)
            for name, count in KILLS.items()
            if only in (None, name)
        ]
    finally:
        shutil.rmtree(root, ignore_errors=True)


def _kill(
    name: str, arguments: list[str], count: int, root: Path, generator: random.Random, say: Callable[[str], None]
) -> KillResult:
    whole = _fresh(root / f"{name}-whole")
    reference = start(arguments, whole)
    expected = _kept(contents(whole / "out"))
    result = KillResult(name)
    if reference.status:
        result.failures.append(f"uninterrupted: {reference.shown[-500:]}")
        return result
    say(f"{name}: {reference.seconds:.1f} s uninterrupted, {len(expected)} files")
    tries = 0
    while result.kills < count and tries < 3 * count:
        tries += 1
        folder = _fresh(root / f"{name}-{tries}")
        running = Running(arguments, folder)
        time.sleep(generator.uniform(0, 0.95 * reference.seconds))
        running.kill()
        ended = running.wait()
        if ended.status == 0:
            result.early += 1
            continue
        result.kills += 1
        if name == "compare":
            _wait_for_workers(running, result)
        before = contents_or_none(folder / "out")
        again = start(arguments, folder)
        _judge(result, expected, before, again, folder)
        shutil.rmtree(folder)
    say(f"{name}: {result.equal} of {result.kills} equal, {result.lost} lost, {result.failures[:2]}")
    return result


def contents_or_none(folder: Path) -> dict[str, str]:
    """Return the digests of the finished files of a killed command: of those that are complete by contract."""
    finished = {}
    for path in folder.rglob("record.json") if folder.exists() else ():
        relative = str(path.relative_to(folder))
        finished[relative] = contents(path.parent)["record.json"]
    return finished


def _wait_for_workers(running: Running, result: KillResult) -> None:
    until = time.monotonic() + 5
    while running.has_children() and time.monotonic() < until:
        time.sleep(0.1)
    if running.has_children():
        result.running += 1


def _judge(result: KillResult, expected: dict[str, str], before: dict[str, str], again: Ended, folder: Path) -> None:
    if again.status or again.has_traceback:
        result.failures.append(f"status {again.status}: {again.shown[-300:]}")
        return
    hashes = contents(folder / "out")
    result.left += sum(path.name.endswith(".partial") for path in folder.rglob(".*"))
    result.lost += sum(hashes.get(path) != digest for path, digest in before.items())
    kept = _kept(hashes)
    if kept == expected:
        result.equal += 1
    else:
        differing = sorted(path for path in kept.keys() | expected.keys() if kept.get(path) != expected.get(path))
        result.failures.append(f"differs: {', '.join(differing[:5])}")


def _kept(hashes: dict[str, str]) -> dict[str, str]:
    return {path: digest for path, digest in hashes.items() if not path.startswith(IGNORED)}


def _fresh(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def table(results: list[KillResult]) -> str:
    """Return the results as a Markdown table."""
    rows = [f"| `{r.command}` | {r.kills} | {r.equal} | {r.lost} | {r.left} | {r.running} |" for r in results]
    total = [sum(getattr(r, name) for r in results) for name in ("kills", "equal", "lost", "left", "running")]
    head = (
        "| command | kills | results bit-equal after the repetition | finished files lost | temporary files left | "
        "processes left after 5 s |"
    )
    return "\n".join([head, "|---|---:|---:|---:|---:|---:|", *rows, f"| all | {' | '.join(map(str, total))} |"])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--share", type=float, default=1.0, help="share of the 100 kills")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default=None, help="one command")
    options = parser.parse_args()
    results = run_kills(options.share, options.seed, lambda text: print(text, flush=True), options.only)
    print(table(results))
    for result in results:
        for failure in result.failures:
            print(f"{result.command}: {failure}")
