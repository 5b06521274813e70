"""The swap rule on written histories."""

from __future__ import annotations

import pytest

from tests.fixtures import metric
from unskew.controllers.dynamic_swap import DynamicSwap
from unskew.errors import ConfigError
from unskew.types import Evaluation, Phase

SCRIPT = [58.0, 50.5, 49.5, 47.0, 51.0]


def _evaluation(step: int, **by_category: float) -> Evaluation:
    return Evaluation(step, tuple(metric("ss", v, c) for c, v in by_category.items()))


def _directions(controller: DynamicSwap, script: list[float]) -> list[int]:
    history: list[Evaluation] = []
    seen = []
    for i, value in enumerate(script):
        history.append(_evaluation(50 * i, gender=value))
        controller.next(history)
        seen.append(controller.directions["gender"])
    return seen


@pytest.mark.parametrize(
    ("margin", "expected"), [(0.0, [1, 1, -1, -1, 1]), (2.0, [1, 1, 1, -1, -1])]
)
def test_the_papers_rule_and_its_margin(margin, expected):
    assert _directions(DynamicSwap(["gender"], swap_margin=margin), SCRIPT) == expected


def test_an_even_category_keeps_its_direction():
    assert _directions(DynamicSwap(["gender"]), [45.0, 50.0, 50.0]) == [-1, -1, -1]


def test_a_phase_is_given_only_when_something_changes_and_says_why():
    controller = DynamicSwap(["gender", "race"])
    assert controller.next([_evaluation(0, gender=60.0, race=55.0)]) is None
    phase = controller.next([_evaluation(50, gender=45.0, race=55.0)])
    assert phase == Phase(
        {"gender": -1, "race": 1}, "gender: ss -5 from even, now forget anti-stereotypes"
    )
    assert controller.next([_evaluation(100, gender=44.0, race=55.0)]) is None


def test_categories_that_are_not_trained_are_left_out():
    controller = DynamicSwap(["gender"])
    assert controller.next([_evaluation(50, age=10.0, gender=60.0)]) is None
    assert controller.directions == {"gender": 1}


def test_mean_gap_is_measured_from_zero():
    history = [Evaluation(50, (metric("mean_gap", -0.2, "gender"), metric("ss", 60.0, "gender")))]
    controller = DynamicSwap(["gender"], signal="mean_gap", swap_margin=0.1)
    assert controller.next(history) is not None
    assert controller.directions == {"gender": -1}


def test_variants_count_by_their_size():
    # 40 over 30 rows and 60 over 10: weighted mean 45, plain mean 50.
    metrics = (metric("ss", 40.0, "gender", n=30), metric("ss", 60.0, "gender", n=10))
    controller = DynamicSwap(["gender"])
    controller.next([Evaluation(50, metrics)])
    assert controller.directions == {"gender": -1}


def test_worst_only_rests_the_others_but_not_before_the_first_evaluation():
    controller = DynamicSwap(["gender", "race", "age"], swap_mode="worst_only")
    assert controller.next([_evaluation(0, gender=60.0, race=55.0, age=51.0)]) is None
    phase = controller.next([_evaluation(50, gender=53.0, race=40.0, age=51.0)])
    assert phase is not None and phase.directions == {"gender": 0, "race": -1, "age": 0}
    phase = controller.next([_evaluation(100, gender=53.0, race=49.0, age=51.0)])
    assert phase is not None and phase.directions == {"gender": 1, "race": 0, "age": 0}


def test_categories_near_even_rest_until_they_drift():
    controller = DynamicSwap(["gender", "race", "age"], rest_within=2.0)
    seen = []
    for step, (gender, race, age) in enumerate(
        [(60.0, 55.0, 51.0), (51.0, 48.5, 53.0), (47.0, 50.0, 51.9), (51.0, 50.5, 49.6)]
    ):
        controller.next([_evaluation(step, gender=gender, race=race, age=age)])
        seen.append(tuple(controller.directions.values()))
    # In the last one all are near: the furthest is trained, so that a chunk has rows.
    assert seen == [(1, 1, 0), (0, 0, 1), (-1, 0, 0), (1, 0, 0)]


def test_a_category_that_leaves_its_rest_needs_a_direction():
    with pytest.raises(ConfigError, match="make rest_within the larger"):
        DynamicSwap(["gender"], swap_margin=3.0, rest_within=2.0)


@pytest.mark.parametrize("mode", ["per_type", "worst_only"])
def test_nothing_measured_changes_nothing(mode):
    controller = DynamicSwap(["gender"], swap_mode=mode)
    assert controller.next([]) is None
    assert controller.next([Evaluation(50, ())]) is None
    assert controller.directions == {"gender": 1}


def test_off_never_swaps():
    assert _directions(DynamicSwap(["gender"], swap_mode="off"), SCRIPT) == [1] * 5


def test_state_survives():
    controller = DynamicSwap(["gender", "race"])
    controller.next([_evaluation(50, gender=45.0, race=55.0)])
    fresh = DynamicSwap(["gender", "race"])
    fresh.load_state_dict(controller.state_dict())
    assert fresh.next([_evaluation(100, gender=45.0, race=55.0)]) is None


def test_a_negative_margin_is_refused():
    with pytest.raises(ConfigError, match=r"swap_margin is -1; it must be 0 or positive"):
        DynamicSwap(["gender"], swap_margin=-1)
