"""What a record holds of chosen weights, and of what the choice has to beat."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, NonNegativeInt


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class TensorChoice(_Part):
    """How many weights of a tensor were chosen."""

    name: str
    num_weights: NonNegativeInt
    num_chosen: NonNegativeInt
    jaccard: float | None = None
    """Of the weights most responsible for the bias and for the rest; none if only one is known."""
    jaccard_by_chance: float | None = None
    """What two random choices of these sizes would give."""


class ShadowCheck(_Part):
    """Whether the shadow became more biased than the base, by rows it learned and by others."""

    split: Literal["train", "select"]
    n: NonNegativeInt
    ss_before: float
    ss_after: float
    mean_gap_before: float
    mean_gap_after: float


class CategoryShare(_Part):
    """How a bias type's own saliency lies to the weights that were chosen."""

    category: str
    coverage: float
    """Share of its saliency that lies on the chosen weights."""
    entanglement: float | None
    """Share of its own top weights that are among those of the rest; none if that is not known."""


class CategoryOverlap(_Part):
    """How far the top weights of two bias types are the same."""

    first: str
    second: str
    jaccard: float
    by_chance: float
    z: float
    """Weights in common less those expected, in standard deviations of chance."""
    spearman: float | None
    """Rank correlation of the saliencies, mean over tensors."""
    ceiling: float | None
    """Jaccard index that two draws of rows of one type reach, geometric mean of both."""


class CategoryComparison(_Part):
    """Whether the weights held responsible are the same for all bias types."""

    num_rows: NonNegativeInt
    """Of each type, in each of its draws."""
    fraction: float
    """Share of each tensor's weights that counts as top."""
    shares: list[CategoryShare]
    overlaps: list[CategoryOverlap]


class Selection(_Part):
    """Which weights a saliency stage held responsible."""

    stage: str
    bias_criterion: str
    num_bias_rows: NonNegativeInt
    reason_criterion: str | None = None
    num_reason_rows: NonNegativeInt = 0
    completeness: float | None = None
    """Share of the shadow's change of loss that path attribution accounts for; 1 is all."""
    shadow: list[ShadowCheck] = []
    tensors: list[TensorChoice]
    categories: CategoryComparison | None = None

    @property
    def fraction(self) -> float:
        """Share of all weights looked at that were chosen."""
        return sum(t.num_chosen for t in self.tensors) / sum(t.num_weights for t in self.tensors)


class ControlRow(_Part):
    """The result less a control in one metric, on the same items."""

    phase: str
    """Of the control."""
    benchmark: str
    variant: str
    metric: str
    category: str
    unit: str
    n: NonNegativeInt
    difference: float
    ci_low: float | None
    ci_high: float | None
    p_adjusted: float | None
    """Sign-flip test, Holm's correction over the controls of this metric."""
    better: Literal["result", "control"] | None
    """Which is nearer to the ideal; None where the tests do not tell."""
