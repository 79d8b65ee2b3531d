"""Mutation run over the methods and the pure functions of valuation: `make mutation`.

One process imports everything, runs the tests of a file once and notes which of its lines each reaches. Then every
mutant gets a fork of it: the changed code is put in place of the loaded one, and the tests that reach the changed
statement run, until one fails. A mutant that no test fails on is a survivor. Survivors must have a reason in
``reasons.toml``, or a test is missing. Writes ``survivors.md`` beside this file and keeps the outcomes in
``build/mutation/``.
"""

from __future__ import annotations

import argparse
import ast
import gc
import hashlib
import json
import os
import random
import resource
import signal
import sys
import time
import tomllib
from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

import pytest
from grafts import Functions, NotGraftedError, functions_of, graft
from mutants import Mutant, mutants_of

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "counterpoise"
HERE = Path(__file__).parent
OUTCOMES = ROOT / "build" / "mutation" / "outcomes.json"
SCOPE = ("valuation/functional", "methods")
SHARED = ("_base.py", "_families.py", "_teachers.py")
TESTS = (
    *("tests/unit/valuation/test_functional.py", "tests/unit/valuation/test_pid.py", "tests/unit/methods"),
    *("tests/reference/test_ogm.py", "tests/reference/test_arm.py", "tests/reference/test_arm_official.py"),
    *("tests/contract/test_methods.py", *(f"src/counterpoise/{folder}" for folder in SCOPE)),
)
ENOUGH = 8.0
"""Seconds of tests after which a mutant counts as a survivor; those that kill much run first, the battery last."""
ALIVE = ("survived", "not reached", "not applied")
BATTERY_OF_SHARED = ("joint", "ogm-ge", "mmpareto", "umt")
"""Rows of the catalogue whose battery runs on mutants of what all methods share: one per family."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", help="files below src/counterpoise (methods/_ogm.py); all by default")
    parser.add_argument("--tests", nargs="+", default=TESTS, help="where the tests are")
    parser.add_argument("--sample", type=float, default=1.0, help="share of the mutants of each file, drawn at random")
    parser.add_argument("--tables", action="store_true", help="only write the table again")
    arguments = parser.parse_args()
    if not arguments.tables:
        os.chdir(ROOT)
        files = [SOURCE / name for name in arguments.files] or in_scope()
        run = Run({file: drawn(mutants_of(file), arguments.sample) for file in files}, arguments.sample)
        own = "addopts=--strict-markers --doctest-modules --import-mode=importlib"
        options = ["-o", own, "--capture=no", "-p", "no:cacheprovider", "-p", "no:terminal"]
        status = pytest.main([*options, *map(str, arguments.tests)], plugins=[run])
        if status or not run.done:
            print(f"The tests fail without any change (pytest says {status}); nothing was measured.", file=sys.stderr)
            return 2
    return tables()


def in_scope() -> list[Path]:
    """Return the files, the shared pieces before the methods that use them, ARM's last."""
    files = [f for folder in SCOPE for f in sorted((SOURCE / folder).rglob("*.py")) if f.name != "__init__.py"]
    return sorted(files, key=lambda f: ("functional" not in f.parts, f.name not in SHARED, "arm" in f.parts))


def belongs(item: pytest.Item, file: Path) -> bool:
    """Return whether a test is about a file: its example, a test that imports from it, or a row of the battery."""
    from counterpoise.methods import METHODS  # not before pytest has marked its plugins

    if isinstance(item, pytest.DoctestItem):
        return item.path == file
    module = ".".join(file.relative_to(SOURCE.parent).with_suffix("").parts)
    name = getattr(item, "callspec", None) and item.callspec.params.get("name")
    if isinstance(name, str) and name in METHODS:
        made = {base.__module__ for base in METHODS[name].load().__mro__}
        return module in made and (file.name not in SHARED or name in BATTERY_OF_SHARED)
    packages = {module.rsplit(".", k)[0] for k in range(module.count(".") - 1)}  # itself, and those imported whole
    for value in vars(item.module).values():
        whole = isinstance(value, ModuleType) and value.__name__ in packages
        if whole or getattr(value, "__module__", "") == module:
            return True
    return False


def drawn(mutants: list[Mutant], share: float) -> list[Mutant]:
    if share >= 1:
        return mutants
    chosen = random.Random(0).sample(range(len(mutants)), round(share * len(mutants)))
    return [mutants[k] for k in sorted(chosen)]


