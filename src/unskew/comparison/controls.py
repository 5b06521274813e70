"""A run's result against the controls that it measured beside it, on the same items."""

from __future__ import annotations

from pathlib import Path

from unskew.comparison.contest import contest
from unskew.comparison.lineup import line_up
from unskew.comparison.pairing import shared_scores
from unskew.reports.findings import final_phase
from unskew.reports.selection_record import ControlRow
from unskew.types import OVERALL

ENTANGLED = "entangled"
"""Questions that mention a group: where the cost of unlearning a bias shows first."""


def held_against_controls(run_dir: Path, *, seed: int = 0) -> list[ControlRow]:
    """Paired differences of the result to each control, for what is overall or entangled.

    Args:
        run_dir: Folder of a run whose record and samples hold the phases of its controls.
        seed: Of bootstrap and sign-flip test.

    Raises:
        DataError: Samples and record do not agree.
    """
    lineup = line_up([run_dir])
    (run, *controls) = lineup.runs
    assert run.phase == final_phase(run.record)
    phases = {control.name: control.phase for control in controls}
    found, _ = shared_scores(lineup)
    outcome = contest(lineup, found, [(name, run.name) for name in phases], seed=seed)
    return [
        ControlRow(
            phase=phases[c.first],
            benchmark=c.benchmark,
            variant=c.variant,
            metric=c.metric,
            category=c.category,
            unit=c.unit,
            n=c.n,
            difference=c.difference,
            ci_low=c.ci_low,
            ci_high=c.ci_high,
            p_adjusted=c.p_adjusted,
            better=None if c.winner is None else "result" if c.winner == run.name else "control",
        )
        for c in outcome.comparisons
        if c.category in (OVERALL, ENTANGLED)
    ]
