"""Methods beside each other, as Markdown, JSON and one HTML file that opens offline."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import NullFormatter

from unskew import __version__
from unskew.comparison.means import Mean, Method, Quantity, Standing, standings
from unskew.comparison.published import Beside
from unskew.comparison.table import COST_UNITS
from unskew.files import write_text
from unskew.reports.drawing import (
    ACCENT,
    MUTED,
    NEUTRAL,
    PAPER,
    Plot,
    in_both_widths,
    label,
    render,
)
from unskew.reports.formatting import MISSING, format_interval, format_value, unit_suffix
from unskew.reports.render import escape_markdown, markdown_table
from unskew.reports.templating import page_environment

__all__ = ["FILES", "Overview", "write_overview"]

FILES = ("overview.html", "overview.md", "overview.json")
_ROW, _MARGIN = 22, 56
_LONGEST = 26


@dataclass(frozen=True, slots=True)
class Overview:
    """All methods on one model."""

    title: str
    description: str
    source: str
    columns: tuple[Quantity, ...]
    rows: tuple[Standing, ...]
    notes: tuple[str, ...]
    published: tuple[Beside, ...] = ()

    @property
    def sections(self) -> list[tuple[str, list[Quantity]]]:
        """Columns that are read together, under their heading."""
        names = dict.fromkeys(column.section for column in self.columns)
        return [(name, [c for c in self.columns if c.section == name]) for name in names]

    @property
    def failures(self) -> list[str]:
        """Every run without a result, and why; seeds with the same reason together."""
        told = []
        for row in self.rows:
            for error in dict.fromkeys(result.error for result in row.failed):
                seeds = ", ".join(str(r.seed) for r in row.failed if r.error == error)
                told.append(f"{row.name}, seed {seeds}: {error}")
        return told


def write_overview(
    methods: Sequence[Method],
    folder: Path,
    *,
    title: str,
    description: str,
    source: str,
    notes: Sequence[str] = (),
    published: Sequence[Beside] = (),
) -> Overview:
    """Write the table of all methods, each a mean over its seeds.

    Args:
        methods: With their runs, failed ones included.
        folder: For `overview.html`, `.md` and `.json`.
        title: Of the page.
        description: What was run, in a sentence.
        source: Where that comes from.
        notes: What a reader has to know.
        published: A paper's numbers beside ours.

    Raises:
        StorageError: A file could not be written.
    """
    columns, rows = standings(methods)
    told = (title, description, source)
    made = Overview(*told, tuple(columns), tuple(rows), tuple(notes), tuple(published))
    for name, text in zip(FILES, (as_html(made), as_markdown(made), as_json(made)), strict=True):
        write_text(folder / name, text)
    return made


def cell_text(cell: Mean | None) -> str:
    """A mean with its unit, and its interval where there are several seeds."""
    if cell is None:
        return MISSING
    value = _count(cell.value) if cell.unit == "count" else format_value(cell.value, cell.unit)
    interval = f" {format_interval(cell)}" if _has_interval(cell) else ""
    return f"{value}{unit_suffix(cell.unit)}{interval}"


def _count(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:g}"


def _has_interval(cell: Mean) -> bool:
    """Costs have none: seconds vary with the machine and counts hardly at all."""
    return cell.ci_low is not None and cell.unit not in COST_UNITS


_INTERVALS = (
    "Report split; means over seeds. Brackets: 95 % interval of the mean by Student's t over the "
    "seeds, which holds the noise of training and not that of the items."
)


def as_markdown(made: Overview) -> str:
    """The tables."""
    parts = [f"# {escape_markdown(made.title)}", escape_markdown(made.description), _INTERVALS]
    for name, columns in made.sections:
        header = ["", "Seeds", *(f"{c.title} ({c.aim})" if c.aim else c.title for c in columns)]
        body = [
            [row.name, _seeds(row), *(cell_text(row.cells.get(c)) for c in columns)]
            for row in made.rows
            if row.is_method or any(c in row.cells for c in columns)
        ]
        parts += [f"## {escape_markdown(name)}", markdown_table(header, body)]
    if made.published:
        parts += ["## Published and ours", markdown_table(_PUBLISHED, published_rows(made))]
    told = [*made.failures, *made.notes]
    if told:
        parts += ["## To be known", "\n".join(f"- {escape_markdown(note)}" for note in told)]
    return "\n\n".join(parts) + "\n"


_PUBLISHED = ("Method", "Number", "Published", "Ours", "Difference")


def published_rows(made: Overview) -> list[list[str]]:
    """Cells of the table of published numbers."""
    return [
        [
            line.method,
            line.column.replace(".", " "),
            f"{line.published:.2f}",
            cell_text(line.ours),
            MISSING if line.difference is None else f"{line.difference:+.2f}",
        ]
        for line in made.published
    ]


def _seeds(row: Standing) -> str:
    if not row.is_method:
        return ""
    return f"{row.num_seeds} of {row.num_seeds + len(row.failed)}"


def as_json(made: Overview) -> str:
    """Every mean, with the value of each seed."""
    content = {
        "schema_version": 1,
        "unskew_version": __version__,
        "title": made.title,
        "description": made.description,
        "source": made.source,
        "notes": list(made.notes),
        "rows": [_row_json(made, row) for row in made.rows],
        "published": [
            {
                "method": line.method,
                "number": line.column,
                "published": line.published,
                "ours": line.ours.value if line.ours else None,
                "difference": line.difference,
            }
            for line in made.published
        ],
    }
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _row_json(made: Overview, row: Standing) -> dict[str, Any]:
    return {
        "name": row.name,
        "is_method": row.is_method,
        "num_seeds": row.num_seeds,
        "failed": [{"seed": r.seed, "error": r.error} for r in row.failed],
        "numbers": [
            {
                "section": column.section,
                "title": column.title,
                "aim": column.aim,
                "unit": cell.unit,
                "mean": cell.value,
                "ci_low": cell.ci_low,
                "ci_high": cell.ci_high,
                "by_seed": list(cell.by_seed),
            }
            for column in made.columns
            if (cell := row.cells.get(column)) is not None
        ],
    }


def as_html(made: Overview) -> str:
    """The page; the same numbers give the same bytes."""
    environment = page_environment("unskew.comparison")
    environment.globals.update(cell_text=cell_text, seeds=_seeds)
    plots = [
        _plot(made, c) for name, columns in made.sections for c in columns[:1] if name != "Cost"
    ]
    template = environment.get_template("overview.html.j2")
    return template.render(
        made=made,
        intervals=_INTERVALS,
        published_header=_PUBLISHED,
        published_rows=published_rows(made),
        plots=[plot for plot in plots if plot is not None],
        version=__version__,
    )


def _plot(made: Overview, column: Quantity) -> tuple[str, Plot] | None:
    """One quantity, a line for each row: the mean, its interval and every seed."""
    found = [(row, row.cells[column]) for row in made.rows if column in row.cells]
    if len(found) < 2:
        return None
    title = f"{column.section}: {column.title}"
    told = "; ".join(f"{row.name} {cell_text(cell)}" for row, cell in found)
    axis = f"{column.unit}, {column.aim}" if column.aim else column.unit
    return title, in_both_widths(partial(_forest, found, axis), f"{title}: {told}.")


def _forest(found: Sequence[tuple[Standing, Mean]], axis: str, width: int) -> str:
    """Values of one quantity; logarithmic where they are distances of different magnitude."""
    values = [v for _, cell in found for v in cell.by_seed]
    is_log = min(values) > 0 and max(values) / min(values) > 30 and math.isfinite(max(values))

    def draw(axes: Axes) -> None:
        for place, (row, cell) in enumerate(found):
            color = ACCENT if row.is_method else NEUTRAL
            height = [place] * len(cell.by_seed)
            if cell.ci_low is not None and cell.ci_high is not None and not is_log:
                axes.plot([cell.ci_low, cell.ci_high], [place, place], color=color, linewidth=1.2)
            axes.plot(cell.by_seed, height, "o", markersize=3.5, color=MUTED, linestyle="none")
            axes.plot(
                [cell.value],
                [place],
                "D",
                markersize=7,
                color=color if row.is_method else PAPER,
                markeredgecolor=color,
                markeredgewidth=1.6,
            )
        axes.set_yticks(range(len(found)), [label(row.name, _LONGEST) for row, _ in found])
        axes.set_ylim(len(found) - 0.4, -0.6)
        if is_log:
            axes.set_xscale("log")
            # As numbers: the default's powers of ten are mathematics, which is not set as text.
            axes.xaxis.set_major_formatter("{x:g}")
            axes.xaxis.set_minor_formatter(NullFormatter())
        axes.grid(axis="x")
        axes.set_xlabel(axis)
        axes.tick_params(axis="y", length=0)

    return render([draw], 1, width, _ROW * len(found) + _MARGIN, left=172)
