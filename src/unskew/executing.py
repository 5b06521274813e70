"""Runs configurations, side by side or one after the other, and writes down how each ended."""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from unskew.errors import UnskewError
from unskew.files import is_taken, write_json
from unskew.reports.record import RECORD_FILE, RunRecord
from unskew.run import AFTER, execute
from unskew.schema import RunConfig
from unskew.stages.workshop import Tell

BASELINES = ".baselines"
"""Folder, in that of a plan or a sweep, of what its runs measured of the base model; it may be
removed at any time."""
_ENDED, _LOG = ".json", ".log"
"""What stands beside the folder of a run: how it ended, and what it said."""


class Work(Protocol):
    """What there is to run. It goes to other processes, so it holds settings and no model."""

    def sha256(self) -> str:
        """Hash of all that decides the numbers; their record holds it as `config_sha256`."""
        ...

    def run(self, folder: Path, tell: Tell) -> object:
        """Do it, or go on with it, and leave the record of a run in the folder.

        Raises:
            UnskewError: It could not be done.
        """
        ...


@dataclass(frozen=True, slots=True)
class Unlearning:
    """A recipe on a model."""

    settings: RunConfig
    baselines: Path | None = None
    """Where runs that begin alike share what they measured of the base model."""

    def sha256(self) -> str:
        """Hash of all settings."""
        return self.settings.sha256()

    def run(self, folder: Path, tell: Tell) -> object:
        """Begin, or go on where it was cut off."""
        taken, shared = is_taken(folder), self.baselines
        return execute(self.settings, folder, resume=taken, tell=tell, baselines=shared)


@dataclass(frozen=True, slots=True)
class Job:
    """One run to be made."""

    label: str
    work: Work
    folder: Path

    def note(self, ended: Ended) -> None:
        """Write beside the folder how the run ended."""
        write_json(_beside(self.folder, _ENDED), asdict(ended))

    def has_result(self) -> bool:
        """Whether it ran in a process of its own and has a result of this very work."""
        ended = ended_in(self.folder)
        if ended is None or ended.error is not None or not (self.folder / RECORD_FILE).is_file():
            return False
        record = RunRecord.load(self.folder)
        return record.config_sha256 == self.work.sha256() and bool(
            record.find(phase=AFTER, category=None)
        )


@dataclass(frozen=True, slots=True)
class Ended:
    """How one run ended."""

    error: str | None
    """Why it has no result; None where it has one."""
    seconds: float
    """Wall time, with loading and measuring."""
    process_seconds: float
    """Processor time; less than the wall time where the machine was shared."""


@dataclass(frozen=True, slots=True)
class Notices:
    """Who is told what happens; each is called from one thread at a time."""

    begun: Callable[[Job], object]
    """A job is handed on; a cluster may have it wait for its resources."""
    ended: Callable[[Job, Ended], object]


class Executor(Protocol):
    """Runs jobs, each in a process of its own, and leaves `Ended` beside the folder of each.

    A process that is killed is an error of its job, and the others go on.
    """

    def run(self, jobs: Sequence[Job], notices: Notices) -> None:
        """Run all; returns when each has ended."""
        ...


class LocalExecutor:
    """Processes of this machine.

    Args:
        workers: Runs side by side.
        cpus_per_run: Threads of each.
    """

    def __init__(self, workers: int = 2, cpus_per_run: int = 1) -> None:
        self.workers, self.cpus_per_run = workers, cpus_per_run

    def run(self, jobs: Sequence[Job], notices: Notices) -> None:
        """Run all, so many at a time as there are workers."""

        def do(job: Job) -> None:
            notices.begun(job)
            notices.ended(job, self._in_a_process(job))

        with ThreadPoolExecutor(self.workers) as pool:
            list(pool.map(do, jobs))

    def _in_a_process(self, job: Job) -> Ended:
        """Its peak memory is its own, and if it is killed the others go on."""
        prepare(job)
        begun = time.perf_counter()
        process = _context().Process(target=run_job, args=(job, self.cpus_per_run), daemon=True)
        process.start()
        process.join()
        what = f"the process ended with exit code {process.exitcode}"
        return ended_in(job.folder) or lost(job, what, begun)


