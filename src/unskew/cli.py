"""The command line: words in, calls to `run`, lines out. Nothing heavy is imported for `--help`."""

from __future__ import annotations

import functools
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from unskew import __version__
from unskew.errors import ConfigError, UnskewError

EXIT_MISTAKE = 2
CONTEXT = {
    "help_option_names": ["-h", "--help"],
    # Options are written with dashes; Hugging Face users type underscores.
    "token_normalize_func": lambda name: name.replace("_", "-"),
}
app = typer.Typer(
    name="unskew",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings=CONTEXT,
    help=(
        "Take learned bias out of a causal language model, keep what it can do, and prove both.\n\n"
        "Start with `unskew demo`: the whole story offline, on an invented world, in minutes."
    ),
)
data_app = typer.Typer(no_args_is_help=True, help="Look at a data set, or check it.")
app.add_typer(data_app, name="data")

Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        "--model_name_or_path",
        help="Hub id, folder, or `world` for the invented world's taught model.",
    ),
]
Data = Annotated[
    str | None,
    typer.Option(
        "--data",
        "--dataset_name",
        help="StereoSet JSON, CrowS-Pairs CSV, own JSONL/CSV, datasets folder, hub id, or `world`.",
    ),
]
OutputDir = Annotated[Path, typer.Option("--output-dir", help="Folder of the run; must be new.")]
Resume = Annotated[
    bool, typer.Option("--resume", help="Go on in a folder where a run was cut off.")
]
Dtype = Annotated[str, typer.Option("--dtype", help="float32, bfloat16 or float16.")]
Format = Annotated[
    str, typer.Option("--format", help="auto, stereoset, crows_pairs, jsonl, csv or datasets.")
]
Columns = Annotated[
    list[str] | None,
    typer.Option(
        "--column", help="OURS=THEIRS, for own tables, e.g. `--column stereotype=biased`."
    ),
]
Names = Annotated[str, typer.Option("--benchmarks", help="Names with commas between, or `auto`.")]
Traceback = Annotated[bool, typer.Option("--traceback", help="Show where an error was raised.")]


def _explained(command: Callable[..., Any]) -> Callable[..., Any]:
    """One line for an error that a user can mend, with its exit code; no traceback unless asked."""

    @functools.wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        show = (
            bool(kwargs.pop("show_traceback", False)) or os.environ.get("UNSKEW_TRACEBACK") == "1"
        )
        try:
            return command(*args, **kwargs)
        except UnskewError as error:
            if show:
                traceback.print_exc()
            print(f"unskew: {' '.join(str(error).split())}", file=sys.stderr)
            raise typer.Exit(error.exit_code) from error

    return wrapped


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        print(f"unskew {__version__}")
        raise typer.Exit


@app.command()
@_explained
def demo(
    output_dir: OutputDir = Path("runs/demo"),
    seed: Annotated[int, typer.Option(help="Seed of the training run.")] = 0,
    show_traceback: Traceback = False,
) -> None:
    """The whole story offline: teach an invented world, measure, unlearn, measure, write the page.

    Two small models are taught on first use (about a minute, then cached): one biased, and one
    that never was, the oracle of what perfect unlearning would give.
    """
    from unskew.demo import demo as run_demo

    record = run_demo(output_dir, seed=seed, tell=print)
    _tell(record, output_dir)


@app.command()
@_explained
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
        bool | None, typer.Option("--bf16/--no-bf16", help="Train in autocast.")
    ] = None,
    dtype: Annotated[str | None, typer.Option(help="float32, bfloat16 or float16.")] = None,
    revision: Annotated[str | None, typer.Option("--model_revision", help="Hub revision.")] = None,
    report_data: Annotated[
        str | None, typer.Option(help="Report on this data set instead of a split of --data.")
    ] = None,
    data_format: Format = "auto",
    column: Columns = None,
    categories: Annotated[
        str | None, typer.Option(help="Keep only these categories, with commas between.")
    ] = None,
    benchmarks: Annotated[
        str | None, typer.Option(help="Names with commas between; all the data can serve if unset.")
    ] = None,
    show_traceback: Traceback = False,
) -> None:
    """Measure a model, unlearn by a recipe, measure again; write adapter, record and report.

    Example: `unskew unlearn biasunlearn --model openai-community/gpt2-medium
    --data McGill-NLP/stereoset --output-dir runs/gpt2m objective.beta=0.1`
    """
    from unskew.run import unlearn as run_unlearn

    options = {
        "stages.0.training.max_steps": max_steps,
        "stages.0.training.learning_rate": learning_rate,
        "stages.0.training.bf16": bf16,
        "seed": seed,
        "model.dtype": dtype,
        "model.revision": revision,
        "data.report_data": report_data,
        "data.format": data_format if data_format != "auto" else None,
        "data.columns": _columns(column),
        "data.categories": _listed(categories),
        "evaluation.benchmarks": _listed(benchmarks),
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
    )
    _tell(run.record, output_dir)


