"""Plots as inline SVG: safe with hostile text, the same bytes for the same numbers, both themes.

Each plot is drawn by matplotlib in placeholder colours, which become CSS variables (`--accent`,
`--neutral`, ...) so that the page's theme colours it. Text stays text, in the page's font.
"""

from __future__ import annotations

import hashlib
import io
import re
import warnings
import xml.etree.ElementTree as ET
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from unskew.reports.findings import AFTER, ORACLE, Row
from unskew.reports.record import HistoryMetric

# Placeholder colour -> CSS variable.
_ACCENT, _NEUTRAL, _INK, _MUTED, _LINE = "#0000a1", "#0000a2", "#0000a3", "#0000a4", "#0000a5"
_PAPER = "#0000a6"
_VARIABLES = {
    _ACCENT: "--accent",
    _NEUTRAL: "--neutral",
    _INK: "--ink",
    _MUTED: "--muted",
    _LINE: "--line",
    _PAPER: "--paper",
}
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "unskew",
    # `$` in a name is a dollar, not the start of a formula.
    "text.parse_math": False,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 12.0,
    "axes.edgecolor": _LINE,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.labelcolor": _MUTED,
    "axes.titlecolor": _INK,
    "axes.titlesize": 13.0,
    "axes.titlelocation": "left",
    "text.color": _INK,
    "xtick.color": _LINE,
    "ytick.color": _LINE,
    "xtick.labelcolor": _MUTED,
    "ytick.labelcolor": _MUTED,
    "xtick.labelsize": 12.0,
    "ytick.labelsize": 12.0,
    "grid.color": _LINE,
    "grid.linewidth": 0.6,
}
_SVG = "{http://www.w3.org/2000/svg}"
_XLINK = "{http://www.w3.org/1999/xlink}"
_POINTER = re.compile(r"#([\w-]+)(?=\)?$)")
_PLACEHOLDER = re.compile("|".join(_VARIABLES))
_FONT = re.compile(r"'DejaVu Sans'[^;]*")
_POINTS = 72  # per inch; sizes below are in points, which become units of the viewBox

WIDE, NARROW = 720, 350
MAX_PANELS = 12


@dataclass(frozen=True, slots=True)
class Curve:
    """One quantity over optimizer steps, or over strengths."""

    name: str
    steps: Sequence[float]
    values: Sequence[float]


