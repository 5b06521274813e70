"""Bias against damage at every evaluation during training: methods compared at equal bias.

Methods with other settings stop at other places; what tells them apart is what a given bias costs.
The numbers are those of the select split, which has no intervals: a reading, not a test.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from unskew.comparison.lineup import BASE, Entrant, Lineup
from unskew.comparison.table import headline
from unskew.reports.findings import Measure
from unskew.reports.record import HistoryMetric, HistoryRow
from unskew.types import OVERALL

__all__ = ["DAMAGES", "LEVELS", "Damage", "Path", "Point", "Reading", "at_levels", "readings"]

LEVELS = (0.75, 0.5, 0.25)
"""Shares of the bias at the start at which damages are read."""
_SAME_START = 1e-6


@dataclass(frozen=True, slots=True)
class Point:
    """One evaluation."""

    step: int
    bias: float
    damage: float


@dataclass(frozen=True, slots=True)
class Path:
    """The evaluations of one run, in order."""

    name: str
    points: tuple[Point, ...]
    kept: int | None
    """Step of the checkpoint that was kept."""

    def at(self, bias: float) -> Point | None:
        """The evaluation of least damage with at most this bias; None if there is none."""
        reached = [point for point in self.points if point.bias <= bias]
        return min(reached, key=lambda point: (point.damage, point.step), default=None)


@dataclass(frozen=True, slots=True)
class Reading:
    """One kind of bias against one kind of damage, for all runs that have both."""

    bias: str
    bias_unit: str
    damage: str
    damage_unit: str
    paths: tuple[Path, ...]
    start: float
    """Bias before training."""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Damage:
    """A quantity that unlearning should leave alone, and how much of it was lost."""

    benchmark: str
    metric: str
    variant: str | None
    title: str
    unit: str
    of: Callable[[float, float], float]
    """Value before training and value now to damage."""


def _now(before: float, now: float) -> float:
    return now


def _lost(before: float, now: float) -> float:
    return before - now


def _gained_percent(before: float, now: float) -> float:
    return 100 * (now / before - 1)


DAMAGES = (
    Damage("divergence", "kl_reference_policy", BASE, "KL to the base", "nats/token", _now),
    Damage("stereoset", "lms", None, "LMS lost", "%", _lost),
    Damage("perplexity", "perplexity", None, "Perplexity gained", "%", _gained_percent),
    Damage("reasoning", "accuracy", None, "Reasoning accuracy lost", "%", _lost),
)


def readings(lineup: Lineup) -> list[Reading]:
    """Every kind of bias against every kind of damage of which some run has a history."""
    measure = headline(lineup)
    if measure is None:
        return []
    gap = Measure(measure.benchmark, measure.variant, "mean_gap")
    kinds = ((measure, 50.0, f"{measure.short}, distance from 50", "%"),)
    kinds += ((gap, 0.0, "mean gap, distance from 0", "nats/token"),)
    found = []
    for bias, ideal, title, unit in kinds:
        for damage in DAMAGES:
            variant = measure.variant if damage.benchmark == measure.benchmark else damage.variant
            paths = [_path(run, bias, ideal, damage, variant) for run in lineup.runs]
            having = tuple(path for path in paths if path.points)
            if having:
                starts = [path.points[0].bias for path in having]
                apart = max(starts) - min(starts) > _SAME_START * max(1.0, *starts)
                notes = ("the runs start from different values: other select splits",) * apart
                found.append(
                    Reading(title, unit, damage.title, damage.unit, having, starts[0], notes)
                )
    return found


def _path(run: Entrant, bias: Measure, ideal: float, damage: Damage, variant: str | None) -> Path:
    points: list[Point] = []
    before: float | None = None
    for row in run.record.history:
        size = _value(row, bias.benchmark, bias.metric, bias.variant)
        harm = _value(row, damage.benchmark, damage.metric, variant)
        if size is None or harm is None:
            continue
        before = harm if before is None else before
        points.append(Point(row.step, abs(size - ideal), damage.of(before, harm)))
    checkpoint = run.record.checkpoint
    return Path(run.name, tuple(points), checkpoint.best_step if checkpoint else None)


def _value(row: HistoryRow, benchmark: str, metric: str, variant: str | None) -> float | None:
    found = [m for m in row.metrics if _fits(m, benchmark, metric, variant)]
    return found[0].value if found else None


def _fits(m: HistoryMetric, benchmark: str, metric: str, variant: str | None) -> bool:
    place = (m.benchmark, m.metric, m.category)
    return place == (benchmark, metric, OVERALL) and variant in (None, m.variant)


def at_levels(reading: Reading) -> Mapping[float, Sequence[tuple[str, Point | None]]]:
    """For each level of bias, each run's least damage at no more than that bias.

    The levels are shares of the bias at the start, and the least bias that every run reached.
    """
    common = max(min(point.bias for point in path.points) for path in reading.paths)
    levels = sorted({common, *(share * reading.start for share in LEVELS)}, reverse=True)
    return {level: [(path.name, path.at(level)) for path in reading.paths] for level in levels}
