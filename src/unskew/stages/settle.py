"""Putting a computed change on the base model: applied, saved, proven."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from unskew.hub.artifacts import save_artifact
from unskew.hub.deltas import apply_saved_delta, save_delta
from unskew.hub.lora_svd import lora_svd
from unskew.models.deltas import AppliedDelta, WeightDelta
from unskew.models.logprobs import ScoringPath, collate
from unskew.models.reference import Reference
from unskew.reports.record import ProofOfEffect
from unskew.stages.workshop import ADAPTER, DELTA, Outcome, Workshop
from unskew.training.launch import is_main_process, wait_for_everyone
from unskew.training.proof import DeltaSnapshot, Snapshot, reload_difference


def settle(
    workshop: Workshop, name: str, delta: WeightDelta, reference: Reference, step: int
) -> Outcome:
    """Save a change of the base model and leave it applied.

    Args:
        workshop: The base model is changed.
        name: Of the stage that computed it.
        delta: The change; nothing is saved or proven if it is empty.
        reference: The base model beside it.
        step: Of the stage, for the manifest.

    Raises:
        NoEffect: A weight outside the change is not what it was, or one inside did not move.
    """
    model, folder = workshop.loaded.model, workshop.results(name) / DELTA
    if not delta:
        return Outcome({}, model, reference)
    if is_main_process():
        save_delta(delta, model, folder, workshop.manifest(step), workshop.seen())
    wait_for_everyone()
    snapshot = DeltaSnapshot(model, delta)
    reloaded = _logits_of_saved(workshop, folder)
    applied = AppliedDelta(model, delta)
    difference = (logits(workshop) - reloaded).abs().max().item()
    proof = ProofOfEffect(**asdict(snapshot.effect(model)), reload_max_abs_difference=difference)
    return Outcome({}, model, reference, proof, put_back=applied.undo)


@dataclass(frozen=True, slots=True)
class LowRankOutcome:
    """A change that was settled as an adapter."""

    outcome: Outcome
    relative_error: float
    """Frobenius norm of what the rank leaves out, over that of the change; 0 to 1."""


def settle_low_rank(
    workshop: Workshop, name: str, delta: WeightDelta, reference: Reference, step: int, rank: int
) -> LowRankOutcome:
    """Save the nearest LoRA adapter of a rank to a change of the base model; leave it attached.

    Args:
        workshop: The base model gets the adapter; its weights stay.
        name: Of the stage that computed it.
        delta: The change, not empty.
        reference: The base model beside it.
        step: Of the stage, for the manifest.
        rank: Of every map's adapter.

    Raises:
        ArtifactError: The change is of something other than the weights of linear maps.
        NoEffect: A weight of the base is not what it was.
    """
    loaded, folder = workshop.loaded, workshop.results(name) / ADAPTER
    untouched = DeltaSnapshot(loaded.model, {})
    low = lora_svd(loaded.model, delta, rank)
    manifest = workshop.manifest(step)
    if is_main_process():
        save_artifact(low.model, loaded.tokenizer, folder, manifest, workshop.seen())
    wait_for_everyone()
    effect = Snapshot(low.model).kept(untouched.effect(low.model), low.model)
    rows = loaded.encoder.encode(workshop.proof_rows())
    difference = reload_difference(low.model, folder, rows)
    proof = ProofOfEffect(**asdict(effect), reload_max_abs_difference=difference)
    outcome = Outcome({}, low.model, reference, proof, put_back=low.model.unload)
    return LowRankOutcome(outcome, low.relative_error)


def _logits_of_saved(workshop: Workshop, folder: Path) -> torch.Tensor:
    applied = apply_saved_delta(workshop.loaded, folder)
    found = logits(workshop)
    applied.undo()
    return found


@torch.no_grad()
def logits(workshop: Workshop) -> torch.Tensor:
    """Of the model as it is now, on a few texts."""
    loaded = workshop.loaded
    path = ScoringPath(loaded.model)
    rows = loaded.encoder.encode(workshop.proof_rows())
    return path.logits(path.states(collate(rows, loaded.device)))
