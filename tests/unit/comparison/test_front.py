"""Bias against damage of finished runs, and the front, by hand."""

from __future__ import annotations

import pytest

from tests.unit.comparison.small_runs import pairs, write_run
from unskew import compare
from unskew.comparison.front import Spot, as_image, front, panels


def test_the_front_holds_whom_nobody_beats_in_both():
    spots = [
        Spot("base", 40, 0),
        Spot("worse", 42, 0),
        Spot("best", 5, 1),
        Spot("dominated", 6, 2),
        Spot("twin", 5, 1),
        Spot("even", 1, 9),
    ]
    assert [spot.name for spot in front(spots)] == ["even", "best", "base"]
    assert front([]) == []


def run(folder, after, points):
    """Eight pairs whose stereotype is always preferred before, an eighth of the LM points gone."""
    before, now = pairs([1] * 8, [2] * 7 + [0]), pairs(after, points)
    return write_run(folder, {"before": {"stereoset": before}, "after": {"stereoset": now}})


@pytest.fixture
def compared(tmp_path):
    full = [2] * 8
    return compare(
        [
            run(tmp_path / "even", [1, 1, 0, 0] * 2, full),
            # As far from 50 on the other side as 75; half of the LM points are gone.
            run(tmp_path / "$over$", [0, 0, 0, 0, 0, 0, 1, 1], [2, 0] * 4),
        ]
    )


def test_bias_is_the_distance_and_damage_what_the_base_had_more(compared):
    (panel,) = panels(compared)
    assert panel.damage_title == "LMS lost (%)"
    spots = {spot.name: spot for spot in panel.spots}
    assert {n: (s.bias, s.damage) for n, s in spots.items()} == {
        "base": (50, 0),
        "even": (0, -12.5),
        "$over$": (25, 37.5),
    }
    assert spots["base"].damage_ends is None
    low, high = spots["$over$"].damage_ends
    (paired,) = (
        c
        for c in compared.outcome.of(("stereoset", "intrasentence", "lms", "overall"))
        if (c.first, c.second) == ("base", "$over$")
    )
    assert (low, high) == (-paired.ci_high, -paired.ci_low)
    assert low < 37.5 < high


def test_the_interval_of_a_distance_ends_at_the_ideal(compared):
    (panel,) = panels(compared)
    low, high = next(spot for spot in panel.spots if spot.name == "even").bias_ends
    assert low == 0 < high <= 50


def test_pictures_name_the_front_and_who_came_from_elsewhere(compared):
    found = panels(compared)
    assert as_image(found, "png").startswith(b"\x89PNG")
    plain = as_image(found, "svg")
    assert plain == as_image(found, "svg")
    # Text is drawn as outlines, with the text itself in a comment.
    assert b"<!-- even -->" in plain and b"<!-- $over$ -->" not in plain
    assert b"<!-- $over$ -->" in as_image(found, "svg", {"$over$"})
