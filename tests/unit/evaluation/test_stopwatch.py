"""Time by phase and benchmark."""

from __future__ import annotations

import time

import pytest

from unskew.evaluation.stopwatch import Stopwatch


def test_times_of_one_benchmark_add_up_by_phase(monkeypatch):
    clock = iter([0.0, 2.0, 5.0, 6.0, 10.0, 14.0])
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    timed = Stopwatch()
    for phase, name in [("before", "slot"), ("before", "slot"), ("after", "slot")]:
        with timed(phase, name):
            pass
    assert timed.seconds == {"before": {"slot": 3.0}, "after": {"slot": 4.0}}


def test_what_fails_is_not_counted():
    timed = Stopwatch()
    with pytest.raises(ValueError, match="lost"), timed("before", "slot"):
        raise ValueError("lost")
    assert timed.seconds == {}
