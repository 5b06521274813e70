"""How far two choices of weights are the same."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import astuple, dataclass

from jaxtyping import Bool
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Overlap:
    """Counts from which the Jaccard index of two masks follows."""

    num_common: int
    num_either: int
    num_first: int
    num_second: int
    num_weights: int

    @classmethod
    def of(cls, first: Bool[Tensor, "..."], second: Bool[Tensor, "..."]) -> Overlap:
        """Of the masks of one tensor."""
        common, either = int((first & second).sum()), int((first | second).sum())
        return cls(common, either, int(first.sum()), int(second.sum()), first.numel())

    @classmethod
    def total(cls, parts: Iterable[Overlap]) -> Overlap:
        """Of several tensors together."""
        counts = zip(*(astuple(part) for part in parts), strict=True)
        return cls(*(sum(column) for column in counts))

    @property
    def jaccard(self) -> float:
        """Share of the weights of either mask that are in both; 1 for equal masks."""
        return self.num_common / self.num_either if self.num_either else 0.0

    @property
    def by_chance(self) -> float:
        """Expected of two random masks of these sizes: `a b / (a + b - a b)`, shares a and b."""
        a, b = (n / max(self.num_weights, 1) for n in (self.num_first, self.num_second))
        return a * b / (a + b - a * b) if a + b else 0.0
