"""SentenceDebias: the main directions in which a state moves when the group is exchanged."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from unskew.edits._moments import Moments, within_tuples
from unskew.errors import ConfigError
from unskew.protocols import Erasure, LabelledStates

RELATIVE_VARIANCE = 1e-10
"""Variance below this share of the largest is none."""


class SentenceDebias:
    """`h - V V^T h` with V the first principal components of states less their tuple's mean.

    Args:
        k: Components that are taken out.

    Raises:
        ConfigError: `k` is not positive.

    Source: Liang et al. 2020, arXiv 2007.08100, with states of length 1 before centring as in its
    code. Departs: V is of the states of single tokens, which are what it is applied to, not of
    means over a sentence. A state alone in its tuple is centred to 0 and turns nothing.
    """

    def __init__(self, k: int = 1) -> None:
        if k < 1:
            raise ConfigError(f"projection.k is {k}; it must be 1 or more")
        self.k = k
        self._moments: Moments | None = None

    def update(self, seen: LabelledStates) -> None:
        self._moments = self._moments or Moments(seen.states.shape[1], 0)
        moved = within_tuples(F.normalize(seen.states.double(), dim=1), seen)
        self._moments.update(moved, moved[:, :0])

    def fit(self) -> Erasure:
        moments = self._moments
        if moments is None or moments.count <= self.k:
            raise ConfigError(
                f"{moments.count if moments else 0} states of several groups give no "
                f"{self.k} components; raise contexts"
            )
        variance, axes = torch.linalg.eigh(moments.covariance)
        there = int((variance > RELATIVE_VARIANCE * variance[-1].clamp_min(1e-300)).sum())
        if there < self.k:
            raise ConfigError(
                f"the states move in {there} directions when the group is exchanged, projection.k "
                f"is {self.k}; lower it, or give texts of several groups"
            )
        v = axes[:, -self.k :].flip(1).float()
        return Erasure(torch.zeros(len(v)), v, v.T.contiguous())
