"""Runs in parallel processes: each failure costs its own run, and no process outlives its parent."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, TypeVar

from counterpoise._extras import extra
from counterpoise._validation import Interval, Options
from counterpoise.config import RunConfig
from counterpoise.errors import CounterpoiseError, MissingExtraError, describe
from counterpoise.experiment.folders import finished, run_data, run_folder
from counterpoise.runs import RunRecord

__all__ = ["BACKENDS", "Failure", "check_parallel", "map_jobs", "run_all"]

BACKENDS: Final = ("loky", "dask", "threading")
"""Backends of joblib: processes of this machine, a dask cluster, or threads."""


Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Failure:
    """A run (or, without a configuration, an output) that could not be finished, and why."""

    config: RunConfig | None
    message: str

    def __str__(self) -> str:
        if self.config is None:
            return self.message
        return f"{self.config.data} · {self.config.method} · seed {self.config.seed}: {self.message}"


def check_parallel(jobs: int | None, backend: str) -> None:
    """Refuse a number of processes or a backend that cannot work.

    Raises:
        ConfigError: If ``jobs`` is below 1, or there is no such backend.
        MissingExtraError: If the packages of the backend are not installed.
    """
    if jobs is not None:
        Interval(1, integer=True).check("compare", "jobs", jobs)
    Options(BACKENDS).check("compare", "backend", backend)
    if backend == "dask" and find_spec("distributed") is None:
        raise MissingExtraError('Backend `dask` needs distributed. Install it with: pip install "dask[distributed]".')


def run_all(
    configs: Sequence[RunConfig],
    out: Path,
    *,
    jobs: int | None = None,
    backend: str = "loky",
    on_done: Callable[[RunRecord | Failure], None] | None = None,
) -> tuple[list[RunRecord], list[Failure]]:
    """Run in parallel, each run in one thread. Finished runs are read; interrupted runs resume.

    An exception in one run becomes a `Failure`; the others continue.

    Args:
        configs: The runs.
        out: Folder of the run folders.
        jobs: Number of processes; None takes one per core.
        backend: One of `BACKENDS`.
        on_done: Called after each run, in this process.

    Returns:
        The records in the order of ``configs``, and the failures.

    Raises:
        ConfigError: If ``jobs`` is below 1, or there is no such backend.
    """
    check_parallel(jobs, backend)
    results: dict[int, RunRecord | Failure] = {}

    def add(index: int, result: RunRecord | Failure) -> None:
        results[index] = result
        if on_done is not None:
            on_done(result)

    known = {index: record for index, config in enumerate(configs) if (record := _known(config, out)) is not None}
    for index, record in known.items():
        add(index, record)
    waiting = [index for index in range(len(configs)) if index not in known]
    try:
        for index, result in _results(configs, waiting, out, jobs or _cores(), backend):
            add(index, result)
    except Exception as error:  # a process died: the runs without a result failed
        for index in sorted(set(waiting) - set(results)):
            add(index, Failure(configs[index], f"not finished: {describe(error)}"))
    return _sorted_out([results[index] for index in sorted(results)])


def _sorted_out(results: Sequence[RunRecord | Failure]) -> tuple[list[RunRecord], list[Failure]]:
    records = [result for result in results if isinstance(result, RunRecord)]
    return records, [result for result in results if isinstance(result, Failure)]


def map_jobs(
    function: Callable[[Item], Result], items: Sequence[Item], *, jobs: int | None = None, backend: str = "loky"
) -> Iterator[tuple[int, Result]]:
    """Yield the position and the result of each item, as they come: in parallel, each in one thread.

    Args:
        function: Function of the module level that takes one item.
        items: What it is called with.
        jobs: Number of processes; None takes one per core.
        backend: One of `BACKENDS`.
    """
    jobs = jobs or _cores()
    if len(items) < 2 or jobs == 1:
        for index, item in enumerate(items):
            yield index, function(item)
        return
    with extra("train"):
        import joblib
    parent = os.getpid() if backend == "loky" else None
    parallel = joblib.Parallel(n_jobs=min(jobs, len(items)), backend=backend, return_as="generator_unordered")
    results = parallel(joblib.delayed(_in_one_thread)(function, i, item, parent) for i, item in enumerate(items))
    try:
        yield from results
    except BaseException:  # as in `_results`
        _end_workers(results)
        raise


def _in_one_thread(
    function: Callable[[Item], Result], index: int, item: Item, parent: int | None
) -> tuple[int, Result]:
    if parent is not None:
        _end_with(parent)
    import torch

    torch.set_num_threads(1)
    return index, function(item)


def _known(config: RunConfig, out: Path) -> RunRecord | None:
    """Return the record of a finished run, without loading the training engine."""
    try:
        return finished(run_folder(config, run_data(config), out))
    except Exception:  # the run itself reports what is wrong with its data
        return None


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _results(
    configs: Sequence[RunConfig], waiting: Sequence[int], out: Path, jobs: int, backend: str
) -> Iterator[tuple[int, RunRecord | Failure]]:
    command = " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])
    if len(waiting) < 2 or jobs == 1:
        for index in waiting:
            yield _job(index, configs[index], str(out), command, jobs, None)
        return
    with extra("train"):
        import joblib
    parent = os.getpid() if backend == "loky" else None
    parallel = joblib.Parallel(n_jobs=min(jobs, len(waiting)), backend=backend, return_as="generator_unordered")
    results = parallel(joblib.delayed(_job)(i, configs[i], str(out), command, 1, parent) for i in waiting)
    try:
        yield from results
    except BaseException:  # Ctrl-C and SIGTERM, too: end the workers now, not when their runs are done
        _end_workers(results)
        raise


def _end_workers(results: Any) -> None:
    with contextlib.suppress(Exception), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        results.close()
    with contextlib.suppress(Exception):
        from joblib.externals.loky import reusable_executor

        executor = reusable_executor._executor
        if executor is not None:
            executor.shutdown(wait=False, kill_workers=True)


def _job(
    index: int, config: RunConfig, out: str, command: str, threads: int, parent: int | None
) -> tuple[int, RunRecord | Failure]:
    if parent is not None:
        _end_with(parent)
    try:
        import torch

        from counterpoise.experiment.runner import run

        torch.set_num_threads(threads)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            return index, run(config, Path(out), command=command)
    except Exception as error:
        name = f"{type(error).__name__}: " if isinstance(error, CounterpoiseError) else ""
        return index, Failure(config, name + describe(error))


_watching: list[threading.Thread] = []


def _end_with(parent: int) -> None:
    """End this process once its parent is gone, however it went."""
    if _watching or os.getpid() == parent:
        return

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(143)

    _watching.append(threading.Thread(target=watch, daemon=True))
    _watching[0].start()
