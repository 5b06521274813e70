"""The command `unskew judge`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from unskew.console import OutputDir, Traceback, explained, tell


@explained
def judge(
    benchmark: Annotated[str, typer.Argument(help="NAME:PLACE, as the run was asked for it.")],
    replies: Annotated[Path, typer.Option(help="Stored replies: a file in a run's generated/.")],
    judge: Annotated[Path, typer.Option(help="YAML with the settings of evaluation.judge.")],
    output_dir: OutputDir = Path("runs/judge"),
    seed: Annotated[int, typer.Option(help="Seed of the bootstrap.")] = 0,
    show_traceback: Traceback = False,
) -> None:
    """Judge a run's stored replies, again or by another judge, without the model.

    Example: `unskew judge ceb_conversation:ceb/CEB-Conversation-S
    --replies runs/one/generated/evaluated-ceb_conversation-CEB-Conversation-S.jsonl
    --judge judge.yaml --output-dir runs/judged`
    """
    from unskew.judgement import judge_stored

    tell(judge_stored(benchmark, replies, judge, output_dir=output_dir, seed=seed), output_dir)
