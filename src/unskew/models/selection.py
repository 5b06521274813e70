"""Which weights score highest: exact in number, ties broken by place, whatever the size."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from unskew.errors import ConfigError

Granularity = Literal["weight", "row", "tensor"]
Ranking = Literal["per_tensor", "per_layer", "global"]
Masks = dict[str, Tensor]
"""By name of the weight; bool, True = may move."""

HALF = 1 << 16


def select(
    scores: Mapping[str, Float[Tensor, "..."]],
    fraction: float,
    *,
    granularity: Granularity = "weight",
    ranking: Ranking = "per_tensor",
    transposed: Collection[str] = (),
    only_positive: bool = False,
) -> Masks:
    """Mask of the highest scores: exactly `floor(fraction n + 1/2)` of the n units of each group.

    Among equal scores those that come first are taken, so that the number is exact and the same
    scores always give the same mask; a test `score >= threshold` would take all of them.

    Args:
        scores: By name of the weight, in any order that is kept; higher is taken first.
        fraction: Share of the units, in (0, 1].
        granularity: What is taken or left as one: a weight, a row (all weights into one output,
            scored by their sum) or a tensor (scored by its sum).
        ranking: Whether each tensor, each layer or the whole model gives its own share.
        transposed: Names of weights stored as (in, out), whose rows are columns.
        only_positive: Leave out units whose score is not above 0, even if too few remain.

    Raises:
        ConfigError: The fraction is out of range, a score is not finite, or single tensors are to
            be ranked within themselves.
    """
    if not 0 < fraction <= 1:
        raise ConfigError(f"fraction is {fraction}; it must be above 0 and at most 1")
    if granularity == "tensor" and ranking == "per_tensor":
        raise ConfigError(
            "granularity=tensor leaves nothing to rank per_tensor; choose ranking=per_layer or "
            "global"
        )
    units = {n: _units(s, granularity, by_column=n in transposed) for n, s in scores.items()}
    for name, values in units.items():
        if not all(v.isfinite() for v in values.aminmax()):
            raise ConfigError(f"the scores of {name} are not finite; nothing can be ranked by them")
    masks: Masks = {}
    for names in _groups(list(units), ranking):
        group = [units[n] for n in names]
        count = math.floor(fraction * sum(len(u) for u in group) + 0.5)
        for name, taken in zip(names, top_k(group, count), strict=True):
            kept = taken & (units[name] > 0) if only_positive else taken
            masks[name] = _spread(kept, scores[name], granularity, by_column=name in transposed)
    return {name: masks[name] for name in scores}


def top_k(values: Sequence[Float[Tensor, " _"]], count: int) -> list[Bool[Tensor, " _"]]:
    """Masks of exactly `count` values, the highest of all tensors together; ties by place.

    Finds the lowest value that is taken by counting bit patterns, the high half first: memory for
    one tensor at a time and no sorting.

    Args:
        values: Finite, float32, one-dimensional.
        count: At most the number of values.
    """
    if count <= 0:
        return [torch.zeros(len(v), dtype=torch.bool) for v in values]
    high, left = _bucket((_ordered(v).bitwise_right_shift_(16) for v in values), count)
    low, left = _bucket((_low_halves(_ordered(v), high) for v in values), left)
    lowest = (high << 16) + low + HALF // 2
    masks = []
    for v in values:
        keys = _ordered(v)
        mask = keys > lowest
        if left:
            ties = (keys == lowest).nonzero().flatten()[:left]
            mask[ties] = True
            left -= len(ties)
        masks.append(mask)
    return masks


def _bucket(halves: Iterable[Tensor], count: int) -> tuple[int, int]:
    """The half at which `count` of them, counted from above, are reached; how many of it to take.

    Args:
        halves: 16-bit numbers as int32, shifted in place by half their range.
        count: At least 1.
    """
    histogram = torch.zeros(HALF, dtype=torch.int64)
    for part in halves:
        histogram += torch.bincount(part.add_(HALF // 2), minlength=HALF)
    reached = histogram.flip(0).cumsum(0).flip(0)
    bucket = int((reached >= count).nonzero()[-1])
    return bucket - HALF // 2, count - int(reached[bucket] - histogram[bucket])


def _low_halves(keys: Int[Tensor, " unit"], high: int) -> Int[Tensor, " some"]:
    """Of the keys with that high half."""
    return (keys[keys >> 16 == high] & (HALF - 1)).sub_(HALF // 2)


def _ordered(values: Float[Tensor, " unit"]) -> Int[Tensor, " unit"]:
    """int32 keys in the order of the floats; adding 0 makes -0 and 0 the same."""
    bits = (values + 0.0).view(torch.int32)
    # Of negative numbers all bits but the sign are turned round: the larger, the lower.
    return bits.bitwise_xor_((bits >> 31).bitwise_and_(0x7FFFFFFF))


def _groups(names: Sequence[str], ranking: Ranking) -> list[list[str]]:
    groups: dict[str, list[str]] = {}
    for name in names:
        key = {"per_tensor": name, "per_layer": layer_of(name), "global": ""}[ranking]
        groups.setdefault(key, []).append(name)
    return list(groups.values())


def layer_of(name: str) -> str:
    """The layer a weight belongs to, e.g. `transformer.h.3`; empty outside the layers."""
    found = re.match(r"(.*?\.\d+)\.", name)
    return found.group(1) if found else ""


def _units(scores: Tensor, granularity: Granularity, *, by_column: bool) -> Tensor:
    if granularity == "weight":
        return scores.detach().float().flatten()
    if granularity == "tensor":
        return scores.detach().float().sum()[None]
    return _rows(scores.detach().float(), by_column=by_column).sum(1)


def _rows(tensor: Tensor, *, by_column: bool) -> Tensor:
    """One row for each output."""
    return tensor.T if by_column else tensor.flatten(1) if tensor.ndim > 1 else tensor[:, None]


def _spread(kept: Tensor, scores: Tensor, granularity: Granularity, *, by_column: bool) -> Tensor:
    if granularity == "weight":
        return kept.view(scores.shape)
    mask = torch.zeros(scores.shape, dtype=torch.bool)
    if granularity == "tensor":
        return mask.fill_(bool(kept))
    _rows(mask, by_column=by_column)[kept] = True
    return mask
