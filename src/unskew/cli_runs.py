"""Commands on finished runs: compare them, hold one against requirements, write its page again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from unskew.console import OutputDir, Traceback, explained, say

EXIT_GATE = 3


@explained
def compare(
    runs: Annotated[list[Path], typer.Argument(help="Folders of finished runs.")],
    output_dir: OutputDir = Path("runs/compare"),
    baseline: Annotated[
        str | None,
        typer.Option(help="Run, or `base`, to hold the others against; every pair if unset."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of bootstrap and test.")] = 0,
    show_traceback: Traceback = False,
) -> None:
    """Compare runs on the same items: one table, intervals, corrected paired tests, plots.

    Example: `unskew compare runs/one runs/two --output-dir runs/one-or-two`
    """
    from unskew.comparison.compare import FILES
    from unskew.comparison.compare import compare as compare_runs

    compared = compare_runs(runs, output_dir=output_dir, baseline=baseline, seed=seed)
    for tested in compared.tested():
        say(f"{tested.title} ({tested.aim}): {compared.standing(tested.key)}")
    say(f"files: {', '.join(str(output_dir / name) for name in FILES)}")


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
