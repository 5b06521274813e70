"""A record as text for other tools: Markdown table, CSV."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence

from unskew.reports.findings import Row, measures, phases, rows
from unskew.reports.formatting import MISSING, format_interval, format_value, unit_suffix
from unskew.reports.guards import guard_rows
from unskew.reports.record import RunRecord

_MARKUP = re.compile(r"([\\`*_\[|~$#]|^[-+=])")
_COLUMNS = (
    "phase",
    "benchmark",
    "variant",
    "split",
    "category",
    "metric",
    "value",
    "n",
    "ci_low",
    "ci_high",
    "ideal",
    "better",
    "unit",
)


def escape_markdown(text: str) -> str:
    """Text that Markdown and HTML show as it stands, on one line."""
    flat = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    for plain, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
        flat = flat.replace(plain, entity)
    return _MARKUP.sub(r"\\\1", flat)


def markdown_table(header: Sequence[str], body: Iterable[Sequence[str]]) -> str:
    """A Markdown table; every cell is escaped.

    Args:
        header: Names of the columns.
        body: Rows of as many cells.
    """
    lines = [list(header), ["---"] * len(header), *body]
    return "\n".join(
        "| " + " | ".join(c if i == 1 else escape_markdown(c) for c in line) + " |"
        for i, line in enumerate(lines)
    )


def metrics_csv(record: RunRecord) -> str:
    """All metric rows as CSV, numbers in full precision, empty where there is none.

    A text that a spreadsheet would run as a formula gets a leading apostrophe.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for row in record.metrics:
        writer.writerow([csv_cell(getattr(row, name)) for name in _COLUMNS])
    return out.getvalue()


def csv_cell(value: str | float | None) -> str | float | None:
    """A cell that no spreadsheet runs as a formula."""
    if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r", "\n")):
        return f"'{value}"
    return value


def metrics_markdown(record: RunRecord) -> str:
    """Preferences and guards on the report split, one column for each phase, with intervals."""
    shown = phases(record)
    body = [
        (f"{measure.title}, {row.name}", row)
        for measure in measures(record)
        for row in rows(record, measure)
    ]
    body += [(g.row.name, g.row) for g in guard_rows(record)]
    return markdown_table(
        ["", *shown], [[name, *(_cell(row, phase) for phase in shown)] for name, row in body]
    )


def _cell(row: Row, phase: str) -> str:
    m = row.by_phase.get(phase)
    if m is None:
        return MISSING
    return f"{format_value(m.value, m.unit)}{unit_suffix(m.unit)} {format_interval(m)}"
