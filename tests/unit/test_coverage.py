"""95 % intervals contain the truth in 93 to 97 % of 2,000 seeded draws; 5 % tests err as often."""

from __future__ import annotations

import numpy as np
import pytest

from unskew.paired import paired_differences, sign_flip_p_values
from unskew.statistics import bootstrap, percentile_interval, wilson

pytestmark = pytest.mark.slow
DRAWS, RESAMPLES = 2000, 400


def _mean(sums):
    return (sums[..., 0].sum(-1) / sums[..., 1].sum(-1))[..., None]


def _macro(sums):
    return (sums[..., 0] / sums[..., 1]).mean(-1)[..., None]


def _with_ones(values):
    return np.stack([values, np.ones(len(values))], axis=1)


def _covered(intervals, truth):
    low, high = np.transpose(intervals)
    return np.mean((low <= truth) & (truth <= high))


@pytest.mark.parametrize("n", [25, 79, 255, 810])
def test_wilson_covers(n):
    # At one share, coverage jumps about with n, since a count is a whole number.
    rng = np.random.default_rng(0)
    shares = rng.uniform(0.02, 0.98, DRAWS)
    intervals = [wilson(int(k), n) for k in rng.binomial(n, shares)]
    assert 0.93 <= _covered(intervals, shares) <= 0.97


@pytest.mark.parametrize("size", [3, 8, 27])
def test_bootstrap_within_groups_covers_the_average_of_these_groups(size):
    rng = np.random.default_rng(1)
    groups = np.repeat(np.arange(40), size)
    lean = np.clip(0.6 + rng.normal(scale=0.2, size=40), 0, 1)
    found = []
    for seed in range(DRAWS):
        won = (rng.random(len(groups)) < lean[groups]).astype(float)
        draws = bootstrap(
            _macro,
            _with_ones(won),
            groups,
            design="within_groups",
            num_resamples=RESAMPLES,
            seed=seed,
        )
        found.append(percentile_interval(draws[:, 0]))
    assert 0.93 <= _covered(found, lean.mean()) <= 0.97


@pytest.mark.parametrize("statistic", [_mean, _macro])
def test_bootstrap_over_groups_covers_the_average_of_all_groups(statistic):
    rng = np.random.default_rng(2)
    groups = np.repeat(np.arange(96), 6)
    found = []
    for seed in range(DRAWS):
        lean = rng.normal(0.3, 0.5, size=96)
        draws = bootstrap(
            statistic,
            _with_ones(lean[groups] + rng.normal(size=len(groups))),
            groups,
            design="over_groups",
            num_resamples=RESAMPLES,
            seed=seed,
        )
        found.append(percentile_interval(draws[:, 0]))
    assert 0.93 <= _covered(found, 0.3) <= 0.97


def _paired_wins(rng, first, second, num_items):
    """Wins in per cent of two runs on the same items, which agree more often than by chance."""
    difficulty = rng.random(num_items)
    other = np.where(rng.random(num_items) < 0.7, difficulty, rng.random(num_items))
    return _with_ones(100.0 * (difficulty < first)), _with_ones(100.0 * (other < second))


def _compared(first, second, num_items=300):
    rng = np.random.default_rng(3)
    for seed in range(DRAWS):
        yield paired_differences(
            _mean,
            _paired_wins(rng, first, second, num_items),
            range(num_items),
            [(0, 1)],
            design="over_groups",
            ideals=[50.0],
            num_resamples=RESAMPLES,
            seed=seed,
        )[0][0]


@pytest.mark.parametrize(("first", "second"), [(0.62, 0.55), (0.45, 0.6)])
def test_paired_differences_and_gains_cover(first, second):
    found = list(_compared(first, second))
    gain = 100 * (abs(first - 0.5) - abs(second - 0.5))
    assert 0.93 <= _covered([(f.ci_low, f.ci_high) for f in found], 100 * (second - first)) <= 0.97
    assert 0.93 <= _covered([(f.gain.ci_low, f.gain.ci_high) for f in found], gain) <= 0.97


@pytest.mark.parametrize(("first", "second"), [(0.5, 0.5), (0.6, 0.6), (0.55, 0.45), (0.7, 0.3)])
def test_equally_distant_runs_seldom_have_a_winner(first, second):
    """As `compare` names one: both tests and the interval of the gain must agree."""
    named = [
        max(f.p_value, f.gain.p_value) < 0.05 and not f.gain.ci_low <= 0 <= f.gain.ci_high
        for f in _compared(first, second)
    ]
    assert np.mean(named) <= 0.06


def test_the_sign_flip_test_errs_in_five_per_cent():
    rng = np.random.default_rng(4)
    groups = np.repeat(np.arange(60), 5)
    p_values = []
    for seed in range(DRAWS):
        shared, lean = rng.normal(size=len(groups)), rng.normal(size=(2, 60))
        runs = [_with_ones(shared + own[groups] + rng.normal(size=len(groups))) for own in lean]
        p_values += sign_flip_p_values(
            _mean, *runs, groups, design="over_groups", num_flips=RESAMPLES, seed=seed
        )
    assert 0.04 <= np.mean(np.array(p_values) <= 0.05) <= 0.06
