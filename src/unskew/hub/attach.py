"""Putting what a run left on its base model, whichever kind of artefact it is."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from unskew.hub.artifacts import attach_adapter
from unskew.hub.decoders import refuse_decoder
from unskew.hub.deltas import apply_saved_delta, is_delta
from unskew.hub.projections import attach_projection, is_projection
from unskew.models.load import LoadedModel
from unskew.models.logprobs import ScoringPath
from unskew.models.reference import ModelReference, Reference, reference_for


def attach(loaded: LoadedModel, folder: str | Path) -> Any:
    """The model with an adapter, delta or projection on it, in eval mode; the given may be changed.

    Raises:
        ArtifactError: There is no artefact, or it was made on another model.
    """
    folder = Path(folder)
    if is_projection(folder):
        return attach_projection(loaded, folder).model.eval()
    refuse_decoder(folder, "Run.decoder and unskew evaluate --adapter read the model through it")
    if not is_delta(folder):
        return attach_adapter(loaded, folder)
    apply_saved_delta(loaded, folder)
    return loaded.model.eval()


def attach_beside_base(loaded: LoadedModel, folder: str | Path) -> tuple[Any, Reference]:
    """The model with the artefact on it, and the base to hold it against.

    Raises:
        ArtifactError: There is no artefact, or it was made on another model.
    """
    if is_delta(Path(folder)):
        base: Reference = ModelReference(copy.deepcopy(loaded.model))
        return attach(loaded, folder), base
    model = attach(loaded, folder)
    return model, reference_for(ScoringPath(model))
