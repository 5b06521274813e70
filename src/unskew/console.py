"""What every command shares: its options, how an error is told, where the result is."""

from __future__ import annotations

import functools
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from unskew.errors import ConfigError, UnskewError

EXIT_INTERRUPTED = 130
CONTEXT = {
    "help_option_names": ["-h", "--help"],
    # Options are written with dashes; Hugging Face users type underscores.
    "token_normalize_func": lambda name: name.replace("_", "-"),
}

Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        "--model_name_or_path",
        help="Hub id, folder, `world` or `world-questions` (an invented world's taught model).",
    ),
]
Data = Annotated[
    str | None,
    typer.Option(
        "--data",
        "--dataset_name",
        help="StereoSet JSON, CrowS-Pairs CSV, own JSONL/CSV, datasets folder, hub id, `world`, "
        "`world-questions`.",
    ),
]
OutputDir = Annotated[Path, typer.Option("--output-dir", help="Folder of the run; must be new.")]
Revision = Annotated[
    str | None, typer.Option("--revision", "--model_revision", help="Branch, tag or commit.")
]
Resume = Annotated[
    bool, typer.Option("--resume", help="Go on in a folder where a run was cut off.")
]
Dtype = Annotated[str, typer.Option("--dtype", help="float32, bfloat16 or float16.")]
Format = Annotated[
    str | None,
    typer.Option(
        "--format", help="auto, stereoset, crows_pairs, jsonl, csv, datasets; to measure on, bbq."
    ),
]
Columns = Annotated[
    list[str] | None,
    typer.Option(
        "--column", help="OURS=THEIRS, for own tables, e.g. `--column stereotype=biased`."
    ),
]
Names = Annotated[
    str,
    typer.Option(
        "--benchmarks",
        help="Names with commas between, `auto` or `guard`; NAME:PLACE for one on data of its own.",
    ),
]
Traceback = Annotated[bool, typer.Option("--traceback", help="Show where an error was raised.")]


def explained(command: Callable[..., Any]) -> Callable[..., Any]:
    """One line for an error that a user can mend, with its exit code; no traceback unless asked."""

    @functools.wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        show_traceback = kwargs.pop("show_traceback")
        try:
            return command(*args, **kwargs)
        except UnskewError as error:
            if show_traceback:
                traceback.print_exc()
            complain(" ".join(str(error).split()))
            raise typer.Exit(error.exit_code) from error
        except KeyboardInterrupt as error:
            folder = kwargs.get("output_dir", Path())
            is_kept = "resume" in kwargs and (folder / "config.yaml").is_file()
            how = f"; {folder} is kept, go on with the same command and --resume" if is_kept else ""
            complain(f"interrupted{how}")
            raise typer.Exit(EXIT_INTERRUPTED) from error

    return wrapped


def complain(text: str) -> None:
    """One line on standard error, in place of a progress bar that an error left behind."""
    tqdm = getattr(sys.modules.get("tqdm"), "tqdm", None)
    for bar in tuple(getattr(tqdm, "_instances", ())):
        bar.leave = False
        bar.close()
    typer.echo(f"unskew: {text}", err=True)


def columns(pairs: list[str] | None) -> dict[str, str] | None:
    """`OURS=THEIRS` words as a mapping.

    Raises:
        ConfigError: A word is not of that form.
    """
    if not pairs:
        return None
    split = [pair.partition("=") for pair in pairs]
    for ours, equals, theirs in split:
        if not (ours and equals and theirs):
            raise ConfigError(f"--column {ours}{equals}{theirs} is not of the form OURS=THEIRS")
    return {ours: theirs for ours, _, theirs in split}


def node(text: str | None) -> dict[str, Any] | None:
    """A part and its settings, written `{name: NAME, setting: value}`; None for none.

    Raises:
        ConfigError: It is not of that form.
    """
    if text is None:
        return None
    # Here, as `unskew --help` has no use for a YAML parser.
    import yaml

    from unskew.recipes import parse_yaml

    try:
        value = parse_yaml(text)
    except yaml.YAMLError:
        value = None
    if not isinstance(value, dict):
        raise ConfigError(f"{text!r} is not of the form '{{name: NAME, setting: value}}'")
    return value


def listed(text: str | None) -> list[str] | None:
    """The names between commas; None for none."""
    return [part.strip() for part in text.split(",") if part.strip()] if text else None


def say(line: str) -> None:
    """One line on standard output, at once, from one process."""
    from unskew.training.launch import is_main_process

    if is_main_process():
        typer.echo(line)


def tell(record: Any, output_dir: Path) -> None:
    """The verdict, and where to look."""
    from unskew.reports.verdict import verdict

    say(verdict(record).sentence)
    say(f"report: {output_dir / 'report.html'}")
    say(f"record: {output_dir / 'record.json'}")
