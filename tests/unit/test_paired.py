"""Oracles: scipy's permutation test, the closed form of the sign test, hand-worked Holm."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, permutation_test

from unskew import statistics
from unskew.errors import BenchmarkError
from unskew.paired import holm, paired_differences, sign_flip_p_values


def _mean(sums):
    """Column 0 over column 1, of all groups together."""
    return (sums[..., 0].sum(-1) / sums[..., 1].sum(-1))[..., None]


def _mean_of_group_means(sums):
    return (sums[..., 0] / sums[..., 1]).mean(-1)[..., None]


def _with_ones(values):
    return np.stack([values, np.ones(len(values))], axis=1)


def _compare(first, second, groups=None, *, statistic=_mean, design="over_groups", **options):
    groups = np.arange(len(first)) if groups is None else groups
    options = {"ideals": [None], **options}
    measured = [_with_ones(np.asarray(v, float)) for v in (first, second)]
    return paired_differences(statistic, measured, groups, [(0, 1)], design=design, **options)[0][0]


def _p(first, second, groups=None, *, statistic=_mean, design="over_groups", **options):
    groups = np.arange(len(first)) if groups is None else groups
    measured = [_with_ones(np.asarray(v, float)) for v in (first, second)]
    (p,) = sign_flip_p_values(statistic, *measured, groups, design=design, **options)
    return p


@pytest.mark.parametrize("seed", range(4))
def test_all_exchanges_are_scipys_permutation_test(seed):
    first, second = np.random.default_rng(seed).normal([[0.0], [0.6]], size=(2, 9))
    theirs = permutation_test(
        (first, second), lambda x, y, axis: (y - x).mean(axis), permutation_type="samples"
    )
    assert _p(first, second) == pytest.approx(theirs.pvalue)


@pytest.mark.parametrize("seed", range(4))
def test_a_macro_average_is_scipys_permutation_test_of_that_statistic(seed):
    first, second = np.random.default_rng(seed).normal([[0.0], [0.6]], size=(2, 9))
    groups = np.array([0, 0, 0, 0, 0, 1, 1, 2, 2])

    def macro(x, y, axis):
        return np.mean([(y - x)[..., groups == g].mean(axis) for g in range(3)], axis=0)

    theirs = permutation_test((first, second), macro, permutation_type="samples")
    ours = _p(first, second, groups, statistic=_mean_of_group_means, design="within_groups")
    assert ours == pytest.approx(theirs.pvalue)


@pytest.mark.parametrize(("won", "lost"), [(9, 2), (5, 5), (10, 0), (60, 30)])
def test_wins_and_losses_are_the_sign_test(won, lost):
    first = np.r_[np.zeros(won), np.ones(lost), np.ones(7)]
    second = np.r_[np.ones(won), np.zeros(lost), np.ones(7)]
    expected = binomtest(won, won + lost).pvalue
    # 90 units are drawn: four standard errors of a share of 4000.
    slack = 4 * (expected / 4000) ** 0.5 if won + lost > 11 else 1e-12
    assert _p(first, second, num_flips=4000) == pytest.approx(expected, abs=slack)


def test_whole_groups_change_places():
    """Two groups of fifty that move alike are two observations, not a hundred."""
    groups = np.repeat([0, 1], 50)
    first, second = np.zeros(100), np.ones(100)
    assert _p(first, second, groups) == 0.5
    assert _p(first, second, groups, design="within_groups") == pytest.approx(1 / 2001)


def test_the_observed_exchange_counts_so_that_p_is_never_zero():
    assert _p(np.zeros(40), np.ones(40), num_flips=99) == 0.01


def test_draws_do_not_depend_on_the_chunk_and_follow_the_seed(monkeypatch):
    first, second = np.random.default_rng(3).normal(size=(2, 30))
    whole = _p(first, second, num_flips=99)
    assert _p(first, second, num_flips=99, seed=1) != whole
    monkeypatch.setattr(statistics, "CHUNK_CELLS", 100)
    assert _p(first, second, num_flips=99) == whole


def test_what_the_items_share_is_removed():
    rng = np.random.default_rng(4)
    difficulty, shift = rng.normal(scale=10, size=200), rng.normal(0.5, 1, size=200)
    found = _compare(difficulty, difficulty + shift)
    assert found.value == pytest.approx(shift.mean())
    # Normal approximation of a mean of 200 paired differences.
    assert found.ci_high - found.ci_low == pytest.approx(2 * 1.96 * shift.std() / 200**0.5, rel=0.1)
    assert found.ci_low > 0
    assert found.p_value == pytest.approx(1 / 2001)
    assert found.gain is None


def test_equal_measurements_do_not_differ():
    found = _compare(np.arange(40.0), np.arange(40.0), ideals=[3.0])
    for estimate in (found, found.gain):
        assert (estimate.value, estimate.ci_low, estimate.ci_high, estimate.p_value) == (0, 0, 0, 1)


def test_one_item_has_no_interval():
    found = _compare([1], [3])
    assert (found.value, found.ci_low, found.ci_high, found.p_value) == (2, None, None, 1)


def test_no_resample_is_no_interval_and_no_test():
    found = _compare([1, 2], [3, 5], num_resamples=0)
    assert (found.value, found.ci_low, found.ci_high, found.p_value) == (2.5, None, None, None)


def test_equal_distances_on_either_side_differ_without_a_gain():
    first, second = np.tile([100.0] * 7 + [0.0] * 3, 20), np.tile([100.0] * 3 + [0.0] * 7, 20)
    found = _compare(first, second, ideals=[50.0])
    assert found.p_value < 0.001
    assert found.gain.value == 0
    assert found.gain.ci_low < 0 < found.gain.ci_high
    assert found.gain.p_value > 0.5


def test_the_gain_is_that_of_the_aggregate_and_not_of_the_items():
    """Every item of the first lies 50 from the ideal and their mean does not."""
    first, second = np.tile([0.0, 100.0], 100), np.full(200, 60.0)
    found = _compare(first, second, ideals=[50.0])
    assert found.gain.value == -10
    assert found.gain.ci_high < 0


def test_other_items_are_refused():
    with pytest.raises(BenchmarkError, match="the same items"):
        paired_differences(
            _mean, [[[1, 1]], [[1, 1], [2, 1]]], [0], [(0, 1)], design="over_groups", ideals=[None]
        )


def test_holm_by_hand():
    # Sorted .005 .01 .03 .04 times 4 3 2 1 = .02 .03 .06 .04, made monotone: .02 .03 .06 .06.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.9]) == [1.0, 1.0]
    assert holm([]) == []
    with pytest.raises(BenchmarkError, match=r"in \[0, 1\]"):
        holm([0.2, float("nan")])


# Whole numbers make sums exact, so that mirrored draws are mirrored to the last bit.
numbers = st.lists(st.tuples(*[st.integers(-5, 5)] * 3), min_size=2, max_size=14)


@given(numbers, st.sampled_from(["within_groups", "over_groups"]))
def test_exchanged_runs_mirror_everything(rows, design):
    first, second, groups = np.array(rows, dtype=float).T
    options = {"design": design, "ideals": [1.0], "num_resamples": 64}
    there = _compare(first, second, groups, **options)
    back = _compare(second, first, groups, **options)
    for one, other in ((there, back), (there.gain, back.gain)):
        assert other.value == -one.value
        assert other.p_value == one.p_value
        if one.ci_low is not None:
            assert (-other.ci_high, -other.ci_low) == pytest.approx((one.ci_low, one.ci_high))
    if (first == second).all():
        assert there.value == 0
        assert there.p_value == 1


@given(numbers)
def test_p_lies_between_its_smallest_value_and_one_and_order_does_not_matter(rows):
    first, second, groups = np.array(rows, dtype=float).T
    # Exact: at most 2 ** 14 exchanges.
    options = {"design": "within_groups", "num_flips": 2**14}
    p = _p(first, second, groups, **options)
    assert 2.0 ** -len(rows) <= p <= 1
    assert _p(first[::-1], second[::-1], groups[::-1], **options) == p
