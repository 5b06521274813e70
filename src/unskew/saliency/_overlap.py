"""How far two choices of weights are the same."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Bool
from torch import Tensor


@dataclass(slots=True)
class Overlap:
    """Jaccard index of two masks, tensor after tensor."""

    num_common: int = 0
    num_either: int = 0
    num_first: int = 0
    num_second: int = 0
    num_weights: int = 0

    def add(self, first: Bool[Tensor, "..."], second: Bool[Tensor, "..."]) -> None:
        """Count one more tensor."""
        self.num_common += int((first & second).sum())
        self.num_either += int((first | second).sum())
        self.num_first += int(first.sum())
        self.num_second += int(second.sum())
        self.num_weights += first.numel()

    @property
    def jaccard(self) -> float:
        """Share of the weights of either mask that are in both; 1 for equal masks."""
        return self.num_common / self.num_either if self.num_either else 0.0

    @property
    def by_chance(self) -> float:
        """Expected of two random masks of these sizes: `a b / (a + b - a b)`, shares a and b."""
        a, b = (n / max(self.num_weights, 1) for n in (self.num_first, self.num_second))
        return a * b / (a + b - a * b) if a + b else 0.0
