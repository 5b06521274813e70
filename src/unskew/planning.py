"""Runs a plan: each run in a process of its own, some side by side; it goes on where it stopped."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import yaml

from unskew.comparison.compare import compare
from unskew.comparison.means import Method, Result
from unskew.comparison.overview import write_overview
from unskew.comparison.published import beside
from unskew.executing import Ended, Executor, Job, LocalExecutor, ended_in, run_all
from unskew.files import write_text
from unskew.plans import Contender, Plan, Task, word
from unskew.published import audit
from unskew.reports.record import RunRecord
from unskew.stages.workshop import Tell
from unskew.world.teach import taught_world
from unskew.world_names import worlds_among

__all__ = ["PLAN_FILE", "Ended", "ended_runs", "run_plan", "summarise"]

PLAN_FILE, COMPARED = "plan.yaml", "compare"


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
    ones are tried again. A run that fails is told and the others go on.

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
    settings = {task: plan.configuration(task) for task in plan.tasks()}
    write_text(output_dir / PLAN_FILE, _as_yaml(plan))
    for name in worlds_among(*plan.models, plan.data):
        tell(f"teaching the invented {name}, biased and balanced (once, then cached)")
        taught_world(name=name)
    jobs = [Job(task.label, own, output_dir / task.folder) for task, own in settings.items()]
    run_all(jobs, executor or LocalExecutor(), retries=retries, tell=tell)
    return ended_runs(plan, output_dir)


def ended_runs(plan: Plan, output_dir: Path) -> dict[Task, Ended]:
    """How the runs of a plan ended; those that have not are absent."""
    found = {task: ended_in(output_dir / task.folder) for task in plan.tasks()}
    return {task: ended for task, ended in found.items() if ended is not None}


def _as_yaml(plan: Plan) -> str:
    return yaml.safe_dump(plan.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


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
