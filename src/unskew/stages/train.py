"""A train stage: the scope goes on, the trainer runs, what it learned is saved and proven."""

from __future__ import annotations

import copy
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

from unskew import recording
from unskew.assemble import Parts, chunks_for
from unskew.hub.artifacts import save_artifact
from unskew.hub.deltas import delta_reload_difference, load_delta, save_delta
from unskew.models.deltas import AppliedDelta, added
from unskew.models.logprobs import ScoringPath
from unskew.models.masks import load_masks, masks_sha256
from unskew.models.reference import ModelReference, Reference, reference_for
from unskew.reports.record import ProofOfEffect
from unskew.schema import TrainStage
from unskew.stages.settle import settle
from unskew.stages.workshop import ADAPTER, DELTA, MODEL, Outcome, Workshop
from unskew.training.launch import is_main_process, wait_for_everyone
from unskew.training.proof import Effect, Snapshot, reload_difference
from unskew.training.rows import check_variants
from unskew.training.trainer import UnlearningTrainer
from unskew.updates.masked import MaskedScope, kept_delta, release
from unskew.updates.scope import Scope


@dataclass(frozen=True)
class TrainRunner:
    """One train stage of a run."""

    workshop: Workshop
    stage: TrainStage
    parts: Parts

    def check(self) -> None:
        """Tell what the data lacks before anything is measured.

        Raises:
            ConfigError, DataError: A stream has no row, or a pair cannot be taken as a whole.
        """
        train = self.workshop.dataset.splits["train"]
        chunks_for(self.stage, train, self.workshop.settings.seed)
        if self.stage.chunk.pairs or self.stage.chunk.slots:
            check_variants(train.pairs, self.workshop.loaded.encoder)

    def scoped(self) -> Any:
        """The base model with the scope applied; until the first step it computes the same."""
        return self._scope().apply(self.workshop.loaded.model)

    def _scope(self) -> Scope:
        scope = self.parts.scope
        if isinstance(scope, MaskedScope) and not scope.masks:
            folder = self.workshop.folder(str(self.stage.scope["mask"]))
            return MaskedScope(load_masks(folder / "mask"))
        return scope

    def run(self, scoped: Any = None, *, resume: bool) -> Outcome:
        """Train from the base model, or from what an edit stage made of it.

        Args:
            scoped: What `scoped` gave, where it was asked before.
            resume: Go on from the stage's own checkpoints, if there are any.
        """
        self.workshop.seed(self.stage.name)
        if self.stage.start is None:
            scoped = self.scoped() if scoped is None else scoped
            path = ScoringPath(scoped)
            return self._train(scoped, path, reference_for(path), resume=resume)
        return self._train_on(self.stage.start, resume=resume)

    def _train_on(self, start: str, *, resume: bool) -> Outcome:
        """Train what an edit made; the two changes together are the result."""
        model = self.workshop.loaded.model
        reference = ModelReference(copy.deepcopy(model))
        first = load_delta(self.workshop.folder(start) / DELTA)
        applied = AppliedDelta(model, first)
        scoped = self.scoped()
        trainer = self._fit(scoped, ScoringPath(scoped), reference, resume=resume)
        trainer.load_best()
        learned = kept_delta(scoped)
        release(scoped)
        applied.undo()
        step = trainer.choice.choose(trainer.history).step
        outcome = settle(self.workshop, self.stage.name, added(first, learned), reference, step)
        return replace(outcome, fields=recording.training(trainer, self.stage.name))

    def _train(
        self, scoped: Any, path: ScoringPath, reference: Reference, *, resume: bool
    ) -> Outcome:
        snapshot = Snapshot(scoped)
        trainer = self._fit(scoped, path, reference, resume=resume)
        # A model that is even from the start is not trained, so nothing has to have moved.
        effect = snapshot.effect(scoped) if trainer.state.global_step else None
        trainer.load_best()
        proof = self._save(scoped, trainer, effect and snapshot.kept(effect, scoped))
        return Outcome(
            {**recording.training(trainer, self.stage.name), "warnings": _warnings(trainer)},
            scoped,
            reference,
            proof,
            put_back=partial(_put_back, scoped, snapshot),
        )

    def _fit(
        self, scoped: Any, path: ScoringPath, reference: Reference, *, resume: bool
    ) -> UnlearningTrainer:
        trainer = self._trainer(scoped, path, reference)
        recipe = self.workshop.settings.recipe
        is_only = len(self.workshop.settings.stages) == 1
        doing = f"unlearning by {recipe}" if is_only else f"{self.stage.name}: training"
        self.workshop.tell(f"{doing}, {trainer.settings.max_steps} steps at most")
        trainer.fit(resume=resume)
        return trainer

    def _trainer(self, scoped: Any, path: ScoringPath, reference: Reference) -> UnlearningTrainer:
        stage, workshop = self.stage, self.workshop
        encoder = workshop.loaded.encoder
        is_watched = stage.choice is not None or stage.controllers
        return UnlearningTrainer(
            scoped,
            encoder,
            chunks_for(stage, workshop.dataset.splits["train"], workshop.settings.seed),
            self.parts.objective,
            self.parts.rule,
            evaluate=workshop.measuring.selector(path, encoder, {"base": reference})
            if is_watched
            else lambda _: [],
            output_dir=workshop.folder(stage.name),
            settings=replace(stage.training, seed=workshop.settings.seed),
            controllers=self.parts.controllers,
            choice=self.parts.choice,
            reference=reference,
            config_sha256=self._identity(),
        )

    def _identity(self) -> str:
        """Hash of all that a checkpoint of this stage depends on: settings, and a mask's bits."""
        scope, settings = self._scope(), self.workshop.settings.sha256()
        is_masked = isinstance(scope, MaskedScope)
        return f"{settings}-{masks_sha256(scope.masks)}" if is_masked else settings

    def _save(
        self, scoped: Any, trainer: UnlearningTrainer, effect: Effect | None
    ) -> ProofOfEffect | None:
        """Write the artefact and hold it against the model in memory."""
        workshop = self.workshop
        has_adapter, is_masked = hasattr(scoped, "peft_config"), hasattr(scoped, "kept_weights")
        kind = ADAPTER if has_adapter else DELTA if is_masked else MODEL
        folder = workshop.results(self.stage.name) / kind
        manifest = workshop.manifest(trainer.choice.choose(trainer.history).step)
        delta = kept_delta(scoped) if is_masked else {}
        if is_main_process() and delta:
            save_delta(delta, scoped, folder, manifest, workshop.seen())
        elif is_main_process() and not is_masked:
            save_artifact(scoped, workshop.loaded.tokenizer, folder, manifest, workshop.seen())
        wait_for_everyone()
        if effect is None:
            return None
        difference = None
        rows = workshop.proof_rows()
        if has_adapter:
            difference = reload_difference(scoped, folder, workshop.loaded.encoder.encode(rows))
        elif delta:
            difference = delta_reload_difference(scoped, workshop.loaded, folder, rows)
        return ProofOfEffect(**asdict(effect), reload_max_abs_difference=difference)


def take_off(scoped: Any) -> None:
    """Take an adapter or a masked scope off the model; other scopes leave nothing on it."""
    if hasattr(scoped, "peft_config"):
        scoped.unload()
    elif hasattr(scoped, "kept_weights"):
        release(scoped)


def _put_back(scoped: Any, snapshot: Snapshot) -> None:
    """Make the model what it was before its scope."""
    snapshot.restore(scoped)
    take_off(scoped)


def _warnings(trainer: UnlearningTrainer) -> list[str]:
    """What a reader of the numbers should know first."""
    if trainer.state.global_step == 0:
        return ["the model was even before the run, so it was not trained"]
    if trainer.choice.choose(trainer.history).step == 0:
        return [
            "no evaluation during training was better than the model before it, all floors kept; "
            "the artefact changes nothing"
        ]
    return []
