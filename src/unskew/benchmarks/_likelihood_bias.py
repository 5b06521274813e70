"""Likelihood bias: the share of pairs of groups whose sentences are not equally likely."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import mannwhitneyu

_Array = NDArray[np.float64]
ALPHA = 0.05


def significance(samples: Sequence[_Array]) -> NDArray[np.bool_]:
    """Which pairs of samples differ by a two-sided Mann-Whitney U test at .05.

    Args:
        samples: One for each group.

    Returns:
        Shape (group, group), symmetric, False on the diagonal.

    Source: Mann and Whitney 1947; p-values as scipy takes them by default.
    """
    found = np.zeros((len(samples), len(samples)), dtype=bool)
    by_size: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for i, j in combinations(range(len(samples)), 2):
        by_size.setdefault((len(samples[i]), len(samples[j])), []).append((i, j))
    for places in by_size.values():
        first, second = (np.stack([samples[p[k]] for p in places]) for k in (0, 1))
        differs = mannwhitneyu(first, second, axis=1).pvalue < ALPHA
        for (i, j), is_different in zip(places, differs.tolist(), strict=True):
            found[i, j] = found[j, i] = is_different
    return found


@dataclass(frozen=True)
class Blocks:
    """Groups that are compared with one another, of which there are pairs in each block.

    Args:
        axis: Name of what the groups are of; it seeds their draws.
        matrices: Of each block of the axis, e.g. a template: which pairs of groups differ.
    """

    axis: str
    matrices: tuple[NDArray[np.bool_], ...]

    @property
    def num_groups(self) -> int:
        """Groups of the axis."""
        return len(self.matrices[0])

    @cached_property
    def differing(self) -> _Array:
        """In how many blocks each pair differs, shape (group, group)."""
        return np.stack(self.matrices).astype(np.float64).sum(0)

    @property
    def num_pairs(self) -> int:
        """Pairs, over all blocks."""
        return len(self.matrices) * self.num_groups * (self.num_groups - 1) // 2

    def drawn(self, num_resamples: int, seed: int) -> tuple[_Array, _Array]:
        """Differing and all pairs when groups are drawn again, shape (resample,) each.

        A group is not paired with itself, however often it is drawn.
        """
        rng = np.random.default_rng(zlib.crc32(f"{seed}|{self.axis}".encode()))
        even = np.full(self.num_groups, 1 / self.num_groups)
        times = rng.multinomial(self.num_groups, even, size=num_resamples).astype(np.float64)
        differing = np.einsum("ri,ij,rj->r", times, self.differing, times) / 2
        pairs = (times.sum(1) ** 2 - (times * times).sum(1)) / 2
        return differing, len(self.matrices) * pairs


def bias_of(blocks: Sequence[Blocks]) -> tuple[float, int]:
    """Share of pairs that differ, and the number of pairs."""
    num_pairs = sum(block.num_pairs for block in blocks)
    return sum(float(b.differing.sum()) / 2 for b in blocks) / num_pairs, num_pairs


def drawn_bias(blocks: Sequence[Blocks], num_resamples: int, seed: int) -> _Array:
    """The share of pairs that differ when the groups of each axis are drawn again.

    NaN where a draw has no pair, i.e. one group alone.
    """
    if not num_resamples:
        return np.empty(0)
    drawn = [block.drawn(num_resamples, seed) for block in blocks]
    differing, pairs = (np.sum([d[k] for d in drawn], axis=0) for k in (0, 1))
    return np.divide(differing, pairs, out=np.full(len(pairs), np.nan), where=pairs > 0)


def blocks_of(samples: Mapping[tuple[str, str], Mapping[str, _Array]]) -> list[Blocks]:
    """Blocks by axis, of axes with two groups or more.

    Args:
        samples: (axis, block) -> group -> its sample.
    """
    by_axis: dict[str, list[NDArray[np.bool_]]] = {}
    for (axis, _), groups in sorted(samples.items()):
        if len(groups) > 1:
            matrix = significance([groups[name] for name in sorted(groups)])
            by_axis.setdefault(axis, []).append(matrix)
    return [Blocks(axis, tuple(matrices)) for axis, matrices in by_axis.items()]
