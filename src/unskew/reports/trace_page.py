"""The page of a trace: one HTML file that opens offline and runs no script."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from unskew.evaluation.effects import Cell, Estimate, ranked
from unskew.evaluation.tracing import POSITIONS, STATES
from unskew.files import write_text
from unskew.reports.drawing import Plot, in_both_widths
from unskew.reports.formatting import format_value
from unskew.reports.heatmaps import HeatCell, HeatMap, heat_maps
from unskew.reports.templating import page_environment
from unskew.reports.trace_record import TraceRecord

PAGE_FILE = "trace.html"
NAMES = {
    "block": "Block output",
    "attention": "Attention output",
    "mlp": "MLP output",
    "group_word": "group word",
    "before_attribute": "before attribute",
    "attribute": "attribute",
}
TOP = 3


def render_trace(folder: Path) -> Path:
    """Write `trace.html` beside the record it is made from; same record, same bytes.

    Args:
        folder: Holds `trace.json`.

    Raises:
        DataError: The record cannot be read.
        StorageError: The page could not be written.
    """
    record = TraceRecord.load(folder)
    environment = page_environment()
    environment.globals.update(names=NAMES, top=TOP, estimate=_in_brackets)
    cells = record.effects.cells
    page = environment.get_template("trace.html.j2").render(
        record=record,
        effect_plot=_figure(record, lambda c: c.effect, "nats per token", "Indirect effects"),
        normalised_plot=_figure(record, lambda c: c.normalised, "", "Normalised effects"),
        ranking={p: found for p in POSITIONS if (found := ranked(cells, p)[:TOP])},
        counts={
            p: max((c.effect.n for c in cells if c.position == p), default=0) for p in POSITIONS
        },
    )
    return write_text(folder / PAGE_FILE, page)


def _figure(
    record: TraceRecord, value: Callable[[Cell], Estimate | None], unit: str, what: str
) -> Plot | None:
    """The maps of all states in two widths and in words; None where nothing was measured."""
    cells = {(c.state, c.position, c.layer): e for c in record.effects.cells if (e := value(c))}
    if not cells:
        return None
    layers = range(record.num_layers)
    grids = [
        [[cells.get((state, position, layer)) for layer in layers] for position in POSITIONS]
        for state in STATES
    ]
    maps = [
        HeatMap(
            NAMES[state],
            [NAMES[position] for position in POSITIONS],
            [str(layer) for layer in layers],
            [[e and HeatCell(e.value, e.excludes_zero) for e in row] for row in grid],
        )
        for state, grid in zip(STATES, grids, strict=True)
    ]
    told = [
        f"{NAMES[state]}, {NAMES[position]}: {_highest(own)}"
        for state in STATES
        for position in POSITIONS
        if (own := {i: e for (s, p, i), e in cells.items() if (s, p) == (state, position)})
    ]
    return in_both_widths(
        partial(heat_maps, maps, unit),
        f"{what} by kind of position and layer. {'; '.join(told)}.",
    )


def _highest(by_layer: dict[int, Estimate]) -> str:
    layer = max(by_layer, key=lambda i: by_layer[i].value)
    return f"highest {format_value(by_layer[layer].value, '')} in layer {layer}"


def _in_brackets(estimate: Estimate) -> str:
    """The 95 % interval."""
    if estimate.ci_low is None or estimate.ci_high is None:
        return "no interval"
    return f"[{format_value(estimate.ci_low, '')}, {format_value(estimate.ci_high, '')}]"
