"""A meta_edit stage: a network learns to edit, and its one edit of train pairs is what is kept."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import count

from unskew import recording
from unskew.controllers.checkpoint_choice import CheckpointChoice
from unskew.data.dealing import ShuffledCycle
from unskew.data.pair_draws import PairDraws, ShownPair, Starts
from unskew.data.rows import balanced_pairs
from unskew.errors import ConfigError, DataError
from unskew.hub.editors import save_editor
from unskew.models.deltas import AppliedDelta, scaled
from unskew.models.editable import EditableMaps, matching_linear, mlp_outputs
from unskew.models.logprobs import ScoringPath
from unskew.models.reference import ModelReference
from unskew.schema import MetaEditStage
from unskew.stages.settle import settle
from unskew.stages.strength import StrengthSearch
from unskew.stages.workshop import Outcome, Workshop
from unskew.training.editing import EditBatch, EditPasses, aligned, edit_batch
from unskew.training.editor import Editors, EditorSettings, EditorTrainer
from unskew.training.launch import is_main_process, wait_for_everyone
from unskew.types import Document

EDITOR = "editor"
HELD_OUT_PAIRS = 256
"""Pairs of the select split that choose the network, at most."""


@dataclass(frozen=True)
class MetaEditRunner:
    """One meta_edit stage of a run."""

    workshop: Workshop
    stage: MetaEditStage
    choice: CheckpointChoice

    def check(self) -> None:
        """Tell what model or data lack before anything is measured.

        Raises:
            ConfigError: There are no such maps, the model is quantised, or the loss compares
                nothing in these pairs.
            DataError: Unrelated texts have a weight, and there are none.
        """
        stage, train = self.stage, self.workshop.dataset.splits["train"]
        _ = self._maps
        has_unrelated = any(p.unrelated is not None for p in train.pairs)
        if stage.unrelated_weight and not has_unrelated and not self._documents(train.documents):
            raise DataError(
                f"stages.{stage.name}: no train pair has an unrelated text and there are no "
                "documents, so nothing is held where it is; set unrelated_weight to 0"
            )
        if stage.loss == "symmetric_kl" and not any(
            aligned(*pair) for pair in self._batch(self._source).pairs
        ):
            raise ConfigError(
                f"stages.{stage.name}.loss: symmetric_kl compares predictions behind the token in "
                "which a pair parts, and these pairs end there; take squared_gap"
            )

    @cached_property
    def _maps(self) -> EditableMaps:
        model, stage = self.workshop.loaded.model, self.stage
        names = (
            mlp_outputs(model, stage.last_blocks)
            if stage.modules is None
            else matching_linear(model, stage.modules)
        )
        return EditableMaps(model, names)

    def run(self) -> Outcome:
        """Train the network, edit, find the strength, save, leave it applied."""
        workshop, stage = self.workshop, self.stage
        workshop.seed(stage.name)
        workshop.tell(
            f"{stage.name}: {stage.loss} of {stage.num_edits} pairs an edit, in "
            f"{', '.join(self._maps.shapes)}"
        )
        path = ScoringPath(workshop.loaded.model)
        with self._maps.open():
            trainer = self._trainer(path)
            delta = self._maps.delta(trainer.train(stage.name))
        self._save(trainer)
        model = workshop.loaded.model
        reference = ModelReference(copy.deepcopy(model))
        evaluate = workshop.measuring.selector(path, workshop.loaded.encoder, {"base": reference})

        def apply(strength: float) -> Callable[[], object]:
            return AppliedDelta(model, delta, strength).undo

        search = StrengthSearch.begin(model, apply, evaluate, self.choice)
        workshop.tell(f"{stage.name}: {len(stage.strengths) + stage.refine} strengths")
        search.run(stage.strengths, stage.refine)
        strength = search.strengths[search.best]
        kept = scaled(delta, strength) if strength else {}
        outcome = settle(workshop, stage.name, kept, reference, search.best)
        log = trainer.log
        learned = {
            "train_log": recording.train_rows(log.lines, stage.name),
            "decisions": recording.decisions(trainer.decisions, stage.name),
            "num_tokens": log.num_tokens,
        }
        return replace(outcome, fields={**search.fields(stage.name), **learned})

    def _trainer(self, path: ScoringPath) -> EditorTrainer:
        stage, settings = self.stage, self.workshop.settings
        splits = self.workshop.dataset.splits
        train, select = splits["train"], splits["select"]
        draws = PairDraws(train.pairs, without_start=stage.without_start, seed=settings.seed)
        documents = sorted(self._documents(train.documents), key=lambda d: d.id)
        cycle, drawn = ShuffledCycle(len(documents), f"{settings.seed}|documents"), count()

        def draw() -> EditBatch:
            texts = [
                documents[cycle.at(next(drawn))] for _ in range(stage.documents if documents else 0)
            ]
            return self._batch(draws.next(stage.num_edits), texts)

        held_out = balanced_pairs(select.pairs, HELD_OUT_PAIRS, settings.seed)
        editors = Editors(self._maps, **stage.editor.model_dump())
        return EditorTrainer(
            editors.to(self.workshop.loaded.device),
            EditPasses(
                path,
                self._maps,
                loss=stage.loss,
                unrelated_weight=stage.unrelated_weight,
                batch_pairs=stage.batch_pairs,
            ),
            draw,
            source=self._batch(self._source).pairs,
            held_out=self._batch(
                Starts(stage.without_start).deal(held_out),
                self._documents(select.documents)[: stage.documents],
            ),
            settings=EditorSettings(**stage.training.model_dump()),
        )

    @property
    def _source(self) -> list[ShownPair]:
        """Pairs of the train split that the kept edit is made of."""
        pairs = self.workshop.dataset.splits["train"].pairs
        chosen = balanced_pairs(pairs, self.stage.num_edits, self.workshop.settings.seed)
        return Starts(self.stage.without_start).deal(chosen)

    def _documents(self, found: Sequence[Document]) -> Sequence[Document]:
        return found if self.stage.documents else ()

    def _batch(self, shown: Sequence[ShownPair], documents: Sequence[Document] = ()) -> EditBatch:
        return edit_batch(shown, documents, self.workshop.loaded.encoder, self.stage.loss)

    def _save(self, trainer: EditorTrainer) -> None:
        if is_main_process():
            info = {"maps": list(self._maps.shapes), **self.stage.editor.model_dump()}
            folder = self.workshop.folder(self.stage.name) / EDITOR
            save_editor(trainer.editors.state_dict(), info, folder)
        wait_for_everyone()
