"""What every stage works with, and what it hands on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from unskew import __version__, recording
from unskew.errors import ConfigError
from unskew.evaluation.decoding import DecodedPath
from unskew.hub.artifacts import Manifest, digests
from unskew.hub.changes import changes_in
from unskew.measuring import Measuring
from unskew.models.deltas import WeightDelta
from unskew.models.load import LoadedModel
from unskew.models.reference import Reference
from unskew.reports.record import ProofOfEffect
from unskew.schema import RunConfig
from unskew.training.launch import seed_all
from unskew.types import Dataset, Segment
from unskew.world.teach import TaughtWorld
from unskew.worlds import oracle_reference

ADAPTER, DELTA, MODEL, STAGES = "adapter", "delta", "model", "stages"
PROJECTION, DECODER = "projection", "decoder"
PROOF_ROWS = 8
Tell = Callable[[str], object]


@dataclass(frozen=True)
class Workshop:
    """The inputs of a run, the same for all of its stages."""

    settings: RunConfig
    output_dir: Path
    world: TaughtWorld | None
    dataset: Dataset
    measuring: Measuring
    loaded: LoadedModel
    """The base model. A stage may change it while it works and puts it back."""
    tell: Tell

    def folder(self, name: str) -> Path:
        """Where a stage works: the folder of the run if it is the only one, else its own in it."""
        if len(self.settings.stages) == 1:
            return self.output_dir
        return self.output_dir / STAGES / name

    def results(self, name: str) -> Path:
        """Where a stage leaves what it made; the last one leaves it in the folder of the run."""
        is_last = name == self.settings.stages[-1].name
        return self.output_dir if is_last else self.folder(name)

    def seed(self, name: str) -> int:
        """Seed of everything a stage draws; also sets it, so that a resumed run draws the same."""
        seed = self.settings.seed + [s.name for s in self.settings.stages].index(name)
        seed_all(seed)
        return seed

    def changes(self, name: str) -> Mapping[str, Any]:
        """The dense change of weights that a finished train stage made.

        Raises:
            ConfigError: It kept the weights that it began with.
        """
        folder = self.results(name)
        for kind in (ADAPTER, DELTA, MODEL):
            if (folder / kind).is_dir():
                return changes_in(self.loaded, folder / kind)
        raise ConfigError(
            f"stage {name} changed no weight, so there is nothing to work on; train it longer or "
            "with a larger learning rate"
        )

    def manifest(self, step: int) -> Manifest:
        """Where an artefact of this run comes from.

        Args:
            step: Of its stage, whose weights these are.
        """
        info = recording.model_info(self.loaded)
        return Manifest(
            recipe=self.settings.recipe,
            unskew_version=__version__,
            config_sha256=self.settings.sha256(),
            seed=self.settings.seed,
            step=step,
            base_model=info.name_or_path,
            base_fingerprint=info.fingerprint,
            model_type=info.model_type,
            tokenizer_fingerprint=self.loaded.encoder.fingerprint(),
            data_sha256=self.dataset.sha256,
        )

    def seen(self) -> Iterable[str]:
        """Digests of what a stage learns from or chooses by."""
        splits = self.dataset.splits
        return digests([*splits["train"].pairs, *splits["select"].pairs])

    def proof_rows(self) -> list[Segment]:
        """A few texts on which a saved artefact is held against the model in memory."""
        return [Segment(p.stereotype) for p in self.dataset.splits["report"].pairs[:PROOF_ROWS]]

    def references(self, base: Reference | None) -> dict[str, Reference]:
        """Models to hold a result against, the one nearest to the truth last."""
        own = {} if base is None else {"base": base}
        return {**own, **oracle_reference(self.world)}


@dataclass(frozen=True)
class ControlChange:
    """A change of the base model that the result has to beat."""

    phase: str
    delta: WeightDelta
    note: str
    """What a reader has to know of it."""


@dataclass(frozen=True)
class Outcome:
    """What a stage leaves in memory and in the record."""

    fields: Mapping[str, Any]
    """History, log, decisions, checkpoint, warnings, ... as fields of the record."""
    policy: Any = None
    """The model with the result on it; None for a stage that changes no weight."""
    reference: Reference | None = None
    """The base model beside it."""
    proof: ProofOfEffect | None = None
    controls: Iterable[ControlChange] = ()
    """Made one after the other, once the model is put back."""
    put_back: Callable[[], object] = field(default=lambda: None)
    """Makes the policy the base model again."""
    decoded: DecodedPath | None = None
    """The policy as a decoder has it read, where that is the result."""
