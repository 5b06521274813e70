"""Quantities: metrics as functions of group sums, and where their intervals come from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from unskew.statistics import Interval, Statistic, Sums, percentile_interval, wilson
from unskew.types import Better

_Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Quantity:
    """A metric as a function of group sums, and how its interval is found."""

    name: str
    unit: str
    ideal: float | None
    better: Better
    of: Callable[[Sums], _Array]
    """(..., group, column) to (...); NaN where it has no value."""
    counted: int = 0
    """Column that is positive for the items the quantity is about. Their number is n."""
    interval: Literal["bootstrap", "bootstrap_share", "bootstrap_error", "wilson", "none"] = (
        "bootstrap"
    )
    """`wilson` is for a plain share in per cent. `bootstrap_share` is for an average of such
    shares: where all resamples agree (everything won, or nothing) it falls back to Wilson.
    `bootstrap_error` is for what noise can only raise, such as an absolute value or the largest of
    several: its resamples lie too high, so the interval is 1.96 of their standard deviations to
    both sides, down to 0 at the most; none where all resamples agree."""


def _ratio(numerator: _Array, denominator: _Array) -> _Array:
    missing = np.full(np.broadcast(numerator, denominator).shape, np.nan)
    return np.divide(numerator, denominator, out=missing, where=denominator > 0)


def pooled(numerator: int, denominator: int, scale: float = 1.0) -> Callable[[Sums], _Array]:
    """Ratio of two columns summed over all groups (a micro average)."""
    return lambda s: scale * _ratio(s[..., numerator].sum(-1), s[..., denominator].sum(-1))


def total(column: int) -> Callable[[Sums], _Array]:
    """A column summed over all groups."""
    return lambda s: s[..., column].sum(-1)


def mean_over_groups(
    numerator: int, denominator: int, scale: float = 1.0
) -> Callable[[Sums], _Array]:
    """Mean over groups of the ratio of two columns (a macro average).

    Groups whose denominator is 0 are left out.
    """

    def of(sums: Sums) -> _Array:
        ratios = _ratio(sums[..., numerator], sums[..., denominator])
        has_value = sums[..., denominator] > 0
        return scale * _ratio(np.where(has_value, ratios, 0.0).sum(-1), has_value.sum(-1))

    return of


def statistic(quantities: Sequence[Quantity]) -> Statistic:
    """All quantities at once, (..., group, column) to (..., quantity)."""

    def of(sums: Sums) -> _Array:
        if not quantities:
            return np.empty((*sums.shape[:-2], 0))
        return np.stack([quantity.of(sums) for quantity in quantities], axis=-1)

    return of


def interval_of(quantity: Quantity, value: float, n: int, draws: _Array | None) -> Interval | None:
    """The 95 % interval of a value of n items, or None where there is no honest one.

    Args:
        quantity: What the value is of.
        value: The value, in the unit of the quantity.
        n: Items behind it.
        draws: The quantity in each resample, shape (resample,).
    """
    if quantity.interval == "wilson":
        return _wilson_percent(value, n)
    if quantity.interval == "bootstrap_error":
        return None if draws is None else _error_interval(value, draws)
    found = None if draws is None else percentile_interval(draws)
    if found is None or found[0] < found[1]:
        return found
    # All resamples agree: the items hold no spread to learn a width from.
    return _wilson_percent(value, n) if quantity.interval == "bootstrap_share" else None


def _error_interval(value: float, draws: _Array) -> Interval | None:
    draws = draws[~np.isnan(draws)]
    if len(draws) < 2:
        return None
    half = float(ndtri(0.975) * draws.std(ddof=1))
    if half == 0:
        return None
    return max(0.0, value - half), value + half


def _wilson_percent(value: float, n: int) -> Interval | None:
    bounds = wilson(min(max(value / 100, 0.0), 1.0) * n, n)
    return None if bounds is None else (100 * bounds[0], 100 * bounds[1])
