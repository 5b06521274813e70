"""LEACE: the least change of hidden states after which no linear map reads the group."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from unskew.edits._moments import Moments, within_tuples
from unskew.errors import ConfigError
from unskew.protocols import Erasure, LabelledStates

RELATIVE_RANK = 1e-10
"""Variance below this share of the largest is none: those directions are constant."""


class Leace:
    """`r(h) = h - W^+ U U^T W (h - mean)` with W the inverse root of the states' covariance.

    U spans W C, C being the covariance of the states with the group. Afterwards that covariance is
    zero, so no linear predictor of the group beats the constant one, and no affine map that does
    this moves the states less in mean square.

    Args:
        tol: Directions that correlate less than this with the group are left in, where the
            correlation is the root of the squares' sum over groups. 0 erases all.
        rank: Most directions that are erased, the most correlated first; all if None.
        affine: Hold the mean fixed; else the map is linear, and folds into a head without a bias.

    Raises:
        ConfigError: `tol` is negative or not below 1, or `rank` not positive.

    Source: Belrose et al. 2023, arXiv 2306.03819, theorem 4.2 and its equation 1. Departs: the
    group, one column for each, is centred within the tuple, so that only what its texts do not
    share is erased and not, for instance, which bias type a sentence belongs to; each column is
    scaled to variance 1, which makes `tol` a correlation; a state alone in its tuple says nothing
    of the group but counts in the covariance; `rank`; no shrinkage, no trace constraint.
    """

    def __init__(self, tol: float = 0.01, rank: int | None = None, affine: bool = True) -> None:
        if not 0 <= tol < 1:
            raise ConfigError(f"projection.tol is {tol}; it is a correlation: 0 or more, below 1")
        if rank is not None and rank < 1:
            raise ConfigError(f"projection.rank is {rank}; it must be 1 or more")
        self.tol, self.rank, self.affine = tol, rank, affine
        self._moments: Moments | None = None
        self._squares = torch.zeros(())

    def update(self, seen: LabelledStates) -> None:
        z = within_tuples(F.one_hot(seen.groups, seen.num_groups), seen)
        if self._moments is None:
            self._moments = Moments(seen.states.shape[1], seen.num_groups)
            self._squares = torch.zeros(seen.num_groups, dtype=torch.float64)
        self._moments.update(seen.states, z)
        # A tuple's z sums to 0, so its squares are its variance.
        self._squares += (z**2).sum(0).cpu()

    def fit(self) -> Erasure:
        moments = self._checked()
        variance, axes = torch.linalg.eigh(moments.covariance)
        kept = variance > RELATIVE_RANK * variance[-1]
        root, axes = variance[kept].sqrt(), axes[:, kept]
        scale = (self._squares / moments.count).sqrt()
        varying = scale > 0
        cross = moments.cross_covariance[:, varying] / scale[varying]
        whitened = (axes / root).T @ cross
        u, correlation, _ = torch.linalg.svd(whitened, full_matrices=False)
        u = u[:, correlation > max(self.tol, RELATIVE_RANK)][:, : self.rank]
        if not u.shape[1]:
            raise ConfigError(
                "no direction of the hidden states correlates with the group by projection.tol = "
                f"{self.tol} or more (the most is {correlation[:1].sum():.2g}); lower it, or take "
                "another site"
            )
        left, right = (axes * root) @ u, ((axes / root) @ u).T
        mean = moments.mean if self.affine else torch.zeros_like(moments.mean)
        return Erasure(mean.float(), left.float(), right.float())

    def _checked(self) -> Moments:
        moments = self._moments
        if moments is None or not self._squares.any():
            raise ConfigError(
                "all texts of each tuple speak of one group, so nothing tells groups apart; give "
                "texts of several groups"
            )
        width = len(moments.mean)
        if moments.count <= width:
            raise ConfigError(
                f"{moments.count} hidden states of width {width} do not fix their covariance, and "
                "all of them would be erased; raise contexts"
            )
        return moments
