"""Plots of several runs, in the colours and marks of their rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes

from unskew.comparison.table import Cell
from unskew.comparison.tradeoff import Reading
from unskew.reports.drawing import LINE, MUTED, NEUTRAL, PAPER, SERIES, WIDE, render
from unskew.reports.plots import Curve

MARKERS, GLYPHS = "osD^vPX", "●■◆▲▼✚✖"
"""One for each colour, so that no run is told by colour alone; as matplotlib and text know them."""
_HEIGHT = 260


def style_of(place: int) -> tuple[str, str]:
    """Colour and marker of the run at a place of the table."""
    return SERIES[place % len(SERIES)], MARKERS[place % len(MARKERS)]


def trade(
    points: Mapping[str, tuple[Cell, Cell]],
    places: Mapping[str, int],
    ideal: float,
    titles: tuple[str, str],
    width: int,
) -> str:
    """Bias on one axis, damage on the other, a point with both intervals for each model.

    Args:
        points: By name of the model: bias and damage.
        places: Of the runs in the table; models without one are drawn as reference.
        ideal: Of the bias, where the line stands.
        titles: Of the two axes.
        width: Of the plot in CSS pixels.
    """

    def draw(axes: Axes) -> None:
        axes.axvline(ideal, color=MUTED, linewidth=1.0, dashes=(4, 3), zorder=1)
        axes.axhline(0.0, color=LINE, linewidth=0.8, zorder=1)
        for name, (bias, damage) in points.items():
            color, marker = style_of(places[name]) if name in places else (NEUTRAL, "o")
            for cell, is_bias in ((bias, True), (damage, False)):
                if cell.ci_low is not None and cell.ci_high is not None:
                    ends, other = [cell.ci_low, cell.ci_high], damage if is_bias else bias
                    at = [other.value, other.value]
                    axes.plot(*((ends, at) if is_bias else (at, ends)), color=color, linewidth=1.2)
            face = color if name in places else PAPER
            axes.plot(
                [bias.value],
                [damage.value],
                marker=marker,
                markersize=7,
                color=face,
                markeredgecolor=color,
                markeredgewidth=1.6,
                zorder=3,
            )
        axes.margins(x=0.08, y=0.15)
        low, high = axes.get_ylim()
        # Less than a point to either side would make noise look large.
        axes.set_ylim(min(low, -1.0), max(high, 1.0))
        axes.grid(axis="y")
        axes.set_xlabel(titles[0])
        axes.set_title(titles[1])
        axes.tick_params(axis="y", length=0)

    return render([draw], 1, width, _HEIGHT, left=52)


def over_steps(
    found: Sequence[Curve],
    places: Mapping[str, int],
    kept: Mapping[str, int | None],
    ideal: float | None,
    width: int,
) -> str:
    """All runs over training steps in one panel; the checkpoint that was kept is filled.

    Args:
        found: A curve for each run, by its name.
        places: Of the runs in the table.
        kept: Step of the checkpoint that was kept.
        ideal: Value of the dashed line.
        width: Of the plot in CSS pixels.
    """

    def draw(axes: Axes) -> None:
        if ideal is not None:
            axes.axhline(ideal, color=MUTED, linewidth=1.0, dashes=(4, 3), zorder=1)
        for curve in found:
            _line(axes, curve.steps, curve.values, places[curve.name])
            at = [i for i, step in enumerate(curve.steps) if step == kept.get(curve.name)]
            _kept(axes, [(curve.steps[i], curve.values[i]) for i in at], places[curve.name])
        axes.grid(axis="y")
        axes.set_xlabel("steps")
        axes.tick_params(axis="y", length=0)
        axes.locator_params(axis="x", nbins=6 if width >= WIDE else 4, integer=True)

    return render([draw], 1, width, _HEIGHT, left=52)


def paths(reading: Reading, places: Mapping[str, int], width: int) -> str:
    """Bias against damage, one line through the evaluations of each run.

    Args:
        reading: What to draw.
        places: Of the runs in the table.
        width: Of the plot in CSS pixels.
    """

    def draw(axes: Axes) -> None:
        for path in reading.paths:
            bias, damage = [p.bias for p in path.points], [p.damage for p in path.points]
            _line(axes, bias, damage, places[path.name])
            kept = [(p.bias, p.damage) for p in path.points if p.step == path.kept]
            _kept(axes, kept, places[path.name])
        axes.margins(x=0.06, y=0.1)
        axes.grid(axis="y")
        axes.set_xlabel(f"{reading.bias} ({reading.bias_unit})")
        axes.set_title(f"{reading.damage} ({reading.damage_unit})")
        axes.tick_params(axis="y", length=0)

    return render([draw], 1, width, _HEIGHT, left=58)


def _line(axes: Axes, x: Sequence[float], y: Sequence[float], place: int) -> None:
    color, marker = style_of(place)
    axes.plot(
        x,
        y,
        color=color,
        linewidth=1.6,
        marker=marker,
        markersize=5,
        markerfacecolor=PAPER,
        markeredgecolor=color,
        zorder=2,
    )


def _kept(axes: Axes, points: Sequence[tuple[float, float]], place: int) -> None:
    color, marker = style_of(place)
    for x, y in points:
        axes.plot([x], [y], color=color, marker=marker, markersize=8, linestyle="none", zorder=3)
