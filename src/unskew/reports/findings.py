"""What a record says, as rows to be shown: preferences by category, other phases.

Everything here is read from the report split. A change counts as clear where it exceeds the
half-widths of its two 95 % intervals added in quadrature, the rule for independent
measurements; both phases score the same items, so this is cautious.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from unskew.reports.record import HistoryMetric, MetricRow, RunRecord
from unskew.types import OVERALL

Change = Literal["better", "worse", "unclear"]

REPORT = "report"
BEFORE, AFTER, ORACLE = "before", "after", "oracle"

_TITLES = {
    ("stereoset", "ss"): "StereoSet stereotype score (SS)",
    ("crows_pairs", "stereotype_share"): "CrowS-Pairs stereotype share",
}
_DISTANCES = {
    "kl_reference_policy": "KL on plain text",
    "slot_kl": "KL where a stereotype could stand",
    "pair_kl": "KL of the choice between stereotype and anti-stereotype",
}


@dataclass(frozen=True, slots=True)
class Measure:
    """A metric by which a preference is judged: share of pairs, ideal 50."""

    benchmark: str
    variant: str
    metric: str

    @property
    def title(self) -> str:
        """Name for a reader, e.g. `StereoSet stereotype score (SS)`."""
        return _TITLES.get((self.benchmark, self.metric), f"{self.benchmark} {self.metric}")

    @property
    def short(self) -> str:
        """Name within a sentence: `SS`, or the name of the metric."""
        return self.metric.upper() if len(self.metric) <= 4 else self.metric.replace("_", " ")


@dataclass(frozen=True, slots=True)
class Row:
    """One quantity in all phases; a phase in which it was not measured has no entry."""

    name: str
    by_phase: dict[str, MetricRow]

    @property
    def before(self) -> MetricRow | None:
        return self.by_phase.get(BEFORE)

    @property
    def after(self) -> MetricRow | None:
        return self.by_phase.get(AFTER)

    @property
    def difference(self) -> float | None:
        """After minus before, in the metric's unit."""
        if self.before is None or self.after is None:
            return None
        return self.after.value - self.before.value

    @property
    def change(self) -> Change | None:
        """Whether the change is clear; None where one of the two was not measured."""
        if self.before is None or self.after is None:
            return None
        return change(self.before, self.after)


def half_width(row: HistoryMetric) -> float | None:
    """Half of the 95 % interval, or None where there is none."""
    if row.ci_low is None or row.ci_high is None:
        return None
    return (row.ci_high - row.ci_low) / 2


def contains_ideal(row: HistoryMetric) -> bool:
    """True where there is an interval and the ideal lies in it."""
    if row.ideal is None or row.ci_low is None or row.ci_high is None:
        return False
    return row.ci_low <= row.ideal <= row.ci_high


def badness(row: HistoryMetric) -> float:
    """Distance from the ideal, or the value turned so that more is worse."""
    if row.better == "closer":
        return abs(row.value - (row.ideal or 0.0))
    return row.value if row.better == "lower" else -row.value


def change(before: HistoryMetric, after: HistoryMetric) -> Change:
    """Whether a number became clearly better or worse; without intervals nothing is clear."""
    if before.better == "closer" and before.ideal is None:
        return "unclear"
    width_before, width_after = half_width(before), half_width(after)
    if width_before is None or width_after is None:
        return "unclear"
    gain = badness(before) - badness(after)
    if abs(gain) <= math.hypot(width_before, width_after):
        return "unclear"
    return "better" if gain > 0 else "worse"


def phases(record: RunRecord) -> list[str]:
    """Phases with numbers on the report split: before, after, then as they come."""
    found = list(dict.fromkeys(row.phase for row in record.find(category=None, split=REPORT)))
    return sorted(found, key=lambda p: (p != BEFORE, p != AFTER, p != ORACLE))


def final_phase(record: RunRecord) -> str | None:
    """The phase that a finished run stands for: after, or the only one where nothing was learned.

    None for a run that was cut off, and for one without numbers on the report split.
    """
    found = phases(record)
    if AFTER in found:
        return AFTER
    return found[0] if record.recipe is None and len(found) == 1 else None


def is_comparison(record: RunRecord) -> bool:
    """True where the record holds numbers from before and after."""
    return {BEFORE, AFTER} <= set(phases(record))


def measures(record: RunRecord) -> list[Measure]:
    """Preference measures of the record, the one for the headline first.

    StereoSet and CrowS-Pairs come first, then any metric in per cent whose ideal is 50.
    """
    found = dict.fromkeys(
        Measure(row.benchmark, row.variant, row.metric)
        for row in record.find(category=None, split=REPORT)
        if row.better == "closer"
        and row.ideal == 50
        and row.unit == "%"
        and not row.metric.endswith("_micro")
    )
    known = list(_TITLES)

    def rank(m: Measure) -> int:
        key = (m.benchmark, m.metric)
        return known.index(key) if key in known else len(known)

    return sorted(found, key=rank)


def rows(record: RunRecord, measure: Measure) -> list[Row]:
    """One row for each category, the overall one last."""
    numbers = record.find(
        benchmark=measure.benchmark,
        variant=measure.variant,
        metric=measure.metric,
        category=None,
        split=REPORT,
    )
    names = list(dict.fromkeys(row.category for row in numbers))
    names.sort(key=lambda name: name == OVERALL)
    return [
        Row(name, {row.phase: row for row in numbers if row.category == name}) for name in names
    ]


def judged_rows(record: RunRecord, measure: Measure) -> list[Row]:
    """The rows a verdict rests on: the categories, or the overall one where there are none."""
    all_rows = rows(record, measure)
    return [row for row in all_rows if row.name != OVERALL] or all_rows


def oracle_rows(record: RunRecord) -> list[Row]:
    """Distances (KL) to the oracle, from numbers whose variant is `oracle`."""
    found: dict[str, dict[str, MetricRow]] = {}
    for row in record.find(variant=ORACLE, split=REPORT):
        if "kl" in row.metric.split("_"):
            name = _DISTANCES.get(row.metric, f"{row.benchmark} {row.metric}")
            found.setdefault(name, {})[row.phase] = row
    return [Row(name, by_phase) for name, by_phase in found.items()]
