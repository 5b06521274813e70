"""A paper's numbers beside ours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from unskew.comparison.means import Mean, Method, mean_over_seeds
from unskew.published import BASE, CHANGE, Published
from unskew.reports.findings import AFTER, BEFORE, REPORT
from unskew.reports.record import MetricRow, RunRecord

__all__ = ["Beside", "beside"]


@dataclass(frozen=True, slots=True)
class Beside:
    """One published number and ours."""

    method: str
    column: str
    published: float
    ours: Mean | None
    """None where it was not measured."""

    @property
    def difference(self) -> float | None:
        """Ours minus the published one."""
        return None if self.ours is None else self.ours.value - self.published


def beside(published: Published, model: str, methods: Sequence[Method]) -> list[Beside]:
    """Every published number of a model, with the mean of our runs where there are some.

    Args:
        published: The table.
        model: As the runs name it.
        methods: Our runs; `base` is read from the first record.
    """
    by_name = {method.name: method.records for method in methods}
    anyone = [record for records in by_name.values() for record in records][:1]
    found = []
    for row in published.of_model(model):
        is_base = row.method == BASE
        records = anyone if is_base else by_name.get(row.method, [])
        for column, value in published.cells(row).items():
            phase = BEFORE if is_base else AFTER
            ours = [_value(record, published, column, phase) for record in records]
            known = [v for v in ours if v is not None]
            mean = mean_over_seeds(known, "%") if known and len(known) == len(ours) else None
            found.append(Beside(row.method, column, value, mean))
    return found


def _value(record: RunRecord, published: Published, column: str, phase: str) -> float | None:
    if column == CHANGE:
        after = _value(record, published, "lms.overall", AFTER)
        before = _value(record, published, "lms.overall", BEFORE)
        return None if after is None or before is None else after - before
    metric, _, category = column.partition(".")
    place = {"benchmark": published.benchmark, "variant": published.variant}
    rows: list[MetricRow] = record.find(
        **place, metric=metric, category=category, phase=phase, split=REPORT
    )
    return rows[0].value if rows else None
