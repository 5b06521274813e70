"""The record of a trace: the only store of its numbers, as versioned JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, NonNegativeInt, ValidationError

from unskew.errors import DataError
from unskew.evaluation.effects import Effects
from unskew.files import write_text
from unskew.reports.record import DataInfo, Environment, ModelInfo
from unskew.reports.storage import problems_of, read_json

TRACE_VERSION = 1
TRACE_FILE = "trace.json"


class Corruption(BaseModel):
    """What was done to the group words, and what was restored at once."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    noise_scale: float
    """Standard deviation of the noise over that of the group words' embeddings."""
    noise_std: float
    num_draws: int
    window: int
    """Layers whose attention or MLP output was restored together."""
    min_change: float
    """Nats per token; a pair counts in the normalised effects where the corruption changed its gap
    by more."""


class TraceRecord(BaseModel):
    """All that a trace found out. `load` and `save` are the only way to and from disk."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    schema_version: Literal[1] = TRACE_VERSION
    unskew_version: str
    command: str
    reproduce: str
    created: AwareDatetime
    seed: int
    environment: Environment
    model: ModelInfo
    data: DataInfo
    num_layers: int
    num_pairs: int
    num_targets: int
    categories: dict[str, NonNegativeInt]
    """Pairs by category."""
    left_out: dict[str, NonNegativeInt]
    """Pairs drawn that could not be traced, by reason."""
    corruption: Corruption
    effects: Effects
    seconds: float

    def save(self, folder: Path) -> Path:
        """Write `trace.json`, whole or not at all.

        Raises:
            StorageError: It could not be written.
        """
        return write_text(folder / TRACE_FILE, self.model_dump_json(indent=1) + "\n")

    @classmethod
    def load(cls, folder: Path) -> TraceRecord:
        """Read `trace.json`.

        Raises:
            DataError: There is none, or it breaks the schema.
        """
        path = folder / TRACE_FILE
        try:
            return cls.model_validate(read_json(path))
        except ValidationError as error:
            raise DataError(
                f"{path} breaks the schema of a trace: {problems_of(error)[0]}", problems_of(error)
            ) from error
