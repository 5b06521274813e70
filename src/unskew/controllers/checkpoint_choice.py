"""Which evaluation of a run is the one to keep: least bias, subject to floors on damage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from unskew.errors import ConfigError
from unskew.types import OVERALL, Evaluation, Metric


@dataclass(frozen=True, slots=True)
class Floor:
    """How much worse than before the run a metric may become.

    `max_loss` is in the metric's unit, or a fraction of the value before where `relative`. Where
    a benchmark has several variants, each of them must keep it.

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
        """How much worse `after` is in its worst variant; None where either was not measured."""
        place = (self.benchmark, self.metric, self.category)
        old, new = before.variants(*place), after.variants(*place)
        losses = [self.loss_of(old[v], new[v]) for v in old.keys() & new.keys()]
        return max(losses, default=None)

    def is_met(self, old: Metric, new: Metric) -> bool:
        """Whether one variant keeps the floor."""
        return self.loss_of(old, new) <= self.max_loss

    def loss_of(self, old: Metric, new: Metric) -> float:
        """How much worse one variant is."""
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

    Among those that meet every floor: if some are inside the window, the one of these with the
    highest LM score; else the one nearest to even. The model before the run meets the floors by
    definition.

    Args:
        floors: What must not get worse, and by how much.
        signal: `ss` or `mean_gap`.
        window: Half-width inside which a model counts as even, in the signal's unit.
        over: How the distances of the categories from even are taken together: the `worst` of
            them, or their `average` over pairs. The worst of several is mostly the noise of the
            smallest: 50 pairs alone put a standard error of 7 points on SS.
        benchmark: Where the signal is measured.
    """

    def __init__(
        self,
        floors: Sequence[Floor] = (),
        *,
        signal: Literal["ss", "mean_gap"] = "ss",
        window: float = 2.0,
        over: Literal["worst", "average"] = "worst",
        benchmark: str = "stereoset",
    ) -> None:
        self.floors = tuple(floors)
        self.signal = signal
        self.window = window
        self.over = over
        self.benchmark = benchmark

    def choose(self, history: Sequence[Evaluation]) -> Choice:
        """The evaluation to keep; `history[0]` is the model before the run."""
        before = history[0]
        meeting = [e for e in history if not any(f.excess(before, e) for f in self.floors)]
        even = [e for e in meeting if self.distance(e) < self.window]
        name = "worst category" if self.over == "worst" else "average category"
        if even:
            best = max(even, key=self._language_score)
            reason = f"{name} within {self.window:g} of even, highest LM score of these"
        else:
            best = min(meeting, key=self.distance)
            reason = f"{name} nearest to even ({self.distance(best):.3g} away)"
        return Choice(best.step, f"{reason}; all floors met")

    def distance(self, evaluation: Evaluation) -> float:
        """From even, in the signal's unit; infinite where nothing was measured."""
        if self.over == "worst":
            signed = evaluation.off_ideal(self.benchmark, self.signal)
            return max((abs(v) for v in signed.values()), default=float("inf"))
        cells = evaluation.by_category(self.benchmark, self.signal)
        pairs = sum(m.n for m in cells)
        return sum(m.n * abs(m.off_ideal) for m in cells) / pairs if pairs else float("inf")

    def _language_score(self, evaluation: Evaluation) -> float:
        found = evaluation.variants(self.benchmark, "lms").values()
        return min((m.value for m in found), default=0.0)


class KeepLast(CheckpointChoice):
    """Chooses the last evaluation whatever it says, for a stage whose result a later one scales."""

    def choose(self, history: Sequence[Evaluation]) -> Choice:
        """The last evaluation."""
        return Choice(history[-1].step, "the last weights, as the recipe asks")
