"""Commands on finished runs: compare them, hold one against requirements, write its page again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unskew.console import Data, Model, OutputDir, Traceback, explained, listed, say
from unskew.errors import ConfigError

if TYPE_CHECKING:
    from unskew.executing import Executor

EXIT_FAILED, EXIT_GATE = 1, 3
ExecutorName = Annotated[
    str | None,
    typer.Option(
        "--executor",
        help="`local`: processes of this machine; `ray`: tasks of the Ray at RAY_ADDRESS or here. "
        "`sweep` without it, workers and resources runs one after the other and shows the stages.",
    ),
]
Workers = Annotated[int | None, typer.Option(min=1, help="Local runs side by side; two if unset.")]
CpusPerRun = Annotated[
    int | None,
    typer.Option("--cpus-per-run", min=1, help="Threads of a run, set aside on Ray; one if unset."),
]
GpusPerRun = Annotated[
    float | None,
    typer.Option("--gpus-per-run", min=0, help="What Ray sets aside, e.g. 0.5; none if unset."),
]
Retries = Annotated[int, typer.Option(min=0, help="Try a run that failed so often again.")]


@explained
def compare(  # noqa: PLR0913 - one option each
    runs: Annotated[
        list[str],
        typer.Argument(help="Folders of finished runs; recipes (`unskew list`) are run first."),
    ],
    output_dir: OutputDir = Path("runs/compare"),
    baseline: Annotated[
        str | None,
        typer.Option(help="Run, recipe or `base` to hold the others against; every pair if unset."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of bootstrap and test, and of recipes.")] = 0,
    model: Model = None,
    data: Data = None,
    setting: Annotated[
        list[str] | None,
        typer.Option(help="`key=value` of all recipes that are run; also several times."),
    ] = None,
    executor: ExecutorName = None,
    workers: Workers = None,
    cpus_per_run: CpusPerRun = None,
    gpus_per_run: GpusPerRun = None,
    retries: Retries = 0,
    show_traceback: Traceback = False,
) -> None:
    """Compare runs on the same items: one table, intervals, corrected paired tests, plots.

    Recipes among them are run on --model and --data; the same command goes on. Exit 1 if one
    failed.

    Example: `unskew compare runs/one runs/two --output-dir runs/one-or-two`, or
    `unskew compare biasunlearn dpo --model gpt2 --data pairs.jsonl --output-dir runs/which`
    """
    from unskew.comparing import compare_recipes, is_recipe
    from unskew.comparison.compare import FILES
    from unskew.comparison.compare import compare as compare_runs

    failed: tuple[str, ...] = ()
    if any(map(is_recipe, runs)):
        found = compare_recipes(
            runs,
            model=model,
            data=data,
            output_dir=output_dir,
            baseline=baseline,
            seed=seed,
            settings=setting or (),
            executor=_executor(executor, workers, cpus_per_run, gpus_per_run),
            retries=retries,
            tell=say,
        )
        compared, output_dir, failed = found.compared, found.folder, found.failed
    else:
        _refuse_without_recipes(model, data, setting, executor, workers, cpus_per_run, gpus_per_run)
        compared = compare_runs(runs, output_dir=output_dir, baseline=baseline, seed=seed)
    if compared is not None:
        for tested in compared.tested():
            say(f"{tested.title} ({tested.aim}): {compared.standing(tested.key)}")
        say(f"files: {', '.join(str(output_dir / name) for name in FILES)}")
    if failed:
        raise typer.Exit(EXIT_FAILED)


def _refuse_without_recipes(*given: object) -> None:
    if any(given):
        raise ConfigError(
            "model, data, settings and executor are for recipes, and only folders of runs are "
            "named (no recipe of that name? see unskew list)"
        )


@explained
def sweep(  # noqa: PLR0913 - one option each
    recipe: Annotated[str, typer.Argument(help="Name of a recipe (`unskew list`) or a YAML file.")],
    grid: Annotated[
        list[str],
        typer.Option(help="Setting and values, e.g. `seed=[0,1,2]`; also several times."),
    ],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="Settings of all runs, as `key=value`.")
    ] = None,
    model: Model = None,
    data: Data = None,
    output_dir: Annotated[
        Path, typer.Option("--output-dir", help="A folder for the runs; the same one goes on.")
    ] = Path("runs/sweep"),
    beside: Annotated[
        list[Path] | None,
        typer.Option(help="A finished run that is compared and drawn, too; also several times."),
    ] = None,
    executor: ExecutorName = None,
    workers: Workers = None,
    cpus_per_run: CpusPerRun = None,
    gpus_per_run: GpusPerRun = None,
    retries: Retries = 0,
    show_traceback: Traceback = False,
) -> None:
    """Run a recipe at every point of a grid and compare the runs. Exit 1 if one failed.

    Example: `unskew sweep sdu_world --model world --data world --grid seed=[0,1,2]
    --grid stages.mask.choose.fraction=[0.1,0.3,1.0] --output-dir runs/fraction`
    """
    from unskew.recipes import parse_grid
    from unskew.sweeping import sweep as run_sweep

    given = (executor, workers, cpus_per_run, gpus_per_run)
    swept = run_sweep(
        recipe,
        parse_grid(grid),
        model=model,
        data=data,
        output_dir=output_dir,
        overrides=overrides or [],
        beside=beside or [],
        executor=None if given == (None,) * len(given) else _executor(*given),
        retries=retries,
        tell=say,
    )
    for point in swept.points:
        say(f"{point.name}: {point.error or 'done'}")
    if swept.compared is not None:
        say(f"comparison: {swept.compared / 'compare.html'}")
    if swept.fronts:
        say(f"bias against damage: {', '.join(map(str, swept.fronts))}")
    if swept.failed:
        raise typer.Exit(EXIT_FAILED)


@explained
def reproduce(  # noqa: PLR0913 - one option each
    plan: Annotated[str, typer.Argument(help="Name of a plan (`unskew list`) or a YAML file.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(help="Settings of all runs, as `key=value`, over the plan's."),
    ] = None,
    output_dir: Annotated[
        Path | None,
        typer.Option("--output-dir", help="A folder for the runs; the same one goes on."),
    ] = None,
    models: Annotated[
        str | None, typer.Option(help="Other models than the plan's, with commas between.")
    ] = None,
    bases: Annotated[
        str | None,
        typer.Option(
            help="The base of each model, in order, for a plan that carries from base to sibling."
        ),
    ] = None,
    data: Data = None,
    report_data: Annotated[
        str | None, typer.Option(help="Report on this data set instead of a split of --data.")
    ] = None,
    seeds: Annotated[
        str | None, typer.Option(help="Other seeds than the plan's, with commas between.")
    ] = None,
    executor: ExecutorName = None,
    workers: Workers = None,
    cpus_per_run: CpusPerRun = None,
    gpus_per_run: GpusPerRun = None,
    retries: Retries = 0,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check every run and estimate its cost; run nothing.")
    ] = False,
    show_traceback: Traceback = False,
) -> None:
    """Run every recipe of a plan with every seed; one page of means. Exit 1 if a run failed.

    Example: `unskew reproduce world --output-dir runs/compare-world`
    """
    from unskew.planning import run_plan, summarise
    from unskew.plans import only, read_plan

    chosen = only(
        read_plan(plan),
        models=listed(models) or (),
        seeds=listed(seeds) or (),
        data=data,
        report_data=report_data,
        bases=listed(bases) or (),
        settings=overrides or (),
    )
    if dry_run:
        from unskew.estimating import forecast

        for line in forecast(chosen):
            say(line)
        return
    folder = output_dir or Path("runs") / Path(plan).stem
    how = _executor(executor, workers, cpus_per_run, gpus_per_run)
    ended = run_plan(chosen, folder, executor=how, retries=retries, tell=say)
    for page in summarise(chosen, folder, tell=say):
        say(f"page: {page}")
    if any(run.error is not None for run in ended.values()):
        raise typer.Exit(EXIT_FAILED)


def _executor(
    name: str | None, workers: int | None, cpus_per_run: int | None, gpus_per_run: float | None
) -> Executor:
    from unskew.executors import executor_for

    return executor_for(
        name or "local",
        workers=workers,
        cpus_per_run=cpus_per_run or 1,
        gpus_per_run=gpus_per_run or 0.0,
    )


@explained
def check(
    run: Annotated[Path, typer.Argument(help="Folder of a run.")],
    require: Annotated[
        list[str],
        typer.Option(help="E.g. `stereoset.ss.overall in [47,53]`; may be given several times."),
    ],
    junit: Annotated[
        Path | None, typer.Option("--junit", help="Write a JUnit XML file, too.")
    ] = None,
    show_traceback: Traceback = False,
) -> None:
    """Hold a run against requirements. Exit 3 where one is not met or was not measured.

    Example: `unskew check runs/one --require "reasoning.accuracy.overall >= 95"`
    """
    from unskew import gates

    found = gates.check(run, require)
    if junit is not None:
        gates.junit(found, run, junit)
    for gate in found:
        say(gate.line)
    if any(gate.verdict != "met" for gate in found):
        raise typer.Exit(EXIT_GATE)


@explained
def report(
    run: Annotated[Path, typer.Argument(help="Folder of a run.")], show_traceback: Traceback = False
) -> None:
    """Write a run's report.html again from its record."""
    from unskew.reports.page import render_page

    say(str(render_page(run)))
