"""The run in one sentence that claims no more than its intervals allow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from unskew.reports.findings import (
    REPORT,
    Measure,
    Row,
    contains_ideal,
    half_width,
    judged_rows,
    measures,
    phases,
    rows,
)
from unskew.reports.formatting import format_interval, format_value, unit_suffix
from unskew.reports.guards import GuardRow, guard_rows
from unskew.reports.record import MetricRow, RunRecord
from unskew.types import OVERALL

Level = Literal[
    "even-handed",
    "improved",
    "mixed",
    "unchanged",
    "worse",
    "damaged",
    "measured once",
    "not measured",
]

_MAX_NAMED = 4


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the run showed, and the class of outcome it belongs to."""

    sentence: str
    level: Level


def verdict(record: RunRecord) -> Verdict:
    """Judge a run by its headline measure on the report split, and by its damage guards.

    `even-handed` needs the interval of every category to contain the ideal, one category to have
    been outside before, and no other measure of preference, BBQ's bias scores among them, to be
    clearly off its ideal over all. `damaged` outranks every gain. Clear changes are those of
    `unskew.reports.findings`.

    Args:
        record: The record of the run.
    """
    damaged = [g for g in guard_rows(record) if g.is_damaged]
    found = measures(record)
    if not found:
        return _without_bias(record, damaged)
    measure = found[0]
    judged = judged_rows(record, measure)
    if not any(row.before and row.after for row in judged):
        once = _one_phase(record, measure)
        if damaged:
            return Verdict(f"Damaged: {_cost(record, damaged)}; {once}.", "damaged")
        return Verdict(f"Measured once: {once}.", "measured once")
    level = _level(judged)
    numbers = _headline(record, measure)
    cost = _cost(record, damaged)
    if damaged:
        return Verdict(f"Damaged: {cost}; meanwhile {numbers}.", "damaged")
    left = _left_elsewhere(record, found[1:])
    opening = _OPENING[level]
    if left and level == "even-handed":
        opening, level = f"Even-handed in {measure.short} {measure.variant} alone", "improved"
    parts = [f"{opening}: {numbers}", _categories(judged), left, cost]
    return Verdict(f"{'; '.join(part for part in parts if part)}.", level)


_OPENING = {
    "even-handed": "Even-handed within measurement error",
    "improved": "Less biased, but not even-handed in every category",
    "mixed": "Better in some categories and worse in others",
    "unchanged": "No clear change of bias",
    "worse": "More biased than before",
}


def _level(judged: Sequence[Row]) -> Level:
    changes = {row.change for row in judged}
    was_fair = all(row.before and contains_ideal(row.before) for row in judged)
    is_fair = all(row.after and contains_ideal(row.after) for row in judged)
    if is_fair and not was_fair:
        return "even-handed"
    if {"better", "worse"} <= changes:
        return "mixed"
    if "better" in changes:
        return "improved"
    return "worse" if "worse" in changes else "unchanged"


def _headline(record: RunRecord, measure: Measure) -> str:
    overall = next((r for r in rows(record, measure) if r.name == OVERALL), None)
    row = overall or judged_rows(record, measure)[0]
    where = "overall" if overall else row.name
    return f"{measure.title} {where} {_from_to(row)}, ideal 50"


def _from_to(row: Row) -> str:
    ends = [f"{_number(end)}" if end else "not measured" for end in (row.before, row.after)]
    interval = f" {format_interval(row.after)}" if row.after else ""
    return f"{' → '.join(ends)}{interval}"


def _number(row: MetricRow) -> str:
    return f"{format_value(row.value, row.unit)}{unit_suffix(row.unit)}"


def _categories(judged: Sequence[Row]) -> str:
    fair = [row for row in judged if row.after and contains_ideal(row.after)]
    if len(fair) == len(judged):
        widest = max(half_width(row.after) or 0.0 for row in fair if row.after)
        return (
            f"the interval of {_every(len(judged))} contains 50 "
            f"(the widest is ±{format_value(widest, '%')} points)"
        )
    clauses = [
        f"the interval contains 50 in {len(fair)} of {len(judged)} categories",
        _named("clearly better", [r for r in judged if r.change == "better" and r not in fair]),
        _named("clearly worse", [r for r in judged if r.change == "worse"]),
        _named("not clearly changed", [r for r in judged if r.change == "unclear"]),
        _named("not measured in both phases", [r for r in judged if r.change is None]),
    ]
    return "; ".join(clause for clause in clauses if clause)


def _left_elsewhere(record: RunRecord, others: Sequence[Measure]) -> str:
    """What else is clearly off its ideal over all; empty where nothing is."""
    told = [(f"{m.short} {m.variant}", r) for m in others for r in rows(record, m)]
    for benchmark, metrics in _BESIDE_PAIRS.items():
        for metric in metrics:
            found = record.find(benchmark=benchmark, metric=metric, split=REPORT)
            variants = dict.fromkeys(row.variant for row in found)
            by_phase = ({r.phase: r for r in found if r.variant == v} for v in variants)
            told += [(f"{benchmark} {metric}", Row(OVERALL, phases)) for phases in by_phase]
    left = [
        f"{name} {_from_to(row)}"
        for name, row in told
        if row.name == OVERALL and row.after and row.after.ci_low is not None
        if not contains_ideal(row.after)
    ]
    more = f" and {len(left) - _MAX_NAMED} more" if len(left) > _MAX_NAMED else ""
    return f"not even elsewhere: {', '.join(left[:_MAX_NAMED])}{more}" if left else ""


