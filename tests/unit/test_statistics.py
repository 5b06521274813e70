"""Oracles: published intervals, closed forms of the bootstrap variance."""

from __future__ import annotations

import numpy as np
import pytest

from unskew import statistics
from unskew.errors import BenchmarkError
from unskew.statistics import (
    bootstrap,
    group_sums,
    percentile_interval,
    wilson,
)


def _mean(sums):
    """Column 0 over column 1, of all groups together."""
    return (sums[..., 0].sum(-1) / sums[..., 1].sum(-1))[..., None]


def _with_ones(values):
    return np.stack([values, np.ones(len(values))], axis=1)


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [
        (149, 262, 50.82, 62.73),
        (308, 516, 55.40, 63.84),
        (66, 105, 53.31, 71.49),
        (76, 105, 63.15, 80.03),
        (50, 100, 40.38, 59.62),
        (25, 50, 36.64, 63.36),
    ],
)
def test_wilson_matches_the_published_table(successes, n, low, high):
    # The table is rounded to two decimals of a per cent.
    assert wilson(successes, n) == pytest.approx((low / 100, high / 100), abs=0.00005001)


def test_wilson_at_the_ends():
    z2 = 1.959963984540054**2
    assert wilson(0, 10) == (0.0, pytest.approx(z2 / (10 + z2)))
    assert wilson(10, 10) == (pytest.approx(10 / (10 + z2)), 1.0)
    assert wilson(1, 1) == (pytest.approx(1 / (1 + z2)), 1.0)
    assert wilson(0, 0) is None


def test_wilson_widens_with_confidence():
    assert wilson(5, 10, 0.99)[0] < wilson(5, 10, 0.95)[0] < wilson(5, 10, 0.5)[0] < 0.5


@pytest.mark.parametrize(("successes", "n"), [(11, 10), (-1, 10), (float("nan"), 10)])
def test_wilson_refuses_impossible_counts(successes, n):
    with pytest.raises(BenchmarkError, match="give a count from 0 to 10"):
        wilson(successes, n)


def test_percentile_interval_interpolates_and_leaves_out_nan():
    assert percentile_interval([*range(101), np.nan], 0.9) == pytest.approx((5.0, 95.0))
    assert percentile_interval([1.0]) is None
    assert percentile_interval([np.nan, np.nan, 1.0]) is None
    assert percentile_interval([]) is None


def test_group_sums_by_hand():
    values = [[1, 10], [2, 20], [4, 40]]
    assert group_sums(values, ["b", "a", "b"]).tolist() == [[2, 20], [5, 50]]


@pytest.mark.parametrize(
    ("values", "groups"),
    [([[1.0]], ["a", "b"]), ([1.0, 2.0], ["a", "b"]), (np.empty((0, 2)), [])],
)
def test_shapes_that_do_not_fit_are_refused(values, groups):
    with pytest.raises(BenchmarkError, match="at least one item"):
        group_sums(values, groups)


def test_ordinary_bootstrap_has_the_variance_of_the_closed_form():
    values = np.random.default_rng(1).normal(size=60)
    draws = bootstrap(
        _mean, _with_ones(values), range(60), design="over_groups", num_resamples=20000
    )
    # Var of a resampled mean is the population variance over n; the relative error of a
    # standard deviation from 20000 draws is 0.5 %, allowed here four times.
    assert draws.std() == pytest.approx((values.var() / 60) ** 0.5, rel=0.02)
    assert draws.mean() == pytest.approx(values.mean(), abs=4 * draws.std() / 20000**0.5)


def test_within_groups_varies_by_the_spread_inside_groups_only():
    rng = np.random.default_rng(2)
    groups = np.repeat(np.arange(8), 10)
    values = 100.0 * groups + rng.normal(size=80)
    draws = bootstrap(
        _mean, _with_ones(values), groups, design="within_groups", num_resamples=10000
    )
    # The unbiased variance of a mean: over 9, not over 10.
    inside = np.array([values[groups == g].var(ddof=1) / 10 for g in range(8)])
    assert draws.std() == pytest.approx((inside.sum() / 64) ** 0.5, rel=0.02)


def test_within_groups_keeps_the_size_of_every_group_and_its_items():
    groups = np.array([2, 0, 2, 1, 2])
    values = np.stack([10.0**groups, np.ones(5)], axis=1)
    seen = []

    def spy(sums):
        seen.append(sums)
        return sums[..., 0]

    bootstrap(spy, values, groups, design="within_groups", num_resamples=50)
    for sums in seen:
        assert (sums == [[1, 1], [10, 1], [300, 3]]).all()


def test_over_groups_draws_whole_groups():
    values = _with_ones(np.array([0.0, 0.0, 1.0, 1.0]))
    draws = bootstrap(_mean, values, [0, 0, 1, 1], design="over_groups", num_resamples=4000)
    # Two groups: both 0, mixed, or both 1, with chances 1/4, 1/2, 1/4; 4 standard errors.
    shares = [np.mean(draws == x) for x in (0, 0.5, 1)]
    assert shares == pytest.approx([0.25, 0.5, 0.25], abs=4 * 0.008)


def test_nothing_to_draw_from_gives_no_draws():
    one_each = _with_ones(np.arange(3.0))
    assert bootstrap(_mean, one_each, [0, 1, 2], design="within_groups").shape == (0, 1)
    assert bootstrap(_mean, one_each, [0, 0, 0], design="over_groups").shape == (0, 1)
    assert bootstrap(_mean, one_each, [0, 1, 2], design="over_groups", num_resamples=0).shape == (
        0,
        1,
    )


@pytest.mark.parametrize("design", ["within_groups", "over_groups"])
def test_draws_do_not_depend_on_the_chunk_and_follow_the_seed(monkeypatch, design):
    values = _with_ones(np.random.default_rng(3).normal(size=30))
    groups = np.arange(30) // 5

    def draw(seed):
        return bootstrap(_mean, values, groups, design=design, num_resamples=99, seed=seed)

    whole = draw(0)
    assert not np.array_equal(whole, draw(1))
    monkeypatch.setattr(statistics, "CHUNK_CELLS", 100)
    assert np.array_equal(whole, draw(0))
