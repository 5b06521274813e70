"""Runs a plan: each run in a process of its own, some side by side; it goes on where it stopped."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from unskew.carrying import Carrying
from unskew.comparison.compare import COMPARED, compare
from unskew.comparison.means import Method, Result
from unskew.comparison.overview import write_overview
from unskew.comparison.published import beside
from unskew.errors import ArtifactError
from unskew.executing import (
    BASELINES,
    Ended,
    Executor,
    Job,
    LocalExecutor,
    Unlearning,
    Work,
    ended_in,
    run_all,
)
from unskew.files import write_text
from unskew.hub.carry import left_by
from unskew.plans import Contender, Plan, Task, word
from unskew.published import audit
from unskew.reports.record import RunRecord
from unskew.stages.workshop import Tell
from unskew.world.teach import taught_world
from unskew.world_names import worlds_among

__all__ = ["PLAN_FILE", "Ended", "ended_runs", "run_plan", "summarise"]

PLAN_FILE = "plan.yaml"


def run_plan(
    plan: Plan,
    output_dir: Path,
    *,
    executor: Executor | None = None,
    retries: int = 0,
    tell: Tell = lambda _: None,
) -> dict[Task, Ended]:
    """Run all that has no result yet.

    Called again on the same folder it goes on: finished runs stay, cut-off ones resume, failed
    ones are tried again. A run that fails is told and the others go on. What is carried is so when
    the runs that it comes from have ended; where one of those has no result, it has none.

    Args:
        plan: What to run.
        output_dir: A folder for each model, in it one for each contender, in it one for each seed.
        executor: What runs them; two side by side, with one thread each, if None.
        retries: How often a run that failed is tried again in this call.
        tell: Given a line before and after each run.

    Returns:
        How each run ended, in the order of the plan.

    Raises:
        ConfigError: A configuration is wrong: all are checked before the first is run.
    """
    settings = {task: plan.configuration(task) for task in plan.runs()}
    write_text(output_dir / PLAN_FILE, _as_yaml(plan))
    for name in worlds_among(plan.data, *(task.model for task in settings)):
        tell(f"teaching the invented {name}, biased and balanced (once, then cached)")
        taught_world(name=name)
    shared, how = (output_dir / BASELINES).resolve(), executor or LocalExecutor()

    def job(task: Task, work: Work) -> Job:
        return Job(task.label, work, output_dir / task.folder)

    made = [job(t, Unlearning(own, shared)) for t, own in settings.items() if t.source is None]
    run_all(made, how, retries=retries, tell=tell)
    carried = []
    for task, own in settings.items():
        if task.source is None:
            continue
        # A cluster's node may have another working folder.
        source = (output_dir / task.source.folder).resolve()
        found = job(task, Carrying(source, own))
        if (error := _nothing_from(task.source, source)) is None:
            carried.append(found)
        else:
            found.note(Ended(error, 0.0, 0.0))
            tell(f"{task.label} failed: {error}")
    run_all(carried, how, retries=retries, tell=tell)
    return ended_runs(plan, output_dir)


def _nothing_from(source: Task, folder: Path) -> str | None:
    """Why there is nothing to carry from a run; None where there is something."""
    ended = ended_in(folder)
    why = "it has not been run" if ended is None else ended.error
    if why is None:
        try:
            left_by(folder)
        except ArtifactError as error:
            why = str(error)
    return None if why is None else f"there is nothing to carry from {source.label}: {why}"


def ended_runs(plan: Plan, output_dir: Path) -> dict[Task, Ended]:
    """How the runs of a plan ended; those that have not are absent."""
    found = {task: ended_in(output_dir / task.folder) for task in plan.runs()}
    return {task: ended for task, ended in found.items() if ended is not None}


def _as_yaml(plan: Plan) -> str:
    return yaml.safe_dump(plan.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def summarise(plan: Plan, output_dir: Path, *, tell: Tell = lambda _: None) -> list[Path]:
    """Write the overview of each model, and the item-by-item comparison of the plan's choice.

    A base from which something was carried has an overview of the runs that it came from.

    Returns:
        The pages.

    Raises:
        DataError: A record cannot be read, or runs that are compared do not belong together.
    """
    ended, pages = ended_runs(plan, output_dir), []
    of_model: dict[str, list[Task]] = {model: [] for model in plan.models}
    for task in plan.runs():
        of_model.setdefault(task.model, []).append(task)
    for model, tasks in of_model.items():
        folder = output_dir / word(model)
        methods = [_method(output_dir, c, tasks, ended) for c in plan.contenders]
        methods = [method for method in methods if method.results]
        write_overview(
            methods,
            folder,
            title=f"{'All methods on' if model in plan.models else 'Carried from'} {model}",
            description=plan.description,
            source=plan.source,
            notes=_notes(plan, tasks, ended),
            published=beside(plan.published, model, methods) if plan.published else (),
        )
        pages.append(folder / "overview.html")
        found = [output_dir / t.folder for t in _beside_each_other(plan, tasks, ended)]
        if len(found) > 1:
            tell(f"comparing {len(found)} runs of {model} item by item")
            target = folder / COMPARED
            shutil.rmtree(target, ignore_errors=True)
            # Against one of them, since every pair of seven would take minutes to draw.
            compare(found, output_dir=target, baseline=str(found[0]))
            pages.append(target / "compare.html")
    return pages


def _method(
    output_dir: Path, contender: Contender, tasks: Sequence[Task], ended: Mapping[Task, Ended]
) -> Method:
    """A contender's runs among the tasks of one model."""
    results = []
    for task in tasks:
        if task.contender != contender:
            continue
        error = ended[task].error if task in ended else "not run yet"
        record = RunRecord.load(output_dir / task.folder) if error is None else None
        results.append(Result(task.seed, record, error))
    return Method(contender.name, tuple(results))


def _beside_each_other(
    plan: Plan, tasks: Sequence[Task], ended: Mapping[Task, Ended]
) -> list[Task]:
    return [
        task
        for task in tasks
        if task.seed == plan.seeds[0]
        and task.contender.name in plan.beside
        and task in ended
        and ended[task].error is None
    ]


def _notes(plan: Plan, tasks: Sequence[Task], ended: Mapping[Task, Ended]) -> list[str]:
    minutes = sum(run.process_seconds for run in ended.values()) / 60
    seeds = ", ".join(str(seed) for seed in plan.seeds)
    told = [f"seeds {seeds}; {len(ended)} runs took {minutes:.1f} minutes of one processor"]
    told += dict.fromkeys(
        f"{task.contender.name}: what {task.source.contender.name} left on {task.source.model}, "
        f"seed by seed and as it is; those runs are in {word(task.source.model)}/overview.html"
        for task in tasks
        if task.source is not None
    )
    model = tasks[0].model
    if plan.published is None or model not in plan.models:
        return told
    models = dict.fromkeys(row.model for row in plan.published.rows)
    absent = f"{plan.published.table} has no numbers for {model}, only for {', '.join(models)}"
    return [*told, *audit(plan.published), *([] if plan.published.of_model(model) else [absent])]
