"""SDU's selective update: of an unbiased fine-tuning only what the mask lets through."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unskew.errors import ConfigError
from unskew.models.masks import load_masks

Masks = Mapping[str, Bool[Tensor, "..."]]


class MaskedMerge:
    """`eta m delta_u`: the unbiased delta where the mask is set, nothing elsewhere.

    Args:
        mask: A mask file or its folder; from Python also masks by name of the weight. A weight it
            does not name is left alone.
        eta: Strength, > 0; 1 takes the delta whole.

    Raises:
        ConfigError: eta is not positive.
        ArtifactError: There is no mask, or it is damaged.

    Source: SalUn's constraint (Fan et al. 2024, arXiv 2310.12508), applied once; that SDU (ACL
    2025, 2025.acl-long.305) updates chosen weights is in its abstract, this form is ours.
    """

    def __init__(self, mask: str | Mapping[str, Any], eta: float = 1.0) -> None:
        if not (eta > 0 and math.isfinite(eta)):
            raise ConfigError(f"edit.eta is {eta}; it must be a positive number")
        self.masks: Masks = load_masks(Path(mask)) if isinstance(mask, str) else mask
        self.eta = eta

    def combine(self, name: str, changes: Sequence[Float[Tensor, "..."]]) -> Float[Tensor, "..."]:
        if len(changes) != 1:
            raise ConfigError(f"masked_merge takes the unbiased delta alone, not {len(changes)}")
        return self.masked(name, changes[0].float())

    def masked(self, name: str, change: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """The change at strength eta where the mask is set; 0 elsewhere."""
        mask = self.masks.get(name)
        if mask is None:
            return torch.zeros_like(change)
        return torch.where(mask, self.eta * change, 0.0)


class MaskedNegate(MaskedMerge):
    """`eta m (delta_u - gamma delta_s)`: less of the biased shadow's delta beside it.

    Args:
        mask: See `MaskedMerge`.
        gamma: Share of the shadow's delta that is taken off, in [0, 2].
        eta: Strength, > 0.

    Raises:
        ConfigError: gamma or eta is out of range.
        ArtifactError: There is no mask, or it is damaged.

    Source: the negation of SKU (arXiv 2402.10058) under a mask; the combination is ours. Departs:
    gamma is 0 by default, since a shadow taught sentences, not a preference, adds damage.
    """

    def __init__(self, mask: str | Mapping[str, Any], gamma: float = 0.0, eta: float = 1.0) -> None:
        super().__init__(mask, eta)
        if not 0 <= gamma <= 2:
            raise ConfigError(f"edit.gamma is {gamma}; it must be in [0, 2]")
        self.gamma = gamma

    def combine(self, name: str, changes: Sequence[Float[Tensor, "..."]]) -> Float[Tensor, "..."]:
        if len(changes) != 2:
            raise ConfigError(
                f"masked_negate takes two deltas, the unbiased and the shadow's, not {len(changes)}"
            )
        unbiased, shadow = (c.float() for c in changes)
        return self.masked(name, unbiased - self.gamma * shadow)
