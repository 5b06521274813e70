"""TIES: trim each delta, elect a sign for each weight, average those that have it."""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from unskew.edits._ties import agreed_mean, trimmed
from unskew.edits._weights import checked_density, weighted


class Ties:
    """Deltas merged without cancelling each other.

    Args:
        density: Share of each tensor's entries that is kept, the largest by size, in (0, 1].
        weights: One for each delta; 1 if None.
        scale: Factor on the result, the paper's lambda.

    Raises:
        ConfigError: The density is out of range.

    Source: Yadav et al. 2023, arXiv 2306.01708, algorithm 1. Departs: weights act before the sign
    is elected, so that a delta with a negative one takes part as what it is.
    """

    def __init__(
        self, density: float = 0.2, weights: list[float] | None = None, scale: float = 1.0
    ) -> None:
        self.density = checked_density(density)
        self.weights, self.scale = weights, scale

    def combine(self, name: str, changes: Sequence[Float[Tensor, "..."]]) -> Float[Tensor, "..."]:
        kept = [trimmed(c, self.density) for c in weighted(changes, self.weights)]
        return self.scale * agreed_mean(kept)
