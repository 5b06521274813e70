"""Runs a plan: each run in a process of its own, some side by side; it goes on where it stopped."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import sys
import time
import traceback
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from unskew.comparison.compare import compare
from unskew.comparison.means import Method, Result
from unskew.comparison.overview import write_overview
from unskew.comparison.published import beside
from unskew.errors import UnskewError
from unskew.files import is_taken, write_json, write_text
from unskew.plans import Contender, Plan, Task, word
from unskew.published import audit
from unskew.reports.record import RECORD_FILE, RunRecord
from unskew.run import AFTER, execute
from unskew.schema import WORLD, RunConfig
from unskew.stages.workshop import Tell
from unskew.world.teach import taught_world

__all__ = ["PLAN_FILE", "Ended", "ended_runs", "run_plan", "summarise"]

PLAN_FILE, COMPARED = "plan.yaml", "compare"
_ENDED, _LOG = ".json", ".log"
"""What stands beside the folder of a run: how it ended, and what it said."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How one run ended."""

    error: str | None
    """Why it has no result; None where it has one."""
    seconds: float
    """Wall time, with loading and measuring."""
    process_seconds: float
    """Processor time; less than the wall time where the machine was shared."""


def run_plan(
    plan: Plan,
    output_dir: Path,
    *,
    workers: int = 2,
    tell: Tell = lambda _: None,
) -> dict[Task, Ended]:
    """Run all that has no result yet.

    Called again on the same folder it goes on: finished runs stay, cut-off ones resume, failed
    ones are tried again. A run that fails is told and the others go on.

    Args:
        plan: What to run.
        output_dir: A folder for each model, in it one for each contender, in it one for each seed.
        workers: Runs side by side, each with one thread.
        tell: Given a line before and after each run.

    Returns:
        How each run ended, in the order of the plan.

    Raises:
        ConfigError: A configuration is wrong: all are checked before the first is run.
    """
    settings = {task: plan.configuration(task) for task in plan.tasks()}
    write_text(output_dir / PLAN_FILE, _as_yaml(plan))
    if WORLD in (*plan.models, plan.data):
        tell("teaching the invented world, biased and balanced (once, then cached)")
        taught_world()
    left = [task for task in settings if not _is_finished(output_dir / task.folder, settings[task])]
    if len(left) < len(settings):
        tell(f"{len(settings) - len(left)} of {len(settings)} runs are there already")
    with ThreadPoolExecutor(workers) as pool:

        def do(numbered: tuple[int, Task]) -> None:
            number, task = numbered
            tell(f"{number}/{len(left)} {task.label}")
            ended = _in_a_process(settings[task], output_dir / task.folder)
            if ended.error is not None:
                tell(f"{task.label} failed: {ended.error}")

        list(pool.map(do, enumerate(left, start=1)))
    return ended_runs(plan, output_dir)


def ended_runs(plan: Plan, output_dir: Path) -> dict[Task, Ended]:
    """How the runs of a plan ended; those that have not are absent."""
    found = {task: _ended(output_dir / task.folder) for task in plan.tasks()}
    return {task: ended for task, ended in found.items() if ended is not None}


