"""The plots of a run's page, each in two widths."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes

from unskew.reports.drawing import (
    ACCENT,
    INK,
    LINE,
    MUTED,
    NEUTRAL,
    PAPER,
    WIDE,
    label,
    render,
)
from unskew.reports.findings import AFTER, ORACLE, Row
from unskew.reports.record import HistoryMetric


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
        axes.axvline(ideal, color=MUTED, linewidth=1.0, dashes=(4, 3), zorder=1)
        for y, row in enumerate(rows):
            lift = 0.0
            if row.before and row.after:
                lift = 0.2
                ends = [row.before.value, row.after.value]
                axes.plot(ends, [y - lift, y], color=LINE, linewidth=4, zorder=2)
            _point(axes, row.before, y - lift, NEUTRAL, "o")
            _point(axes, row.after, y, ACCENT, "o")
            _point(axes, row.by_phase.get(ORACLE), y + 0.26, MUTED, "D")
            if not row.before and not row.after:
                for phase, other in row.by_phase.items():
                    _point(axes, None if phase == ORACLE else other, y, NEUTRAL, "o")
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_yticks(range(len(rows)), [label(row.name, width // 24) for row in rows])
        axes.tick_params(axis="y", length=0, labelsize=13, labelcolor=INK)
        axes.grid(axis="x")
        axes.set_xlabel(label(unit, 30))

    return render([draw], 1, width, 44 * len(rows), left=_label_width(rows, width))


def _label_width(rows: Sequence[Row], width: int) -> int:
    longest = max((len(label(row.name, width // 24)) for row in rows), default=0)
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
        markerfacecolor=color if color == ACCENT else PAPER,
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
            axes.axvline(0.0, color=MUTED, linewidth=1.0, dashes=(4, 3), zorder=3)
            for phase, values in by_phase.items():
                color = ACCENT if phase == AFTER else NEUTRAL
                counts, _ = np.histogram(np.clip(values, -limit, limit), bins=edges)
                shares = 100 * counts / max(1, len(values))
                axes.stairs(shares, edges, fill=True, color=color, alpha=0.16, zorder=1)
                axes.stairs(shares, edges, color=color, linewidth=1.5, zorder=2)
            axes.set_title(label(name, 30))
            axes.set_ylim(bottom=0)
            axes.set_yticks([])
            axes.set_xlim(-limit, limit)

        return draw

    columns = 2 if width >= WIDE and len(gaps) > 1 else 1
    return render([panel(n, g) for n, g in gaps.items()], columns, width, 100)


def curves(
    found: Sequence[Curve],
    width: int,
    *,
    marks: Sequence[tuple[int, int]] = (),
    ideal: float | None = None,
) -> str:
    """One panel for each curve; with an ideal, all share one scale and show each other faintly.

    Args:
        found: The curves.
        width: Of the plot in CSS pixels.
        marks: Number and step of each decision, drawn as numbered lines.
        ideal: Value of the dashed line.
    """
    shared = [v for c in found for v in c.values] + ([] if ideal is None else [ideal])
    last = max((c.steps[-1] for c in found), default=1)

    def panel(curve: Curve) -> Callable[[Axes], None]:
        def draw(axes: Axes) -> None:
            free_from = 0.0
            for number, step in marks:
                axes.axvline(step, color=NEUTRAL, linewidth=0.8, alpha=0.6, zorder=1)
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
                        color=MUTED,
                    )
            if ideal is not None:
                axes.axhline(ideal, color=MUTED, linewidth=1.0, dashes=(4, 3), zorder=1)
                for other in found:
                    axes.plot(other.steps, other.values, color=NEUTRAL, linewidth=0.8, alpha=0.5)
                margin = 0.08 * (max(shared) - min(shared)) or 1.0
                axes.set_ylim(min(shared) - margin, max(shared) + 2 * margin)
            marker = "o" if len(curve.steps) == 1 else None
            axes.plot(curve.steps, curve.values, color=ACCENT, linewidth=1.7, marker=marker)
            axes.set_title(label(curve.name, 30))
            axes.set_xlim(-0.02 * last, last * 1.04 or 1)
            axes.grid(axis="y")
            axes.tick_params(axis="y", length=0)
            axes.locator_params(axis="y", nbins=4)
            axes.locator_params(axis="x", nbins=5)

        return draw

    columns = 2 if width >= WIDE and len(found) > 1 else 1
    return render([panel(c) for c in found], columns, width, 120)
