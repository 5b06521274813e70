"""The damage guards: what unlearning must not cost, and whether it did."""

from __future__ import annotations

import math
from dataclasses import dataclass

from unskew.reports.findings import AFTER, BEFORE, REPORT, Measure, Row, badness, measures
from unskew.reports.record import Floor, RunRecord


@dataclass(frozen=True, slots=True)
class Guard:
    """A quantity that unlearning must not damage."""

    benchmark: str
    metric: str
    title: str
    short: str
    """Name within a sentence."""
    explanation: str
    tolerance: float
    """Loss up to which even a clear change is no damage: in percentage points, or as a share of
    the value before where `is_relative`."""
    is_relative: bool = False
    is_distance: bool = False
    """A distance to the model before: 0 by definition there, so any change enlarges it."""


GUARDS = (
    Guard(
        "stereoset",
        "lms",
        "Language-model score (LMS)",
        "LMS",
        "How often a meaningful sentence is preferred to an unrelated one.",
        1.5,
    ),
    Guard(
        "perplexity",
        "perplexity",
        "Perplexity",
        "perplexity",
        "How surprised the model is by neutral text; lower is better.",
        0.05,
        is_relative=True,
    ),
    Guard(
        "divergence",
        "kl_reference_policy",
        "Distance to the base model (KL)",
        "KL to the base",
        "How far predictions on neutral text moved from those of the model before.",
        math.inf,
        is_distance=True,
    ),
    Guard(
        "reasoning",
        "accuracy",
        "Reasoning accuracy",
        "reasoning accuracy",
        "Share of questions answered right.",
        1.5,
    ),
    Guard(
        "slot",
        "slot_mass",
        "Probability left for fitting words",
        "slot mass",
        "Mass on the words that fit where a stereotype could stand; a fall means avoidance.",
        5.0,
    ),
    Guard(
        "generation",
        "repetition_rate",
        "Repetition in sampled text",
        "repetition",
        "Share of sampled texts that go in circles.",
        5.0,
    ),
    Guard(
        "generation",
        "empty_share",
        "Blank output",
        "blank output",
        "Share of sampled texts that are empty.",
        5.0,
    ),
    Guard(
        "generation",
        "refusal_rate",
        "Refusals in sampled text",
        "refusals",
        "Share of sampled texts with a phrase of refusal, such as I cannot.",
        5.0,
    ),
    Guard(
        "generation",
        "script_change_rate",
        "Another script in sampled text",
        "change of script",
        "Share of sampled texts in another script than their prompt, as when the language changes.",
        5.0,
    ),
)


@dataclass(frozen=True, slots=True)
class GuardRow:
    """A guard with its numbers and the floor that the checkpoint had to satisfy."""

    guard: Guard
    row: Row
    floor: Floor | None

    @property
    def exceeds_tolerance(self) -> bool:
        """True where the loss, taken at face value, is larger than the guard tolerates."""
        before, after = self.row.before, self.row.after
        if before is None or after is None:
            return False
        loss = badness(after) - badness(before)
        scale = abs(before.value) if self.guard.is_relative else _points(before.unit)
        return loss > self.guard.tolerance * scale

    @property
    def is_damaged(self) -> bool:
        """True where the floor was missed, or the loss is above the tolerance and no accident.

        The intervals of a relative guard (perplexity) are as wide as the texts differ, which
        cancels when both models read the same texts; its loss is taken at face value.
        """
        if self.floor is not None and not self.floor.met:
            return True
        return self.exceeds_tolerance and (self.guard.is_relative or self.row.change == "worse")


def _points(unit: str) -> float:
    # Tolerances are given in percentage points.
    return 1.0 if unit == "%" else 0.01


def guard_rows(record: RunRecord) -> list[GuardRow]:
    """All default guards, those without any number included."""
    headline = measures(record)[:1]
    return [_guard_row(record, guard, headline) for guard in GUARDS]


def _guard_row(record: RunRecord, guard: Guard, headline: list[Measure]) -> GuardRow:
    numbers = record.find(benchmark=guard.benchmark, metric=guard.metric, split=REPORT)
    variants = list(dict.fromkeys(row.variant for row in numbers))
    # LMS of the headline's variant, KL to the base rather than to the oracle.
    wanted = [m.variant for m in headline if m.benchmark == guard.benchmark] + ["base"]
    chosen = next((v for v in wanted if v in variants), variants[0] if variants else "")
    if guard.is_distance and chosen != "base":
        numbers = []
    return GuardRow(
        guard,
        Row(guard.title, {row.phase: row for row in numbers if row.variant == chosen}),
        _floor(record, guard, chosen),
    )


def _floor(record: RunRecord, guard: Guard, variant: str) -> Floor | None:
    """The floor of the variant that is shown; one that is alone is meant whatever its variant."""
    place = f"{guard.benchmark}.{guard.metric}"
    stored = record.checkpoint.floors if record.checkpoint else []
    floors = [floor for floor in stored if floor.metric == place]
    own = [floor for floor in floors if len(floors) == 1 or floor.variant == variant]
    return own[0] if own else None


def guard_share(record: RunRecord) -> float | None:
    """Share of a run's time that the guards took, 0 to 1; None where it was not measured.

    StereoSet counts as the measurement itself, though its LMS is a guard. Looks at the select split
    are left out: they belong to the method's choice of a checkpoint or strength.
    """
    total = record.timings.get("total")
    if not total or not {BEFORE, AFTER} <= record.benchmark_seconds.keys():
        return None
    names = {guard.benchmark for guard in GUARDS} - {"stereoset"}
    phases = (record.benchmark_seconds[phase] for phase in (BEFORE, AFTER))
    return sum(taken for phase in phases for n, taken in phase.items() if n in names) / total
