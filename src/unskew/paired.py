"""Two or more measurements of the same items: differences, paired tests, correction for many.

Statistics are functions of group sums, see `unskew.statistics`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import ArrayLike, NDArray

from unskew import statistics
from unskew.errors import BenchmarkError
from unskew.statistics import (
    Design,
    Statistic,
    Sums,
    bootstrap,
    by_group,
    group_sums,
    percentile_interval,
)

__all__ = ["Difference", "Estimate", "holm", "paired_differences", "sign_flip_p_values"]

_ROUNDING = 1e-11
"""Of values, relative: differences nearer than this are equal."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with its 95 % interval and the two-sided p-value of its being 0."""

    value: float
    ci_low: float | None
    ci_high: float | None
    p_value: float | None
    """None where nothing could be drawn again."""


@dataclass(frozen=True, slots=True)
class Difference(Estimate):
    """Second minus first, measured on the same items. The p-value is of the sign-flip test."""

    gain: Estimate | None = None
    """How much nearer to its ideal the second is, where that is a distance to a value. Its
    p-value is of the bootstrap: equal distances on either side are no exchangeable runs."""


def paired_differences(
    statistic: Statistic,
    measured: Sequence[ArrayLike],
    groups: ArrayLike,
    pairs: Sequence[tuple[int, int]],
    *,
    design: Design,
    ideals: Sequence[float | None],
    num_resamples: int = 2000,
    seed: int = 0,
) -> list[list[Difference]]:
    """Differences between measurements of the same items, all on the same resampled items.

    Args:
        statistic: Group sums, shape (..., group, column), to shape (..., metric).
        measured: Each of shape (item, column), the same items in the same order.
        groups: Label of each item, shape (item,).
        pairs: Which two to compare, first and second, as places in `measured`.
        design: What is drawn again, see `bootstrap`; also what the sign-flip test exchanges.
        ideals: Of each metric, the value it should be close to; None for one that should be high
            or low.
        num_resamples: Of the bootstrap and of the sign-flip test; 0 for no interval and no test.
        seed: Same seed, same draws.

    Returns:
        For each pair, a difference for each metric.

    Raises:
        BenchmarkError: The shapes do not fit, or there is no item.

    Source: Efron and Tibshirani 1993, chapters 13, 15 and 16.
    """
    columns = [np.asarray(values, np.float64) for values in measured]
    if len({values.shape for values in columns}) > 1:
        raise BenchmarkError(
            f"a paired comparison of {' with '.join(str(v.shape) for v in columns)} values; "
            "all must score the same items"
        )
    values = [statistic(group_sums(v, groups)) for v in columns]
    # The same seed and the same groups draw the same items for every measurement.
    drawn = [
        bootstrap(statistic, v, groups, design=design, num_resamples=num_resamples, seed=seed)
        for v in columns
    ]
    found = []
    for first, second in pairs:
        p_values = sign_flip_p_values(
            statistic,
            columns[first],
            columns[second],
            groups,
            design=design,
            num_flips=num_resamples,
            seed=seed,
        )
        found.append(
            [
                _difference(
                    (float(values[first][i]), float(values[second][i])),
                    (drawn[first][:, i], drawn[second][:, i]),
                    p_values[i],
                    ideal,
                )
                for i, ideal in enumerate(ideals)
            ]
        )
    return found


def _difference(
    values: tuple[float, float],
    drawn: tuple[NDArray[np.float64], NDArray[np.float64]],
    p_value: float | None,
    ideal: float | None,
) -> Difference:
    interval = percentile_interval(drawn[1] - drawn[0]) or (None, None)
    gain = None
    if ideal is not None:
        gain = _bootstrapped(
            abs(values[0] - ideal) - abs(values[1] - ideal),
            np.abs(drawn[0] - ideal) - np.abs(drawn[1] - ideal),
        )
    return Difference(values[1] - values[0], *interval, p_value, gain)


