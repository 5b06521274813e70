"""INLP: a linear reader of the group is fitted and its direction taken out, again and again."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from unskew.edits._moments import Moments, within_tuples
from unskew.errors import ConfigError
from unskew.protocols import Erasure, LabelledStates

RELATIVE_RANK = 1e-10
"""Variance below this share of the largest is none: those directions are constant."""
HELD_OUT_EVERY = 4


class Inlp:
    """`h - Q Q^T h`, Q being the directions of the readers, one after the other.

    Each is the least-squares reader of rank 1: the direction whose value explains most of the
    group's variance, in states without the directions before it. It goes on until the next reader
    explains no more of held-out tuples than `margin`.

    Args:
        iterations: Most readers.
        margin: Share of the group's variance, averaged over groups, on a fourth of the tuples,
            that a reader must explain.

    Raises:
        ConfigError: `iterations` is not positive, or `margin` negative.

    Source: Ravfogel et al. 2020, arXiv 2004.07667. Departs: least squares, which needs moments
    alone, in place of an SVM; rank 1 a time, since a reader of k groups would take k - 1
    directions at once; it stops by explained variance and not by accuracy; states are centred
    within their tuple, so that a reader cannot use what texts are about otherwise.
    """

    def __init__(self, iterations: int = 10, margin: float = 1e-3) -> None:
        if iterations < 1 or not margin >= 0:
            raise ConfigError(
                f"projection.iterations is {iterations} and projection.margin {margin}; they must "
                "be 1 or more, and 0 or more"
            )
        self.iterations, self.margin = iterations, margin
        self._fitting: Moments | None = None
        self._held_out: Moments | None = None
        self._squares = torch.zeros(())

    def update(self, seen: LabelledStates) -> None:
        z = within_tuples(F.one_hot(seen.groups, seen.num_groups), seen)
        x = within_tuples(seen.states, seen)
        if self._fitting is None or self._held_out is None:
            self._fitting, self._held_out = (
                Moments(x.shape[1], seen.num_groups) for _ in ("fitting", "held out")
            )
            self._squares = torch.zeros(seen.num_groups, dtype=torch.float64)
        is_held_out = seen.tuples % HELD_OUT_EVERY == HELD_OUT_EVERY - 1
        for moments, here in ((self._fitting, ~is_held_out), (self._held_out, is_held_out)):
            if here.any():
                moments.update(x[here], z[here])
        self._squares += (z**2).sum(0).cpu()

    def fit(self) -> Erasure:
        fitting, held_out = self._checked()
        count = fitting.count + held_out.count
        scale = (self._squares / count).sqrt()
        varying = scale > 0
        crosses = [m.cross_covariance[:, varying] / scale[varying] for m in (fitting, held_out)]
        width = len(fitting.mean)
        taken = torch.zeros(width, 0, dtype=torch.float64)
        for _ in range(self.iterations):
            rest = torch.eye(width, dtype=torch.float64) - taken @ taken.T
            direction = _reader(rest @ fitting.covariance @ rest, rest @ crosses[0])
            explained = _explained(
                direction, fitting.covariance, crosses[0], held_out.covariance, crosses[1]
            )
            if explained <= self.margin:
                break
            taken = torch.cat([taken, F.normalize(rest @ direction, dim=0)[:, None]], 1)
        if not taken.shape[1]:
            raise ConfigError(
                "the first reader explains no more than projection.margin = "
                f"{self.margin} of the group on held-out tuples; lower it, or take another site"
            )
        q = taken.float()
        return Erasure(torch.zeros(width), q, q.T.contiguous())

    def _checked(self) -> tuple[Moments, Moments]:
        fitting, held_out = self._fitting, self._held_out
        if fitting is None or held_out is None or not self._squares.any():
            raise ConfigError(
                "all texts of each tuple speak of one group, so nothing tells groups apart; give "
                "texts of several groups"
            )
        if fitting.count <= len(fitting.mean) or not held_out.count:
            raise ConfigError(
                f"{fitting.count} hidden states of width {len(fitting.mean)} are too few to fit a "
                "reader and hold it against others; raise contexts"
            )
        return fitting, held_out


def _reader(covariance: Tensor, cross: Tensor) -> Tensor:
    """Direction of the rank-1 least-squares reader: the first canonical one."""
    variance, axes = torch.linalg.eigh(covariance)
    kept = variance > RELATIVE_RANK * variance[-1]
    inverse_root = axes[:, kept] / variance[kept].sqrt()
    u, _, _ = torch.linalg.svd(inverse_root.T @ cross, full_matrices=False)
    return inverse_root @ u[:, 0]


def _explained(
    w: Tensor, covariance: Tensor, cross: Tensor, other_covariance: Tensor, other_cross: Tensor
) -> float:
    """Mean share of the groups' variance that the fitted reader explains of other states."""
    weights = (cross.T @ w) / (w @ covariance @ w)
    gain = 2 * weights * (other_cross.T @ w) - weights**2 * (w @ other_covariance @ w)
    return gain.mean().item()
