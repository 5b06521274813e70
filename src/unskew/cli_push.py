"""The command `unskew push`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from unskew.console import OutputDir, Traceback, explained, say


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
