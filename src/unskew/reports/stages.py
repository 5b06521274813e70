"""What the page says of a run's stages: training curves, strengths, and the chosen weights."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from unskew.reports.drawing import MAX_PANELS, Plot, in_both_widths
from unskew.reports.findings import Measure
from unskew.reports.plots import Curve, curves
from unskew.reports.record import HistoryRow, RunRecord
from unskew.reports.selection_record import (
    CategoryComparison,
    CategoryOverlap,
    CategoryShare,
    ControlRow,
    Selection,
    TensorChoice,
)
from unskew.types import OVERALL

_LAYER = re.compile(r"^(.*?\.(\d+))\.(.+?)\.weight$")


@dataclass(frozen=True, slots=True)
class StagePlot:
    """A plot of one stage."""

    stage: str
    plot: Plot


def select_plots(record: RunRecord, headline: Measure) -> list[StagePlot]:
    """Score on the select split over the steps of each train stage that looked at it."""
    found: list[StagePlot] = []
    for stage, rows in _by_stage(record.history).items():
        if rows[0].strength is not None:
            continue
        series = _series(rows, headline, [float(row.step) for row in rows])
        numbered = enumerate(record.decisions, start=1)
        marks = [(number, d.step) for number, d in numbered if d.stage == stage]
        if series:
            found.append(StagePlot(stage, _curves(series, headline, marks, "training steps")))
    return found


def strength_plots(record: RunRecord, headline: Measure) -> list[StagePlot]:
    """Score on the select split over the strengths that an edit stage tried."""
    found: list[StagePlot] = []
    for stage, rows in _by_stage(record.history).items():
        if rows[0].strength is None:
            continue
        tried = sorted(rows, key=lambda row: row.strength or 0.0)
        series = _series(tried, headline, [row.strength or 0.0 for row in tried])
        if series:
            found.append(StagePlot(stage, _curves(series, headline, [], "strengths")))
    return found


def loss_plots(record: RunRecord) -> list[StagePlot]:
    """Loss and its parts over the steps of each train stage."""
    found: list[StagePlot] = []
    for stage in dict.fromkeys(row.stage for row in record.train_log):
        rows = [row for row in record.train_log if row.stage == stage]
        steps = [float(row.step) for row in rows]
        series = [Curve("loss", steps, [row.loss for row in rows])]
        for name in dict.fromkeys(name for row in rows for name in row.parts):
            having = [row for row in rows if name in row.parts]
            values = [row.parts[name] for row in having]
            series.append(Curve(f"part: {name}", [float(r.step) for r in having], values))
        told = "; ".join(f"{c.name} from {c.values[0]:.3g} to {c.values[-1]:.3g}" for c in series)
        label = f"Loss and its parts over steps: {told}."
        found.append(StagePlot(stage, in_both_widths(partial(curves, series[:MAX_PANELS]), label)))
    return found


@dataclass(frozen=True, slots=True)
class Cell:
    """Tensors of one kind in one layer, taken together."""

    share: float
    """Of their weights that were chosen, 0 to 1."""
    overlap: float | None
    """Jaccard index over what chance gives; 1 is chance."""

    @property
    def warmth(self) -> float:
        """What the cell is shaded by: the overlap, or the share where there is none."""
        return self.share if self.overlap is None else self.overlap


@dataclass(frozen=True, slots=True)
class Heat:
    """Chosen weights by layer and kind of module."""

    selection: Selection
    kinds: list[str]
    layers: list[tuple[str, list[Cell | None]]]
    """Name of the layer and one cell for each kind."""
    hottest: float
    """The largest `warmth` of a cell."""


def heat(selection: Selection) -> Heat:
    """Where in the model the chosen weights are."""
    cells: dict[tuple[str, str], list[TensorChoice]] = {}
    for tensor in selection.tensors:
        match = _LAYER.match(tensor.name)
        place = (match[2], match[3]) if match else ("", tensor.name)
        cells.setdefault(place, []).append(tensor)
    kinds = list(dict.fromkeys(kind for _, kind in cells))
    layers = list(dict.fromkeys(layer for layer, _ in cells))
    made = {place: _cell(tensors) for place, tensors in cells.items()}
    rows = [(layer, [made.get((layer, kind)) for kind in kinds]) for layer in layers]
    return Heat(selection, kinds, rows, max(cell.warmth for cell in made.values()))


def _cell(tensors: Sequence[TensorChoice]) -> Cell:
    share = sum(t.num_chosen for t in tensors) / sum(t.num_weights for t in tensors)
    known = [(t.jaccard, t.jaccard_by_chance) for t in tensors]
    ratios = [own / chance for own, chance in known if own is not None and chance]
    return Cell(share, sum(ratios) / len(ratios) if ratios else None)


def category_matrix(
    found: CategoryComparison,
) -> list[tuple[CategoryShare, list[CategoryOverlap | None]]]:
    """One line for each bias type: how it lies to the choice, and to every type in turn."""
    by_pair = {frozenset((o.first, o.second)): o for o in found.overlaps}
    names = [share.category for share in found.shares]
    return [
        (share, [by_pair.get(frozenset((share.category, name))) for name in names])
        for share in found.shares
    ]


def control_phases(record: RunRecord) -> list[str]:
    """The controls, in the order of the record."""
    return list(dict.fromkeys(row.phase for row in record.controls))


def control_rows(record: RunRecord) -> list[tuple[str, list[ControlRow | None]]]:
    """One line for each metric, one cell for each control."""
    found: dict[str, dict[str, ControlRow]] = {}
    for row in record.controls:
        parts = (row.benchmark, row.variant, row.metric, row.category)
        name = " ".join(part for part in parts if part and part != OVERALL).replace("_", " ")
        found.setdefault(name, {})[row.phase] = row
    shown = control_phases(record)
    return [(name, [by_phase.get(p) for p in shown]) for name, by_phase in found.items()]


def controls_verdict(record: RunRecord) -> str:
    """What the controls say of the choice, in words; the random mask decides."""
    parts = [_against(record, phase) for phase in control_phases(record)]
    return " ".join(parts)


def _against(record: RunRecord, phase: str) -> str:
    rows = [row for row in record.controls if row.phase == phase]
    better, worse = (
        [f"{r.benchmark} {r.metric}".replace("_", " ") for r in rows if r.better == side]
        for side in ("result", "control")
    )
    if not better and not worse:
        return f"Of the {phase} the choice cannot be told apart by any of {len(rows)} metrics."
    told = [f"better in {', '.join(dict.fromkeys(better))}"] if better else []
    told += [f"worse in {', '.join(dict.fromkeys(worse))}"] if worse else []
    return f"Against the {phase} the choice is {' and '.join(told)} ({len(rows)} metrics)."


def _by_stage(history: Sequence[HistoryRow]) -> dict[str, list[HistoryRow]]:
    found: dict[str, list[HistoryRow]] = {}
    for row in history:
        found.setdefault(row.stage, []).append(row)
    return found


def _series(rows: Sequence[HistoryRow], measure: Measure, places: Sequence[float]) -> list[Curve]:
    points: dict[str, tuple[list[float], list[float]]] = {}
    wanted = (measure.benchmark, measure.variant, measure.metric)
    for row, place in zip(rows, places, strict=True):
        for m in row.metrics:
            if (m.benchmark, m.variant, m.metric) == wanted:
                along, values = points.setdefault(m.category, ([], []))
                along.append(place)
                values.append(m.value)
    if len(points) > 1:
        points.pop(OVERALL, None)
    return [Curve(name, *pair) for name, pair in points.items()][:MAX_PANELS]


def _curves(
    found: Sequence[Curve], measure: Measure, marks: Sequence[tuple[int, int]], over: str
) -> Plot:
    told = "; ".join(f"{c.name} from {c.values[0]:.1f} to {c.values[-1]:.1f}" for c in found)
    numbered = " Numbered lines are the decisions listed below." if marks else ""
    return in_both_widths(
        partial(curves, found, marks=marks, ideal=50.0),
        f"{measure.title} on the select split over {over}: {told}.{numbered}",
    )
