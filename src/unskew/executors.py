"""The executors by name: this machine, or a Ray cluster."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from unskew.errors import ConfigError
from unskew.executing import Executor, Job, LocalExecutor, Notices, prepare, run_job, settled

EXECUTORS = ("local", "ray")


def executor_for(
    name: str,
    *,
    workers: int = 2,
    cpus_per_run: int = 1,
    gpus_per_run: float = 0.0,
) -> Executor:
    """The executor of a name.

    Args:
        name: `local` or `ray`.
        workers: Runs side by side on this machine; Ray has as many as its resources allow.
        cpus_per_run: Threads of a run, and what Ray sets aside for it.
        gpus_per_run: What Ray sets aside for a run; a share lets several use one GPU.

    Raises:
        ConfigError: There is none of this name, Ray is not installed, or a local run is to get a
            GPU of its own.
    """
    if name == "local":
        if gpus_per_run:
            raise ConfigError(
                "gpus_per_run is for executor ray; local runs see every GPU of CUDA_VISIBLE_DEVICES"
            )
        return LocalExecutor(workers, cpus_per_run)
    if name == "ray":
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
            self._ray.init(include_dashboard=False, log_to_driver=False, logging_level="ERROR")
        try:
            self._refuse_what_never_starts()
            self._all(jobs, notices)
        finally:
            if is_ours:
                self._ray.shutdown()

    def _refuse_what_never_starts(self) -> None:
        """Ray would wait for ever for resources that no node has."""
        has = self._ray.cluster_resources()
        for kind, wanted in (("CPU", self.cpus_per_run), ("GPU", self.gpus_per_run)):
            if wanted > has.get(kind, 0):
                raise ConfigError(
                    f"{kind.lower()}s_per_run is {wanted:g}, but Ray has {has.get(kind, 0):g} "
                    f"{kind}s in all; ask for fewer, or name another cluster in RAY_ADDRESS"
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
            absolute = Job(job.label, job.settings, job.folder.resolve())
            reference = task.remote(absolute, self.cpus_per_run, str(Path.cwd()))
            waiting[reference] = (job, time.perf_counter())
        while waiting:
            (done, *_), _ = self._ray.wait(list(waiting))
            job, begun = waiting.pop(done)
            why = "Ray gave no reason"
            try:
                self._ray.get(done)
            except self._ray.exceptions.RayError as error:
                why = f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"
            notices.ended(job, settled(job, why, begun))


def _run_at(job: Job, num_threads: int, folder: str) -> None:
    """A Ray task: relative paths of the settings mean what they meant where it was handed on."""
    if Path(folder).is_dir():
        os.chdir(folder)
    run_job(job, num_threads)
