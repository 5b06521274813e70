"""DARE: drop most of each delta at random and rescale the rest, then merge."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from unskew.edits._ties import agreed_mean
from unskew.edits._weights import checked_density, weighted


class Dare:
    """Each entry kept with probability `density` and divided by it, so that its mean is kept.

    Args:
        density: Probability, in (0, 1].
        weights: One for each delta; 1 if None.
        then: `linear` sums the deltas; `ties` elects a sign and averages those that have it.
        seed: Of what is kept; each tensor of each delta draws its own, whatever the order.

    Raises:
        ConfigError: The density is out of range.

    Source: Yu et al. 2024, arXiv 2311.03099, eq. 3-4. Departs: none.
    """

    def __init__(
        self,
        density: float = 0.2,
        weights: list[float] | None = None,
        then: Literal["linear", "ties"] = "linear",
        seed: int = 0,
    ) -> None:
        self.density = checked_density(density)
        self.weights, self.then, self.seed = weights, then, seed

    def combine(self, name: str, changes: Sequence[Float[Tensor, "..."]]) -> Float[Tensor, "..."]:
        parts = weighted(changes, self.weights)
        kept = [self._dropped(c, f"{self.seed}|{i}|{name}") for i, c in enumerate(parts)]
        return agreed_mean(kept) if self.then == "ties" else torch.stack(kept).sum(0)

    def _dropped(self, change: Float[Tensor, "..."], key: str) -> Float[Tensor, "..."]:
        seed = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "little", signed=True)
        draw = torch.rand(change.shape, generator=torch.Generator().manual_seed(seed))
        return torch.where(draw < self.density, change / self.density, 0.0)
