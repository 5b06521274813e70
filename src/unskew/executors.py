"""The executors by name: this machine, or a Ray cluster."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from unskew.errors import ConfigError
from unskew.executing import Ended, Executor, Job, LocalExecutor, Notices, lost, prepare, run_job
from unskew.reports.record import RECORD_FILE

EXECUTORS = ("local", "ray")
ADDRESS, HERE = "RAY_ADDRESS", "local"
_WORKERS = 2
_CONNECT_SECONDS = 10.0


def executor_for(
    name: str,
    *,
    workers: int | None = None,
    cpus_per_run: int = 1,
    gpus_per_run: float = 0.0,
) -> Executor:
    """The executor of a name.

    Args:
        name: `local` or `ray`.
        workers: Runs side by side on this machine, two if None; Ray has as many as its resources
            allow and takes no number.
        cpus_per_run: Threads of a run, and what Ray sets aside for it.
        gpus_per_run: What Ray sets aside for a run; a share lets several use one GPU.

    Raises:
        ConfigError: There is none of this name, Ray is not installed, or the executor has no use
            for what is given.
    """
    if name == "local":
        if gpus_per_run:
            raise ConfigError(
                "gpus_per_run is for executor ray; local runs see every GPU of CUDA_VISIBLE_DEVICES"
            )
        return LocalExecutor(workers or _WORKERS, cpus_per_run)
    if name == "ray":
        if workers is not None:
            raise ConfigError(
                "workers is for executor local; Ray runs as many side by side as cpus_per_run and "
                "gpus_per_run leave room for"
            )
        return RayExecutor(cpus_per_run, gpus_per_run)
    raise ConfigError(f"there is no executor {name!r}; take one of {', '.join(EXECUTORS)}")


class RayExecutor:
    """Tasks of the Ray cluster at RAY_ADDRESS, or of a Ray of this machine that ends with the call.

    The output folder has to be one that every node sees. Each task has a process of its own, and is
    not tried again by Ray: `unskew` counts what failed.

    Args:
        cpus_per_run: Set aside for each run, and the number of its threads.
        gpus_per_run: Set aside for each run.

    Raises:
        ConfigError: Ray is not installed.
    """

    def __init__(self, cpus_per_run: int = 1, gpus_per_run: float = 0.0) -> None:
        # Ray reads it when it is imported.
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        try:
            import ray
        except ImportError as error:
            raise ConfigError(
                "executor ray needs Ray; install it with pip install 'unskew[ray]'"
            ) from error
        self._ray: Any = ray
        self.cpus_per_run, self.gpus_per_run = cpus_per_run, gpus_per_run

    def run(self, jobs: Sequence[Job], notices: Notices) -> None:
        """Hand all to Ray, which starts each when its resources are free."""
        if not jobs:
            return
        is_ours = not self._ray.is_initialized()
        if is_ours:
            # Said outright: without an address, Ray would join any instance of this machine.
            address = os.environ.get(ADDRESS) or HERE
            _look_for(address)
            self._ray.init(
                address, include_dashboard=False, log_to_driver=False, logging_level="ERROR"
            )
        try:
            self._refuse_what_never_starts()
            self._all(jobs, notices)
        finally:
            if is_ours:
                self._ray.shutdown()

    def _refuse_what_never_starts(self) -> None:
        """Ray would wait for ever for resources that no single node has."""
        wanted = {"CPU": self.cpus_per_run, "GPU": self.gpus_per_run}
        nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        if not any(all(n.get(kind, 0) >= count for kind, count in wanted.items()) for n in nodes):
            have = "; ".join(sorted({_listed({k: n.get(k, 0) for k in wanted}) for n in nodes}))
            raise ConfigError(
                f"a run asks for {_listed(wanted)}, and no node of Ray has as much (there are: "
                f"{have}); lower cpus_per_run or gpus_per_run, or name another cluster in {ADDRESS}"
            )

    def _all(self, jobs: Sequence[Job], notices: Notices) -> None:
        # A process that ran one task ends with it, so peak memory and output are of that task.
        task = self._ray.remote(
            num_cpus=self.cpus_per_run, num_gpus=self.gpus_per_run, max_retries=0, max_calls=1
        )(_run_at)
        waiting: dict[Any, tuple[Job, float]] = {}
        for job in jobs:
            prepare(job)
            notices.begun(job)
            absolute = replace(job, folder=job.folder.resolve())
            reference = task.remote(
                absolute, self.cpus_per_run, self.gpus_per_run > 0, str(Path.cwd())
            )
            waiting[reference] = (job, time.perf_counter())
        while waiting:
            (done, *_), _ = self._ray.wait(list(waiting))
            job, begun = waiting.pop(done)
            try:
                how = _seen_from_here(job, self._ray.get(done))
            except self._ray.exceptions.RayError as error:
                how = lost(job, _told(error), begun)
            notices.ended(job, how)


def _run_at(job: Job, num_threads: int, has_gpus: bool, folder: str) -> Ended:
    """A Ray task: relative paths of the settings mean what they meant where it was handed on."""
    if Path(folder).is_dir():
        os.chdir(folder)
    if not has_gpus:
        # Newer versions of Ray leave GPUs visible that are not set aside for the task.
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    return run_job(job, num_threads)


def _look_for(address: str) -> None:
    """Ray itself would try an address where nobody listens for a quarter of an hour.

    Raises:
        ConfigError: Nobody listens.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not (host and port.isdecimal()):
        return
    try:
        socket.create_connection((host, int(port)), timeout=_CONNECT_SECONDS).close()
    except OSError as error:
        raise ConfigError(
            f"nobody listens at {ADDRESS}={address} ({error}); start the cluster, or unset "
            f"{ADDRESS} to run on this machine"
        ) from error


def _seen_from_here(job: Job, ended: Ended) -> Ended:
    """How a task ended, once more written from here.

    A network's file system may show the task's own file late, and one that is not shared, never.
    """
    if ended.error is None and not (job.folder / RECORD_FILE).is_file():
        what = f"it ended on a node that does not share {job.folder.parent.resolve()}"
        ended = Ended(what, ended.seconds, ended.process_seconds)
    job.note(ended)
    return ended


def _listed(resources: Mapping[str, float]) -> str:
    return ", ".join(f"{count:g} {kind}" for kind, count in resources.items())


def _told(error: Exception) -> str:
    """Why a task has no result: of a traceback its last line, of Ray's own errors the first."""
    lines = [line for line in str(error).splitlines() if line.strip()] or [""]
    return f"{type(error).__name__}: {lines[-1 if hasattr(error, 'cause') else 0].strip()}"