class Run:
    """The plugin of pytest that runs the mutants in place of the tests.

    Args:
        mutants: the mutants of each file.
        share: which share of all mutants they are.
    """

    def __init__(self, mutants: dict[Path, list[Mutant]], share: float) -> None:
        self.mutants = mutants
        self.share = share
        self.functions: dict[Path, Functions] = {}
        self.failed = ""
        self.done = False

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note that a test failed."""
        if report.failed:
            self.failed = f"{report.nodeid}: {report.longreprtext}"

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Take the loop over tests over; stop at the first file whose tests fail unchanged."""
        for file in self.mutants:
            if not self.one_file(file, [item for item in session.items if belongs(item, file)]):
                return True
        self.done = True
        return True

    def one_file(self, file: Path, items: list[pytest.Item]) -> bool:
        """Run all mutants of a file; return whether its tests pass without any."""
        started, kills, outcomes = time.monotonic(), Counter[str](), {}
        lines, seconds = self.baseline(file, items)
        if not self.failed:
            self.functions[file] = functions_of(file)
            gc.freeze()
            self.failed = self.forked(None, items, seconds)  # a second time, as a mutant would see them
        if self.failed:
            print(f"{name_of(file)}: its tests fail without any change: {self.failed}", file=sys.stderr)
            return False
        for mutant in self.mutants[file]:
            needed = set(range(mutant.lines[0], mutant.lines[1] + 1))
            able = [i for i in items if (needed & lines[i.nodeid] if mutant.in_body else lines[i.nodeid])]
            able.sort(key=lambda i: (-kills[i.nodeid], "contract" in i.nodeid, seconds[i.nodeid]))
            spent = accumulate(seconds[i.nodeid] for i in able)
            able = [
                item for item, total in zip(able, spent, strict=True) if total <= max(ENOUGH, seconds[able[0].nodeid])
            ]
            outcome = self.forked(mutant, able, seconds) if able else "not reached"
            kills[outcome] += 1
            verdict = (
                outcome
                if outcome in ("timed out", "not reached", "not applied")
                else "killed"
                if outcome
                else "survived"
            )
            outcomes[mutant.key] = verdict
        note(file, self.share, outcomes)
        print(
            f"{name_of(file)}: {dict(Counter(outcomes.values()))}, {time.monotonic() - started:.0f} s", file=sys.stderr
        )
        return True

    def baseline(self, file: Path, items: list[pytest.Item]) -> tuple[dict[str, set[int]], dict[str, float]]:
        """Run tests unchanged; return the lines of the file that each reaches, and its seconds."""
        reached, seconds = {}, {}
        for item, following in zip(items, [*items[1:], None], strict=False):
            lines: set[int] = set()

            def trace(frame: FrameType, event: str, _: Any, lines: set[int] = lines) -> Any:
                if frame.f_code.co_filename != str(file):
                    return None
                lines.add(frame.f_lineno)
                return trace

            names = dict(item.dtest.globs) if isinstance(item, pytest.DoctestItem) else {}
            started = time.process_time()
            sys.settrace(trace)
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            sys.settrace(None)
            if isinstance(item, pytest.DoctestItem):
                item.dtest.globs.update(names)  # doctest empties them
            reached[item.nodeid], seconds[item.nodeid] = lines, time.process_time() - started
            if self.failed:
                break
        return reached, seconds

    def forked(self, mutant: Mutant | None, items: Sequence[pytest.Item], seconds: dict[str, float]) -> str:
        """Run tests on a mutant in a fork; return the name of the test that fails, ``timed out``, or nothing."""
        read, write = os.pipe()
        if not (child := os.fork()):
            os.close(read)
            silent = os.open(os.devnull, os.O_WRONLY)
            os.dup2(silent, 1)
            os.dup2(silent, 2)
            os.write(write, self.first_failure(mutant, items, seconds).encode())
            os._exit(0)
        os.close(write)
        with os.fdopen(read) as pipe:
            outcome = pipe.read()
        _, status = os.waitpid(child, 0)
        timers = (signal.SIGPROF, signal.SIGALRM)
        if os.WIFSIGNALED(status):
            return "timed out" if os.WTERMSIG(status) in timers else "crashed"
        return outcome or ("" if status == 0 else "crashed")

    def first_failure(self, mutant: Mutant | None, items: Sequence[pytest.Item], seconds: dict[str, float]) -> str:
        """Put a mutant in place and run tests; return the first that fails, or nothing."""
        try:
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            if mutant:
                graft(mutant, self.functions[mutant.file])
            for item, following in zip(items, [*items[1:], None], strict=False):
                limit = 5 + 10 * seconds[item.nodeid]
                signal.setitimer(signal.ITIMER_PROF, limit)
                signal.setitimer(signal.ITIMER_REAL, 10 * limit)
                self.failed = ""
                item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
                if self.failed:
                    return item.nodeid
        except NotGraftedError:
            return "not applied"
        except BaseException as error:  # whatever a mutant raises, it was noticed
            return f"raised {type(error).__name__}"
        return ""