class ThisProcess:
    """One after the other in this process, whose user sees the stages of each.

    Args:
        tell: Given the lines of a run.
    """

    def __init__(self, tell: Tell) -> None:
        self._tell = tell

    def run(self, jobs: Sequence[Job], notices: Notices) -> None:
        """Run all; what is no `UnskewError` ends the call."""
        for job in jobs:
            notices.begun(job)
            begun, processed, error = time.perf_counter(), time.process_time(), None
            try:
                job.work.run(job.folder, self._tell)
            except UnskewError as failure:
                error = str(failure)
            taken = time.perf_counter() - begun, time.process_time() - processed
            notices.ended(job, Ended(error, *taken))


def run_all(
    jobs: Sequence[Job],
    executor: Executor,
    *,
    retries: int = 0,
    tell: Tell = lambda _: None,
    noted: Callable[[Mapping[Path, Ended]], object] = lambda _: None,
) -> dict[Path, Ended]:
    """Run jobs, and those that failed again, telling a line before each and after each failure.

    Args:
        jobs: What to run; one that has a result stays as it is, and a folder that holds a part
            of its run goes on.
        executor: What runs them.
        retries: How often a job that failed is tried again.
        tell: Given the lines.
        noted: Given what has ended so far, each time that there is more.

    Returns:
        How each ended, by its folder.
    """
    ended = {job.folder: found for job in jobs if (found := _result_of(job)) is not None}
    if ended:
        tell(f"{len(ended)} of {len(jobs)} runs are there already")
        noted(ended)
    for attempt in range(retries + 1):
        left = [j for j in jobs if j.folder not in ended or ended[j.folder].error is not None]
        numbers = {job.folder: number for number, job in enumerate(left, start=1)}
        again = f" (again, {attempt} of {retries})" if attempt else ""

        def begun(job: Job, numbers: dict[Path, int] = numbers, again: str = again) -> None:
            tell(f"{numbers[job.folder]}/{len(numbers)} {job.label}{again}")

        def done(job: Job, how: Ended) -> None:
            ended[job.folder] = how
            noted(ended)
            if how.error is not None:
                tell(f"{job.label} failed: {how.error}")

        executor.run(left, Notices(begun, done))
    return ended


def _result_of(job: Job) -> Ended | None:
    return ended_in(job.folder) if job.has_result() else None


def ended_in(folder: Path) -> Ended | None:
    """How the run of a folder ended; None where it has not."""
    path = _beside(folder, _ENDED)
    return Ended(**json.loads(path.read_text())) if path.is_file() else None


def run_job(job: Job, num_threads: int) -> Ended:
    """In the process of the run: run it, and write down how it ended."""
    import torch

    torch.set_num_threads(num_threads)
    begun, error = time.perf_counter(), None
    with _said_to(_beside(job.folder, _LOG)):
        try:
            job.work.run(job.folder, print)
        except UnskewError as failure:
            error = " ".join(str(failure).split())
        except Exception as failure:  # noqa: BLE001 - told in the table; the traceback stands in the log
            traceback.print_exc()
            error = f"{type(failure).__name__}: {' '.join(str(failure).split())}"
    ended = Ended(error, time.perf_counter() - begun, time.process_time())
    job.note(ended)
    return ended


def prepare(job: Job) -> None:
    """Forget how an earlier try ended, and make room."""
    _beside(job.folder, _ENDED).unlink(missing_ok=True)
    job.folder.parent.mkdir(parents=True, exist_ok=True)


def lost(job: Job, why: str, begun: float) -> Ended:
    """How a job ended whose process is gone and wrote nothing down."""
    ended = Ended(f"{why}, see {_beside(job.folder, _LOG)}", time.perf_counter() - begun, 0.0)
    job.note(ended)
    return ended


def _beside(folder: Path, ending: str) -> Path:
    return folder.with_name(folder.name + ending)


def _context() -> Any:
    """Processes that find the libraries loaded, where the system can fork."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return context


@contextmanager
def _said_to(path: Path) -> Iterator[None]:
    """Output of this process, its libraries' included, goes to a file."""
    with path.open("a", encoding="utf-8") as file:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
            os.dup2(file.fileno(), stream.fileno())
        yield
        sys.stdout.flush()
        sys.stderr.flush()