def _bootstrapped(value: float, draws: NDArray[np.float64]) -> Estimate:
    """The p-value is twice the smaller share of draws on one side of zero.

    The observed sample counts as one of the draws, so it is never 0.
    """
    interval = percentile_interval(draws)
    if interval is None:
        return Estimate(value, None, None, None)
    draws = draws[~np.isnan(draws)]
    tail = min(np.count_nonzero(draws <= 0), np.count_nonzero(draws >= 0))
    return Estimate(value, *interval, min(1.0, 2 * (int(tail) + 1) / (len(draws) + 1)))


def sign_flip_p_values(
    statistic: Statistic,
    first: ArrayLike,
    second: ArrayLike,
    groups: ArrayLike,
    *,
    design: Design,
    num_flips: int = 2000,
    seed: int = 0,
) -> list[float | None]:
    """Two-sided p-values of the paired permutation test, for each metric.

    Under the null hypothesis the two measurements of a unit could change places; for a mean of
    differences that is a change of their signs. Units are items for `within_groups`, whole groups
    for `over_groups`. All exchanges are gone through where there are at most `num_flips` of them,
    else that many are drawn and the observed one counts with them, so p is never 0.

    Args:
        statistic: Group sums, shape (..., group, column), to shape (..., metric).
        first: Shape (item, column).
        second: Same items in the same order.
        groups: Label of each item, shape (item,).
        design: What is a unit.
        num_flips: 0 for no test.
        seed: Same seed, same draws.

    Source: Fisher 1935, "The Design of Experiments", section 21; Phipson and Smyth 2010, arXiv
    1603.05766, for the observed one among the drawn.
    """
    first, second = np.asarray(first, np.float64), np.asarray(second, np.float64)
    ordered, starts, sizes = by_group((second - first) / 2, groups)
    middle = group_sums((second + first) / 2, groups)
    group_of = np.repeat(np.arange(len(sizes)), sizes)
    if design == "over_groups":
        ordered, group_of = np.add.reduceat(ordered, starts, axis=0), np.arange(len(sizes))

    def difference(moved: Sums) -> NDArray[np.float64]:
        return statistic(middle + moved) - statistic(middle - moved)

    # A unit that both measure alike stays what it is when they change places.
    differs = ordered.any(axis=1)
    halves, present, group_at = ordered[differs], group_of[differs], len(sizes)
    if num_flips == 0:
        return [None] * statistic(middle).shape[-1]
    flipped = _flipped(halves, present, group_at, num_flips, seed)
    observed = np.abs(difference(next(flipped)[0]))
    scale = np.maximum(np.abs(statistic(middle)), observed)
    threshold = observed - _ROUNDING * scale
    # A draw without a value is taken for an extreme one.
    extreme = np.sum(
        [np.count_nonzero(~(np.abs(difference(m)) < threshold), axis=0) for m in flipped], axis=0
    )
    if (num_exchanges := 2 ** len(halves)) <= num_flips:
        return [float(count) / num_exchanges for count in extreme]
    return [float(count + 1) / (num_flips + 1) for count in extreme]


def _flipped(
    halves: Sums, group_of: NDArray[np.intp], num_groups: int, num_flips: int, seed: int
) -> Iterator[Sums]:
    """Group sums of the halved differences: as observed, then with flipped signs, in chunks.

    Yields:
        Shape (flip, group, column); the first with one flip, the observed one.
    """
    present, starts = np.unique(group_of, return_index=True)
    columns = halves.T.copy()

    def summed(signs: NDArray[np.float64]) -> Sums:
        moved = np.zeros((len(signs), num_groups, len(columns)))
        for i, column in enumerate(columns):
            if len(column):
                moved[:, present, i] = np.add.reduceat(signs * column, starts, axis=1)
        return moved

    yield summed(np.ones((1, len(halves))))
    chunk = max(1, statistics.CHUNK_CELLS // max(1, len(halves)))
    if 2 ** len(halves) <= num_flips:
        every = np.array(list(product((1.0, -1.0), repeat=len(halves))))
        yield from (summed(every[i : i + chunk]) for i in range(0, len(every), chunk))
        return
    rng = np.random.default_rng(seed)
    for done in range(0, num_flips, chunk):
        # `random` yields the same stream however it is cut into chunks; `integers` need not.
        drawn = rng.random((min(chunk, num_flips - done), len(halves)))
        yield summed(np.where(drawn < 0.5, 1.0, -1.0))


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
