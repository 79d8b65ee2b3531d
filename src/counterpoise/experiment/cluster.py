"""Workers on other machines through Dask: a running scheduler, dask-jobqueue, or Dask on Kubernetes."""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

from counterpoise._extras import extra, load
from counterpoise._validation import unknown
from counterpoise._version import __version__
from counterpoise.errors import ConfigError, NotFoundError, describe

__all__ = ["SYSTEMS", "check_cluster", "map_on_cluster", "one_cluster"]

SYSTEMS: Final = {
    "slurm": "dask_jobqueue:SLURMCluster",
    "pbs": "dask_jobqueue:PBSCluster",
    "sge": "dask_jobqueue:SGECluster",
    "lsf": "dask_jobqueue:LSFCluster",
    "oar": "dask_jobqueue:OARCluster",
    "moab": "dask_jobqueue:MoabCluster",
    "htcondor": "dask_jobqueue:HTCondorCluster",
    "kubernetes": "dask_kubernetes.operator:KubeCluster",
}
"""Systems on which Dask starts workers, with the classes that start them. Each is configured in Dask's own
configuration files, in the section ``jobqueue.<system>`` or ``kubernetes``."""

_CONFIGURATION: Final = (".yaml", ".yml")

Item = TypeVar("Item")
Result = TypeVar("Result")


def check_cluster(cluster: str | None, jobs: int | None, *, dry: bool = False) -> None:
    """Raise an error for a cluster that cannot be used, before anything is started.

    Args:
        cluster: See `map_on_cluster`.
        jobs: Number of workers to ask for; a queue needs it.
        dry: Whether nothing will be started, so that the packages are not needed.

    Raises:
        ConfigError: If a queue is not given the number of workers, or a configuration names no system.
        MissingExtraError: If the packages are not installed.
        NotFoundError: If the system or file does not exist.
    """
    if not dry:
        with extra("dask"):
            import distributed  # noqa: F401
    if cluster is None or "://" in cluster:
        return
    if Path(cluster).suffix in (".json", *_CONFIGURATION):
        if not Path(cluster).is_file():
            raise NotFoundError(f"There is no cluster file `{cluster}`.")
        if Path(cluster).suffix == ".json":
            return
    system, _ = _configured(cluster)
    if not dry:
        _cluster_class(system)
    if jobs is None:
        raise ConfigError(
            f"Parameter `jobs` should be the number of workers to request from {system}. Found `jobs = None`. Give "
            f"--jobs."
        )


def _configured(cluster: str) -> tuple[str, dict[str, Any]]:
    """Return the system, and the settings of Dask's configuration if ``cluster`` is a file."""
    if Path(cluster).suffix not in _CONFIGURATION:
        if cluster not in SYSTEMS:
            raise unknown("cluster", cluster, SYSTEMS)
        return cluster, {}
    content = _read_yaml(cluster)
    queues = content.get("jobqueue")
    names = [name for name in SYSTEMS if isinstance(queues, Mapping) and name in queues]
    names += ["kubernetes"] if "kubernetes" in content else []
    if len(names) != 1:
        raise ConfigError(
            f"`{cluster}` should configure one system: a section `kubernetes`, or `jobqueue` with one of "
            f"{', '.join(name for name in SYSTEMS if name != 'kubernetes')}. Found {', '.join(names) or 'none'}."
        )
    return names[0], dict(content)


def _read_yaml(cluster: str) -> Mapping[str, Any]:
    """Return the content of a file of Dask's configuration; nothing if it is not a mapping."""
    import yaml

    try:
        content = yaml.safe_load(Path(cluster).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"`{cluster}` should be a configuration of Dask, in YAML. {describe(error)}") from error
    return content if isinstance(content, Mapping) else {}


def _cluster_class(system: str) -> Any:
    module, _, name = SYSTEMS[system].partition(":")
    if system == "kubernetes":
        try:
            return getattr(importlib.import_module(module), name)
        except ModuleNotFoundError as error:
            raise ConfigError("Workers on Kubernetes need dask-kubernetes: pip install dask-kubernetes.") from error
    return getattr(load(module, "dask"), name)


def map_on_cluster(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    *,
    jobs: int,
    cluster: str | None = None,
    lost: Callable[[Item, str], Result] | None = None,
) -> Iterator[tuple[int, Result]]:
    """Yield the position and the result of each item as workers of a Dask cluster finish them.

    If a worker dies, other workers repeat its items. An item on which several workers die is lost (see Dask's setting
    ``distributed.scheduler.allowed-failures``).

    Args:
        function: Function of a module that the workers can import.
        items: Arguments of the function, one per call.
        jobs: Number of workers to start; a running scheduler keeps its own workers.
        cluster: Address of a scheduler (``tcp://host:8786``), its file (``.json``), the name of one of `SYSTEMS`, or a
            file of Dask's configuration (``.yaml``) that configures one. None uses the scheduler of Dask's
            configuration (``DASK_SCHEDULER_ADDRESS``) if there is one, else processes of this machine.
        lost: Function that returns the result of a lost item, given the item and the reason. None raises an error.

    Raises:
        ConfigError: If the scheduler does not answer, a worker has several threads or another version of counterpoise,
            or does not see the current folder.
    """
    with extra("dask"):
        from distributed import as_completed

    with _client(cluster, jobs) as client:
        _check_import(client)
        call = _OnWorker(function, str(Path.cwd()), __version__)
        futures = [client.submit(call, item, key=f"counterpoise-{k}", pure=False) for k, item in enumerate(items)]
        positions = {future.key: k for k, future in enumerate(futures)}
        for future in as_completed(futures):
            k = positions[future.key]
            if future.status == "finished":
                yield k, future.result()
                continue
            error = future.exception() if future.status == "error" else None
            if lost is None or isinstance(error, ConfigError):
                raise error or ConnectionError("The cluster lost a job.")
            yield k, lost(items[k], "the workers that it ran on died" if error is None else describe(error))