def _as_yaml(plan: Plan) -> str:
    return yaml.safe_dump(plan.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _beside(folder: Path, ending: str) -> Path:
    return folder.with_name(folder.name + ending)


def _ended(folder: Path) -> Ended | None:
    path = _beside(folder, _ENDED)
    return Ended(**json.loads(path.read_text())) if path.is_file() else None


def _is_finished(folder: Path, settings: RunConfig) -> bool:
    """Whether the run has a result of these very settings."""
    ended = _ended(folder)
    if ended is None or ended.error is not None or not (folder / RECORD_FILE).is_file():
        return False
    record = RunRecord.load(folder)
    return record.config_sha256 == settings.sha256() and bool(
        record.find(phase=AFTER, category=None)
    )


def _in_a_process(settings: RunConfig, folder: Path) -> Ended:
    """A process of its own: its peak memory is its own, and if it is killed the others go on."""
    _beside(folder, _ENDED).unlink(missing_ok=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    begun = time.perf_counter()
    process = _context().Process(target=_run, args=(settings, folder), daemon=True)
    process.start()
    process.join()
    ended = _ended(folder)
    if ended is None:
        what = f"the process ended with exit code {process.exitcode}, see {_beside(folder, _LOG)}"
        ended = Ended(what, time.perf_counter() - begun, 0.0)
        write_json(_beside(folder, _ENDED), asdict(ended))
    return ended


def _context() -> Any:
    """Processes that find the libraries loaded, where the system can fork."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return context


def _run(settings: RunConfig, folder: Path) -> None:
    """In the process of the run."""
    import torch

    torch.set_num_threads(1)
    begun, error = time.perf_counter(), None
    with _said_to(_beside(folder, _LOG)):
        try:
            execute(settings, folder, resume=is_taken(folder), tell=print)
        except UnskewError as failure:
            error = " ".join(str(failure).split())
        except Exception as failure:  # noqa: BLE001 - told in the table; the traceback stands in the log
            traceback.print_exc()
            error = f"{type(failure).__name__}: {' '.join(str(failure).split())}"
    ended = Ended(error, time.perf_counter() - begun, time.process_time())
    write_json(_beside(folder, _ENDED), asdict(ended))


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


def summarise(plan: Plan, output_dir: Path, *, tell: Tell = lambda _: None) -> list[Path]:
    """Write the overview of each model, and the item-by-item comparison of the plan's choice.

    Returns:
        The pages.

    Raises:
        DataError: A record cannot be read, or runs that are compared do not belong together.
    """
    ended, pages = ended_runs(plan, output_dir), []
    for model in plan.models:
        folder = output_dir / word(model)
        methods = [_method(plan, output_dir, c, model, ended) for c in plan.contenders]
        write_overview(
            methods,
            folder,
            title=f"All methods on {model}",
            description=plan.description,
            source=plan.source,
            notes=_notes(plan, model, ended),
            published=beside(plan.published, model, methods) if plan.published else (),
        )
        pages.append(folder / "overview.html")
        found = [output_dir / t.folder for t in _beside_each_other(plan, model, ended)]
        if len(found) > 1:
            tell(f"comparing {len(found)} runs of {model} item by item")
            target = folder / COMPARED
            shutil.rmtree(target, ignore_errors=True)
            # Against one of them, since every pair of seven would take minutes to draw.
            compare(found, output_dir=target, baseline=str(found[0]))
            pages.append(target / "compare.html")
    return pages


def _method(
    plan: Plan, output_dir: Path, contender: Contender, model: str, ended: Mapping[Task, Ended]
) -> Method:
    results = []
    for task in plan.tasks():
        if (task.contender, task.model) != (contender, model):
            continue
        error = ended[task].error if task in ended else "not run yet"
        record = RunRecord.load(output_dir / task.folder) if error is None else None
        results.append(Result(task.seed, record, error))
    return Method(contender.name, tuple(results))


def _beside_each_other(plan: Plan, model: str, ended: Mapping[Task, Ended]) -> list[Task]:
    wanted = (model, plan.seeds[0])
    return [
        task
        for task in plan.tasks()
        if (task.model, task.seed) == wanted
        and task.contender.name in plan.beside
        and task in ended
        and ended[task].error is None
    ]


def _notes(plan: Plan, model: str, ended: Mapping[Task, Ended]) -> list[str]:
    minutes = sum(run.process_seconds for run in ended.values()) / 60
    seeds = ", ".join(str(seed) for seed in plan.seeds)
    took = f"seeds {seeds}; {len(ended)} runs took {minutes:.1f} minutes of one processor"
    if plan.published is None:
        return [took]
    models = dict.fromkeys(row.model for row in plan.published.rows)
    absent = f"{plan.published.table} has no numbers for {model}, only for {', '.join(models)}"
    return [took, *audit(plan.published), *([] if plan.published.of_model(model) else [absent])]
