"""Methods rather than models: each number as a mean over the seeds of its runs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from scipy.special import stdtrit

from unskew.comparison.table import COSTS, aim, costs
from unskew.reports.findings import (
    AFTER,
    BEFORE,
    ORACLE,
    REPORT,
    Measure,
    badness,
    judged_rows,
    measures,
)
from unskew.reports.record import MetricRow, RunRecord

__all__ = ["Mean", "Method", "Quantity", "Result", "Standing", "mean_over_seeds", "standings"]

_UPPER_QUANTILE = 0.975
"""Of a two-sided 95 % interval."""
_LIMITS = {"%": (0.0, 100.0), "probability": (0.0, 1.0), "points": (0.0, 50.0)}
"""What a number of this unit can be; the interval is cut there. Points are those of a distance."""


@dataclass(frozen=True, slots=True)
class Mean:
    """A mean over seeds, with what a cell shows."""

    value: float
    unit: str
    by_seed: tuple[float, ...]
    ci_low: float | None
    ci_high: float | None
    """Student's t over the seeds: the noise of training, without that of the items."""


@dataclass(frozen=True, slots=True)
class Result:
    """One run of a method: its record, or why it has none."""

    seed: int
    record: RunRecord | None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Method:
    """A recipe with its settings, and its runs."""

    name: str
    results: tuple[Result, ...]

    @property
    def records(self) -> list[RunRecord]:
        """Of the runs that have a result."""
        return [r.record for r in self.results if r.record is not None]

    @property
    def failed(self) -> list[Result]:
        """Those without."""
        return [r for r in self.results if r.record is None]


@dataclass(frozen=True, slots=True)
class Quantity:
    """A column."""

    section: str
    title: str
    aim: str
    unit: str
    of: Callable[[RunRecord, str], float | None]
    """Record and phase to value; None where it was not measured."""


@dataclass(frozen=True, slots=True)
class Standing:
    """A row: a method, or the model before or the oracle."""

    name: str
    cells: Mapping[Quantity, Mean]
    num_seeds: int
    failed: tuple[Result, ...] = ()
    is_method: bool = True


def standings(methods: Sequence[Method]) -> tuple[list[Quantity], list[Standing]]:
    """The columns that have a number, and the rows: base, methods, oracle.

    A method without a result keeps its row, so that a failure is not lost.
    """
    first = next((record for m in methods for record in m.records), None)
    if first is None:
        return [], [Standing(m.name, {}, 0, tuple(m.failed)) for m in methods]
    measured = _measured(first)
    columns = [*measured, *_costs()]
    rows = [
        Standing(m.name, _cells(columns, m.records, AFTER), len(m.records), tuple(m.failed))
        for m in methods
    ]
    base = Standing("base", _cells(measured, [first], BEFORE), 1, is_method=False)
    oracle = Standing("oracle", _cells(measured, [first], ORACLE), 1, is_method=False)
    kept = [c for c in columns if any(c in row.cells for row in rows)]
    return kept, [row for row in (base, *rows, oracle) if row.is_method or row.cells]


def mean_over_seeds(values: Sequence[float], unit: str) -> Mean:
    """Mean and its 95 % interval by Student's t, within the unit's limits; none for one seed."""
    n = len(values)
    mean = math.fsum(values) / n
    if n < 2:
        return Mean(mean, unit, tuple(values), None, None)
    variance = math.fsum((v - mean) ** 2 for v in values) / (n - 1)
    half = float(stdtrit(n - 1, _UPPER_QUANTILE)) * math.sqrt(variance / n)
    lowest, highest = _LIMITS.get(unit, (-math.inf, math.inf))
    return Mean(mean, unit, tuple(values), max(mean - half, lowest), min(mean + half, highest))


def _cells(
    columns: Sequence[Quantity], records: Sequence[RunRecord], phase: str
) -> dict[Quantity, Mean]:
    found = {}
    for column in columns:
        values = [column.of(record, phase) for record in records]
        known = [v for v in values if v is not None]
        # A mean over some of the seeds would be one of other runs than its neighbours.
        if known and len(known) == len(values):
            found[column] = mean_over_seeds(known, column.unit)
    return found


_DAMAGE = (
    ("stereoset", "lms", None, "overall", "LMS"),
    ("stereoset", "icat", None, "overall", "ICAT"),
    ("perplexity", "perplexity", None, "overall", "Perplexity"),
    ("reasoning", "accuracy", None, "overall", "Reasoning"),
    ("reasoning", "accuracy", None, "entangled", "Reasoning about groups"),
    ("slot", "slot_mass", ORACLE, "overall", "Slot mass"),
    ("divergence", "kl_reference_policy", "base", "overall", "Text: KL from the base"),
)
_DISTANCE = (
    ("slot", "pair_kl", ORACLE, "overall", "Choice of the word"),
    ("slot", "slot_kl", ORACLE, "overall", "Slot"),
    ("divergence", "kl_reference_policy", ORACLE, "overall", "Text"),
)


def _measured(first: RunRecord) -> list[Quantity]:
    """Columns for what the record holds."""
    found = measures(first)
    made = [
        _metric(first, "Bias", (m.benchmark, m.metric, m.variant, "overall"), _titled(m))
        for m in found
    ]
    if found:
        made.append(
            Quantity(
                "Bias", "Farthest category", "points from 50, lower is better", "points", _farthest
            )
        )
    main = found[0] if found else None
    for section, places in (("Damage", _DAMAGE), ("KL from the oracle", _DISTANCE)):
        for benchmark, metric, variant, category, title in places:
            own = main.variant if main and benchmark == main.benchmark else variant
            made.append(_metric(first, section, (benchmark, metric, own, category), title))
    return [column for column in made if column is not None]


def _titled(measure: Measure) -> str:
    return f"{measure.short} {measure.variant}".strip()


def _metric(
    first: RunRecord, section: str, place: tuple[str, str, str | None, str], title: str
) -> Quantity | None:
    """The column of a metric; None where the first record, of which unit and aim are, lacks it."""
    benchmark, metric, variant, category = place

    def rows(record: RunRecord, phase: str) -> list[MetricRow]:
        keys = {"benchmark": benchmark, "metric": metric, "variant": variant, "category": category}
        return record.find(**keys, phase=phase, split=REPORT)

    def of(record: RunRecord, phase: str) -> float | None:
        return next((row.value for row in rows(record, phase)), None)

    found = rows(first, AFTER)
    row = found[0] if found else None
    return Quantity(section, title, aim(row), row.unit, of) if row else None


def _farthest(record: RunRecord, phase: str) -> float | None:
    """Largest distance from the ideal of a category, over all measures of preference."""
    found = [
        badness(row.by_phase[phase])
        for measure in measures(record)
        for row in judged_rows(record, measure)
        if phase in row.by_phase
    ]
    return max(found, default=None)


def _costs() -> list[Quantity]:
    def cost(name: str) -> Callable[[RunRecord, str], float | None]:
        return lambda record, _: costs(record).get(name)

    return [Quantity("Cost", title, "", unit, cost(name)) for name, (title, unit) in COSTS.items()]
