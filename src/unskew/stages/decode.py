"""A decode stage: the base model read through a decoder, at the strength that serves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from unskew.assemble import check_lengths, choice_for
from unskew.decoding import decoder_of, with_words
from unskew.evaluation.decoding import DecodedPath
from unskew.hub.decoders import save_decoder
from unskew.models.reference import ModelReference
from unskew.protocols import Decoder
from unskew.schema import DecodeStage
from unskew.stages.strength import StrengthSearch
from unskew.stages.workshop import DECODER, Outcome, Workshop
from unskew.training.launch import is_main_process, wait_for_everyone


@dataclass(frozen=True)
class DecodeRunner:
    """The decode stage of a run."""

    workshop: Workshop
    stage: DecodeStage
    path: str
    """Dotted path of the decoder's settings, for messages."""

    def check(self) -> None:
        """Make the decoder, and see that every text leaves it room.

        Raises:
            ConfigError, UnknownName: The decoder's name or a setting is wrong.
            DataError: A text is too long.
        """
        encoder = self.workshop.loaded.encoder
        path = DecodedPath(self.workshop.loaded.model, self._decoder(), encoder)
        check_lengths(self.workshop.dataset, path.fitted(encoder))

    def run(self) -> Outcome:
        """Find the strength, save the decoder."""
        workshop, loaded, stage = self.workshop, self.workshop.loaded, self.stage
        workshop.seed(stage.name)
        whole = self._decoder()
        path = DecodedPath(loaded.model, whole.scaled(0.0), loaded.encoder)
        reference = ModelReference(loaded.model)
        outcome = Outcome({}, loaded.model, reference)
        strength, fields = stage.strengths[-1], {"result": "taken as it is"}
        if stage.choice is not None:
            search = self._search(path, whole, reference)
            strength, fields = search.strengths[search.best], search.fields(stage.name)
        if not strength:
            return replace(outcome, fields=fields)
        if is_main_process():
            node = {**self._node(), "strength": strength}
            folder = workshop.results(stage.name) / DECODER
            save_decoder(node, folder, workshop.manifest(0), workshop.seen())
        wait_for_everyone()
        # A new one, so that forward passes are counted from here.
        decoded = DecodedPath(loaded.model, whole.scaled(strength), loaded.encoder)
        return replace(outcome, fields=fields, decoded=decoded)

    def _search(
        self, path: DecodedPath, whole: Decoder, reference: ModelReference
    ) -> StrengthSearch:
        workshop, loaded, stage = self.workshop, self.workshop.loaded, self.stage
        evaluate = workshop.measuring.selector(path, loaded.encoder, {"base": reference})

        def apply(strength: float) -> Callable[[], object]:
            path.decoder = whole.scaled(strength)
            return lambda: None  # The next trial sets its own, and no weight was touched.

        search = StrengthSearch.begin(loaded.model, apply, evaluate, choice_for(stage.choice))
        workshop.tell(
            f"{stage.name}: {stage.decoder['name']} at {len(stage.strengths) + stage.refine} "
            "strengths"
        )
        search.run(stage.strengths, stage.refine)
        return search

    def _decoder(self) -> Decoder:
        return decoder_of(self._node(), self.path)

    def _node(self) -> dict[str, Any]:
        pairs = [p for e in self.workshop.dataset.splits.values() for p in e.pairs]
        return with_words(self.stage.decoder, self.stage.word_table, pairs)
