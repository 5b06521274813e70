"""Intervals and paired tests. Arrays in, numbers out; knows no benchmark.

A statistic here is a function of *group sums*: an array whose last two axes are (group, column),
where each column holds one quantity of the items, summed over the items of the group. A share is
a ratio of two columns summed over the groups, a macro average is a mean over groups of such
ratios. The same function then serves the value and, with a leading axis, all resamples at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri

from unskew.errors import BenchmarkError

__all__ = [
    "Design",
    "Difference",
    "Interval",
    "Statistic",
    "Sums",
    "bootstrap",
    "group_sums",
    "holm",
    "paired_differences",
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

_CHUNK_CELLS = 2**20  # 8 MB of float64 per temporary array


@dataclass(frozen=True, slots=True)
class Difference:
    """Second minus first, measured on the same items."""

    value: float
    ci_low: float | None
    ci_high: float | None
    p_value: float | None
    """Two-sided, from the bootstrap; None where nothing could be resampled."""


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


def _grouped(values: ArrayLike, groups: ArrayLike) -> tuple[Sums, NDArray[np.intp], NDArray[Any]]:
    """Items ordered by group, where each group starts, and how many items it has."""
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
    ordered, starts, _ = _grouped(values, groups)
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
    the same terms have changed the result? Singletons contribute no spread. `over_groups` draws
    whole groups: would other terms have changed it? The ordinary bootstrap is one item per group.

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
    """
    ordered, starts, sizes = _grouped(values, groups)
    sums = np.add.reduceat(ordered, starts, axis=0)
    if design == "within_groups":
        units, first, span = ordered, np.repeat(starts, sizes), np.repeat(sizes, sizes)
    else:
        units, first, span = sums, np.zeros(len(sums), np.intp), np.full(len(sums), len(sums))
    if num_resamples == 0 or span.max() < 2:
        return np.empty((0, *statistic(sums).shape))
    rng = np.random.default_rng(seed)
    columns = units.T.copy()
    chunk = max(1, _CHUNK_CELLS // len(units))
    draws = []
    for done in range(0, num_resamples, chunk):
        # `random` yields the same stream however it is cut into chunks; `integers` need not.
        uniform = rng.random((min(chunk, num_resamples - done), len(units)))
        drawn = first + (uniform * span).astype(np.intp)
        resampled = [column[drawn] for column in columns]
        if design == "within_groups":
            resampled = [np.add.reduceat(column, starts, axis=1) for column in resampled]
        draws.append(statistic(np.stack(resampled, axis=-1)))
    return np.concatenate(draws)


def paired_differences(
    statistic: Statistic,
    first: ArrayLike,
    second: ArrayLike,
    groups: ArrayLike,
    *,
    design: Design,
    num_resamples: int = 1000,
    seed: int = 0,
) -> list[Difference]:
    """Second minus first for each metric, with both measured on the same resampled items.

    The p-value is twice the smaller share of resampled differences on one side of zero, counting
    the observed sample as one of them, so it is never 0.

    Args:
        statistic: Group sums, shape (..., group, column), to shape (..., metric).
        first: Shape (item, column).
        second: Same items in the same order.
        groups: Label of each item, shape (item,).
        design: What is drawn again, see `bootstrap`.
        num_resamples: 0 for none.
        seed: Same seed, same draws.

    Raises:
        BenchmarkError: The shapes do not fit, or there is no item.

    Source: Efron and Tibshirani 1993, chapters 13 and 16.
    """
    first, second = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if first.shape != second.shape:
        raise BenchmarkError(
            f"a paired comparison of {first.shape} with {second.shape} values; "
            "both must score the same items"
        )
    num_columns = first.shape[1]

    def difference(sums: Sums) -> NDArray[np.float64]:
        return statistic(sums[..., num_columns:]) - statistic(sums[..., :num_columns])

    both = np.concatenate([first, second], axis=1)
    draws = bootstrap(
        difference, both, groups, design=design, num_resamples=num_resamples, seed=seed
    )
    values = difference(group_sums(both, groups))
    return [_difference(float(v), draws[:, i]) for i, v in enumerate(values)]


def _difference(value: float, draws: NDArray[np.float64]) -> Difference:
    interval = percentile_interval(draws)
    if interval is None:
        return Difference(value, None, None, None)
    draws = draws[~np.isnan(draws)]
    tail = min(np.count_nonzero(draws <= 0), np.count_nonzero(draws >= 0))
    return Difference(value, *interval, min(1.0, 2 * (int(tail) + 1) / (len(draws) + 1)))


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values that control the family-wise error, in the order given.

    Raises:
        BenchmarkError: A value is not in [0, 1].

    Source: Holm 1979, "A simple sequentially rejective multiple test procedure".
    """
    p = np.asarray(p_values, dtype=np.float64)
    if not ((p >= 0) & (p <= 1)).all():
        raise BenchmarkError(f"p-values {list(p_values)}; each must lie in [0, 1]")
    order = np.argsort(p, kind="stable")
    adjusted = np.empty_like(p)
    steps = np.arange(len(p), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * steps), 1.0)
    return adjusted.tolist()
