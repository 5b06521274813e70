"""What a record holds of an artefact that was carried to a sibling of its base."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, NonNegativeInt


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Distance(_Part):
    """Of the sibling's weights from the base's, where the artefact changes them."""

    num_tensors: NonNegativeInt
    relative: float
    """Frobenius norm of the difference over that of the base's weights."""


class Transfer(_Part):
    """An artefact on a model other than its base."""

    artifact: str
    base_model: str | None
    """That it was made on; None where it names none."""
    strength: float
    """Factor on it; 0 where none was better than the sibling alone."""
    distance: Distance | None = None
    """None where it was not measured; `not_measured` then says why."""
