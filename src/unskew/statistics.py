"""Intervals and resampling. Arrays in, numbers out; knows no benchmark.

A statistic here is a function of *group sums*: an array whose last two axes are (group, column),
where each column holds one quantity of the items, summed over the items of the group. A share is
a ratio of two columns summed over the groups, a macro average is a mean over groups of such
ratios. The same function then serves the value and, with a leading axis, all resamples at once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri

from unskew.errors import BenchmarkError

__all__ = [
    "Design",
    "Interval",
    "Statistic",
    "Sums",
    "bootstrap",
    "by_group",
    "group_sums",
    "percentile_interval",
    "wilson",
]

Interval = tuple[float, float]
Sums = NDArray[np.float64]
"""Group sums, shape (..., group, column)."""
Statistic = Callable[[Sums], NDArray[np.float64]]
"""(..., group, column) to (..., metric)."""
Design = Literal["within_groups", "over_groups"]
"""What is drawn again: the items inside each group, or whole groups."""

CHUNK_CELLS = 2**20
"""Of a temporary array: 8 MB of float64."""
_SMALL_GROUP = 20
"""Below it a plain bootstrap inside the group misses more than a twentieth of the variance."""


def wilson(successes: float, n: int, confidence: float = 0.95) -> Interval | None:
    """Interval of a share, as fractions in [0, 1]; None for no trial.

    Args:
        successes: Between 0 and `n`.
        n: Independent trials.
        confidence: Two-sided coverage, in (0, 1).

    Raises:
        BenchmarkError: `successes` is not between 0 and `n`.

    Source: Wilson 1927, "Probable inference", without continuity correction.
    """
    if not 0 <= successes <= n:
        raise BenchmarkError(f"{successes} successes in {n} trials; give a count from 0 to {n}")
    if n == 0:
        return None
    z = float(ndtri(0.5 + confidence / 2))
    share = successes / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * (share * (1 - share) / n + z * z / (4 * n * n)) ** 0.5
    # At 0 and n the bound equals the share; rounding must not move it outside.
    low = 0.0 if successes == 0 else centre - half
    high = 1.0 if successes == n else centre + half
    return low, high


def percentile_interval(draws: ArrayLike, confidence: float = 0.95) -> Interval | None:
    """Central interval of the draws, by linear interpolation between them.

    Draws in which the statistic has no value (NaN) are left out; None for fewer than two others.

    Args:
        draws: Shape (resample,).
        confidence: Share of the draws inside, in (0, 1).
    """
    draws = np.asarray(draws, dtype=np.float64)
    draws = draws[~np.isnan(draws)]
    if len(draws) < 2:
        return None
    low, high = np.quantile(draws, [0.5 - confidence / 2, 0.5 + confidence / 2])
    return float(low), float(high)


def by_group(values: ArrayLike, groups: ArrayLike) -> tuple[Sums, NDArray[np.intp], NDArray[Any]]:
    """Items ordered by group, where each group starts, and how many items it has.

    Args:
        values: Shape (item, column).
        groups: Label of each item, shape (item,).

    Raises:
        BenchmarkError: The shapes do not fit, or there is no item.
    """
    values = np.asarray(values, dtype=np.float64)
    labels = np.asarray(groups)
    if values.ndim != 2 or labels.shape != values.shape[:1] or not len(values):
        raise BenchmarkError(
            f"values of shape {values.shape} and groups of shape {labels.shape}; "
            "give (item, column) and (item,), with at least one item"
        )
    _, group_of, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.intp)
    return values[np.argsort(group_of, kind="stable")], starts, sizes


def group_sums(values: ArrayLike, groups: ArrayLike) -> Sums:
    """Sum each column over the items of each group, groups in sorted order.

    Args:
        values: Shape (item, column).
        groups: Label of each item, shape (item,).

    Returns:
        Shape (group, column).

    Raises:
        BenchmarkError: The shapes do not fit, or there is no item.
    """
    ordered, starts, _ = by_group(values, groups)
    return np.add.reduceat(ordered, starts, axis=0)


def bootstrap(
    statistic: Statistic,
    values: ArrayLike,
    groups: ArrayLike,
    *,
    design: Design,
    num_resamples: int = 1000,
    seed: int = 0,
) -> NDArray[np.float64]:
    """The statistic of resampled items.

    `within_groups` keeps the groups and draws items inside each: would other sentences about
    the same terms have changed the result? Groups of n < 20 draw n - 1 items of weight
    n / (n - 1): n draws show (n - 1) / n of the variance, only two thirds in groups of three.
    Singletons contribute no spread. `over_groups` draws whole groups: would other terms have
    changed it? The ordinary bootstrap is one item per group.

    Args:
        statistic: Group sums, shape (..., group, column), to shape (..., metric).
        values: Shape (item, column).
        groups: Label of each item, shape (item,).
        design: What is drawn again.
        num_resamples: 0 for none.
        seed: Same seed, same draws; items must come in the same order.

    Returns:
        Shape (resample, metric); no resample where no group has two items, or there is one group.

    Raises:
        BenchmarkError: The shapes do not fit, or there is no item.

    Source: Efron 1979, "Bootstrap methods"; Rao and Wu 1988, "Resampling inference with complex
    survey data", for the draws inside groups.
    """
    ordered, starts, sizes = by_group(values, groups)
    sums = np.add.reduceat(ordered, starts, axis=0)
    if design == "within_groups":
        units, first, span = ordered, np.repeat(starts, sizes), np.repeat(sizes, sizes)
    else:
        units, first, span = sums, np.zeros(len(sums), np.intp), np.full(len(sums), len(sums))
    if num_resamples == 0 or span.max() < 2:
        return np.empty((0, *statistic(sums).shape))
    rng = np.random.default_rng(seed)
    columns = units.T.copy()
    chunk = max(1, CHUNK_CELLS // len(units))
    draws = []
    for done in range(0, num_resamples, chunk):
        # `random` yields the same stream however it is cut into chunks; `integers` need not.
        uniform = rng.random((min(chunk, num_resamples - done), len(units)))
        drawn = first + (uniform * span).astype(np.intp)
        resampled = [column[drawn] for column in columns]
        if design == "within_groups":
            resampled = [_sums_of_draws(column, starts, sizes) for column in resampled]
        draws.append(statistic(np.stack(resampled, axis=-1)))
    return np.concatenate(draws)


def _sums_of_draws(
    drawn: NDArray[np.float64], starts: NDArray[np.intp], sizes: NDArray[Any]
) -> NDArray[np.float64]:
    """Sums over groups, (resample, item) to (resample, group); small ones lose their last draw."""
    loses = (sizes > 1) & (sizes < _SMALL_GROUP)
    drawn[:, (starts + sizes - 1)[loses]] = 0.0
    # Whole numbers stay exact: first times n, then over n - 1.
    sums = np.add.reduceat(drawn, starts, axis=1)
    sums[:, loses] = sums[:, loses] * sizes[loses] / (sizes[loses] - 1)
    return sums
