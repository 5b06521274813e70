"""Task-vector negation: the way to a biased model, gone backwards."""

from __future__ import annotations

import math
from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from unskew.errors import ConfigError


class Negation:
    """`-gamma tau` of one delta.

    Args:
        gamma: How far, >= 0; 0 changes nothing.
        allow_amplify: Accept a negative gamma, which adds the bias instead.

    Raises:
        ConfigError: gamma is negative without that, or not finite.

    Source: Ilharco et al. 2023, arXiv 2212.04089, eq. of section 3 (forgetting). Departs: none.
    """

    def __init__(self, gamma: float = 1.0, allow_amplify: bool = False) -> None:
        if not math.isfinite(gamma) or (gamma < 0 and not allow_amplify):
            raise ConfigError(
                f"edit.gamma is {gamma}; it must be 0 or positive, or set edit.allow_amplify=true"
            )
        self.gamma = gamma

    def combine(self, name: str, changes: Sequence[Float[Tensor, "..."]]) -> Float[Tensor, "..."]:
        if len(changes) != 1:
            raise ConfigError(f"negation takes one delta, not {len(changes)}; choose linear")
        return -self.gamma * changes[0].float()
