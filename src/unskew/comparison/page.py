"""The comparison as one HTML file that opens offline and runs no script."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from unskew import __version__
from unskew.comparison.contest import ALPHA
from unskew.comparison.lineup import Entrant
from unskew.comparison.plots import GLYPHS, over_steps, paths, trade
from unskew.comparison.render import cell_text, p_text
from unskew.comparison.result import Compared
from unskew.comparison.table import Cell, Section, headline, points
from unskew.comparison.tradeoff import at_levels
from unskew.reports.drawing import MAX_PANELS, Plot, in_both_widths
from unskew.reports.findings import Measure
from unskew.reports.plots import Curve, curves
from unskew.reports.record import HistoryRow, RunRecord
from unskew.reports.templating import page_environment
from unskew.types import OVERALL

__all__ = ["as_html"]


def as_html(compared: Compared) -> str:
    """The page as text; the same comparison gives the same bytes."""
    environment = page_environment("unskew.comparison")
    environment.globals.update(
        cell_text=cell_text,
        p_text=p_text,
        at_levels=at_levels,
        at_most=ALPHA,
        glyphs=GLYPHS,
        points=points,
    )
    return environment.get_template("compare.html.j2").render(_context(compared))


def _context(compared: Compared) -> dict[str, Any]:
    measure = headline(compared.lineup)
    return {
        "compared": compared,
        "version": __version__,
        "measure": measure,
        "data": compared.lineup.runs[0].record.data,
        "trade_plots": _trades(compared),
        "step_plot": _steps(compared, measure) if measure else None,
        "equal_bias": [(reading, _reading(compared, i)) for i, reading in _shown(compared)],
        "loss_plot": _losses(compared),
    }


def _trades(compared: Compared) -> list[tuple[str, Plot]]:
    """For each measure of bias that has a change of LMS."""
    made = []
    for section in compared.sections:
        pair = _trade_columns(section)
        if pair is None:
            continue
        points = _points(compared, *pair)
        if points:
            told = "; ".join(
                f"{n}: {cell_text(b)}, LMS {cell_text(d)}" for n, (b, d) in points.items()
            )
            titles = (f"{section.title}, % (ideal 50)", "ΔLMS, points against the base")
            draw = partial(trade, points, compared.places, 50.0, titles)
            text = f"{section.title} against the change of LMS: {told}."
            made.append((section.title, in_both_widths(draw, text)))
    return made


def _trade_columns(
    section: Section,
) -> tuple[Mapping[str, Cell], Mapping[str, Cell]] | None:
    bias = next((c for c in section.columns if c.title == OVERALL), None)
    change = next((c for c in section.columns if c.name.endswith(".delta")), None)
    return None if bias is None or change is None else (bias.cells, change.cells)


def _points(
    compared: Compared, bias: Mapping[str, Cell], change: Mapping[str, Cell]
) -> dict[str, tuple[Cell, Cell]]:
    base = compared.lineup.base
    points = {}
    if base is not None and base.name in bias:
        points[base.name] = (bias[base.name], Cell(0.0, "%"))
    points |= {name: (bias[name], cell) for name, cell in change.items() if name in bias}
    return points


def _steps(compared: Compared, measure: Measure) -> Plot | None:
    found, kept = [], {}
    for run in compared.lineup.runs:
        rows = _last_training(run.record)
        at = [
            (row.step, m.value)
            for row in rows
            for m in row.metrics
            if (m.benchmark, m.variant, m.metric, m.category)
            == (measure.benchmark, measure.variant, measure.metric, OVERALL)
        ]
        if at:
            found.append(Curve(run.name, [s for s, _ in at], [v for _, v in at]))
            # A checkpoint is that of the run's last stage.
            is_last = rows[-1] is run.record.history[-1]
            checkpoint = run.record.checkpoint if is_last else None
            kept[run.name] = checkpoint.best_step if checkpoint else None
    if not found:
        return None
    told = "; ".join(f"{c.name} from {c.values[0]:.1f} to {c.values[-1]:.1f}" for c in found)
    draw = partial(over_steps, found, compared.places, kept, 50.0)
    return in_both_widths(draw, f"{measure.title} on the select split over steps: {told}.")


def _last_training(record: RunRecord) -> list[HistoryRow]:
    """Evaluations of the last train stage: other stages begin anew, edit stages have no steps."""
    rows = [row for row in record.history if row.strength is None]
    return [row for row in rows if row.stage == rows[-1].stage]


def _shown(compared: Compared) -> list[tuple[int, Any]]:
    return list(enumerate(compared.readings))


def _reading(compared: Compared, place: int) -> Plot:
    reading = compared.readings[place]
    told = "; ".join(
        f"{path.name} from {path.points[0].bias:.3g} and {path.points[0].damage:.3g} "
        f"to {path.points[-1].bias:.3g} and {path.points[-1].damage:.3g}"
        for path in reading.paths
    )
    draw = partial(paths, reading, compared.places)
    return in_both_widths(draw, f"{reading.damage} by {reading.bias}: {told}.")


def _losses(compared: Compared) -> Plot | None:
    found = [c for run in compared.lineup.runs for c in _loss_by_stage(run)][:MAX_PANELS]
    if not found:
        return None
    told = "; ".join(f"{c.name} from {c.values[0]:.3g} to {c.values[-1]:.3g}" for c in found)
    return in_both_widths(partial(curves, found), f"Training loss over steps: {told}.")


def _loss_by_stage(run: Entrant) -> list[Curve]:
    """A curve for each train stage; an only one has the name of the run."""
    log = run.record.train_log
    stages = list(dict.fromkeys(row.stage for row in log))
    return [
        Curve(
            run.name if len(stages) == 1 else f"{run.name}, {stage}",
            [row.step for row in log if row.stage == stage],
            [row.loss for row in log if row.stage == stage],
        )
        for stage in stages
    ]
