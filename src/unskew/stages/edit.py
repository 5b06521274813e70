"""An edit stage: a change of weights computed from earlier ones, at the strength that serves."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from unskew import recording
from unskew.controllers.checkpoint_choice import CheckpointChoice
from unskew.errors import ConfigError
from unskew.measuring import Evaluate
from unskew.models.deltas import AppliedDelta, WeightDelta, combined, scaled
from unskew.models.logprobs import ScoringPath
from unskew.models.masks import load_masks
from unskew.models.reference import ModelReference
from unskew.protocols import Edit
from unskew.reports.record import Checkpoint, HistoryMetric, HistoryRow
from unskew.schema import EditStage
from unskew.stages.settle import settle
from unskew.stages.workshop import Outcome, Workshop
from unskew.types import Evaluation

MakeEdit = Callable[[Mapping[str, Any] | None], Edit]
"""Given masks, or None where the edit takes none."""


@dataclass
class StrengthSearch:
    """Tries a change at several strengths and remembers what the select split says of each."""

    model: Any
    delta: WeightDelta
    evaluate: Evaluate
    choice: CheckpointChoice
    history: list[Evaluation]
    """Begins with the base model, which is strength 0."""
    strengths: list[float]
    """Of each evaluation in the history."""

    @classmethod
    def begin(
        cls, model: Any, delta: WeightDelta, evaluate: Evaluate, choice: CheckpointChoice
    ) -> StrengthSearch:
        """Measure the base model."""
        return cls(model, delta, evaluate, choice, [Evaluation(0, tuple(evaluate(model)))], [0.0])

    def run(self, strengths: Sequence[float], refine: int) -> None:
        """Try the strengths, then so many more between the best and its better neighbour."""
        for strength in strengths:
            self.attempt(strength)
        for _ in range(refine):
            self.attempt(self._between())

    def attempt(self, strength: float) -> Evaluation:
        """Measure the change at one strength; the model is as it was afterwards."""
        applied = AppliedDelta(self.model, self.delta, strength)
        try:
            found = Evaluation(len(self.history), tuple(self.evaluate(self.model)))
        finally:
            applied.undo()
        self.history.append(found)
        self.strengths.append(strength)
        return found

    @property
    def best(self) -> int:
        """Number of the trial that is kept; 0 is the base model."""
        return self.choice.choose(self.history).step

    def _between(self) -> float:
        """Half way from the best strength to the neighbour that would be chosen without it."""
        best = self.strengths[self.best]
        below = max((s for s in self.strengths if s < best), default=best)
        above = min((s for s in self.strengths if s > best), default=best)
        near = [i for i, s in enumerate(self.strengths) if s in (below, above) and s != best]
        distances = {i: self.choice.distance(self.history[i]) for i in near}
        return (best + self.strengths[min(distances, key=distances.__getitem__)]) / 2


@dataclass(frozen=True)
class EditRunner:
    """One edit stage of a run."""

    workshop: Workshop
    stage: EditStage
    make: MakeEdit
    choice: CheckpointChoice

    def run(self) -> Outcome:
        """Compute, find the strength, save, leave it applied."""
        workshop, stage = self.workshop, self.stage
        workshop.seed(stage.name)
        changes = [workshop.changes(name) for name in stage.deltas]
        delta = combined(self.make(self.masks()).combine, changes)
        if not delta:
            raise ConfigError(
                f"stages.{stage.name}: the edit changes no weight; is the mask of weights that "
                f"{', '.join(stage.deltas)} did not move?"
            )
        model = workshop.loaded.model
        # The base is needed beside the edited model, and an edit has no switch to turn it off.
        reference = ModelReference(copy.deepcopy(model))
        path = ScoringPath(model)
        evaluate = workshop.measuring.selector(path, workshop.loaded.encoder, {"base": reference})
        search = StrengthSearch.begin(model, delta, evaluate, self.choice)
        workshop.tell(
            f"{stage.name}: {stage.edit['name']} at {len(stage.strengths) + stage.refine} strengths"
        )
        search.run(stage.strengths, stage.refine)
        strength = search.strengths[search.best]
        kept = scaled(delta, strength) if strength else {}
        outcome = settle(workshop, stage.name, kept, reference, search.best)
        return replace(outcome, fields=self._fields(search))

    def masks(self) -> Mapping[str, Any] | None:
        """Masks of the saliency stage, where the edit takes them."""
        if self.stage.mask is None:
            return None
        return load_masks(self.workshop.folder(self.stage.mask) / "mask")

    def _fields(self, search: StrengthSearch) -> dict[str, Any]:
        best = self.choice.choose(search.history)
        strength = search.strengths[best.step]
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
                    stage=self.stage.name,
                    strength=s,
                    metrics=[HistoryMetric.from_metric(m) for m in e.metrics],
                )
                for e, s in zip(search.history, search.strengths, strict=True)
            ],
            "checkpoint": Checkpoint(
                best_step=best.step,
                last_step=search.history[-1].step,
                strength=strength,
                reason=best.reason,
                floors=recording.floors_of(self.choice, search.history, best.step),
            ),
            "result": f"strength {strength:.3g}: {best.reason}",
            "warnings": warnings,
        }