def _every(count: int) -> str:
    return "the one category" if count == 1 else f"each of the {count} categories"


def _named(what: str, found: Sequence[Row]) -> str:
    if not found:
        return ""
    names = [
        f"{row.name} ({format_value(row.after.value, '%')})" if row.after else row.name
        for row in found[:_MAX_NAMED]
    ]
    more = f" and {len(found) - _MAX_NAMED} more" if len(found) > _MAX_NAMED else ""
    return f"{what}: {', '.join(names)}{more}"


def _cost(record: RunRecord, damaged: Sequence[GuardRow]) -> str:
    measured = [g for g in guard_rows(record) if g.row.difference is not None]
    if damaged:
        return " and ".join(_loss(g) for g in damaged)
    if not measured:
        return "what it cost was not measured"
    worse = [g for g in measured if g.row.change == "worse" and not g.guard.is_distance]
    suspect = [g for g in measured if g.exceeds_tolerance and g not in worse]
    clauses = [
        f"cost: {_listed(worse)}" if worse else "",
        f"a cost that is not clear yet: {_listed(suspect)}" if suspect else "",
        "" if worse or suspect else f"no guard is clearly worse: {_listed(measured[:3])}",
    ]
    return "; ".join(clause for clause in clauses if clause)


def _listed(guards: Sequence[GuardRow]) -> str:
    return ", ".join(f"{g.guard.short} {_from_to(g.row)}" for g in guards)


def _loss(guard: GuardRow) -> str:
    text = f"{guard.guard.short} {_from_to(guard.row)}"
    if guard.floor is not None and not guard.floor.met:
        value, floor = guard.floor.value, guard.floor.floor
        text += f" (limit {floor:.4g} missed with {value:.4g} at the chosen checkpoint)"
    return text


def _one_phase(record: RunRecord, measure: Measure) -> str:
    all_rows = judged_rows(record, measure)
    phase = next(p for p in phases(record) if any(p in row.by_phase for row in all_rows))
    judged = [row.by_phase[phase] for row in all_rows if phase in row.by_phase]
    overall = [r for r in rows(record, measure) if r.name == OVERALL and phase in r.by_phase]
    shown = overall[0].by_phase[phase] if overall else judged[0]
    where = "overall" if overall else shown.category
    inside = sum(contains_ideal(row) for row in judged)
    return (
        f"{measure.title} {where} {_number(shown)} {format_interval(shown)} in phase {phase}, "
        f"ideal 50; the interval contains 50 in {inside} of {len(judged)} categories"
    )


def _without_bias(record: RunRecord, damaged: Sequence[GuardRow]) -> Verdict:
    if damaged:
        return Verdict(
            f"Damaged: {_cost(record, damaged)}; bias was not measured on the report split.",
            "damaged",
        )
    for benchmark, (opening, metrics) in _WITHOUT_PAIRS.items():
        asked = record.find(benchmark=benchmark, split=REPORT)
        scores = [r for r in asked if r.metric in metrics and r.variant == asked[0].variant]
        if scores:
            return Verdict(f"{opening} overall {_told(scores)}; ideal 0.", "measured once")
    if scores := _of_a_judge(record):
        opening = f"Measured by a judge alone: {scores[0].benchmark}"
        return Verdict(f"{opening} overall {_told(scores)}; ideal 0.", "measured once")
    if any("_gap" in row.metric for row in record.find(benchmark="bold", split=REPORT)):
        return Verdict("Measured on generated text alone: see bold, by domain.", "measured once")
    return Verdict("Bias was not measured on the report split.", "not measured")


def _told(scores: Sequence[MetricRow]) -> str:
    return ", ".join(f"{r.metric} {_number(r)} {format_interval(r)} in {r.phase}" for r in scores)


def _of_a_judge(record: RunRecord) -> list[MetricRow]:
    """Both ratios of the first judged benchmark: with refusals among the unbiased, and without."""
    judged = record.find(variant="judged", split=REPORT)
    ratios = [row for row in judged if row.metric.startswith("bias_ratio")]
    return [row for row in ratios if row.benchmark == ratios[0].benchmark]


_WITHOUT_PAIRS = {
    "bbq": ("Measured on questions alone: BBQ", ("s_amb", "s_dis")),
    "holistic_bias": ("Measured by likelihoods alone: HolisticBias", ("likelihood_bias",)),
    "seat": ("Measured by hidden states alone: SEAT", ("abs_effect_size",)),
}
"""Benchmark -> how the sentence begins, and its headline metrics, whose ideal is 0."""
_BESIDE_PAIRS = {"bbq": ("s_amb", "s_dis"), "bbq_generated": ("s_amb", "s_dis")}
"""Benchmark -> its measures of preference whose ideal is 0."""
