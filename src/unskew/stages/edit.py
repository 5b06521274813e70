"""An edit stage: a change of weights computed from earlier ones, at the strength that serves."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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
from unskew.saliency.choice import Control
from unskew.schema import EditStage
from unskew.stages.saliency import SaliencyRunner
from unskew.stages.settle import settle
from unskew.stages.workshop import ControlChange, Outcome, Workshop
from unskew.types import Evaluation

NEGLIGIBLE_GAP = 1e-3
"""Nats per token; a difference of the mean gap below it is no difference in bias."""
CONTROLS: Mapping[Control, str] = {
    "random": "random mask",
    "inverted": "inverted mask",
    "all": "no mask",
}
"""Phase under which the report shows each."""
Apply = Callable[[float], Callable[[], object]]
"""Makes the model what it is at a strength, and returns what undoes it."""
MakeEdit = Callable[[Mapping[str, Any] | None], Edit]
"""Given masks, or None where the edit takes none."""


@dataclass
class StrengthSearch:
    """Tries a change at several strengths and remembers what the select split says of each."""

    apply: Apply
    evaluate: Evaluate
    choice: CheckpointChoice
    history: list[Evaluation]
    """Begins with the base model, which is strength 0."""
    strengths: list[float]
    """Of each evaluation in the history."""

    @classmethod
    def begin(cls, apply: Apply, evaluate: Evaluate, choice: CheckpointChoice) -> StrengthSearch:
        """Measure the base model."""
        return cls(apply, evaluate, choice, [Evaluation(0, tuple(evaluate(None)))], [0.0])

    def run(self, strengths: Sequence[float], refine: int) -> None:
        """Try the strengths, then so many more between the best and its better neighbour."""
        for strength in strengths:
            self.attempt(strength)
        for _ in range(refine):
            self.attempt(self._between())

    def attempt(self, strength: float) -> Evaluation:
        """Measure the change at one strength; the model is as it was afterwards."""
        undo = self.apply(strength)
        try:
            found = Evaluation(len(self.history), tuple(self.evaluate(None)))
        finally:
            undo()
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

    def fields(self, stage: str) -> dict[str, Any]:
        """What was tried and chosen, as fields of the record."""
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


@dataclass(frozen=True)
class EditRunner:
    """One edit stage of a run."""

    workshop: Workshop
    stage: EditStage
    make: MakeEdit
    choice: CheckpointChoice
    saliency: SaliencyRunner | None
    """Of the stage that makes the mask."""

    def check(self) -> None:
        """Nothing to refuse: an edit reads no data but the select split."""

    def run(self) -> Outcome:
        """Compute, find the strength, save, leave it applied."""
        workshop, stage = self.workshop, self.stage
        workshop.seed(stage.name)
        changes = [workshop.changes(name) for name in stage.deltas]
        masks = self.masks()
        delta = combined(self.make(masks).combine, changes)
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
        search = StrengthSearch.begin(self._applying(delta), evaluate, self.choice)
        workshop.tell(
            f"{stage.name}: {stage.edit['name']} at {len(stage.strengths) + stage.refine} strengths"
        )
        search.run(stage.strengths, stage.refine)
        strength = search.strengths[search.best]
        kept = scaled(delta, strength) if strength else {}
        outcome = settle(workshop, stage.name, kept, reference, search.best)
        controls: Iterable[ControlChange] = ()
        if stage.controls and masks is not None and strength:
            controls = self._controls(masks, changes, search)
        return replace(outcome, fields=search.fields(self.stage.name), controls=controls)

    def _controls(
        self,
        masks: Mapping[str, Any],
        changes: Sequence[Mapping[str, Any]],
        found: StrengthSearch,
    ) -> Iterator[ControlChange]:
        """The same edit under other masks, each as strong as to leave the same bias.

        A random mask of a share rho moves the model as no mask does at strength rho, so equal
        strength would only compare strengths.
        """
        assert self.saliency is not None
        gap = found.history[found.best].pooled("stereoset", "mean_gap")
        for kind, phase in CONTROLS.items():
            self.workshop.tell(f"{self.stage.name}: {phase} at equal bias")
            other = self.saliency.control_masks(kind, masks)
            delta = combined(self.make(other).combine, changes)
            apply = self._applying(delta)
            search = replace(found, apply=apply, history=found.history[:1], strengths=[0.0])
            strength = search.match(gap, sorted(self.stage.strengths))
            reached = search.history[search.strengths.index(strength)]
            got = reached.pooled("stereoset", "mean_gap")
            note = (
                f"control, {phase}: strength {strength:.3g}, mean gap on the select split "
                f"{got:.4f} nats per token where the choice has {gap:.4f}"
            )
            yield ControlChange(phase, scaled(delta, strength) if strength else {}, note)

    def masks(self) -> Mapping[str, Any] | None:
        """Masks of the saliency stage, where the edit takes them."""
        if self.stage.mask is None:
            return None
        return load_masks(self.workshop.folder(self.stage.mask) / "mask")

    def _applying(self, delta: WeightDelta) -> Apply:
        model = self.workshop.loaded.model
        return lambda strength: AppliedDelta(model, delta, strength).undo
