"""The permutation test of two sets: all ways to deal the items again, or as many as are drawn."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from math import comb

import numpy as np
from numpy.typing import NDArray

from unskew.statistics import CHUNK_CELLS, Interval, wilson

EXACT_UP_TO = 100_000
"""Ways to deal that are all gone through; of more, `NUM_DRAWS` are drawn."""
NUM_DRAWS = 10_000
_ROUNDING = 1e-12
"""Share of the largest value by which sums of the same items in another order may differ."""

_Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Dealt:
    """What dealing the items of two sets again gives."""

    p_value: float
    """One-sided: of a difference as large as the observed one."""
    interval: Interval | None
    """Of the p-value, which was drawn; None where it is exact."""
    differences: _Array
    """Mean of the first set less that of the second in each deal, shape (deal,)."""


def deal_again(first: _Array, second: _Array, seed: int) -> Dealt:
    """Is the mean of the first set higher than that of the second by more than chance?

    Exact where there are at most 100,000 ways to deal; of more, 10,000 are drawn, and the observed
    one counts with them, so that p is never 0.

    Args:
        first: Shape (first,).
        second: Shape (second,).
        seed: Of the draw.

    Source: Fisher 1935, "The Design of Experiments", section 21; Phipson and Smyth 2010, arXiv
    1603.05766, for the observed one among the drawn.
    """
    values = np.concatenate([first, second])
    total, scale = values.sum(), np.abs(values).max()
    observed = first.mean() - second.mean()
    found: list[_Array] = []
    for chosen in _deals(len(values), len(first), seed):
        one = values[chosen].sum(1)
        found.append(one / len(first) - (total - one) / len(second))
    differences = np.concatenate(found)
    count = int(np.count_nonzero(differences >= observed - _ROUNDING * len(values) * scale))
    if _is_exact(len(first), len(second)):
        return Dealt(count / len(differences), None, differences)
    drawn = len(differences) + 1
    return Dealt((count + 1) / drawn, wilson(count + 1, drawn), differences)


def _is_exact(num_first: int, num_second: int) -> bool:
    return comb(num_first + num_second, num_first) <= EXACT_UP_TO


def _deals(num_items: int, num_first: int, seed: int) -> Iterator[NDArray[np.intp]]:
    """Places of the items that are dealt to the first set, shape (deal, first), in chunks."""
    if _is_exact(num_first, num_items - num_first):
        yield np.array(list(combinations(range(num_items), num_first)), dtype=np.intp)
        return
    rng = np.random.default_rng(seed)
    chunk = max(1, CHUNK_CELLS // num_items)
    for done in range(0, NUM_DRAWS, chunk):
        # `random` yields the same stream however it is cut into chunks.
        uniform = rng.random((min(chunk, NUM_DRAWS - done), num_items))
        yield uniform.argpartition(num_first - 1, axis=1)[:, :num_first]
