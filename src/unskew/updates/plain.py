"""The plain rule: one backward pass of the weighted sum of the parts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from unskew.errors import ConfigError
from unskew.protocols import GradientSource
from unskew.types import StepInfo


class PlainRule:
    """Step along the gradient of `sum_i weight_i * part_i`.

    Args:
        weights: Weight of each part, >= 0 and not all 0. For BiasUnlearn `forget`, `retain` and
            `unrelated` are the alphas of eq. 4.

    Raises:
        ConfigError: A weight is negative or not finite, or all are 0.
    """

    def __init__(self, weights: Mapping[str, float]) -> None:
        for name, weight in weights.items():
            if not (weight >= 0 and math.isfinite(weight)):
                raise ConfigError(f"rule.weights.{name} is {weight}; it must be 0 or positive")
        if not any(weights.values()):
            raise ConfigError(
                f"all of rule.weights ({', '.join(weights)}) are 0; nothing is learned"
            )
        self.weights = dict(weights)

    def step(self, source: GradientSource) -> StepInfo:
        parts = source.gradients(self.weights)
        loss = sum(self.weights[name] * value for name, value in parts.items())
        return StepInfo(parts=parts, loss=loss)

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Nothing to restore: the rule has no memory."""
