"""Whether the weights held responsible for the bias are the same for all groups, and fair to each.

Groups are bias types, or demographic targets within one. Pure: saliencies in, numbers and masks
out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from scipy.stats import rankdata
from torch import Tensor

from unskew.errors import ConfigError
from unskew.models.selection import Masks, select
from unskew.saliency._combine import stable_order
from unskew.saliency._overlap import Overlap

MIN_ROWS = 100
Scores = Mapping[str, Float[Tensor, "..."]]
"""By name of the weight."""


@dataclass(frozen=True, slots=True)
class GroupSaliency:
    """What one group's rows hold responsible."""

    scores: Scores
    """Saliency by name of the weight, >= 0."""
    num_rows: int
    """Rows it was computed from; the same for all groups, by subsampling."""
    resamples: tuple[Scores, ...] = ()
    """Saliencies of other draws of as many rows of the group."""


@dataclass(frozen=True, slots=True)
class GroupOverlap:
    """How far two groups' masks are the same."""

    first: str
    second: str
    overlap: Overlap
    """Of the two masks over all tensors; with its value by chance."""
    z: float
    """Weights in common less those expected, over their standard deviation, under masks drawn at
    random within each tensor; 0 where nothing can vary."""
    spearman_by_tensor: Mapping[str, float]
    """Rank correlation of the two saliencies; without tensors in which one is constant."""
    ceiling: float | None
    """Jaccard index that two draws of the *same* group reach, geometric mean of both groups; None
    without resamples."""

    @property
    def share_of_ceiling(self) -> float | None:
        """Jaccard index over its ceiling: near 1, the groups differ no more than draws of rows."""
        return self.overlap.jaccard / self.ceiling if self.ceiling else None


@dataclass(frozen=True, slots=True)
class Balanced:
    """A mask to which every group contributed alike."""

    masks: Masks
    quotas: Mapping[str, int]
    """Weights each group picked, over all tensors; a weight that several picked at once counts for
    each of them."""


def group_overlaps(groups: Mapping[str, GroupSaliency], fraction: float) -> list[GroupOverlap]:
    """Every two groups: overlap of their masks, z-score, rank correlation, noise ceiling.

    Args:
        groups: At least two, of the same weights, computed from equally many rows.
        fraction: rho, share of each tensor's weights in a mask, in (0, 1].

    Raises:
        ConfigError: Groups are too few or too small, or of different weights or row counts.
    """
    check_groups(groups)
    masks = {name: select(group.scores, fraction) for name, group in groups.items()}
    ceilings = {name: noise_ceiling(group, fraction) for name, group in groups.items()}
    correlations = rank_correlations({name: group.scores for name, group in groups.items()})
    found: list[GroupOverlap] = []
    for first, second in combinations(groups, 2):
        parts = [Overlap.of(masks[first][n], masks[second][n]) for n in masks[first]]
        pair = ceilings[first], ceilings[second]
        found.append(
            GroupOverlap(
                first,
                second,
                Overlap.total(parts),
                overlap_z(parts),
                correlations[first, second],
                None if pair[0] is None or pair[1] is None else math.sqrt(pair[0] * pair[1]),
            )
        )
    return found


def check_groups(groups: Mapping[str, GroupSaliency]) -> None:
    """Refuse groups that cannot be compared.

    Raises:
        ConfigError: Groups are too few or too small, or of different weights or row counts.
    """
    if len(groups) < 2:
        raise ConfigError(f"{len(groups)} groups are given; a comparison needs two at least")
    (first, reference), *_ = groups.items()
    shapes = {n: s.shape for n, s in reference.scores.items()}
    for name, group in groups.items():
        if group.num_rows < MIN_ROWS:
            raise ConfigError(
                f"group {name!r} has {group.num_rows} rows; give at least {MIN_ROWS} or leave it "
                "out"
            )
        if group.num_rows != reference.num_rows:
            raise ConfigError(
                f"group {name!r} has {group.num_rows} rows and {first!r} {reference.num_rows}; "
                "draw as many of each, since saliency grows with them"
            )
        for scores in (group.scores, *group.resamples):
            if {n: s.shape for n, s in scores.items()} != shapes:
                raise ConfigError(
                    f"the saliency of group {name!r} is of other weights than that of {first!r}; "
                    "make all with one scope"
                )


def overlap_z(parts: Sequence[Overlap]) -> float:
    """Standardised number of weights in common, over tensors.

    Args:
        parts: The overlap in each tensor.

    Source: mean and variance of the hypergeometric distribution, summed over tensors as strata
    (the Mantel-Haenszel combination).
    """
    surplus = variance = 0.0
    for part in parts:
        n, a, b = part.num_weights, part.num_first, part.num_second
        surplus += part.num_common - a * b / n
        variance += a * b * (n - a) * (n - b) / (n * n * (n - 1)) if n > 1 else 0.0
    return surplus / math.sqrt(variance) if variance else 0.0


