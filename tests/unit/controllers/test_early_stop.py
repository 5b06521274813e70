"""When a stage is over."""

from __future__ import annotations

import pytest

from tests.fixtures import metric
from unskew.controllers.early_stop import EarlyStop
from unskew.errors import ConfigError
from unskew.types import Evaluation


def _history(*rows: tuple[float, float]) -> list[Evaluation]:
    return [
        Evaluation(50 * i, (metric("ss", a, "gender"), metric("ss", b, "race")))
        for i, (a, b) in enumerate(rows)
    ]


@pytest.mark.parametrize(
    ("row", "stops"),
    [((51.9, 48.1), True), ((52.0, 50.0), False), ((50.0, 47.9), False), ((50.0, 50.0), True)],
)
def test_every_category_strictly_inside_the_window(row, stops):
    assert (EarlyStop(window=2.0).next(_history(row)) is not None) == stops


def test_patience_counts_evaluations_in_a_row():
    controller = EarlyStop(patience=2)
    even, off = (50.5, 50.5), (60.0, 50.0)
    assert controller.next(_history(even)) is None
    assert controller.next(_history(even, off, even)) is None
    stop = controller.next(_history(off, even, (51.5, 50.0)))
    assert stop is not None and "at most 1.5 away, 2 evaluation(s) in a row" in stop.reason


def test_overall_does_not_stand_in_for_the_categories():
    assert EarlyStop().next([Evaluation(0, (metric("ss", 50.0),))]) is None
    assert EarlyStop().next([]) is None


def test_other_signal():
    history = [Evaluation(0, (metric("mean_gap", 0.04, "gender"), metric("ss", 70.0, "gender")))]
    assert EarlyStop(window=0.05, signal="mean_gap").next(history) is not None


@pytest.mark.parametrize("options", [{"window": 0.0}, {"window": -1.0}, {"patience": 0}])
def test_numbers_out_of_range(options):
    with pytest.raises(ConfigError, match=r"early_stop\.\w+ is .*; it must be"):
        EarlyStop(**options)
