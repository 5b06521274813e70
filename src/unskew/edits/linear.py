"""The weighted sum of deltas."""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from unskew.edits._weights import weighted


class Linear:
    """`sum_i w_i tau_i` of whole deltas.

    Args:
        weights: One for each delta; 1 if None. A negative one subtracts.

    Source: Ilharco et al. 2023, arXiv 2212.04089. Departs: none. Merging the factors of LoRA
    adapters, as PEFT's `linear` does, is not the sum of their deltas.
    """

    def __init__(self, weights: list[float] | None = None) -> None:
        self.weights = weights

    def combine(self, name: str, changes: Sequence[Float[Tensor, "..."]]) -> Float[Tensor, "..."]:
        parts = weighted(changes, self.weights)
        return sum(parts[1:], start=parts[0])
