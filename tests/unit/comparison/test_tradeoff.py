"""Damage at equal bias, read off hand-made histories."""

from __future__ import annotations

from tests.unit.comparison.small_runs import EVEN_HISTORY, unlearned
from unskew import compare
from unskew.comparison.tradeoff import Path, Point, at_levels


def test_the_least_damage_of_all_that_are_even_enough():
    path = Path(
        "a", (Point(0, 20, 0.0), Point(5, 9, 0.3), Point(10, 4, 0.2), Point(15, 6, 0.1)), 10
    )
    assert path.at(20) == Point(0, 20, 0.0)
    assert path.at(10) == Point(15, 6, 0.1)
    assert path.at(5) == Point(10, 4, 0.2)
    assert path.at(3) is None


def test_levels_are_shares_of_the_bias_at_the_start(tmp_path):
    compared = compare(
        [
            unlearned(tmp_path / "a", [1] * 8, [1, 0] * 4, trained=EVEN_HISTORY),
            # On the other side of 50: as far away as 60.
            unlearned(tmp_path / "b", [1] * 8, [1, 0] * 4, trained={0: (90, 0), 4: (40, 0.5)}),
        ]
    )
    reading = compared.readings[0]
    assert (reading.bias, reading.damage) == ("SS, distance from 50", "KL to the base")
    assert reading.start == 40
    assert reading.notes == ()
    damages = {
        level: {name: p and (p.damage, p.step) for name, p in points}
        for level, points in at_levels(reading).items()
    }
    assert damages == {
        30.0: {"a": (0.1, 10), "b": (0.5, 4)},
        20.0: {"a": (0.4, 20), "b": (0.5, 4)},
        # The least that both reached.
        15.0: {"a": (0.4, 20), "b": (0.5, 4)},
        10.0: {"a": None, "b": (0.5, 4)},
    }


def test_other_starts_are_told(tmp_path):
    runs = [
        unlearned(tmp_path / "a", [1] * 8, [1, 0] * 4, trained=EVEN_HISTORY),
        unlearned(tmp_path / "b", [1] * 8, [1, 0] * 4, trained={0: (80, 0), 4: (40, 0.5)}),
    ]
    assert compare(runs).readings[0].notes == (
        "the runs start from different values: other select splits",
    )


def test_runs_without_a_history_have_no_reading(tmp_path):
    assert compare([unlearned(tmp_path / "a", [1] * 8, [1, 0] * 4)]).readings == ()
