"""The command line: words in, calls to `run`, lines out. Nothing heavy is imported for `--help`.

Over 300 lines because every option stands in its command's signature, with its help.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from unskew import __version__, cli_deliver, cli_judge, cli_runs, cli_trace
from unskew.console import (
    CONTEXT,
    Columns,
    Data,
    Dtype,
    Format,
    Model,
    Names,
    OutputDir,
    Resume,
    Revision,
    Traceback,
    columns,
    complain,
    explained,
    listed,
    say,
    tell,
)
from unskew.errors import ConfigError

EXIT_MISTAKE = 2
BAR_AFTER_SECONDS = "2"
# Typer has no public name for the base of its usage errors.
UsageError: Any = typer.BadParameter.__mro__[1]
app = typer.Typer(
    name="unskew",
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings=CONTEXT,
    help=(
        "Take learned bias out of a causal language model, keep what it can do, and prove both.\n\n"
        "Start with `unskew demo`: the whole story offline, on an invented world, in minutes."
    ),
)
data_app = typer.Typer(help="Look at a data set, or check it.")
app.add_typer(data_app, name="data")


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        print(f"unskew {__version__}")
    elif context.invoked_subcommand is None:
        print(context.get_help())


@app.command()
@explained
def demo(
    overrides: Annotated[
        list[str] | None, typer.Argument(help="Settings of both runs as `key=value`.")
    ] = None,
    output_dir: OutputDir = Path("runs/demo"),
    seed: Annotated[int, typer.Option(help="Seed of the training run.")] = 0,
    resume: Resume = False,
    show_traceback: Traceback = False,
) -> None:
    """The whole story offline: teach an invented world, measure, unlearn, measure, write the page.

    Two small models are taught on first use (about a minute, then cached): one biased, and one
    that never was, the oracle of what perfect unlearning would give.
    """
    from unskew.demo import demo as run_demo

    record = run_demo(output_dir, seed=seed, overrides=overrides or [], resume=resume, tell=say)
    tell(record, output_dir)


@app.command()
@explained
def unlearn(
    recipe: Annotated[str, typer.Argument(help="Name of a recipe (`unskew list`) or a YAML file.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(help="Settings as dotted `key=value`, e.g. `objective.beta=0.2`."),
    ] = None,
    model: Model = None,
    data: Data = None,
    output_dir: OutputDir = Path("runs/unlearn"),
    config: Annotated[
        Path | None, typer.Option("--config", help="YAML file of settings; options go above it.")
    ] = None,
    resume: Resume = False,
    max_steps: Annotated[int | None, typer.Option(help="Optimizer steps at the most.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Peak learning rate.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of everything drawn.")] = None,
    bf16: Annotated[
        bool | None, typer.Option("--bf16/--no-bf16", help="Train and select in bfloat16.")
    ] = None,
    dtype: Annotated[str | None, typer.Option(help="float32, bfloat16 or float16.")] = None,
    revision: Revision = None,
    report_data: Annotated[
        str | None, typer.Option(help="Report on this data set instead of a split of --data.")
    ] = None,
    data_format: Format = None,
    column: Columns = None,
    categories: Annotated[
        str | None, typer.Option(help="Keep only these categories, with commas between.")
    ] = None,
    benchmarks: Annotated[
        str | None, typer.Option(help="Names with commas between; all the data can serve if unset.")
    ] = None,
    controls: Annotated[
        bool,
        typer.Option(help="Report other masks at equal bias, too (SDU)."),
    ] = False,
    show_traceback: Traceback = False,
) -> None:
    """Measure a model, unlearn by a recipe, measure again; write adapter, record and report.

    Example: `unskew unlearn biasunlearn --model openai-community/gpt2-medium
    --data McGill-NLP/stereoset --output-dir runs/gpt2m objective.beta=0.1`
    """
    from unskew.run import unlearn as run_unlearn

    options = {
        "training.max_steps": max_steps,
        "training.learning_rate": learning_rate,
        "stages.*.training.bf16": bf16,
        "seed": seed,
        "model.dtype": dtype,
        "model.revision": revision,
        "data.report_data": report_data,
        "data.format": data_format,
        "data.columns": columns(column),
        "data.categories": listed(categories),
        "evaluation.benchmarks": listed(benchmarks),
        "stages.*.controls": controls or None,
    }
    run = run_unlearn(
        recipe,
        model=model,
        data=data,
        output_dir=output_dir,
        config_file=config,
        options={k: v for k, v in options.items() if v is not None},
        overrides=overrides or [],
        resume=resume,
        tell=say,
    )
    tell(run.record, output_dir)


@app.command()
@explained
def evaluate(
    model: Model = None,
    data: Data = None,
    output_dir: OutputDir = Path("runs/evaluate"),
    adapter: Annotated[
        Path | None, typer.Option(help="Folder of an adapter or weight delta on this model.")
    ] = None,
    predictions: Annotated[
        Path | None,
        typer.Option(help="Stored answers instead of a model, for StereoSet or BBQ data."),
    ] = None,
    benchmarks: Names = "auto",
    start: Annotated[
        str, typer.Option(help="StereoSet's first token: `separate` (as published) or `prefix`.")
    ] = "separate",
    judge: Annotated[Path | None, typer.Option(help="YAML of evaluation.judge's settings.")] = None,
    rating: Annotated[Path | None, typer.Option(help="YAML of evaluation.rating's.")] = None,
    dtype: Dtype = "float32",
    revision: Revision = None,
    seed: Annotated[int, typer.Option(help="Seed of bootstrap and sampling.")] = 0,
    data_format: Format = None,
    column: Columns = None,
    show_traceback: Traceback = False,
) -> None:
    """Score a model on a data set, with intervals; write record, samples and report.

    Example: `unskew evaluate --model gpt2 --data stereoset/dev.json --output-dir runs/gpt2-dev`
    """
    from unskew import scoring

    source = scoring.DataSource(data, data_format or "auto", columns(column)) if data else None
    if predictions is not None:
        if source is None:
            raise ConfigError("--data is missing; name the data that the predictions are for")
        for_models = (model, adapter, revision, benchmarks, start, dtype)
        if for_models != (None, None, None, "auto", "separate", "float32"):
            raise ConfigError(
                "--predictions holds stored answers, in place of a model; leave out --model, "
                "--adapter, --revision, --benchmarks, --start and --dtype"
            )
        record = scoring.evaluate_predictions(predictions, source, output_dir=output_dir, seed=seed)
    elif model is None:
        raise ConfigError("--model is missing; name a model, or stored scores with --predictions")
    else:
        record = scoring.evaluate(
            model,
            source,
            output_dir=output_dir,
            adapter=adapter,
            benchmarks=listed(benchmarks) or ["auto"],
            start=start,
            judge=judge,
            rating=rating,
            model_options={"dtype": dtype, "revision": revision},
            seed=seed,
        )
    tell(record, output_dir)


app.command()(cli_runs.sweep)
app.command()(cli_runs.reproduce)
app.command()(cli_runs.compare)
app.command()(cli_runs.check)
app.command()(cli_runs.report)
app.command()(cli_trace.trace)
app.command()(cli_judge.judge)
app.command()(cli_deliver.transfer)
app.command()(cli_deliver.merge)
app.command()(cli_deliver.push)


@app.command("list")
@explained
def list_parts(show_traceback: Traceback = False) -> None:
    """Recipes, plans and all parts by their names: objectives, edits, benchmarks, ..."""
    from unskew.benchmarks import BENCHMARKS
    from unskew.classifiers import CLASSIFIERS
    from unskew.controllers import CONTROLLERS
    from unskew.decoders import DECODERS
    from unskew.edits import EDITS, PROJECTIONS
    from unskew.objectives import OBJECTIVES
    from unskew.plans import plan_names
    from unskew.recipes import read_recipe, recipe_names
    from unskew.saliency import SALIENCIES
    from unskew.updates import SCOPES, UPDATES

    print("recipes")
    for name in recipe_names():
        print(f"  {name:24} {read_recipe(name).get('description', '')}")
    print(f"plans\n  {', '.join(plan_names())}")
    computed = (SALIENCIES, EDITS, PROJECTIONS, DECODERS, CLASSIFIERS)
    for table in (OBJECTIVES, UPDATES, SCOPES, CONTROLLERS, *computed, BENCHMARKS):
        print(f"{table.kind}\n  {', '.join(table)}")


@app.command("lm-eval-path")
@explained
def lm_eval_path(show_traceback: Traceback = False) -> None:
    """The folder of our tasks for lm-evaluation-harness: `lm_eval --include_path $(...)`."""
    from unskew.lm_eval_tasks import task_folder

    print(task_folder())


@data_app.command("inspect")
@explained
def data_inspect(
    data: Annotated[str, typer.Option("--data", "--dataset_name", help="File, folder or hub id.")],
    data_format: Format = None,
    column: Columns = None,
    report_data: Annotated[str | None, typer.Option(help="Separate report set.")] = None,
    show_traceback: Traceback = False,
) -> None:
    """Counts per category and split, lengths, what was dropped and why, and samples."""
    from unskew.data.inspect import inspect_dataset, summary_lines
    from unskew.data.load import load_dataset

    dataset = load_dataset(
        data, format=data_format or "auto", columns=columns(column), report_data=report_data
    )
    print("\n".join(summary_lines(inspect_dataset(dataset))))


@data_app.command("validate")
@explained
def data_validate(
    data: Annotated[str, typer.Option("--data", "--dataset_name", help="File, folder or hub id.")],
    data_format: Format = None,
    column: Columns = None,
    show_traceback: Traceback = False,
) -> None:
    """Every fault of a file at once: file, row, field, mend. Exit 2 if there is one."""
    from unskew.data.inspect import validate

    problems = validate(data, format=data_format or "auto", columns=columns(column))
    for problem in problems:
        print(problem, file=sys.stderr)
    if problems:
        raise typer.Exit(EXIT_MISTAKE)
    print(f"{data}: no fault found")


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of the `unskew` command; ends the process with its exit code.

    Args:
        arguments: Words after `unskew`; those of this process if None.
    """
    # Read when transformers and tqdm are imported. What transformers would warn of and matters,
    # such as weights that a file lacks, is an error here.
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TQDM_DELAY", BAR_AFTER_SECONDS)
    command = typer.main.get_command(app)
    try:
        with warnings.catch_warnings():
            # Libraries talking to each other; nothing a user could mend.
            warnings.simplefilter("ignore", FutureWarning)
            code = command.main(args=arguments, prog_name="unskew", standalone_mode=False)
    except UsageError as error:
        path = error.ctx.command_path if error.ctx else "unskew"
        fault = error.format_message()
        complain(f"{fault}{'' if fault[-1] in '.?' else '.'} See `{path} --help`.")
        code = error.exit_code
    sys.exit(code or 0)


if __name__ == "__main__":
    main()
