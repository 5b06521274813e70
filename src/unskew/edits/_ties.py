"""The arithmetic of TIES, which DARE may use after its own."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from unskew.models.selection import top_k


def trimmed(change: Float[Tensor, "..."], density: float) -> Float[Tensor, "..."]:
    """The largest entries by size, exactly `floor(density n + 1/2)`; the others are 0."""
    flat = change.flatten()
    (mask,) = top_k([flat.abs()], math.floor(density * len(flat) + 0.5))
    return torch.where(mask, flat, 0.0).view(change.shape)


def agreed_mean(changes: Sequence[Float[Tensor, "..."]]) -> Float[Tensor, "..."]:
    """At each place the mean of the entries that have the sign of the sum of all."""
    stacked = torch.stack(list(changes))
    sign = stacked.sum(0).sign()
    agrees = (stacked.sign() == sign) & (sign != 0)
    return (stacked * agrees).sum(0) / agrees.sum(0).clamp(min=1)
