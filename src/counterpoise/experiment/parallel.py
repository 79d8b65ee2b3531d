"""Runs in parallel processes. A failure affects only its own run, and no process outlives its parent."""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

from counterpoise._extras import extra
from counterpoise._validation import Interval, Options
from counterpoise.config import RunConfig
from counterpoise.errors import ConfigError, CounterpoiseError, describe
from counterpoise.experiment.cluster import check_cluster, map_on_cluster
from counterpoise.experiment.folders import finished, run_data, run_folder
from counterpoise.experiment.watch import end_with
from counterpoise.runs import RunRecord

__all__ = ["BACKENDS", "Failure", "check_parallel", "map_jobs", "run_all"]

BACKENDS: Final = ("loky", "dask")
"""Backends that train runs: processes of this machine (joblib's loky), or workers of a Dask cluster."""


Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Failure:
    """A run (or, without a configuration, an output) that could not be finished, with the reason."""

    config: RunConfig | None
    message: str

    def __str__(self) -> str:
        if self.config is None:
            return self.message
        return f"{self.config.data} · {self.config.method} · seed {self.config.seed}: {self.message}"


def check_parallel(jobs: int | None, backend: str, cluster: str | None = None, *, dry: bool = False) -> None:
    """Raise an error for a number of processes, a backend or a cluster that cannot be used.

    Args:
        jobs: See `run_all`.
        backend: See `run_all`.
        cluster: See `run_all`.
        dry: Whether nothing will be started, so that the packages of the backend are not needed.

    Raises:
        ConfigError: If ``jobs`` is below 1, there is no such backend, or a cluster is given to another than ``dask``.
        MissingExtraError: If the packages of the backend are not installed.
        NotFoundError: If the cluster does not exist.
    """
    if jobs is not None:
        Interval(1, integer=True).check("compare", "jobs", jobs)
    Options(BACKENDS).check("compare", "backend", backend)
    if backend == "dask":
        check_cluster(cluster, jobs, dry=dry)
    elif cluster is not None:
        raise ConfigError(f"A cluster needs the backend dask. Found `backend = {backend}`. Add --backend dask.")


def run_all(
    configs: Sequence[RunConfig],
    out: Path,
    *,
    jobs: int | None = None,
    backend: str = "loky",
    cluster: str | None = None,
    on_done: Callable[[RunRecord | Failure], None] | None = None,
) -> tuple[list[RunRecord], list[Failure]]:
    """Run in parallel, each run in one thread. Finished runs are read; interrupted runs resume.

    An exception in one run becomes a `Failure`; the others continue.

    Args:
        configs: The runs.
        out: Folder of the run folders. The workers of a cluster write there, too.
        jobs: Number of processes; None takes one per core.
        backend: One of `BACKENDS`.
        cluster: Cluster of the backend ``dask``, see `counterpoise.experiment.cluster.map_on_cluster`.
        on_done: Function that is called after each run, in this process.

    Returns:
        The records in the order of ``configs``, and the failures.

    Raises:
        ConfigError: If ``jobs`` is below 1, there is no such backend, or the cluster cannot be used.
    """
    check_parallel(jobs, backend, cluster)
    results: dict[int, RunRecord | Failure] = {}

    def add(index: int, result: RunRecord | Failure) -> None:
        results[index] = result
        if on_done is not None:
            on_done(result)

    for index, config in enumerate(configs):
        record = _known(config, out)
        if record is not None:
            add(index, record)
    waiting = [index for index in range(len(configs)) if index not in results]
    train = partial(_train, out=str(out), command=" ".join([Path(sys.argv[0]).name, *sys.argv[1:]]))
    try:
        todo = [configs[index] for index in waiting]
        for place, result in map_jobs(train, todo, jobs=jobs, backend=backend, cluster=cluster, lost=_lost):
            add(waiting[place], result)
    except ConfigError:
        raise
    except Exception as error:  # a process died: the runs without a result failed
        for index in sorted(set(waiting) - set(results)):
            add(index, _lost(configs[index], describe(error)))
    return _sorted_out([results[index] for index in sorted(results)])


def _lost(config: RunConfig, reason: str) -> RunRecord | Failure:
    return Failure(config, f"not finished: {reason}")


def _sorted_out(results: Sequence[RunRecord | Failure]) -> tuple[list[RunRecord], list[Failure]]:
    records = [result for result in results if isinstance(result, RunRecord)]
    return records, [result for result in results if isinstance(result, Failure)]


def map_jobs(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    *,
    jobs: int | None = None,
    backend: str = "loky",
    cluster: str | None = None,
    lost: Callable[[Item, str], Result] | None = None,
) -> Iterator[tuple[int, Result]]:
    """Yield the position and the result of each item as they finish; items run in parallel, each in one thread.

    Args:
        function: Function of the module level that takes one item.
        items: Arguments of the function, one per call.
        jobs: Number of processes; None takes one per core.
        backend: One of `BACKENDS`.
        cluster: See `run_all`.
        lost: Function that returns the result of an item on which workers of a cluster died, given the item and the
            reason.
    """
    jobs = jobs or _cores()
    if not items:
        return
    if backend == "dask":
        yield from map_on_cluster(function, items, jobs=min(jobs, len(items)), cluster=cluster, lost=lost)
        return
    if len(items) < 2 or jobs == 1:
        for index, item in enumerate(items):
            with _one_thread():
                result = function(item)
            yield index, result
        return
    with extra("train"):
        import joblib
    parallel = joblib.Parallel(
        n_jobs=min(jobs, len(items)),
        backend=backend,
        return_as="generator_unordered",
        initializer=end_with,
        initargs=(os.getpid(),),
    )
    results = parallel(joblib.delayed(_in_one_thread)(function, i, item) for i, item in enumerate(items))
    try:
        yield from results
    except BaseException:  # Ctrl-C and SIGTERM, too: end the workers now, not when their runs are done
        _end_workers(results)
        raise


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Limit the computation to one thread, so that a result does not depend on the number of processes."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _in_one_thread(function: Callable[[Item], Result], index: int, item: Item) -> tuple[int, Result]:
    with _one_thread():
        return index, function(item)


def _known(config: RunConfig, out: Path) -> RunRecord | None:
    """Return the record of a finished run, without loading the training engine."""
    try:
        return finished(run_folder(config, run_data(config), out))
    except Exception:  # the run itself reports what is wrong with its data
        return None


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _end_workers(results: Any) -> None:
    with contextlib.suppress(Exception), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        results.close()
    with contextlib.suppress(Exception):
        from joblib.externals.loky import reusable_executor

        executor = reusable_executor._executor
        if executor is not None:
            executor.shutdown(wait=False, kill_workers=True)


def _train(config: RunConfig, *, out: str, command: str) -> RunRecord | Failure:
    try:
        from counterpoise.experiment.runner import run

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            return run(config, Path(out), command=command)
    except Exception as error:
        name = f"{type(error).__name__}: " if isinstance(error, CounterpoiseError) else ""
        return Failure(config, name + describe(error))