@app.command()
@_explained
def evaluate(
    model: Model = None,
    data: Data = None,
    output_dir: OutputDir = Path("runs/evaluate"),
    adapter: Annotated[
        Path | None, typer.Option(help="Folder of an adapter on this model.")
    ] = None,
    predictions: Annotated[
        Path | None,
        typer.Option(help="Stored sentence scores instead of a model; needs StereoSet data."),
    ] = None,
    benchmarks: Names = "auto",
    start: Annotated[
        str, typer.Option(help="StereoSet's first token: `separate` (as published) or `prefix`.")
    ] = "separate",
    dtype: Dtype = "float32",
    revision: Annotated[str | None, typer.Option("--model_revision", help="Hub revision.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of bootstrap and sampling.")] = 0,
    data_format: Format = "auto",
    column: Columns = None,
    show_traceback: Traceback = False,
) -> None:
    """Score a model on a data set, with intervals; write record, samples and report.

    Example: `unskew evaluate --model gpt2 --data stereoset/dev.json --output-dir runs/gpt2-dev`
    """
    from unskew import evaluate as scoring

    if data is None:
        raise ConfigError("--data is missing; name the pairs to score on")
    source = scoring.DataSource(data, data_format, _columns(column))
    if predictions is not None:
        if model is not None or adapter is not None:
            raise ConfigError(
                "--predictions stands in for a model; leave out --model and --adapter"
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
            benchmarks=_listed(benchmarks) or ["auto"],
            start=start,
            model_options={"dtype": dtype, "revision": revision},
            seed=seed,
        )
    _tell(record, output_dir)


@app.command()
@_explained
def transfer(
    artifact: Annotated[Path, typer.Option("--artifact", help="Folder of an adapter.")],
    model: Annotated[str, typer.Option("--model", help="The sibling checkpoint.")],
    data: Annotated[str, typer.Option("--data", help="Pairs to measure on.")],
    output_dir: OutputDir = Path("runs/transfer"),
    scale: Annotated[float, typer.Option(help="Factor on the carried weights.")] = 1.0,
    dtype: Dtype = "float32",
    seed: Annotated[int, typer.Option(help="Seed of bootstrap and sampling.")] = 0,
    show_traceback: Traceback = False,
) -> None:
    """Carry debiasing weights to a sibling, e.g. from a base model to its instruction-tuned one.

    Checks that the adapter fits, applies it, and measures the sibling before and after.
    """
    from unskew.evaluate import transfer as carry

    record = carry(
        artifact,
        model,
        data,
        output_dir=output_dir,
        scale=scale,
        model_options={"dtype": dtype},
        seed=seed,
    )
    _tell(record, output_dir)


@app.command()
@_explained
def report(
    run: Annotated[Path, typer.Argument(help="Folder of a run.")], show_traceback: Traceback = False
) -> None:
    """Write a run's report.html again from its record."""
    from unskew.reports.page import render_page

    print(render_page(run))


@app.command("list")
@_explained
def list_parts(show_traceback: Traceback = False) -> None:
    """Recipes, objectives, rules, scopes, controllers and benchmarks."""
    from unskew.benchmarks import BENCHMARKS
    from unskew.config import read_recipe, recipe_names
    from unskew.controllers import CONTROLLERS
    from unskew.objectives import OBJECTIVES
    from unskew.updates import SCOPES, UPDATES

    print("recipes")
    for name in recipe_names():
        print(f"  {name:24} {read_recipe(name).get('description', '')}")
    for table in (OBJECTIVES, UPDATES, SCOPES, CONTROLLERS, BENCHMARKS):
        print(f"{table.kind}\n  {', '.join(table)}")


@data_app.command("inspect")
@_explained
def data_inspect(
    data: Annotated[str, typer.Option("--data", "--dataset_name", help="File, folder or hub id.")],
    data_format: Format = "auto",
    column: Columns = None,
    report_data: Annotated[str | None, typer.Option(help="Separate report set.")] = None,
    show_traceback: Traceback = False,
) -> None:
    """Counts per category and split, lengths, what was dropped and why, and samples."""
    from unskew.data.inspect import inspect_dataset, summary_lines
    from unskew.data.load import load_dataset

    dataset = load_dataset(
        data, format=data_format, columns=_columns(column), report_data=report_data
    )
    print("\n".join(summary_lines(inspect_dataset(dataset))))


@data_app.command("validate")
@_explained
def data_validate(
    data: Annotated[str, typer.Option("--data", "--dataset_name", help="File, folder or hub id.")],
    data_format: Format = "auto",
    column: Columns = None,
    show_traceback: Traceback = False,
) -> None:
    """Every fault of a file at once: file, row, field, mend. Exit 2 if there is one."""
    from unskew.data.inspect import validate

    problems = validate(data, format=data_format, columns=_columns(column))
    for problem in problems:
        print(problem, file=sys.stderr)
    if problems:
        raise typer.Exit(EXIT_MISTAKE)
    print(f"{data}: no fault found")


def _columns(pairs: list[str] | None) -> dict[str, str] | None:
    if not pairs:
        return None
    split = [pair.partition("=") for pair in pairs]
    for ours, equals, theirs in split:
        if not (ours and equals and theirs):
            raise ConfigError(f"--column {ours}{equals}{theirs} is not of the form OURS=THEIRS")
    return {ours: theirs for ours, _, theirs in split}


def _listed(text: str | None) -> list[str] | None:
    return [part.strip() for part in text.split(",") if part.strip()] if text else None


def _tell(record: Any, output_dir: Path) -> None:
    """The verdict, and where to look."""
    from unskew.reports.verdict import verdict

    print(verdict(record).sentence)
    print(f"report: {output_dir / 'report.html'}")
    print(f"record: {output_dir / 'record.json'}")


def main() -> None:
    """Entry point of the `unskew` command."""
    app()


if __name__ == "__main__":
    main()
