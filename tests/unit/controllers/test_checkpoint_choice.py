"""Which evaluation is kept."""

from __future__ import annotations

import pytest

from tests.fixtures import metric
from unskew.controllers.checkpoint_choice import CheckpointChoice, Floor
from unskew.errors import ConfigError
from unskew.types import Evaluation


def _evaluation(step, gender, race, lms, perplexity=20.0) -> Evaluation:
    return Evaluation(
        step,
        (
            metric("ss", gender, "gender"),
            metric("ss", race, "race"),
            metric("lms", lms),
            metric("perplexity", perplexity, benchmark="perplexity", better="lower"),
        ),
    )


BEFORE = _evaluation(0, 65.0, 60.0, 90.0)


def test_the_worst_category_decides_where_none_is_even():
    history = [BEFORE, _evaluation(50, 50.0, 57.0, 90.0), _evaluation(100, 54.0, 45.0, 80.0)]
    choice = CheckpointChoice().choose(history)
    assert choice.step == 100
    assert "worst category nearest to even (5 away)" in choice.reason


def test_inside_the_window_the_language_score_decides():
    history = [
        BEFORE,
        _evaluation(50, 50.0, 50.0, 85.0),
        _evaluation(100, 51.5, 48.5, 88.0),
        _evaluation(150, 51.9, 50.0, 86.0),
        _evaluation(200, 52.0, 50.0, 89.0),
    ]
    assert CheckpointChoice().choose(history).step == 100


def test_the_first_of_equals_stays():
    history = [BEFORE, *(_evaluation(s, 50.0, 50.0, 85.0) for s in (50, 100))]
    assert CheckpointChoice().choose(history).step == 50


@pytest.mark.parametrize(
    ("floor", "kept"),
    [
        (Floor("stereoset", "lms", 3.0), 50),
        (Floor("stereoset", "lms", 10.0), 100),
        (Floor("perplexity", "perplexity", 0.1, relative=True), 50),
        (Floor("perplexity", "perplexity", 0.5, relative=True), 100),
        (Floor("stereoset", "lms", 0.0), 0),
        (Floor("stereoset", "not_measured", 0.0), 100),
    ],
)
def test_floors_come_first(floor, kept):
    history = [
        BEFORE,
        _evaluation(50, 55.0, 55.0, 88.0, 21.0),
        _evaluation(100, 50.0, 50.0, 82.0, 26.0),
    ]
    assert CheckpointChoice([floor]).choose(history).step == kept


def test_a_floor_on_a_metric_with_an_ideal_goes_by_the_distance():
    floor = Floor("stereoset", "ss", 1.0, category="gender")
    before = Evaluation(0, (metric("ss", 55.0, "gender"),))
    for value, loss in ((45.0, 0.0), (50.0, -5.0), (60.0, 5.0), (40.0, 5.0)):
        after = Evaluation(1, (metric("ss", value, "gender"),))
        assert floor.loss(before, after) == loss
        assert floor.excess(before, after) == max(0.0, loss - 1.0)


def test_nothing_measured_keeps_the_model_before():
    history = [Evaluation(0, ()), Evaluation(50, ())]
    assert CheckpointChoice().choose(history).step == 0


def test_a_negative_loss_is_refused():
    with pytest.raises(ConfigError, match=r"stereoset\.lms: max_loss is -1; it must be 0"):
        Floor("stereoset", "lms", -1)


def test_a_floor_holds_in_every_variant():
    def evaluation(step, ss, intra, inter) -> Evaluation:
        lms = (metric("lms", intra, variant="intra"), metric("lms", inter, variant="inter"))
        return Evaluation(step, (metric("ss", ss, "gender"), *lms))

    history = [evaluation(0, 65.0, 85.0, 84.0), evaluation(50, 55.0, 84.0, 83.0)]
    history.append(evaluation(100, 50.5, 86.0, 70.0))
    assert CheckpointChoice([Floor("stereoset", "lms", 2.0)]).choose(history).step == 50
    assert CheckpointChoice([Floor("stereoset", "lms", 14.0)]).choose(history).step == 100


def test_the_average_over_pairs_is_not_led_by_the_smallest_category():
    def evaluation(step, large, small) -> Evaluation:
        cells = (metric("ss", large, "race", n=900), metric("ss", small, "religion", n=100))
        return Evaluation(step, (*cells, metric("lms", 90.0)))

    # Distances: worst 8 and 10; average (900 x 8 + 100 x 1) / 1000 = 7.3 and (900 + 1000) / 1000.
    history = [evaluation(0, 68, 60), evaluation(50, 58, 51), evaluation(100, 51, 60)]
    assert CheckpointChoice().choose(history).step == 50
    choice = CheckpointChoice(over="average", window=1.5).choose(history)
    assert (choice.step, "average category nearest to even (1.9 away)" in choice.reason) == (
        100,
        True,
    )


def test_the_average_does_not_let_one_variant_make_up_for_the_other():
    def evaluation(step, intra, inter) -> Evaluation:
        cells = (metric("ss", intra, "race", variant="a"), metric("ss", inter, "race", variant="b"))
        return Evaluation(step, (*cells, metric("lms", 90.0)))

    history = [evaluation(0, 60, 60), evaluation(50, 54, 46), evaluation(100, 52, 53)]
    assert CheckpointChoice().choose(history).step == 50
    assert CheckpointChoice(over="average").choose(history).step == 100
