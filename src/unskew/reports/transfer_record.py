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


class Effect(_Part):
    """A change that an artefact makes, before less after, or a ratio of two."""

    value: float
    ci_low: float | None
    ci_high: float | None
    """95 % interval, paired bootstrap; both ends or neither."""


class Kept(_Part):
    """How much of the effect on the base the sibling has, on the same items of the report split."""

    benchmark: str
    variant: str
    metric: str
    """`ss` for its distance from 50, `mean_gap` for itself."""
    unit: str
    n: NonNegativeInt
    sibling: Effect
    base: Effect
    share: Effect | None
    """The sibling's over the base's; None where the interval of the base's holds 0."""


class Transfer(_Part):
    """An artefact on a model other than its base."""

    artifact: str
    base_model: str | None
    """That it was made on; None where it names none."""
    strength: float
    """Factor on it; 0 where none was better than the sibling alone."""
    distance: Distance | None = None
    """None where it was not measured; `not_measured` then says why."""
    original_run: str | None = None
    """Folder of the run that made the artefact, where it is known."""
    kept: list[Kept] = []
    """Empty where the runs share no item; `not_measured` then says why."""
