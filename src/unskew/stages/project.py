"""A project stage: the group is hidden in the hidden states of a site, as far as that serves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from itertools import chain

import torch
from torch import Tensor
from tqdm.auto import tqdm

from unskew.controllers.checkpoint_choice import CheckpointChoice
from unskew.data.counterfactual import word_table
from unskew.data.rows import chosen_rows
from unskew.data.swapped import Swapped, SwappedTexts, swapped_texts
from unskew.hub.projections import StoredProjection, attach_projection, save_projection
from unskew.models.logprobs import ScoringPath, collate
from unskew.models.projections import AttachedProjection, states_at
from unskew.models.reference import AdapterOffReference
from unskew.protocols import Erasure, LabelledStates, Projector
from unskew.reports.record import ProofOfEffect
from unskew.schema import ProjectStage
from unskew.stages.settle import logits
from unskew.stages.strength import StrengthSearch
from unskew.stages.workshop import PROJECTION, Outcome, Workshop
from unskew.training.launch import is_main_process, wait_for_everyone
from unskew.training.proof import DeltaSnapshot
from unskew.types import RowSource, Segment

TUPLES_PER_BATCH = 16
TEXTS_PER_BATCH = 64


@dataclass(frozen=True)
class ProjectRunner:
    """One project stage of a run."""

    workshop: Workshop
    stage: ProjectStage
    make: Callable[[], Projector]
    choice: CheckpointChoice

    def check(self) -> None:
        """Refuse a word table that the data does not fit; see `swapped_texts`."""
        _ = self.swapped

    @cached_property
    def swapped(self) -> Swapped:
        """The texts that it is fitted on, of the train split alone."""
        pairs = self.workshop.dataset.splits["train"].pairs
        stage, seed = self.stage, self.workshop.settings.seed
        table = word_table(stage.word_table, pairs)
        return swapped_texts(
            pairs, table, contexts=stage.contexts, versions=stage.versions, seed=seed
        )

    def run(self) -> Outcome:
        """Fit, find the strength, save, leave it attached."""
        workshop, stage = self.workshop, self.stage
        workshop.seed(stage.name)
        model, name = workshop.loaded.model, stage.projection["name"]
        workshop.tell(
            f"{stage.name}: {name} of {len(self.swapped.groups)} groups from "
            f"{len(self.swapped.tuples)} tuples of texts"
        )
        erasure = self._fitted()
        snapshot = DeltaSnapshot(model, {})
        attached = AttachedProjection(model, erasure, stage.site, 0.0)
        path = ScoringPath(model)
        reference = AdapterOffReference(path)
        evaluate = workshop.measuring.selector(path, workshop.loaded.encoder, {"base": reference})

        def apply(strength: float) -> Callable[[], object]:
            attached.strength = strength
            return lambda: setattr(attached, "strength", 0.0)

        search = StrengthSearch.begin(model, apply, evaluate, self.choice)
        workshop.tell(
            f"{stage.name}: rank {erasure.left.shape[1]} of {erasure.left.shape[0]}, at "
            f"{len(stage.strengths) + stage.refine} strengths"
        )
        search.run(stage.strengths, stage.refine)
        attached.strength = search.strengths[search.best]
        proof = self._settled(attached, snapshot, search.best) if attached.strength else None
        outcome = Outcome({}, model, reference, proof, put_back=attached.remove)
        return replace(outcome, fields=search.fields(stage.name))

    def _fitted(self) -> Erasure:
        projector, tuples = self.make(), self.swapped.tuples
        steps = range(0, len(tuples), TUPLES_PER_BATCH)
        for begin in tqdm(steps, desc=self.stage.name, disable=not is_main_process()):
            projector.update(self._labelled(tuples[begin : begin + TUPLES_PER_BATCH]))
        for states in self._other_states():
            numbers = torch.arange(len(states))
            num_groups = len(self.swapped.groups)
            projector.update(LabelledStates(states, torch.zeros_like(numbers), numbers, num_groups))
        return projector.fit()

    def _other_states(self) -> Iterator[Tensor]:
        """States of texts that are not about a group, each alone in its tuple."""
        loaded, train = self.workshop.loaded, self.workshop.dataset.splits["train"]
        having: dict[RowSource, bool] = {
            "unrelated": any(p.unrelated is not None for p in train.pairs),
            "documents": bool(train.documents),
        }
        counts: dict[RowSource, int] = {
            source: self.stage.texts for source, has in having.items() if has
        }
        if not any(counts.values()):
            return
        found = chosen_rows(
            train, counts, self.workshop.settings.seed, f"stages.{self.stage.name}.texts"
        )
        rows = loaded.encoder.encode([Segment(row.text) for row in found])
        for begin in range(0, len(rows), TEXTS_PER_BATCH):
            batch = collate(rows[begin : begin + TEXTS_PER_BATCH], loaded.device)
            yield states_at(loaded.model, self.stage.site, batch).cpu()

    def _labelled(self, tuples: tuple[SwappedTexts, ...]) -> LabelledStates:
        """States that predict the tokens of the completions; those of one token are a tuple."""
        loaded = self.workshop.loaded
        segments = list(chain.from_iterable(t.segments for t in tuples))
        rows = loaded.encoder.encode(segments)
        states = states_at(loaded.model, self.stage.site, collate(rows, loaded.device))
        lengths = iter([row.num_scored for row in rows])
        places = list(_places(tuples, lengths))
        kept = torch.tensor([place is not None for place in places])
        groups, numbers = zip(*(place for place in places if place is not None), strict=True)
        return LabelledStates(
            states[kept.to(states.device)].cpu(),
            torch.tensor(groups),
            torch.tensor(numbers),
            len(self.swapped.groups),
        )

    def _settled(
        self, attached: AttachedProjection, snapshot: DeltaSnapshot, step: int
    ) -> ProofOfEffect:
        """Save the map, and hold the model with it against the model with the saved one."""
        workshop, folder = self.workshop, self.workshop.results(self.stage.name) / PROJECTION
        if is_main_process():
            stored = StoredProjection(attached.settled, attached.site)
            save_projection(stored, folder, workshop.manifest(step), workshop.seen())
        wait_for_everyone()
        ours = logits(workshop)
        attached.remove()
        again = attach_projection(workshop.loaded, folder)
        difference = (logits(workshop) - ours).abs().max().item()
        again.remove()
        attached.attach()
        effect = snapshot.effect(workshop.loaded.model)
        return ProofOfEffect(**asdict(effect), reload_max_abs_difference=difference)


def _places(
    tuples: tuple[SwappedTexts, ...], lengths: Iterator[int]
) -> Iterator[tuple[int, int] | None]:
    """Group and number of the tuple of each state; None where the texts' tokens do not match."""
    begin = 0
    for texts in tuples:
        here = [next(lengths) for _ in texts.segments]
        for group, length in zip(texts.groups, here, strict=True):
            matches = length == here[0]
            yield from ((group, begin + i) if matches else None for i in range(length))
        begin += here[0]
