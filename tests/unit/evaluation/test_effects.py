"""Mean effects by hand: signs, skipped pairs, absent positions, ranking."""

from __future__ import annotations

import numpy as np
import pytest

from unskew.evaluation.effects import averaged, ranked
from unskew.evaluation.tracing import POSITIONS, STATES, PairTrace
from unskew.types import Pair


def trace(clean, corrupted, effect, *, target="nurse", attribute=True):
    """A pair with one layer; the effect is that of the first state, others get a tenth of it."""
    effects = np.full((len(STATES), len(POSITIONS), 1), effect / 10)
    effects[0] = effect
    if not attribute:
        effects[:, POSITIONS.index("attribute")] = np.nan
    pair = Pair(f"{target}-{clean}", "gender", target, "a b", "a c", None, 1)
    return PairTrace(pair, clean, corrupted, effects)


def cell(found, state, position):
    return next(c for c in found.cells if (c.state, c.position) == (state, position))


def test_a_pair_that_pulls_the_other_way_counts_as_brought_back():
    """Effects .2 and -.15 of changes .4 and -.6: a half and a quarter; signed they cancel."""
    found = averaged([trace(0.5, 0.1, 0.2), trace(-0.5, 0.1, -0.15)], min_change=0.05)
    block = cell(found, "block", "group_word")
    assert block.effect.value == pytest.approx(0.025)
    assert block.normalised.value == pytest.approx(0.375)
    assert found.clean_gap.value == pytest.approx(0.0)
    assert found.corrupted_gap.value == pytest.approx(0.1)
    assert found.absolute_change.value == pytest.approx(0.5)


def test_too_small_a_change_is_skipped_and_counted():
    traces = [trace(0.5, 0.1, 0.2), trace(0.30, 0.26, 0.1), trace(0.26, 0.30, 0.1)]
    found = averaged(traces, min_change=0.05)
    block = cell(found, "block", "group_word")
    assert found.num_skipped == 2
    assert (block.effect.n, block.normalised.n) == (3, 1)
    assert block.effect.value == pytest.approx(0.4 / 3)
    assert block.normalised.value == pytest.approx(0.5)


def test_over_restoration_and_reversal_keep_their_signs():
    found = averaged([trace(0.5, 0.1, 0.6), trace(0.5, 0.1, -0.2)], min_change=0.05)
    assert cell(found, "block", "group_word").normalised.value == pytest.approx((1.5 - 0.5) / 2)


def test_a_position_that_no_pair_has_is_absent():
    some = averaged([trace(0.5, 0.1, 0.2), trace(0.5, 0.1, 0.4, attribute=False)], min_change=0.05)
    assert cell(some, "block", "attribute").effect.n == 1
    assert cell(some, "block", "attribute").effect.value == pytest.approx(0.2)
    none = averaged([trace(0.5, 0.1, 0.2, attribute=False)], min_change=0.05)
    assert {c.position for c in none.cells} == {"group_word", "before_attribute"}


def test_intervals_are_drawn_over_targets():
    """Two pairs of one target give none; of two targets each draw is a mean of two."""
    one = [trace(0.5, 0.1, 0.2), trace(0.7, 0.1, 0.4)]
    assert cell(averaged(one, min_change=0.05), "block", "group_word").effect.ci_low is None
    two = [trace(0.5, 0.1, 0.2), trace(0.5, 0.1, 0.4, target="pilot")]
    effect = cell(averaged(two, min_change=0.05), "block", "group_word").effect
    assert (effect.ci_low, effect.ci_high) == (pytest.approx(0.2), pytest.approx(0.4))
    assert effect.excludes_zero
    again = cell(averaged(two, min_change=0.05), "block", "group_word").effect
    assert again == effect


def test_blocks_are_not_ranked():
    one = trace(0.5, 0.1, 0.2)
    one.effects[STATES.index("mlp"), POSITIONS.index("group_word")] = 0.3
    order = ranked(averaged([one], min_change=0.05).cells, "group_word")
    assert [(c.state, c.layer) for c in order] == [("mlp", 0), ("attention", 0)]
