"""An edit stage: a change of weights computed from earlier ones, at the strength that serves."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from unskew.controllers.checkpoint_choice import CheckpointChoice
from unskew.errors import ConfigError
from unskew.models.deltas import AppliedDelta, WeightDelta, combined, scaled
from unskew.models.logprobs import ScoringPath
from unskew.models.masks import load_masks
from unskew.models.reference import ModelReference
from unskew.protocols import Edit
from unskew.saliency.choice import Control
from unskew.schema import EditStage
from unskew.stages.saliency import SaliencyRunner
from unskew.stages.settle import settle, settle_low_rank
from unskew.stages.strength import StrengthSearch
from unskew.stages.workshop import ControlChange, Outcome, Workshop

CONTROLS: Mapping[Control, str] = {
    "random": "random mask",
    "inverted": "inverted mask",
    "all": "no mask",
}
"""Phase under which the report shows each."""
MakeEdit = Callable[[Mapping[str, Any] | None], Edit]
"""Given masks, or None where the edit takes none."""


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
        search = StrengthSearch.begin(model, _applying(model, delta), evaluate, self.choice)
        workshop.tell(
            f"{stage.name}: {stage.edit['name']} at {len(stage.strengths) + stage.refine} strengths"
        )
        search.run(stage.strengths, stage.refine)
        strength = search.strengths[search.best]
        kept = scaled(delta, strength) if strength else {}
        fields = search.fields(stage.name)
        if stage.lora_rank is not None and kept:
            low = settle_low_rank(
                workshop, stage.name, kept, reference, search.best, stage.lora_rank
            )
            outcome = low.outcome
            told = _left_out(stage.lora_rank, low.relative_error, masked=masks is not None)
            fields = {**fields, "warnings": [*fields["warnings"], told]}
        else:
            outcome = settle(workshop, stage.name, kept, reference, search.best)
        controls: Iterable[ControlChange] = ()
        if stage.controls and masks is not None and strength:
            controls = self._controls(masks, changes, search)
        return replace(outcome, fields=fields, controls=controls)

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
            apply = _applying(found.model, delta)
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


def _left_out(rank: int, error: float, *, masked: bool) -> str:
    """What a reader of the numbers has to know of an export as an adapter."""
    past = ", and reaches past the mask" if masked else ""
    return (
        f"the change is left as a LoRA adapter of rank {rank}, which leaves out {error:.1%} of it "
        f"(Frobenius norm){past}; the strength was chosen for the whole change, the final numbers "
        "are the adapter's"
    )


def _applying(model: Any, delta: WeightDelta) -> Callable[[float], Callable[[], None]]:
    return lambda strength: AppliedDelta(model, delta, strength).undo