def dumbbells(rows: Sequence[Row], ideal: float, unit: str, width: int) -> str:
    """Before, after and oracle of each row with intervals, against the line of the ideal.

    Other phases are drawn only where there is neither before nor after.

    Args:
        rows: One for each category.
        ideal: Where the line stands.
        unit: Unit of the axis.
        width: Of the plot in CSS pixels, `WIDE` or `NARROW`.
    """

    def draw(axes: Axes) -> None:
        axes.axvline(ideal, color=_MUTED, linewidth=1.0, dashes=(4, 3), zorder=1)
        for y, row in enumerate(rows):
            lift = 0.0
            if row.before and row.after:
                lift = 0.2
                ends = [row.before.value, row.after.value]
                axes.plot(ends, [y - lift, y], color=_LINE, linewidth=4, zorder=2)
            _point(axes, row.before, y - lift, _NEUTRAL, "o")
            _point(axes, row.after, y, _ACCENT, "o")
            _point(axes, row.by_phase.get(ORACLE), y + 0.26, _MUTED, "D")
            if not row.before and not row.after:
                for phase, other in row.by_phase.items():
                    _point(axes, None if phase == ORACLE else other, y, _NEUTRAL, "o")
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_yticks(range(len(rows)), [_label(row.name, width // 24) for row in rows])
        axes.tick_params(axis="y", length=0, labelsize=13, labelcolor=_INK)
        axes.grid(axis="x")
        axes.set_xlabel(_label(unit, 30))

    return _render([draw], 1, width, 44 * len(rows), left=_label_width(rows, width))


def _label_width(rows: Sequence[Row], width: int) -> int:
    longest = max((len(_label(row.name, width // 24)) for row in rows), default=0)
    return 18 + int(7.2 * longest)


def _point(axes: Axes, row: HistoryMetric | None, y: float, color: str, marker: str) -> None:
    if row is None:
        return
    if row.ci_low is not None and row.ci_high is not None:
        axes.plot([row.ci_low, row.ci_high], [y, y], color=color, linewidth=1.5, zorder=3)
    axes.plot(
        [row.value],
        [y],
        marker=marker,
        markersize=7 if marker == "o" else 5,
        markerfacecolor=color if color == _ACCENT else _PAPER,
        markeredgecolor=color,
        markeredgewidth=1.6,
        linestyle="none",
        zorder=4,
    )


def gap_distributions(gaps: Mapping[str, Mapping[str, Sequence[float]]], width: int) -> str:
    """Histograms of the preference gap, one panel for each category.

    Values outside the shown range, which holds the middle 99 % of all, count in the outer bins.

    Args:
        gaps: Category to phase to gaps; `after` is drawn in the accent colour over the rest.
        width: Of the plot in CSS pixels.
    """
    everything = np.concatenate([np.asarray(g) for by in gaps.values() for g in by.values()])
    limit = max(float(np.quantile(np.abs(everything), 0.99)), 1e-6)
    edges = np.linspace(-limit, limit, 36)

    def panel(name: str, by_phase: Mapping[str, Sequence[float]]) -> Callable[[Axes], None]:
        def draw(axes: Axes) -> None:
            axes.axvline(0.0, color=_MUTED, linewidth=1.0, dashes=(4, 3), zorder=3)
            for phase, values in by_phase.items():
                color = _ACCENT if phase == AFTER else _NEUTRAL
                counts, _ = np.histogram(np.clip(values, -limit, limit), bins=edges)
                shares = 100 * counts / max(1, len(values))
                axes.stairs(shares, edges, fill=True, color=color, alpha=0.16, zorder=1)
                axes.stairs(shares, edges, color=color, linewidth=1.5, zorder=2)
            axes.set_title(_label(name, 30))
            axes.set_ylim(bottom=0)
            axes.set_yticks([])
            axes.set_xlim(-limit, limit)

        return draw

    columns = 2 if width >= WIDE and len(gaps) > 1 else 1
    return _render([panel(n, g) for n, g in gaps.items()], columns, width, 100)


def curves(
    found: Sequence[Curve], width: int, *, marks: Sequence[int] = (), ideal: float | None = None
) -> str:
    """One panel for each curve; with an ideal, all share one scale and show each other faintly.

    Args:
        found: The curves.
        width: Of the plot in CSS pixels.
        marks: Steps of decisions, drawn as numbered lines in this order.
        ideal: Value of the dashed line.
    """
    shared = [v for c in found for v in c.values] + ([] if ideal is None else [ideal])
    last = max((c.steps[-1] for c in found), default=1)

    def panel(curve: Curve) -> Callable[[Axes], None]:
        def draw(axes: Axes) -> None:
            free_from = 0.0
            for number, step in enumerate(marks, start=1):
                axes.axvline(step, color=_NEUTRAL, linewidth=0.8, alpha=0.6, zorder=1)
                # A number that would stand on its neighbour's is left out; the line stays.
                if step >= free_from:
                    free_from = step + 0.07 * last
                    axes.annotate(
                        str(number),
                        (step, 1.0),
                        xycoords=("data", "axes fraction"),
                        xytext=(3, -10),
                        textcoords="offset points",
                        fontsize=11,
                        color=_MUTED,
                    )
            if ideal is not None:
                axes.axhline(ideal, color=_MUTED, linewidth=1.0, dashes=(4, 3), zorder=1)
                for other in found:
                    axes.plot(other.steps, other.values, color=_NEUTRAL, linewidth=0.8, alpha=0.5)
                margin = 0.08 * (max(shared) - min(shared)) or 1.0
                axes.set_ylim(min(shared) - margin, max(shared) + 2 * margin)
            marker = "o" if len(curve.steps) == 1 else None
            axes.plot(curve.steps, curve.values, color=_ACCENT, linewidth=1.7, marker=marker)
            axes.set_title(_label(curve.name, 30))
            axes.set_xlim(-0.02 * last, last * 1.04 or 1)
            axes.grid(axis="y")
            axes.tick_params(axis="y", length=0)
            axes.locator_params(axis="y", nbins=4)
            axes.locator_params(axis="x", nbins=5)

        return draw

    columns = 2 if width >= WIDE and len(found) > 1 else 1
    return _render([panel(c) for c in found], columns, width, 120)


def _label(text: str, length: int) -> str:
    # Control characters may not stand in XML.
    clean = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
    return clean if len(clean) <= length else clean[: length - 1] + "…"


def _render(
    panels: Sequence[Callable[[Axes], None]],
    columns: int,
    width: int,
    panel_height: int,
    *,
    left: int = 44,
) -> str:
    """Lay panels out on a grid with fixed margins in points, and return the themed SVG."""
    num_rows = -(-len(panels) // columns)
    above, below, between = 28, 40, 34
    pitch = above + panel_height + below
    height = num_rows * pitch
    panel_width = (width - columns * left - 14 - (columns - 1) * (between - 20)) / columns
    with mpl.rc_context(), warnings.catch_warnings():
        # The user's own matplotlib settings must not change the report.
        mpl.rcdefaults()
        mpl.rcParams.update(_STYLE)
        # The reader's browser draws the text, with its own fonts.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure = Figure(figsize=(width / _POINTS, height / _POINTS))
        FigureCanvasSVG(figure)
        figure.patch.set_visible(False)
        for index, draw in enumerate(panels):
            line, column = divmod(index, columns)
            x = left + column * (panel_width + left + between - 20)
            y = height - line * pitch - above - panel_height
            box = (x / width, y / height, panel_width / width, panel_height / height)
            axes = figure.add_axes(box)
            axes.patch.set_visible(False)
            draw(axes)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return _themed(buffer.getvalue(), width, height)


def _themed(svg: bytes, width: int, height: int) -> str:
    """An element for use within HTML: theme colours, the page's font, ids of its own."""
    root = ET.fromstring(svg)
    for parent in list(root.iter()):
        for child in list(parent):
            # The style element would reach every element of the page.
            if child.tag in (f"{_SVG}metadata", f"{_SVG}style"):
                parent.remove(child)
    # All plots of a page share one name space of ids; those that nothing points to go.
    prefix = hashlib.sha256(svg).hexdigest()[:8]
    pointed_at = {
        found for e in root.iter() for v in e.attrib.values() for found in _POINTER.findall(v)
    }
    for element in root.iter():
        element.tag = element.tag.removeprefix(_SVG)
        for name, value in list(element.attrib.items()):
            if name == "id":
                del element.attrib[name]
                if value in pointed_at:
                    element.set(name, f"{prefix}-{value}")
            elif name == "style":
                value = _PLACEHOLDER.sub(lambda m: f"var({_VARIABLES[m.group()]})", value)
                element.set(name, _FONT.sub("inherit", value))
            elif _POINTER.search(value):
                del element.attrib[name]
                element.set(name.removeprefix(_XLINK), _POINTER.sub(rf"#{prefix}-\1", value))
    root.attrib.clear()
    root.set("viewBox", f"0 0 {width} {height}")
    root.set("aria-hidden", "true")
    return ET.tostring(root, encoding="unicode")
