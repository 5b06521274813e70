"""What the guards cost."""

from __future__ import annotations

import pytest

from tests.unit.reports.example_record import example_record
from unskew.reports.guards import guard_share

SECONDS = {
    "before": {"stereoset": 50.0, "reasoning": 3.0, "slot": 2.0},
    "after": {"stereoset": 50.0, "reasoning": 4.0, "bbq": 9.0},
    "select": {"reasoning": 70.0},
}


def share(seconds, timings):
    changes = {"benchmark_seconds": seconds, "timings": timings}
    return guard_share(example_record().model_copy(update=changes))


def test_guards_on_the_report_split_over_the_whole_run():
    assert share(SECONDS, {"total": 300.0}) == pytest.approx(9 / 300)


@pytest.mark.parametrize(
    ("seconds", "timings"),
    [({}, {"total": 1.0}), ({"before": {"slot": 1.0}}, {"total": 1.0}), (SECONDS, {})],
)
def test_a_share_that_was_not_measured_is_none(seconds, timings):
    assert share(seconds, timings) is None
