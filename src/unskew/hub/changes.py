"""The whole change of weights that an artefact makes, whichever kind it is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from unskew.errors import ArtifactError
from unskew.hub.artifacts import check_fit
from unskew.hub.attach import attach
from unskew.hub.deltas import apply_saved_delta, is_delta, load_delta
from unskew.hub.merge import refuse_shared
from unskew.hub.projections import is_projection
from unskew.models.deltas import difference
from unskew.models.load import LoadedModel, base_parameters, load_model
from unskew.models.shadow import AdapterShadow


def changes_in(loaded: LoadedModel, folder: Path) -> Mapping[str, Tensor]:
    """Dense changes in float32, on the CPU, by name of the weight in the base model.

    Args:
        loaded: The base model; it is as it was afterwards.
        folder: Of an adapter, a weight delta or a whole model.

    Raises:
        ArtifactError: There is none, it was made on another model, it is a projection, or an
            adapter changes a weight that the model uses twice.
    """
    if is_delta(folder):
        apply_saved_delta(loaded, folder).undo()
        return {name: change.dense() for name, change in load_delta(folder).items()}
    if (folder / "config.json").is_file():
        return _changes_of_model(loaded, folder)
    if is_projection(folder):
        raise ArtifactError(
            f"{folder} holds a projection of hidden states, which changes no weight, so there is "
            "no delta to combine; leave it out"
        )
    policy = attach(loaded, folder)
    refuse_shared(policy)
    changes = dict(AdapterShadow(policy))
    policy.unload()
    return changes


def _changes_of_model(loaded: LoadedModel, folder: Path) -> dict[str, Tensor]:
    check_fit(loaded, folder, any_base=False)
    dtype = str(next(loaded.model.parameters()).dtype).removeprefix("torch.")
    other = dict(base_parameters(load_model(str(folder), dtype=dtype, device="cpu").model))
    changes: dict[str, Tensor] = {}
    for name, before in base_parameters(loaded.model):
        after = other.get(name)
        if after is None or after.shape != before.shape:
            raise ArtifactError(f"the model in {folder} has no {name} like the base model's")
        if not torch.equal(after, before.cpu()):
            changes[name] = difference(after, before.cpu())
    return changes
