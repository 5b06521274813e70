"""Which evaluation of a run is the one to keep: least bias, subject to floors on damage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from unskew.errors import ConfigError
from unskew.types import OVERALL, Evaluation


@dataclass(frozen=True, slots=True)
class Floor:
    """How much worse than before the run a metric may become.

    `max_loss` is in the metric's unit, or a fraction of the value before where `relative`.

    Raises:
        ConfigError: `max_loss` is negative.
    """

    benchmark: str
    metric: str
    max_loss: float
    relative: bool = False
    category: str = OVERALL

    def __post_init__(self) -> None:
        if not self.max_loss >= 0:
            raise ConfigError(
                f"floor of {self.benchmark}.{self.metric}: max_loss is {self.max_loss}; it must be "
                "0 or positive"
            )

    def loss(self, before: Evaluation, after: Evaluation) -> float | None:
        """How much worse `after` is; None where either was not measured."""
        old = before.find(self.benchmark, self.metric, self.category)
        new = after.find(self.benchmark, self.metric, self.category)
        if old is None or new is None:
            return None
        if new.better == "closer" and new.ideal is not None:
            worse = abs(new.value - new.ideal) - abs(old.value - new.ideal)
        else:
            worse = old.value - new.value if new.better == "higher" else new.value - old.value
        return worse / abs(old.value) if self.relative and old.value else worse

    def excess(self, before: Evaluation, after: Evaluation) -> float:
        """By how much the floor is missed; 0 where it is met or was not measured."""
        loss = self.loss(before, after)
        return 0.0 if loss is None else max(0.0, loss - self.max_loss)


@dataclass(frozen=True, slots=True)
class Choice:
    """The evaluation chosen, and why."""

    step: int
    reason: str


class CheckpointChoice:
    """Chooses among the evaluations of the select split.

    Among those that meet every floor: if some have every category inside the window, the one of
    these with the highest LM score; else the one whose worst category is nearest to even. The
    model before the run meets them by definition.

    Args:
        floors: What must not get worse, and by how much.
        signal: `ss` or `mean_gap`.
        window: Half-width inside which a category counts as even, in the signal's unit.
        benchmark: Where the signal is measured.
    """

    def __init__(
        self,
        floors: Sequence[Floor] = (),
        *,
        signal: Literal["ss", "mean_gap"] = "ss",
        window: float = 2.0,
        benchmark: str = "stereoset",
    ) -> None:
        self.floors = tuple(floors)
        self.signal = signal
        self.window = window
        self.benchmark = benchmark

    def choose(self, history: Sequence[Evaluation]) -> Choice:
        """The evaluation to keep; `history[0]` is the model before the run."""
        before = history[0]
        meeting = [e for e in history if not any(f.excess(before, e) for f in self.floors)]
        even = [e for e in meeting if self._worst(e) < self.window]
        if even:
            best = max(even, key=self._language_score)
            reason = f"every category within {self.window:g} of even, highest LM score of these"
        else:
            best = min(meeting, key=self._worst)
            reason = f"worst category nearest to even ({self._worst(best):.3g} away)"
        return Choice(best.step, f"{reason}; all floors met")

    def _worst(self, evaluation: Evaluation) -> float:
        excess = evaluation.off_ideal(self.benchmark, self.signal)
        return max((abs(v) for v in excess.values()), default=float("inf"))

    def _language_score(self, evaluation: Evaluation) -> float:
        lms = evaluation.find(self.benchmark, "lms")
        return lms.value if lms is not None else 0.0
