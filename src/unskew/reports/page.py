"""The report of a run as one HTML file that opens offline and runs no script."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from unskew.files import write_text
from unskew.reports.drawing import MAX_PANELS, Plot, in_both_widths
from unskew.reports.findings import (
    AFTER,
    BEFORE,
    ORACLE,
    REPORT,
    Measure,
    Row,
    contains_ideal,
    measures,
    oracle_rows,
    phases,
    rows,
)
from unskew.reports.formatting import format_interval, format_value
from unskew.reports.guards import guard_rows, guard_share
from unskew.reports.others import meaning, other_tables
from unskew.reports.plots import dumbbells, gap_distributions
from unskew.reports.record import Decision, RunRecord
from unskew.reports.stages import (
    category_matrix,
    control_phases,
    control_rows,
    controls_verdict,
    heat,
    loss_plots,
    select_plots,
    strength_plots,
)
from unskew.reports.storage import read_samples, samples_path
from unskew.reports.templating import page_environment
from unskew.reports.verdict import verdict
from unskew.types import OVERALL

PAGE_FILE = "report.html"

Gaps = Mapping[str, Mapping[str, Sequence[float]]]
"""Category to phase to the preference gap of each pair, nats per token."""


def render_page(run_dir: Path) -> Path:
    """Write `report.html` beside the record it is made from; same record, same bytes.

    Args:
        run_dir: Folder of a run, with `record.json` and, where there are any, `samples/`.

    Raises:
        DataError: The record or a samples file cannot be read.
        StorageError: The page could not be written.
    """
    record = RunRecord.load(run_dir)
    headline = measures(record)[:1]
    gaps = _read_gaps(run_dir, record, headline[0]) if headline else {}
    return write_text(run_dir / PAGE_FILE, page_html(record, gaps))


def page_html(record: RunRecord, gaps: Gaps) -> str:
    """The page as text.

    Args:
        record: The record of the run.
        gaps: Preference gaps of single pairs; empty where there are none.
    """
    environment = page_environment()
    environment.globals.update(contains_ideal=contains_ideal, in_words=_in_words, meaning=meaning)
    return environment.get_template("page.html.j2").render(_context(record, gaps))


def _context(record: RunRecord, gaps: Gaps) -> dict[str, Any]:
    found = measures(record)
    guards = guard_rows(record)
    matched = [guard.floor for guard in guards]
    shown = phases(record)
    return {
        "record": record,
        "verdict": verdict(record),
        "phases": shown,
        "is_comparison": {BEFORE, AFTER} <= set(shown),
        "tiles": _tiles(record, found[:1]),
        "preferences": [_preference(record, m, shown) for m in found],
        "gap_plot": _gap_plot(gaps),
        "gap_rows": _gap_rows(record, found[:1]),
        "select_plots": [plot for m in found[:1] for plot in select_plots(record, m)],
        "strength_plots": [plot for m in found[:1] for plot in strength_plots(record, m)],
        "loss_plots": loss_plots(record),
        "heats": [heat(selection) for selection in record.selections],
        "category_matrix": category_matrix,
        "control_phases": control_phases(record),
        "control_rows": control_rows(record),
        "controls_verdict": controls_verdict(record),
        "guards": guards,
        "guard_share": guard_share(record),
        "other_floors": [
            f for f in (record.checkpoint.floors if record.checkpoint else []) if f not in matched
        ],
        "other_phases": [p for p in shown if p not in (BEFORE, AFTER)],
        "compared": _compared(record, found),
        "oracle_rows": oracle_rows(record),
        "other_tables": other_tables(record),
    }


def _tiles(record: RunRecord, headline: Sequence[Measure]) -> list[Row]:
    overall = [
        Row(measure.title, row.by_phase)
        for measure in headline
        for row in rows(record, measure)
        if row.name == OVERALL
    ]
    guards = [g.row for g in guard_rows(record) if g.row.by_phase and not g.guard.is_distance]
    return overall + guards[: 4 - len(overall)]


def _preference(record: RunRecord, measure: Measure, shown: Sequence[str]) -> dict[str, Any]:
    all_rows = rows(record, measure)
    having = {phase for row in all_rows for phase in row.by_phase}
    kept = [p for p in shown if p in having or p in (BEFORE, AFTER)]
    keyed = [p for p in kept if p in (BEFORE, AFTER, ORACLE)] or kept
    plot = _dumbbell(record, measure)
    return {"measure": measure, "rows": all_rows, "phases": kept, "keyed": keyed, "plot": plot}


def _dumbbell(record: RunRecord, measure: Measure) -> Plot:
    told = "; ".join(
        f"{row.name}: "
        + ", ".join(
            f"{phase} {format_value(m.value, m.unit)} {format_interval(m)}"
            for phase, m in row.by_phase.items()
        )
        for row in rows(record, measure)
    )
    return in_both_widths(
        partial(dumbbells, rows(record, measure), 50.0, "%"),
        f"{measure.title} by category with 95 % intervals; the ideal is 50. {told}.",
    )


def _read_gaps(run_dir: Path, record: RunRecord, measure: Measure) -> Gaps:
    gaps: dict[str, dict[str, list[float]]] = {}
    for phase in phases(record):
        if not samples_path(run_dir, phase, measure.benchmark).exists():
            continue
        for score in read_samples(run_dir, phase, measure.benchmark):
            gap = score.values.get("gap")
            variant = score.values.get("variant", measure.variant)
            if isinstance(gap, float) and variant == measure.variant:
                gaps.setdefault(score.category, {}).setdefault(phase, []).append(gap)
    return gaps


def _gap_plot(gaps: Gaps) -> Plot | None:
    main = {
        category: {p: v for p, v in by_phase.items() if p in (BEFORE, AFTER)} or dict(by_phase)
        for category, by_phase in gaps.items()
    }
    if not main:
        return None
    sizes = {category: max(len(v) for v in by.values()) for category, by in main.items()}
    largest = sorted(sizes, key=lambda c: -sizes[c])[:MAX_PANELS]
    shown = {category: by for category, by in main.items() if category in largest}
    left_out = (
        f" The {MAX_PANELS} largest of {len(main)} categories." if len(main) > len(shown) else ""
    )
    return in_both_widths(
        partial(gap_distributions, shown),
        "Histograms of the preference gap of single pairs by category, in nats per token; "
        f"zero is no preference, right of it lies the stereotype.{left_out}",
    )


def _gap_rows(record: RunRecord, headline: Sequence[Measure]) -> list[tuple[str, list[Row]]]:
    titles = {"mean_gap": "Mean gap", "mean_abs_gap": "Mean size of the gap"}
    return [
        (title, rows(record, Measure(m.benchmark, m.variant, metric)))
        for m in headline
        for metric, title in titles.items()
        if record.find(
            benchmark=m.benchmark, variant=m.variant, metric=metric, category=None, split=REPORT
        )
    ]


def _compared(record: RunRecord, found: Sequence[Measure]) -> list[Row]:
    named = [(f"{m.title} {m.variant}".strip(), rows(record, m)) for m in found]
    overall = [
        Row(f"{title}, overall", row.by_phase)
        for title, all_rows in named + _gap_rows(record, found[:1])
        for row in all_rows
        if row.name == OVERALL
    ]
    guards = [g.row for g in guard_rows(record) if g.row.by_phase and not g.guard.is_distance]
    return overall + guards


def _in_words(decision: Decision) -> str:
    directions = decision.directions or {}
    words = {
        1: "away from the stereotype",
        -1: "away from the anti-stereotype",
        0: "at rest",
    }
    told = [
        f"{', '.join(names)}: {text}"
        for sign, text in words.items()
        if (names := [name for name, d in directions.items() if d == sign])
    ]
    return "; ".join(told)
