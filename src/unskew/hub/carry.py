"""Putting an artefact on a sibling of its base, and writing what belongs to the sibling."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unskew.hub.artifacts import attach_adapter, save_carried, scale_adapter
from unskew.hub.projections import attach_projection, is_projection, save_carried_projection
from unskew.models.load import LoadedModel

ADAPTER, PROJECTION = "adapter", "projection"


@dataclass(frozen=True)
class Carried:
    """A sibling with an artefact on it."""

    model: Any
    """`disable_adapter()` gives the sibling alone."""
    save: Callable[[Path], None]
    """Writes the sibling's artefact into a folder of its own in the given one."""


def carry(loaded: LoadedModel, artifact: Path, scale: float) -> Carried:
    """Put an adapter or projection on another checkpoint than its own.

    Args:
        loaded: The sibling.
        artifact: Folder of an adapter or projection.
        scale: Factor on what it does.

    Raises:
        ArtifactError: It does not fit the sibling.
    """
    if is_projection(artifact):
        attached = attach_projection(loaded, artifact, any_base=True, scale=scale)
        return Carried(
            attached.model,
            lambda to: save_carried_projection(attached, loaded, artifact, to / PROJECTION),
        )
    policy = attach_adapter(loaded, artifact, any_base=True)
    scale_adapter(policy, scale)
    return Carried(policy, lambda to: save_carried(policy, loaded, artifact, to / ADAPTER))
