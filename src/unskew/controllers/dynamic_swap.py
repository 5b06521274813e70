"""Per-category swapping of what is forgotten and what is retained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from unskew.errors import ConfigError
from unskew.types import Evaluation, Phase


class DynamicSwap:
    """Turns a category round once it prefers the other side.

    After each evaluation a category above the even point forgets stereotypes (+1), one below
    forgets anti-stereotypes (-1); inside the margin it keeps its direction.

    Args:
        categories: Names of all categories.
        swap_mode: `per_type` as in the paper; `worst_only` trains all categories until the first
            evaluation after step 0 and from then on only the one that is furthest off, as the
            official code does; `off` never swaps.
        swap_margin: Half-width of the band in which nothing changes, in the signal's unit.
        rest_within: With `per_type`, a category nearer to even than this is not trained on until
            it drifts away; its places go to the others. If all are so near, the furthest is
            trained. 0 for never.
        signal: `ss` (percent) or `mean_gap` (nats per token), which is smoother.
        benchmark: Where the signal is measured.

    Raises:
        ConfigError: The margin is negative, or `rest_within` is not 0 and smaller than it.

    Source: BiasUnlearn, arXiv 2509.25673, dynamic dataset swapping. Departs: `swap_margin`,
    `rest_within` and `signal` are ours; at 0, 0 and `ss` this is the paper's rule.
    """

    def __init__(
        self,
        categories: Sequence[str],
        *,
        swap_mode: Literal["per_type", "worst_only", "off"] = "per_type",
        swap_margin: float = 0.0,
        rest_within: float = 0.0,
        signal: Literal["ss", "mean_gap"] = "ss",
        benchmark: str = "stereoset",
    ) -> None:
        if swap_margin < 0:
            raise ConfigError(f"swap_margin is {swap_margin}; it must be 0 or positive")
        if rest_within and rest_within < swap_margin:
            raise ConfigError(
                f"rest_within is {rest_within} and swap_margin {swap_margin}; a category that "
                "drifts out of its rest would have no direction, so make rest_within the larger"
            )
        self.swap_mode = swap_mode
        self.swap_margin = swap_margin
        self.rest_within = rest_within
        self.signal = signal
        self.benchmark = benchmark
        self.directions: dict[str, int] = dict.fromkeys(categories, 1)

    def next(self, history: Sequence[Evaluation]) -> Phase | None:
        if self.swap_mode == "off" or not history:
            return None
        if self.swap_mode == "worst_only" and history[-1].step == 0:
            return None
        measured = history[-1].off_ideal(self.benchmark, self.signal)
        excess = {c: v for c, v in measured.items() if c in self.directions}
        if not excess:
            return None
        wanted = self._worst(excess) if self.swap_mode == "worst_only" else self._each(excess)
        if wanted == self.directions:
            return None
        changed = {c: d for c, d in wanted.items() if d != self.directions[c]}
        reason = "; ".join(self._explain(c, d, excess) for c, d in changed.items())
        self.directions = wanted
        return Phase(dict(wanted), reason)

    def _each(self, excess: Mapping[str, float]) -> dict[str, int]:
        if all(abs(value) < self.rest_within for value in excess.values()):
            return self._worst(excess)
        wanted = dict(self.directions)
        for category, value in excess.items():
            if abs(value) < self.rest_within:
                wanted[category] = 0
            elif abs(value) > self.swap_margin:
                wanted[category] = 1 if value > 0 else -1
        return wanted

    def _worst(self, excess: Mapping[str, float]) -> dict[str, int]:
        worst = max(excess, key=lambda c: abs(excess[c]))
        return {c: 0 if c != worst else (1 if excess[c] >= 0 else -1) for c in self.directions}

    def _explain(self, category: str, direction: int, excess: Mapping[str, float]) -> str:
        action = {1: "forget stereotypes", -1: "forget anti-stereotypes", 0: "rest"}[direction]
        if category not in excess:
            return f"{category}: not measured, now {action}"
        return f"{category}: {self.signal} {excess[category]:+.3g} from even, now {action}"

    def state_dict(self) -> dict[str, Any]:
        return {"directions": dict(self.directions)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.directions = dict(state["directions"])
