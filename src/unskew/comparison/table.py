"""The table: the base, then one row for each run. What was not measured stays absent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from unskew.comparison.contest import Comparison, Key, Outcome
from unskew.comparison.lineup import BASE, Lineup
from unskew.reports.findings import Measure, measures
from unskew.reports.guards import GUARDS
from unskew.reports.record import MetricRow, RunRecord
from unskew.types import OVERALL, Metric

__all__ = [
    "COSTS",
    "COST_UNITS",
    "Cell",
    "Column",
    "Section",
    "costs",
    "headline",
    "points",
    "sections",
    "standing",
]

_DISTANCES = (
    ("slot", "pair_kl", "oracle", "Choice of the word: KL from the oracle"),
    ("slot", "slot_kl", "oracle", "Slot: KL from the oracle"),
    ("divergence", "kl_reference_policy", "oracle", "Text: KL from the oracle"),
)

COSTS = {
    "training_seconds": ("Training", "s"),
    "tokens": ("Tokens trained on", "count"),
    "peak_memory": ("Peak memory", "MiB"),
    "steps": ("Steps run", "count"),
    "best_step": ("Step kept", "count"),
    "forwards": ("Forward passes a token", "count"),
}
"""Name of a cost -> its title and unit."""
COST_UNITS = frozenset(unit for _, unit in COSTS.values())
"""Numbers in these have no interval."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A number as it is shown."""

    value: float
    unit: str
    ci_low: float | None = None
    ci_high: float | None = None
    is_best: bool = False
    """Whether it won against every other model."""


@dataclass(frozen=True, slots=True)
class Column:
    """A quantity, and its cell for each model that has it."""

    name: str
    """For programs, e.g. `stereoset.intrasentence.ss.gender`."""
    title: str
    aim: str
    """Ideal and direction in words, e.g. `ideal 50`."""
    cells: dict[str, Cell]
    """By name of the model."""
    key: Key | None = None
    """Of the metric that is compared; None for what is not."""


@dataclass(frozen=True, slots=True)
class Section:
    """Columns that are read together."""

    title: str
    short: str
    """Name in front of a column's; empty where the column's says enough."""
    columns: tuple[Column, ...]


def headline(lineup: Lineup) -> Measure | None:
    """The measure of bias that the comparison is about."""
    return next((m for run in lineup.runs for m in measures(run.record)[:1]), None)


def sections(lineup: Lineup, outcome: Outcome) -> list[Section]:
    """Bias for each measure, then damage, then cost; sections without a number are left out."""
    found = dict.fromkeys(m for run in lineup.runs for m in measures(run.record))
    made = [
        Section(_titled(m), f"{m.short} {m.variant}".strip(), tuple(_bias(lineup, outcome, m)))
        for m in found
    ]
    made.append(Section("Damage", "", tuple(_damage(lineup, outcome))))
    made.append(Section("Cost", "", tuple(_cost(lineup))))
    kept = [replace(s, columns=tuple(c for c in s.columns if c.cells)) for s in made]
    return [section for section in kept if section.columns]


def _titled(measure: Measure) -> str:
    return f"{measure.title}, {measure.variant}" if measure.variant else measure.title


def _bias(lineup: Lineup, outcome: Outcome, measure: Measure) -> list[Column]:
    place = (measure.benchmark, measure.variant, measure.metric)
    keys = dict.fromkeys(k for own in outcome.metrics.values() for k in own if k[:3] == place)
    names = sorted((key[3] for key in keys), key=lambda name: name == OVERALL)
    columns = [_column(lineup, outcome, (*place, name), name) for name in names]
    for metric, title in (("lms", "LMS"), ("icat", "ICAT")):
        key = (measure.benchmark, measure.variant, metric, OVERALL)
        columns.append(_column(lineup, outcome, key, title))
        if metric == "lms":
            columns.append(_change(lineup, outcome, key, "ΔLMS"))
    return columns


def _damage(lineup: Lineup, outcome: Outcome) -> list[Column]:
    columns: list[Column] = []
    for guard in GUARDS:
        variants = dict.fromkeys(
            key[1]
            for own in outcome.metrics.values()
            for key in own
            if (key[0], key[2]) == (guard.benchmark, guard.metric) and key[3] == OVERALL
        )
        # LMS stands with its bias; a distance to the base is one to the base alone.
        if guard.metric == "lms":
            continue
        for variant in variants:
            if guard.is_distance and variant != BASE:
                continue
            key = (guard.benchmark, variant, guard.metric, OVERALL)
            columns.append(_column(lineup, outcome, key, guard.title))
    for benchmark, metric, variant, title in _DISTANCES:
        columns.append(_column(lineup, outcome, (benchmark, variant, metric, OVERALL), title))
    return columns


