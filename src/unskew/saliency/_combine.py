"""What is responsible for the bias and not for the reasoning: one score out of two."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from unskew.errors import ConfigError

Norm = Literal["rank", "mean", "none"]
Disentangle = Literal["subtract", "ratio", "setdiff", "none", "project"]
EPSILON = 1e-5


def normalise(scores: Float[Tensor, "..."], norm: Norm) -> Float[Tensor, "..."]:
    """Scores of one tensor on a scale that tensors and criteria share.

    Args:
        scores: Of one tensor, >= 0.
        norm: `rank`: place in the ascending order, from 0 to 1, equal scores by their place in the
            tensor; whatever rises with the scores gives the same. `mean`: divided by the mean.
    """
    if norm == "none":
        return scores
    if norm == "mean":
        return scores / (scores.mean() + torch.finfo(scores.dtype).tiny)
    flat = scores.detach().flatten()
    ranks = torch.empty(len(flat))
    ranks[stable_order(flat)] = (
        torch.arange(len(flat), dtype=torch.float64).div_(max(len(flat) - 1, 1)).float()
    )
    return ranks.view(scores.shape)


def disentangled(
    bias: Float[Tensor, "..."],
    reason: Float[Tensor, "..."] | None,
    *,
    disentangle: Disentangle = "subtract",
    norm: Norm = "rank",
    weight: float = 1.0,
) -> Float[Tensor, "..."]:
    """Score of each weight of one tensor by which a mask is made; higher is taken first.

    Args:
        bias: Saliency for the bias; signed gradients for `project`.
        reason: Saliency for the reasoning; signed gradients for `project`; None for `none`.
        disentangle: `subtract`: norm(bias) - weight norm(reason). `ratio`: mean-normalised bias
            over reason, less 1. `none` and `setdiff`: norm(bias); the set is taken off the mask.
            `project`: size of the bias gradient without its component along the reasoning
            gradient, where the two point the same way: to first order neutral to the reasoning.
        norm: See `normalise`; `ratio` has its own, `project` works on gradients and normalises
            what is left of them.
        weight: Of the reasoning, lambda, >= 0; of `subtract` alone.

    Raises:
        ConfigError: The weight is negative, or there is no saliency for the reasoning.

    Source: `ratio` is MANU's forget-to-retain importance (arXiv 2502.15910). Departs: one epsilon;
    single weights in place of neurons.
    """
    if weight < 0:
        raise ConfigError(f"lambda is {weight}; it must be 0 or positive")
    if disentangle in {"none", "setdiff"}:
        return normalise(bias, norm)
    if reason is None:
        raise ConfigError(
            f"disentangle={disentangle} needs a saliency for the reasoning; give one or choose none"
        )
    if disentangle == "subtract":
        return normalise(bias, norm) - weight * normalise(reason, norm)
    if disentangle == "ratio":
        return normalise(bias, "mean") / (normalise(reason, "mean") + EPSILON) - 1
    return normalise(_without_component(bias, reason).abs(), norm)


def _without_component(
    bias: Float[Tensor, "..."], reason: Float[Tensor, "..."]
) -> Float[Tensor, "..."]:
    b, r = bias.double(), reason.double()
    along, size = (b * r).sum(), (r * r).sum()
    return (b - along / size * r).to(bias.dtype) if along > 0 else bias


def stable_order(flat: Float[Tensor, " place"]) -> Tensor:
    """Places in ascending order of their value, equal ones as they come.

    One sort of 64-bit numbers, the value above and the place below: no two are equal, so no stable
    sort is needed, and numpy's for these takes a third of the time of two counting sorts and a
    tenth of a stable one over floats. A place has 32 bits.
    """
    bits = (flat.float() + 0.0).numpy().view(np.int32)
    keys = (bits ^ ((bits >> 31) & 0x7FFFFFFF)).astype(np.int64) << 32
    keys |= np.arange(len(keys))
    keys.sort()
    return torch.from_numpy(keys & 0xFFFFFFFF)