def name_of(file: Path) -> str:
    return file.relative_to(SOURCE).as_posix()


def digest(file: Path) -> str:
    """Return a hash of what a file does: comments and docstrings may change."""
    tree = ast.parse(file.read_text())
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()[:12]


def note(file: Path, share: float, outcomes: dict[str, str]) -> None:
    OUTCOMES.parent.mkdir(parents=True, exist_ok=True)
    known = json.loads(OUTCOMES.read_text()) if OUTCOMES.exists() else {}
    known[name_of(file)] = {"source": digest(file), "share": share, "outcomes": outcomes}
    OUTCOMES.write_text(json.dumps(known, indent=1, ensure_ascii=False))


def tables() -> int:
    """Write ``survivors.md``; return 1 if a survivor has no reason or a reason no survivor."""
    known = json.loads(OUTCOMES.read_text()) if OUTCOMES.exists() else {}
    reasons = tomllib.loads((HERE / "reasons.toml").read_text())
    rows, listed, open_ = [], [], 0
    total: Counter[str] = Counter()
    missing = []
    for file in in_scope():
        name = name_of(file)
        record = known.get(name)
        if record is None:
            missing.append(name)
            continue
        counts = Counter(record["outcomes"].values())
        total += counts
        stale = "" if record["source"] == digest(file) else ", of an older version"
        share = "all" if record["share"] >= 1 else f"{record['share']:.0%}"
        alive = [key for key, verdict in record["outcomes"].items() if verdict in ALIVE]
        given = reasons.get(name, {})
        without = [key for key in alive if key not in given]
        open_ += len(without)
        rows.append(row(f"`{name}`", share + stale, counts, len(alive) - len(without)))
        by_reason = defaultdict(list)
        for key in alive:
            by_reason[given.get(key, "**no reason given**")].append(key)
        if alive:
            listed += ["", f"### `{name}`", ""]
            listed += [f"- {reason}\n" + "\n".join(f"  - {key}" for key in keys) for reason, keys in by_reason.items()]
        if unused := [key for key in given if key not in alive and record["share"] >= 1 and not stale]:
            print(f"{name}: reasons for what did not survive: {unused}", file=sys.stderr)
            open_ += len(unused)
    return write(rows, listed, missing, total, open_)


def row(name: str, share: str, counts: Counter[str], explained: int) -> str:
    alive = sum(counts[verdict] for verdict in ALIVE)
    cells = [sum(counts.values()), counts["killed"], counts["timed out"], alive, explained]
    return f"| {name} | {share} | " + " | ".join(map(str, cells)) + " |"


def write(rows: list[str], listed: list[str], missing: list[str], total: Counter[str], open_: int) -> int:
    head = [
        "# Mutants of the methods and of valuation's functions",
        "",
        "One small change to the code each; a change that fails no test survives, and is explained below. Written by "
        "`make mutation`; what is changed and what is left alone says `mutants.py`.",
        "",
        "| file | mutants tried | number | killed | timed out | survived | explained |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    alive = sum(total[verdict] for verdict in ALIVE)
    last = row("**all of the above**", "", total, alive - open_)
    if missing:
        listed = ["", "Not run: " + ", ".join(f"`{name}`" for name in missing) + ".", *listed]
    (HERE / "survivors.md").write_text("\n".join([*head, *rows, last, *listed]) + "\n")
    print(f"{sum(total.values())} mutants, {alive} survive, {open_} without a reason", file=sys.stderr)
    return 1 if open_ else 0


if __name__ == "__main__":
    sys.exit(main())
