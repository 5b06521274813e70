"""Stop once every category is even."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from unskew.errors import ConfigError
from unskew.types import Evaluation, Stop


class EarlyStop:
    """Ends the stage when every category has been inside the window for some evaluations.

    Args:
        window: Half-width around the ideal value, > 0, in the signal's unit.
        patience: Evaluations in a row that must lie inside.
        signal: `ss` (percent) or `mean_gap` (nats per token).
        benchmark: Where the signal is measured.

    Raises:
        ConfigError: window is not positive or patience is below 1.

    Source: BiasUnlearn, arXiv 2509.25673: |SS - 50| < 2 in every category. Departs: patience.
    """

    def __init__(
        self,
        *,
        window: float = 2.0,
        patience: int = 1,
        signal: Literal["ss", "mean_gap"] = "ss",
        benchmark: str = "stereoset",
    ) -> None:
        if window <= 0:
            raise ConfigError(f"early_stop.window is {window}; it must be positive")
        if patience < 1:
            raise ConfigError(f"early_stop.patience is {patience}; it must be at least 1")
        self.window = window
        self.patience = patience
        self.signal = signal
        self.benchmark = benchmark

    def next(self, history: Sequence[Evaluation]) -> Stop | None:
        recent = [e.off_ideal(self.benchmark, self.signal) for e in history[-self.patience :]]
        # The untrained model's evaluation counts as well: an even model needs no unlearning.
        if len(recent) < self.patience or not all(recent):
            return None
        worst = max(abs(value) for excess in recent for value in excess.values())
        if worst >= self.window:
            return None
        return Stop(
            f"every category within {self.window:g} of even ({self.signal}), "
            f"at most {worst:.3g} away, {self.patience} evaluation(s) in a row"
        )

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Nothing to restore: the history says it all."""