def _column(lineup: Lineup, outcome: Outcome, key: Key, title: str) -> Column:
    names = [entrant.name for entrant in lineup.compared]
    best = outcome.champion(key, names)
    numbers = {n: own[key] for n, own in outcome.metrics.items() if key in own}
    cells = {
        name: Cell(m.value, m.unit, m.ci_low, m.ci_high, name == best)
        for name, m in numbers.items()
    }
    aimed = aim(next(iter(numbers.values()), None))
    return Column(".".join(key), title, aimed, cells, key)


def _change(lineup: Lineup, outcome: Outcome, key: Key, title: str) -> Column:
    """The difference to the base on the same items, with an interval where that was compared."""
    cells = {}
    base = outcome.metrics.get(BASE, {}).get(key)
    if base is not None:
        for run in lineup.runs:
            if (own := outcome.metrics[run.name].get(key)) is not None:
                cells[run.name] = Cell(own.value - base.value, points(base.unit))
        cells[BASE] = Cell(0.0, points(base.unit), 0.0, 0.0)
    for c in outcome.of(key):
        if c.first == BASE:
            cells[c.second] = Cell(c.difference, points(c.unit), c.ci_low, c.ci_high)
    return Column(f"{'.'.join(key)}.delta", title, "against the base", cells)


def points(unit: str) -> str:
    """Unit of a difference."""
    return "points" if unit == "%" else unit


def aim(m: Metric | Comparison | MetricRow | None) -> str:
    """What would be good."""
    if m is None:
        return ""
    if m.better == "closer":
        return "no ideal" if m.ideal is None else f"ideal {m.ideal:g}"
    return f"{m.better} is better"


def _cost(lineup: Lineup) -> list[Column]:
    found = {run.name: costs(run.record) for run in lineup.runs}
    return [
        Column(
            f"cost.{name}",
            title,
            "",
            {run: Cell(own[name], unit) for run, own in found.items() if name in own},
        )
        for name, (title, unit) in COSTS.items()
    ]


def costs(record: RunRecord) -> dict[str, float]:
    """What a run took, by the names of `COSTS`; what is not known is absent."""
    own = {"training", *(row.name for row in record.stages)}  # an only stage is timed as training
    seconds = [taken for name, taken in record.timings.items() if name in own]
    tokens = [row.num_tokens for row in record.stages if row.num_tokens is not None]
    checkpoint, peak = record.checkpoint, record.peak_memory_bytes
    found = {
        "training_seconds": sum(seconds) if seconds else None,
        "tokens": sum(tokens) if tokens else None,
        "peak_memory": None if peak is None else peak / 2**20,
        "steps": None if checkpoint is None else checkpoint.last_step,
        "best_step": None if checkpoint is None else checkpoint.best_step,
        "forwards": record.forwards_per_token,
    }
    return {name: float(value) for name, value in found.items() if value is not None}


def standing(outcome: Outcome, key: Key, names: Sequence[str]) -> str:
    """Who won in one metric, in a sentence that claims no more than the tests allow."""
    met = outcome.of(key)
    if not met:
        return "not compared"
    best = outcome.champion(key, names)
    if best is not None:
        return f"{best} is ahead of every other"
    firsts = {c.first for c in met}
    if len(firsts) == 1 and len(met) > 1:
        return _against(firsts.pop(), met)
    present = [name for name in names if any(name in (c.first, c.second) for c in met)]
    losers = {c.second if c.winner == c.first else c.first for c in met if c.winner}
    unbeaten = [name for name in present if name not in losers]
    told = (("never beaten", unbeaten), ("beaten", [n for n in present if n in losers]))
    clauses = "; ".join(f"{what}: {', '.join(who)}" for what, who in told if who)
    return f"no winner ({clauses})"


def _against(baseline: str, met: Sequence[Comparison]) -> str:
    better = [c.second for c in met if c.winner == c.second]
    worse = [c.second for c in met if c.winner == c.first]
    same = [c.second for c in met if c.winner is None]
    told = (("ahead", better), ("behind", worse), ("not told apart", same))
    clauses = "; ".join(f"{what}: {', '.join(names)}" for what, names in told if names)
    return f"against {baseline}: {clauses}"
