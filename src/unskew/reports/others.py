"""Benchmarks that no other part of the page shows: judged dialogues, questions, understanding."""

from __future__ import annotations

from dataclasses import dataclass

from unskew.reports.findings import REPORT, Row, measures
from unskew.reports.guards import GUARDS
from unskew.reports.record import MetricRow, RunRecord
from unskew.types import OVERALL


@dataclass(frozen=True, slots=True)
class OtherTable:
    """One variant of a benchmark."""

    title: str
    overall: list[Row]
    """A row for each metric over all categories."""
    by_category: list[Row]


def other_tables(record: RunRecord) -> list[OtherTable]:
    """All numbers of the report split of benchmarks that are neither preference nor guard.

    Args:
        record: The record of a run.
    """
    shown = {m.benchmark for m in measures(record)} | {guard.benchmark for guard in GUARDS}
    tables: dict[tuple[str, str], dict[tuple[str, str], dict[str, MetricRow]]] = {}
    for row in record.find(category=None, split=REPORT):
        if row.benchmark not in shown:
            table = tables.setdefault((row.benchmark, row.variant), {})
            table.setdefault((row.metric, row.category), {})[row.phase] = row
    return [
        OtherTable(
            f"{benchmark}, {variant}",
            [Row(metric, found) for (metric, c), found in table.items() if c == OVERALL],
            [Row(f"{metric}, {c}", found) for (metric, c), found in table.items() if c != OVERALL],
        )
        for (benchmark, variant), table in tables.items()
    ]


def meaning(row: Row) -> str:
    """How many items a number rests on, and what it should be.

    Args:
        row: In any phase; the first speaks for all.
    """
    one = next(iter(row.by_phase.values()))
    counts = dict.fromkeys(str(found.n) for found in row.by_phase.values())
    wanted = "" if one.ideal is None else f"; ideal {one.ideal:g}"
    better = "" if one.better == "closer" else f", {one.better} is better"
    return f"n {', '.join(counts)}{wanted}{better}"
