"""Putting an artefact on a sibling of its base, and writing what belongs to the sibling."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unskew.errors import ArtifactError
from unskew.hub.artifacts import attach_adapter, save_carried, scale_adapter
from unskew.hub.deltas import delta_for_sibling, is_delta, save_carried_delta
from unskew.hub.projections import attach_projection, is_projection, save_carried_projection
from unskew.models.deltas import AppliedDelta, WeightDelta
from unskew.models.load import LoadedModel
from unskew.models.logprobs import ScoringPath
from unskew.models.projections import AttachedProjection
from unskew.models.reference import ModelReference, Reference, reference_for
from unskew.models.shadow import AdapterShadow

ADAPTER, PROJECTION, DELTA = "adapter", "projection", "delta"


def left_by(run: Path) -> Path:
    """The folder in a run's folder with what it left that can be carried.

    Raises:
        ArtifactError: There is none.
    """
    kinds = (ADAPTER, DELTA, PROJECTION)
    for folder in (run / kind for kind in kinds):
        if folder.is_dir():
            return folder
    raise ArtifactError(
        f"{run} left no {', '.join(kinds)}; either no strength was better than its base, or its "
        "recipe leaves what cannot be carried"
    )


@dataclass(frozen=True)
class Carried:
    """A sibling and an artefact that fits it."""

    model: Any
    """The sibling, with what puts the artefact on it."""
    reference: Reference
    """The sibling alone, to hold the result against."""
    off: Callable[[], AbstractContextManager[object]]
    """The model is the sibling alone in this context."""
    at: Callable[[float], AbstractContextManager[object]]
    """The model has the artefact on it in this context, so many times as strong."""
    touched: Callable[[], Sequence[str]]
    """Names of the weights it changes; an `ArtifactError` says why none can be named."""
    save: Callable[[float, Path, Iterable[str]], None]
    """Writes the sibling's artefact: its strength, the folder to make one in, and `digests` of what
    it was trained on or chosen by. Outside of `at`."""

    def apply(self, strength: float) -> Callable[[], object]:
        """Enter `at`; what it gives leaves it."""
        entered = ExitStack()
        entered.enter_context(self.at(strength))
        return entered.close


def carry(loaded: LoadedModel, artifact: Path) -> Carried:
    """Make an adapter, delta or projection fit another checkpoint than its own.

    Args:
        loaded: The sibling.
        artifact: Folder of an adapter, delta or projection.

    Raises:
        ArtifactError: It does not fit the sibling.
    """
    if is_projection(artifact):
        return _projection(loaded, artifact)
    if is_delta(artifact):
        return _delta(loaded, artifact)
    return _adapter(loaded, artifact)


def _adapter(loaded: LoadedModel, artifact: Path) -> Carried:
    policy = attach_adapter(loaded, artifact, any_base=True)

    def save(strength: float, to: Path, seen: Iterable[str]) -> None:
        scale_adapter(policy, strength)
        save_carried(policy, loaded, artifact, to / ADAPTER, seen)

    def at(strength: float) -> AbstractContextManager[object]:
        # What is no plain LoRA adapter has no factor, but can be carried over whole.
        return nullcontext() if strength == 1 else AdapterShadow(policy).at(strength)

    reference = reference_for(ScoringPath(policy))
    return Carried(
        policy, reference, policy.disable_adapter, at, lambda: AdapterShadow(policy).names, save
    )


def _delta(loaded: LoadedModel, artifact: Path) -> Carried:
    model = loaded.model
    delta = delta_for_sibling(loaded, artifact)
    # The sibling is needed beside the changed model, and a delta has no switch to turn it off.
    reference = ModelReference(copy.deepcopy(model))

    def save(strength: float, to: Path, seen: Iterable[str]) -> None:
        save_carried_delta(delta, loaded, artifact, to / DELTA, seen, strength=strength)

    return Carried(
        model, reference, nullcontext, lambda s: _applied(model, delta, s), lambda: [*delta], save
    )


def _projection(loaded: LoadedModel, artifact: Path) -> Carried:
    attached = attach_projection(loaded, artifact, any_base=True)

    def save(strength: float, to: Path, seen: Iterable[str]) -> None:
        with _as_strong(attached, strength):
            save_carried_projection(attached, loaded, artifact, to / PROJECTION, seen)

    def touched() -> Sequence[str]:
        raise ArtifactError("a projection changes hidden states and no weight")

    model = attached.model
    reference = reference_for(ScoringPath(model))
    return Carried(model, reference, attached.off, lambda s: _as_strong(attached, s), touched, save)


@contextmanager
def _applied(model: Any, delta: WeightDelta, strength: float) -> Iterator[None]:
    applied = AppliedDelta(model, delta, strength)
    try:
        yield
    finally:
        applied.undo()


@contextmanager
def _as_strong(attached: AttachedProjection, strength: float) -> Iterator[None]:
    before, attached.strength = attached.strength, strength
    try:
        yield
    finally:
        attached.strength = before
