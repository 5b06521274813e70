"""Push down what is forgotten, raise what is retained, by plain likelihood."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from unskew.errors import ConfigError
from unskew.protocols import Part, StreamValues


class PairGap:
    """Parts `forget` and `retain`: mean log-probability per token, one down, one up.

    Args:
        floor: Mean log-probability, in nats, below which nothing more is forgotten.

    Raises:
        ConfigError: floor is not negative.
    """

    def __init__(self, floor: float = -10.0) -> None:
        if not floor < 0:
            raise ConfigError(f"floor is {floor}; a mean log-probability is negative")
        self.floor = floor

    @property
    def parts(self) -> Mapping[str, Part]:
        return {name: Part(name, "logprob") for name in ("forget", "retain")}

    def __call__(self, streams: Mapping[str, StreamValues]) -> Mapping[str, Tensor]:
        values: dict[str, Tensor] = {}
        for name, sign in (("forget", 1), ("retain", -1)):
            if (stream := streams.get(name)) is not None:
                assert stream.logprob is not None
                mean = stream.logprob / stream.num_tokens
                values[name] = mean.clamp(min=self.floor) if sign > 0 else -mean
        return values
