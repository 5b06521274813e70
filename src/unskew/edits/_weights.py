"""What every arithmetic of several deltas checks and does first."""

from __future__ import annotations

import math
from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from unskew.errors import ConfigError


def checked_density(density: float) -> float:
    """A share of the entries that are kept.

    Raises:
        ConfigError: It is not in (0, 1].
    """
    if not 0 < density <= 1:
        raise ConfigError(f"density is {density}; it must be above 0 and at most 1")
    return density


def weighted(
    changes: Sequence[Float[Tensor, "..."]], weights: Sequence[float] | None
) -> list[Float[Tensor, "..."]]:
    """Each delta times its weight, 1 where none are given.

    Raises:
        ConfigError: There are not as many weights as deltas, or one is not finite.
    """
    factors = [1.0] * len(changes) if weights is None else list(weights)
    if len(factors) != len(changes) or not all(math.isfinite(w) for w in factors):
        raise ConfigError(
            f"edit.weights is {factors}; {len(changes)} deltas need as many finite numbers"
        )
    return [w * c.float() for w, c in zip(factors, changes, strict=True)]
