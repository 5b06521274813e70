"""A comparison as Markdown, CSV, LaTeX and JSON."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import asdict
from typing import Any

from unskew import __version__
from unskew.comparison.lineup import Entrant
from unskew.comparison.result import Compared
from unskew.comparison.table import COST_UNITS, Cell, Section, points
from unskew.comparison.tradeoff import Reading, at_levels
from unskew.reports.formatting import MISSING, format_interval, format_value, unit_suffix
from unskew.reports.render import csv_cell, escape_markdown, markdown_table

__all__ = ["as_csv", "as_json", "as_latex", "as_markdown", "p_text"]

SCHEMA_VERSION = 1
_LATEX = {
    "\\": r"\textbackslash{}",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "Δ": r"$\Delta$",
    "\N{MINUS SIGN}": "$-$",
    "\N{NO-BREAK SPACE}": "~",
    **{c: f"\\{c}" for c in "&%$#_{}"},
}


def p_text(p_value: float | None) -> str:
    """A p-value for a reader."""
    if p_value is None:
        return MISSING
    return "< 0.001" if p_value < 0.001 else f"{p_value:.3f}"


def cell_text(cell: Cell | None) -> str:
    """Value, unit and interval, where there is one."""
    if cell is None:
        return MISSING
    text = f"{format_value(cell.value, cell.unit)}{unit_suffix(cell.unit)}"
    if cell.ci_low is None and cell.unit in COST_UNITS:
        return text.removesuffix(".0") if cell.unit == "count" else text
    return f"{text} {format_interval(cell)}"


def as_markdown(compared: Compared) -> str:
    """Tables, standings and paired comparisons of the overall numbers."""
    parts = ["# Comparison of runs", _intro(compared)]
    for section in compared.sections:
        parts += [f"## {escape_markdown(section.title)}", _markdown_section(compared, section)]
    parts += ["## Who is ahead", _standings(compared)]
    parts += ["## Paired comparisons", _markdown_comparisons(compared)]
    if compared.readings:
        parts += ["## At equal bias", _EQUAL_BIAS]
        for reading in compared.readings:
            title = f"{reading.damage} by {reading.bias}"
            parts += [f"### {escape_markdown(title)}", _markdown_reading(reading)]
    notes = [*compared.lineup.notes, *(f"{o.what}: {o.why}" for o in compared.left_out)]
    if notes:
        parts += ["## To be known", "\n".join(f"- {escape_markdown(note)}" for note in notes)]
    return "\n\n".join(parts) + "\n"


_EQUAL_BIAS = (
    "Least damage of all evaluations during training with at most this much bias, and its step; "
    "one column is the least bias that every run reached. "
    "Select split, no intervals: a reading, not a test."
)


def _intro(compared: Compared) -> str:
    against = (
        f"Each is held against {compared.baseline}."
        if compared.baseline
        else "Every pair is compared."
    )
    return (
        "Report split, the same items for all. Brackets are 95 % intervals; differences are paired "
        f"bootstraps with at least 2000 resamples, seed {compared.seed}. p: paired sign-flip test, "
        "where the aim is a value also the bootstrap of the distance to it; corrected by Holm over "
        f"the comparisons of one metric. {escape_markdown(against)} "
        "A run is ahead where corrected test and interval both say so."
    )


def _markdown_section(compared: Compared, section: Section) -> str:
    header = ["", *(f"{c.title} ({c.aim})" if c.aim else c.title for c in section.columns)]
    body = []
    for entrant in compared.lineup.shown:
        cells = [column.cells.get(entrant.name) for column in section.columns]
        if any(cells):
            body.append([entrant.name, *(cell_text(cell) for cell in cells)])
    table = markdown_table(header, body)
    best = [
        f"{column.title}: {name}"
        for column in section.columns
        for name, cell in column.cells.items()
        if cell.is_best
    ]
    told = f"\n\nAhead of every other: {escape_markdown('; '.join(best))}." if best else ""
    return table + told


def _standings(compared: Compared) -> str:
    return "\n".join(
        f"- {escape_markdown(f'{tested.title} ({tested.aim}): {compared.standing(tested.key)}')}"
        for tested in compared.tested()
    )


def _markdown_comparisons(compared: Compared) -> str:
    header = ["Metric", "Second minus first", "Difference", "p", "p corrected", "Ahead"]
    body = []
    for tested in compared.tested():
        for c in compared.outcome.of(tested.key):
            difference = Cell(c.difference, points(c.unit), c.ci_low, c.ci_high)
            body.append(
                [
                    tested.title,
                    f"{c.second} minus {c.first}",
                    cell_text(difference),
                    p_text(c.p_judged if c.p_judged is not None else c.p_value),
                    p_text(c.p_adjusted),
                    c.winner or "not told apart",
                ]
            )
    return markdown_table(header, body)


def _markdown_reading(reading: Reading) -> str:
    levels = at_levels(reading)
    header = [
        "",
        *(f"at {format_value(level, reading.bias_unit)} {reading.bias_unit}" for level in levels),
    ]
    body = []
    for place, path in enumerate(reading.paths):
        found = [points[place][1] for points in levels.values()]
        cells = [
            f"{format_value(p.damage, reading.damage_unit)}{unit_suffix(reading.damage_unit)} "
            f"(step {p.step})"
            if p
            else "not reached"
            for p in found
        ]
        body.append([path.name, *cells])
    return markdown_table(header, body)


def as_csv(compared: Compared) -> str:
    """One row for each model; numbers in full precision, empty where there is none."""
    columns = [column for section in compared.sections for column in section.columns]
    header = ["run", "folder", "phase", "recipe", "seed"]
    for column in columns:
        header += [column.name, f"{column.name}.ci_low", f"{column.name}.ci_high"]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(header)
    for entrant in compared.lineup.shown:
        row = _who(compared, entrant)
        cells: list[Any] = [row[name] for name in header[:5]]
        for column in columns:
            cell = column.cells.get(entrant.name)
            cells += [None] * 3 if cell is None else [cell.value, cell.ci_low, cell.ci_high]
        writer.writerow([csv_cell(cell) for cell in cells])
    return out.getvalue()


def _who(compared: Compared, entrant: Entrant) -> dict[str, Any]:
    # Base and oracle are of no recipe: they are measured in the folder of a run.
    is_run = entrant in compared.lineup.runs
    return {
        "run": entrant.name,
        "folder": str(entrant.folder),
        "phase": entrant.phase,
        "recipe": entrant.record.recipe if is_run else None,
        "seed": entrant.record.seed if is_run else None,
    }


def as_latex(compared: Compared) -> str:
    r"""A `tabular` for each section, for `\usepackage{booktabs}`; intervals in a small font."""
    parts = ["% \\usepackage{booktabs}; made by unskew compare"]
    for section in compared.sections:
        names = " & ".join(["", *(latex_text(column.title) for column in section.columns)])
        aims = " & ".join(["", *(f"\\small {latex_text(c.aim)}" for c in section.columns)])
        lines = [
            f"% {' '.join(section.title.split())}",
            f"\\begin{{tabular}}{{l{'r' * len(section.columns)}}}",
            "\\toprule",
            f"{names} \\\\",
            f"{aims} \\\\",
            "\\midrule",
        ]
        for entrant in compared.lineup.shown:
            cells = [column.cells.get(entrant.name) for column in section.columns]
            if any(cells):
                shown = " & ".join([latex_text(entrant.name), *(_latex_cell(c) for c in cells)])
                lines.append(f"{shown} \\\\")
        parts.append("\n".join([*lines, "\\bottomrule", "\\end{tabular}"]))
    return "\n\n".join(parts) + "\n"


def latex_text(text: str) -> str:
    """Text that LaTeX sets as it stands, on one line."""
    return re.sub(".", lambda m: _LATEX.get(m.group(), m.group()), " ".join(text.split()))


def _latex_cell(cell: Cell | None) -> str:
    if cell is None:
        return "--"
    value = latex_text(format_value(cell.value, cell.unit))
    value = value.removesuffix(".0") if cell.unit == "count" else value
    value = f"\\textbf{{{value}}}" if cell.is_best else value
    if cell.ci_low is None:
        return value
    return f"{value} {{\\scriptsize {latex_text(format_interval(cell))}}}"


def as_json(compared: Compared) -> str:
    """Every number and every comparison, those of single categories included."""
    content = {
        "schema_version": SCHEMA_VERSION,
        "unskew_version": __version__,
        "baseline": compared.baseline,
        "seed": compared.seed,
        "num_resamples": compared.outcome.num_resamples,
        "runs": [_who(compared, entrant) for entrant in compared.lineup.shown],
        "notes": list(compared.lineup.notes),
        "left_out": [item.model_dump() for item in compared.left_out],
        "metrics": [
            {"run": name, **asdict(metric)}
            for name, own in compared.outcome.metrics.items()
            for metric in own.values()
        ],
        "cost": [
            {"run": name, "quantity": column.name, "value": cell.value, "unit": cell.unit}
            for section in compared.sections
            for column in section.columns
            if column.key is None and section.title == "Cost"
            for name, cell in column.cells.items()
        ],
        "comparisons": [asdict(c) for c in compared.outcome.comparisons],
        "equal_bias": [asdict(reading) for reading in compared.readings],
    }
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