def _check_import(client: Any) -> None:
    """Import this module on the first worker, because a worker without it would end when it receives a job."""
    with extra("dask"):
        from distributed import wait

    (first,) = wait([client.submit(importlib.import_module, __name__, pure=False)]).done
    if first.status == "error":
        raise ConfigError(
            f"Workers should have counterpoise {__version__}. On the first one: {describe(first.exception())}. Install "
            "it there, for example in an environment on a shared disk."
        )


class _OnWorker:
    """A function that is called by a worker in the current folder of the comparison, in one thread."""

    def __init__(self, function: Callable[[Any], Any], folder: str, version: str) -> None:
        self.function, self.folder, self.version = function, folder, version

    def __call__(self, item: Any) -> Any:
        import torch

        with extra("dask"):
            from distributed import get_worker

        worker = get_worker()
        if worker.state.nthreads != 1:
            raise ConfigError(
                "A worker trains one run at a time and should have one thread. Found a worker with "
                f"{worker.state.nthreads}. Start workers with --nthreads 1, or let `processes` equal `cores`."
            )
        if self.version != __version__:
            raise ConfigError(
                f"Every worker should have counterpoise {self.version}. Found {__version__} on {worker.address}."
            )
        try:
            os.chdir(self.folder)
        except OSError as error:
            raise ConfigError(
                f"The worker {worker.address} does not see the folder `{self.folder}`. Start the comparison in a "
                "folder that all machines share."
            ) from error
        torch.set_num_threads(1)
        return self.function(item)


class _Connection:
    """A client of a scheduler, with the cluster that was started for it."""

    def __init__(self, cluster: str | None, jobs: int, stack: contextlib.ExitStack) -> None:
        with extra("dask"):
            import dask
            from distributed import Client

        self.cluster, self.jobs = cluster, jobs
        self._deployment: Any = None
        address = cluster if cluster is not None else dask.config.get("scheduler-address", None)
        if address is None or not ("://" in address or Path(address).suffix == ".json"):
            self._deployment = stack.enter_context(_local(jobs) if address is None else _queue(address, jobs, stack))
            self.client = stack.enter_context(Client(self._deployment))
            return
        where = {"address": address} if "://" in address else {"scheduler_file": address}
        try:
            self.client = stack.enter_context(Client(**where, timeout="20s"))
        except (OSError, TimeoutError) as error:
            raise ConfigError(f"The scheduler at `{address}` does not answer: {describe(error)}") from error

    def grow(self, jobs: int) -> None:
        """Request more workers, if more are needed and this process starts them."""
        if self._deployment is not None and jobs > self.jobs:
            self.jobs = jobs
            _ask(self._deployment, jobs)


_kept: list[tuple[contextlib.ExitStack, list[_Connection]]] = []


@contextlib.contextmanager
def one_cluster() -> Iterator[None]:
    """Keep the cluster that `map_on_cluster` connects to inside this context, instead of one for each call."""
    with contextlib.ExitStack() as stack:
        _kept.append((stack, []))
        try:
            yield
        finally:
            _kept.pop()


@contextlib.contextmanager
def _client(cluster: str | None, jobs: int) -> Iterator[Any]:
    """Connect to a scheduler, or start one with its workers; close what was started."""
    if not _kept:
        with one_cluster(), _client(cluster, jobs) as client:
            yield client
        return
    stack, connections = _kept[-1]
    connection = next((one for one in connections if one.cluster == cluster), None)
    if connection is None:
        stack.enter_context(_quiet())
        connection = _Connection(cluster, jobs, stack)
        connections.append(connection)
    connection.grow(jobs)
    yield connection.client


def _local(jobs: int) -> Any:
    with extra("dask"):
        from distributed import LocalCluster

    return LocalCluster(n_workers=jobs, threads_per_worker=1, processes=True, dashboard_address=None)


def _queue(cluster: str, jobs: int, stack: contextlib.ExitStack) -> Any:
    """Start a scheduler in this process, and request workers from a queue or from Kubernetes."""
    with extra("dask"):
        import dask

    system, settings = _configured(cluster)
    kind = _cluster_class(system)  # importing it adds its defaults to Dask's configuration
    stack.enter_context(dask.config.set(dask.config.merge(dask.config.config, settings)))
    deployment = kind()
    _ask(deployment, jobs)
    return deployment


def _ask(deployment: Any, jobs: int) -> None:
    """Request workers. A job that ends early (time limit, preemption) is submitted again."""
    if hasattr(deployment, "job_cls") or type(deployment).__name__ == "KubeCluster":
        deployment.adapt(minimum=jobs, maximum=jobs)
    else:
        deployment.scale(jobs)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Suppress Dask's warnings about events that are handled here: workers that die, and large results."""
    logger = logging.getLogger("distributed")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"distributed|dask")
            yield
    finally:
        logger.setLevel(level)