def rank_correlations(groups: Mapping[str, Scores]) -> dict[tuple[str, str], dict[str, float]]:
    """Spearman's rank correlation of every two groups' saliencies within each tensor.

    Ties share their mean rank. Tensors in which one of the two is constant have none.

    Args:
        groups: Saliency of each group, of the same weights.

    Returns:
        By first and second group, by name of the weight.
    """
    found: dict[tuple[str, str], dict[str, float]] = {p: {} for p in combinations(groups, 2)}
    for name in next(iter(groups.values())):
        units = {g: _unit_ranks(scores[name]) for g, scores in groups.items()}
        for first, second in found:
            a, b = units[first], units[second]
            if a is not None and b is not None:
                found[first, second][name] = float(a @ b)
    return found


def _unit_ranks(scores: Float[Tensor, "..."]) -> NDArray[np.float64] | None:
    """Mean ranks with mean 0 and length 1; None where all are equal."""
    ranks = rankdata(scores.detach().float().flatten().numpy())
    ranks -= ranks.mean()
    length = np.linalg.norm(ranks)
    return ranks / length if length else None


def noise_ceiling(group: GroupSaliency, fraction: float) -> float | None:
    """Mean Jaccard index of the masks of every two draws of a group's rows.

    No other group can be expected to agree with it better. None for fewer than two draws.
    """
    draws = [select(scores, fraction) for scores in (group.scores, *group.resamples)]
    jaccards = [
        Overlap.total(Overlap.of(a[n], b[n]) for n in a).jaccard for a, b in combinations(draws, 2)
    ]
    return sum(jaccards) / len(jaccards) if jaccards else None


def coverage(scores: Scores, masks: Masks) -> float:
    """K_g: share of a group's saliency that lies on the masked weights.

    Raises:
        ConfigError: The saliency is 0 for every weight.
    """
    total = sum(scores[n].double().sum().item() for n in masks)
    if not total > 0:
        raise ConfigError("the saliency is 0 for every weight; nothing can be covered")
    return sum(scores[n][m].double().sum().item() for n, m in masks.items()) / total


def entanglement(masks: Masks, reason: Scores, fraction: float) -> float:
    """E_g: share of a group's mask that is among the weights most responsible for the reasoning.

    Args:
        masks: The group's.
        reason: Saliency for the reasoning, of the same weights.
        fraction: Share of each tensor's weights that counts as most responsible.

    Raises:
        ConfigError: The mask is empty.
    """
    top = select({n: reason[n] for n in masks}, fraction)
    size = sum(int(m.sum()) for m in masks.values())
    if not size:
        raise ConfigError("the group's mask is empty; choose a larger fraction")
    return sum(int((m & top[n]).sum()) for n, m in masks.items()) / size


def balanced_masks(groups: Mapping[str, Scores], fraction: float) -> Balanced:
    """One mask in which every group has its say: round by round each picks its best weight left.

    Groups that name the same weight in a round share it. Of a tensor's last round, in which not
    all picks fit, those are taken that hold the larger share of their group's saliency there; so
    names and order of the groups change nothing.

    Args:
        groups: Saliency of each group, of the same weights.
        fraction: rho, share of each tensor's weights, in (0, 1].

    Raises:
        ConfigError: The fraction is out of range.
    """
    if not 0 < fraction <= 1:
        raise ConfigError(f"fraction is {fraction}; it must be above 0 and at most 1")
    masks: Masks = {}
    quotas = dict.fromkeys(groups, 0)
    for name, tensor in next(iter(groups.values())).items():
        count = math.floor(fraction * tensor.numel() + 0.5)
        flat = [scores[name].detach().float().flatten() for scores in groups.values()]
        mask, picks = _picked(flat, count)
        masks[name] = mask.view(tensor.shape)
        for group, number in zip(groups, picks, strict=True):
            quotas[group] += number
    return Balanced(masks, quotas)


def _picked(
    scores: Sequence[Float[Tensor, " _"]], count: int
) -> tuple[Bool[Tensor, " _"], list[int]]:
    """Mask of one tensor's picks, and how many each group made."""
    orders = [stable_order(-s).tolist() for s in scores]
    totals = [max(s.double().sum().item(), torch.finfo(torch.float64).tiny) for s in scores]
    taken = bytearray(len(scores[0]))
    next_place, picks = [0] * len(scores), [0] * len(scores)
    left = count
    while left:
        named: dict[int, list[int]] = {}
        for group, order in enumerate(orders):
            while taken[order[next_place[group]]]:
                next_place[group] += 1
            named.setdefault(order[next_place[group]], []).append(group)
        if len(named) > left:
            named = _largest(named, scores, totals, left)
        for weight, by in named.items():
            taken[weight] = 1
            for group in by:
                picks[group] += 1
        left -= len(named)
    return torch.frombuffer(taken, dtype=torch.uint8).bool(), picks


def _largest(
    named: Mapping[int, list[int]],
    scores: Sequence[Float[Tensor, " _"]],
    totals: Sequence[float],
    left: int,
) -> dict[int, list[int]]:
    def share(weight: int) -> float:
        return max(scores[g][weight].item() / totals[g] for g in named[weight])

    kept = sorted(named, key=lambda weight: (-share(weight), weight))[:left]
    return {weight: named[weight] for weight in kept}
