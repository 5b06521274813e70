"""Agreement of two judges beyond chance, as a function of summed columns."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

from unskew.statistics import Sums

NUM_COLUMNS = 6


def agreement_row(verdicts: Iterable[tuple[float | None, float | None]]) -> list[float]:
    """Columns of one item: pairs of verdicts, their sums, squares and products.

    Args:
        verdicts: Of both judges on the same question; pairs with a None are left out.
    """
    both = [(a, b) for a, b in verdicts if a is not None and b is not None]
    products = [(1.0, a, b, a * a, b * b, a * b) for a, b in both]
    return [float(sum(column)) for column in zip(*products, strict=True)] or [0.0] * NUM_COLUMNS


def kappa(first_column: int) -> Callable[[Sums], NDArray[np.float64]]:
    """Cohen's kappa with quadratic weights, which for two verdicts is Cohen's kappa.

    1 less the mean squared difference of paired verdicts over that of verdicts paired at random. 1
    where neither varies and both agree.

    Args:
        first_column: Where the columns of `agreement_row` begin.

    Source: Cohen 1960 and 1968.
    """

    def of(sums: Sums) -> NDArray[np.float64]:
        columns = (sums[..., first_column + i].sum(-1) for i in range(NUM_COLUMNS))
        n, x, y, xx, yy, xy = columns
        n = np.where(n > 0, n, np.nan)
        observed = (xx + yy - 2 * xy) / n
        expected = (xx + yy) / n - 2 * (x / n) * (y / n)
        disagreement = np.array(np.where(np.isnan(n), np.nan, 0.0))
        return 1 - np.divide(observed, expected, out=disagreement, where=expected > 1e-12)

    return of
