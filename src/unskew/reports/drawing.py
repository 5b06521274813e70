"""The drawing surface of all plots: panels on a grid, as inline SVG that follows the page.

Each plot is drawn by matplotlib in placeholder colours, which become CSS variables (`--accent`,
`--neutral`, ...) so that the page's theme colours it. Text stays text, in the page's font. Safe
with hostile text, and the same bytes for the same numbers.
"""

from __future__ import annotations

import hashlib
import io
import re
import warnings
import xml.etree.ElementTree as ET
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

# Placeholders: each stands for a CSS variable.
ACCENT, NEUTRAL, INK, MUTED, LINE = "#0000a1", "#0000a2", "#0000a3", "#0000a4", "#0000a5"
PAPER = "#0000a6"
SERIES = tuple(f"#0000b{number}" for number in range(1, 8))
"""One for each of several models, `--series-1` and so on."""
_VARIABLES = {
    ACCENT: "--accent",
    NEUTRAL: "--neutral",
    INK: "--ink",
    MUTED: "--muted",
    LINE: "--line",
    PAPER: "--paper",
    **{color: f"--series-{number}" for number, color in enumerate(SERIES, start=1)},
}
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "unskew",
    # `$` in a name is a dollar, not the start of a formula.
    "text.parse_math": False,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 12.0,
    "axes.edgecolor": LINE,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.labelcolor": MUTED,
    "axes.titlecolor": INK,
    "axes.titlesize": 13.0,
    "axes.titlelocation": "left",
    "text.color": INK,
    "xtick.color": LINE,
    "ytick.color": LINE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "xtick.labelsize": 12.0,
    "ytick.labelsize": 12.0,
    "grid.color": LINE,
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
"""More categories than these are left out of a figure."""
"""Of a plot, in CSS pixels."""


@dataclass(frozen=True, slots=True)
class Plot:
    """A plot in two widths, one of which is shown, and its text for those who do not see it."""

    wide: Markup
    narrow: Markup
    label: str


def in_both_widths(draw: Callable[[int], str], text: str) -> Plot:
    """Draw for wide and narrow screens.

    Args:
        draw: Width in CSS pixels to SVG.
        text: What the plot shows, in words.
    """
    # The plots escape their text themselves: they are XML written by an XML writer.
    return Plot(Markup(draw(WIDE)), Markup(draw(NARROW)), text)


def label(text: str, length: int) -> str:
    """Text as it may stand in XML, cut to a number of characters."""
    # Control characters may not stand in XML.
    clean = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
    return clean if len(clean) <= length else clean[: length - 1] + "…"


def render(
    panels: Sequence[Callable[[Axes], None]],
    columns: int,
    width: int,
    panel_height: int,
    *,
    left: int = 44,
) -> str:
    """Lay panels out on a grid with fixed margins in points, and return the themed SVG.

    Args:
        panels: Each draws on its axes.
        columns: Of the grid.
        width: Of the whole plot in CSS pixels.
        panel_height: Of each panel, the same.
        left: Room for labels left of each panel, the same.
    """
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
