"""Heat maps as inline SVG in the colours of the page: the same bytes for the same numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from unskew.reports.formatting import format_value

_TITLE, _ROW, _AXIS, _GAP = 26, 34, 22, 14
_LETTER = 6.6
_MOST_OPAQUE = 0.5  # Text over full colour stays readable in both themes.
_SMALL_SCALE = 0.1


@dataclass(frozen=True, slots=True)
class HeatCell:
    """A signed value; `is_sure` where its interval leaves 0 out."""

    value: float
    is_sure: bool


@dataclass(frozen=True, slots=True)
class HeatMap:
    """Signed values on a grid; each map has its own scale, ended by its largest absolute value."""

    title: str
    rows: Sequence[str]
    columns: Sequence[str]
    cells: Sequence[Sequence[HeatCell | None]]
    """By row; None where nothing was measured."""

    @property
    def limit(self) -> float:
        """The absolute value of full colour."""
        return max((abs(c.value) for row in self.cells for c in row if c), default=0.0)


def heat_maps(maps: Sequence[HeatMap], unit: str, width: int) -> str:
    """Maps above each other, with values above 0 in the accent and those below in the warning tone.

    Where there is room each cell holds its number; sure ones are bold, or bear a dot if there is
    none.

    Args:
        maps: All with as many columns.
        unit: Of the values, for the titles.
        width: Of the plot in CSS pixels.
    """
    left = 8 + int(_LETTER * max(len(name) for m in maps for name in m.rows))
    cell = (width - left) / len(maps[0].columns)
    parts: list[str] = []
    y = 0
    for m in maps:
        scale = f"full colour {format_value(m.limit, '')} {unit}".rstrip()
        parts.append(_text(0, y + 15, m.title, "ink", weight=600))
        parts.append(_text(width, y + 15, scale, "muted", anchor="end"))
        y += _TITLE
        for name, row in zip(m.rows, m.cells, strict=True):
            parts.append(_text(left - 8, y + _ROW / 2 + 4, name, "ink", anchor="end"))
            for i, value in enumerate(row):
                parts += _cell(left + i * cell, y, cell, value, m.limit)
            y += _ROW
        parts += _axis(m.columns, left, y + 15, cell)
        y += _AXIS + _GAP
    body = "".join(parts)
    return f'<svg viewBox="0 0 {width} {y}" font-size="12" aria-hidden="true">{body}</svg>'


def _cell(x: float, y: float, width: float, cell: HeatCell | None, limit: float) -> list[str]:
    place = f'x="{x + 0.5:.2f}" y="{y + 0.5:.2f}" width="{width - 1:.2f}" height="{_ROW - 1}"'
    if cell is None:
        return [f'<rect {place} fill="none" stroke="var(--line)" stroke-dasharray="2 3"/>']
    tone = "accent" if cell.value > 0 else "warn"
    opacity = _MOST_OPAQUE * abs(cell.value) / limit if limit else 0.0
    found = [
        f'<rect {place} fill="var(--raised)"/>',
        f'<rect {place} fill="var(--{tone})" fill-opacity="{opacity:.3f}"/>',
    ]
    middle = x + width / 2
    shown = _number(cell.value, limit)
    if width >= _LETTER * (len(_number(-limit, limit)) + 0.5):
        weight = 700 if cell.is_sure else 400
        found.append(_text(middle, y + _ROW / 2 + 4, shown, "ink", anchor="middle", weight=weight))
    elif cell.is_sure:
        found.append(f'<circle cx="{middle:.2f}" cy="{y + _ROW / 2:.2f}" r="2" fill="var(--ink)"/>')
    return found


def _number(value: float, limit: float) -> str:
    """Two decimals, three on a small scale; what rounds to 0 has no sign."""
    shown = f"{value:z.{2 if limit >= _SMALL_SCALE else 3}f}"
    return shown.replace("-", "\N{MINUS SIGN}")


def _axis(columns: Sequence[str], left: float, y: float, cell: float) -> list[str]:
    step = max(1, -(-int(_LETTER * max(map(len, columns)) + 6) // max(1, int(cell))))
    return [
        _text(left + (i + 0.5) * cell, y, columns[i], "muted", anchor="middle")
        for i in range(0, len(columns), step)
    ]


def _text(
    x: float, y: float, text: str, tone: str, *, anchor: str = "start", weight: int = 400
) -> str:
    place = f'x="{x:.2f}" y="{y:.2f}" text-anchor="{anchor}" font-weight="{weight}"'
    return f'<text {place} fill="var(--{tone})">{escape(text)}</text>'
