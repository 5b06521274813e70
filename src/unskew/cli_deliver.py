"""Commands that deliver what a run left: onto a sibling, baked into its base, onto the hub."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from unskew.console import (
    Columns,
    Dtype,
    Format,
    OutputDir,
    Revision,
    Traceback,
    columns,
    explained,
    node,
    say,
    tell,
)
from unskew.errors import ConfigError


@explained
def transfer(
    artifact: Annotated[
        Path, typer.Option("--artifact", help="Folder of an adapter, delta or projection.")
    ],
    model: Annotated[str, typer.Option("--model", help="The sibling checkpoint.")],
    data: Annotated[
        str | None,
        typer.Option("--data", help="Pairs to measure on, those that the artefact has not seen."),
    ] = None,
    like: Annotated[
        Path | None,
        typer.Option(
            help="Measure like this run, in place of --data: its data, report split and settings "
            "of evaluation."
        ),
    ] = None,
    output_dir: OutputDir = Path("runs/transfer"),
    scale: Annotated[
        str,
        typer.Option(
            help="Factor on the artefact; `auto` finds it on the data's select split, under floors."
        ),
    ] = "1",
    original_run: Annotated[
        Path | None,
        typer.Option(
            "--original-run",
            help="Run that made the artefact, to hold its effect against; the folder around it "
            "if unset.",
        ),
    ] = None,
    dtype: Dtype = "float32",
    revision: Revision = None,
    seed: Annotated[int, typer.Option(help="Seed of bootstrap and sampling.")] = 0,
    data_format: Format = None,
    column: Columns = None,
    show_traceback: Traceback = False,
) -> None:
    """Carry debiasing weights to a sibling, e.g. from a base model to its instruction-tuned one.

    Checks that the artefact fits, measures the sibling without and with it, and writes the
    sibling's own. A sibling may need less or more of it than the base did: `--scale auto`.

    Example: `unskew transfer --artifact runs/mine/adapter --model my/instruct-sibling --data
    pairs.jsonl --output-dir runs/sibling`
    """
    from unskew.datasource import DataSource
    from unskew.transferring import transfer as carry

    if like is not None and (data_format or column):
        raise ConfigError("--format and --column are for --data; with --like the run says them")
    record = carry(
        artifact,
        model,
        None if data is None else DataSource(data, data_format or "auto", columns(column)),
        output_dir=output_dir,
        like=like,
        scale=_scale(scale),
        original_run=original_run,
        model_options={"dtype": dtype, "revision": revision},
        seed=seed,
    )
    assert record.transfer is not None
    if distance := record.transfer.distance:
        say(f"distance from the base's weights, relative: {distance.relative:.3g}")
    for kept in record.transfer.kept:
        if kept.share:
            say(f"kept of the effect on {kept.metric} ({kept.variant}): {kept.share.value:.0%}")
    tell(record, output_dir)


def _scale(text: str) -> Any:
    """A number, or the word `auto`.

    Raises:
        ConfigError: It is neither.
    """
    if text == "auto":
        return text
    try:
        return float(text)
    except ValueError as error:
        raise ConfigError(f"--scale is {text!r}; give a number above 0, or auto") from error


@explained
def merge(
    artifact: Annotated[
        list[Path],
        typer.Option("--artifact", help="Folder of an adapter or delta; with --edit also several."),
    ],
    model: Annotated[
        str | None, typer.Option("--model", help="Its base; the one it names if unset.")
    ] = None,
    output_dir: OutputDir = Path("runs/merged"),
    edit: Annotated[
        str | None,
        typer.Option(help="Arithmetic on the deltas, e.g. `{name: negation, gamma: 0.5}`."),
    ] = None,
    lora_rank: Annotated[
        int | None,
        typer.Option(min=1, help="Write a LoRA adapter of this rank, and how near it comes."),
    ] = None,
    dtype: Dtype = "float32",
    revision: Revision = None,
    show_traceback: Traceback = False,
) -> None:
    """Bake an adapter or delta into its base model: a folder that plain transformers loads."""
    from unskew.merging import merge as bake

    done = bake(
        artifact,
        model,
        output_dir=output_dir,
        edit=node(edit),
        lora_rank=lora_rank,
        model_options={"dtype": dtype, "revision": revision},
    )
    if done.relative_error is not None:
        say(f"adapter: {done.folder}")
        say(f"share of the change that its rank leaves out (Frobenius): {done.relative_error:.3g}")
        return
    say(f"model: {done.folder}")
    say(f"largest difference of a logit to adapter on base: {done.max_logit_difference:.2g}")


@explained
def push(
    artifact: Annotated[
        Path, typer.Option(help="Folder of a run, of its adapter/ or delta/, or a merged model.")
    ],
    repo_id: Annotated[str, typer.Option("--repo-id", "--hub_model_id", help="OWNER/NAME.")],
    output_dir: OutputDir = Path("runs/push"),
    run: Annotated[
        Path | None,
        typer.Option(help="Run whose numbers the card shows; needed for a merged model."),
    ] = None,
    licence: Annotated[
        str | None,
        typer.Option("--license", help="The hub's word, e.g. apache-2.0; left out if unset."),
    ] = None,
    private: Annotated[
        bool, typer.Option("--private", help="Make a new repository private.")
    ] = False,
    revision: Annotated[str | None, typer.Option(help="Branch; made where needed.")] = None,
    commit_message: Annotated[
        str, typer.Option("--commit-message", help="Of the commit.")
    ] = "Upload what unskew made",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Write the folder, upload nothing.")
    ] = False,
    show_traceback: Traceback = False,
) -> None:
    """Put what a run left on the Hugging Face hub, with a model card that shows its numbers.

    The token is that of `hf auth login` or HF_TOKEN. Offline the folder is written, to be
    uploaded later.

    Example: `unskew push --artifact runs/mine --repo-id me/even-gpt2 --license mit
    --output-dir runs/push`
    """
    from unskew.publishing import Upload
    from unskew.publishing import push as push_folder

    pushed = push_folder(
        artifact,
        repo_id,
        output_dir=output_dir,
        run=run,
        licence=licence,
        how=Upload(private, revision, commit_message),
        dry_run=dry_run,
    )
    say(f"folder: {pushed.folder}")
    if licence is None:
        say("the card names no licence; give it with --license")
    if pushed.url is None:
        why = "--dry-run" if dry_run else "offline (HF_HUB_OFFLINE)"
        say(f"nothing was uploaded, {why}; later: {pushed.later}")
    else:
        say(f"uploaded: {pushed.url}")
