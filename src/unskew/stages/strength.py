"""How far to go with a computed change: tried on the select split, under floors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from unskew import recording
from unskew.controllers.checkpoint_choice import CheckpointChoice
from unskew.measuring import Evaluate
from unskew.reports.record import Checkpoint, HistoryMetric, HistoryRow
from unskew.types import Evaluation

NEGLIGIBLE_GAP = 1e-3
"""Nats per token; a difference of the mean gap below it is no difference in bias."""


@dataclass
class StrengthSearch:
    """Tries a change at several strengths and remembers what the select split says of each."""

    model: Any
    apply: Callable[[float], Callable[[], object]]
    """Puts the change on the model at a strength; what it gives takes it off again."""
    evaluate: Evaluate
    choice: CheckpointChoice
    history: list[Evaluation]
    """Begins with the base model, which is strength 0."""
    strengths: list[float]
    """Of each evaluation in the history."""

    @classmethod
    def begin(
        cls,
        model: Any,
        apply: Callable[[float], Callable[[], object]],
        evaluate: Evaluate,
        choice: CheckpointChoice,
    ) -> StrengthSearch:
        """Measure the base model."""
        return cls(model, apply, evaluate, choice, [Evaluation(0, tuple(evaluate(model)))], [0.0])

    def run(self, strengths: Sequence[float], refine: int) -> None:
        """Try the strengths, then so many more between the best and its better neighbour."""
        for strength in strengths:
            self.attempt(strength)
        for _ in range(refine):
            self.attempt(self._between())

    def attempt(self, strength: float) -> Evaluation:
        """Measure the change at one strength; the model is as it was afterwards."""
        take_off = self.apply(strength)
        try:
            found = Evaluation(len(self.history), tuple(self.evaluate(self.model)))
        finally:
            take_off()
        self.history.append(found)
        self.strengths.append(strength)
        return found

    @property
    def best(self) -> int:
        """Number of the trial that is kept; 0 is the base model."""
        return self.choice.choose(self.history).step

    def match(self, gap: float, strengths: Sequence[float], trials: int = 4) -> float:
        """Strength at which the pooled mean gap comes nearest to a given one.

        Tries the strengths from the lowest on until the gap is crossed, then goes on by the secant
        inside the bracket. The base model is the first bracket's lower end.

        Args:
            gap: Of StereoSet on the select split, nats per token.
            strengths: Ascending.
            trials: Most steps inside the bracket.
        """
        low = (0.0, self._off(self.history[0], gap))
        for strength in strengths:
            high = (strength, self._off(self.attempt(strength), gap))
            if low[1] * high[1] <= 0:
                self._close_in(low, high, gap, trials)
                break
            low = high
        offs = [abs(self._off(e, gap)) for e in self.history]
        return self.strengths[offs.index(min(offs))]

    def _close_in(
        self, low: tuple[float, float], high: tuple[float, float], gap: float, trials: int
    ) -> None:
        for _ in range(trials):
            span = high[1] - low[1]
            if abs(span) < NEGLIGIBLE_GAP:
                return
            strength = low[0] - low[1] * (high[0] - low[0]) / span
            found = (strength, self._off(self.attempt(strength), gap))
            if abs(found[1]) < NEGLIGIBLE_GAP:
                return
            low, high = (found, high) if found[1] * low[1] > 0 else (low, found)

    @staticmethod
    def _off(evaluation: Evaluation, gap: float) -> float:
        return evaluation.pooled("stereoset", "mean_gap") - gap

    def _between(self) -> float:
        """Half way from the best strength to the neighbour that would be chosen without it."""
        best = self.strengths[self.best]
        below = max((s for s in self.strengths if s < best), default=best)
        above = min((s for s in self.strengths if s > best), default=best)
        near = [i for i, s in enumerate(self.strengths) if s in (below, above) and s != best]
        distances = {i: self.choice.distance(self.history[i]) for i in near}
        return (best + self.strengths[min(distances, key=distances.__getitem__)]) / 2

    def fields(self, stage: str) -> dict[str, Any]:
        """History and choice as fields of the record.

        Args:
            stage: Its name.
        """
        best = self.choice.choose(self.history)
        strength = self.strengths[best.step]
        warnings = (
            []
            if strength
            else [
                "no strength was better than the base model, all floors "
                "kept; the run changes nothing"
            ]
        )
        return {
            "history": [
                HistoryRow(
                    step=e.step,
                    stage=stage,
                    strength=s,
                    metrics=[HistoryMetric.from_metric(m) for m in e.metrics],
                )
                for e, s in zip(self.history, self.strengths, strict=True)
            ],
            "checkpoint": Checkpoint(
                best_step=best.step,
                last_step=self.history[-1].step,
                strength=strength,
                reason=best.reason,
                floors=recording.floors_of(self.choice, self.history, best.step),
            ),
            "result": f"strength {strength:.3g}: {best.reason}",
            "warnings": warnings,
        }
