"""One batch of pairs through a model that is edited: places before, losses and gradients after."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from unskew.data.pair_draws import ShownPair
from unskew.edits.evenness import EditLoss, official, official_retain, squared_gap
from unskew.models.editable import EditableMaps, Places, Shifts
from unskew.models.logprobs import Batch, ScoringPath, collate, sum_by_row
from unskew.models.tokens import Encoder, Tokens, parting
from unskew.types import Document, Segment

Item = TypeVar("Item")
PairRows = tuple[Tokens, Tokens]
"""Stereotype and anti-stereotype; of each the scored tokens are those that count."""


@dataclass(frozen=True, slots=True)
class EditBatch:
    """What an edit is made from, or judged by."""

    pairs: tuple[PairRows, ...]
    unrelated: tuple[Tokens, ...]
    """Texts whose predictions should stay what they are."""

    @property
    def num_pair_tokens(self) -> int:
        """Of the pairs' rows, scored or not."""
        return sum(len(row.ids) for pair in self.pairs for row in pair)

    @property
    def num_tokens(self) -> int:
        """Of all rows, scored or not."""
        return self.num_pair_tokens + sum(len(row.ids) for row in self.unrelated)


@dataclass(frozen=True, slots=True)
class EditValues:
    """Losses of a batch."""

    edit: float
    """How uneven the pairs are, a mean over pairs."""
    unrelated: float
    """How far the unrelated texts' predictions are from the base's; 0 where they have no weight."""


def edit_batch(
    shown: Sequence[ShownPair],
    documents: Sequence[Document],
    encoder: Encoder,
    loss: EditLoss,
) -> EditBatch:
    """Tokenise pairs, their unrelated texts and documents, which are unrelated as well.

    Args:
        shown: Pairs, with or without the start token.
        documents: Every token counts.
        encoder: Tokeniser.
        loss: `official` scores whole texts, the other losses what follows the pair's context.

    Raises:
        DataError: A text has nothing to score or is too long, or nothing tells two variants apart.
    """
    begins = [p.completion_start if loss != "official" else 0 for p, _ in shown]
    segments = [Segment(t, b) for (p, _), b in zip(shown, begins, strict=True) for t in p.texts]
    rows = iter(encoder.encode([*segments, *(Segment(d.text) for d in documents)]))
    pairs: list[PairRows] = []
    unrelated: list[Tokens] = []
    for pair, has_start in shown:
        own = [next(rows) for _ in pair.texts]
        parting(own[0], own[1], name=f"pair {pair.id}")
        bare = [row.without_start() for row in own]
        # A text of one token has nothing left to score without its start.
        is_bare = not has_start and all(row.num_scored for row in bare)
        stereotype, anti, *rest = bare if is_bare else own
        pairs.append((stereotype, anti))
        unrelated += rest
    return EditBatch(tuple(pairs), (*unrelated, *rows))


class EditPasses:
    """The passes of a batch through a model.

    A loss is a sum over pairs (of unrelated texts: over tokens) divided by their number in the
    whole batch, so `batch_pairs` changes memory and no result.

    Args:
        path: Forward pass of the model, whose head no edit touches.
        maps: What is edited; to be used inside `maps.open()`.
        loss: What makes a pair even.
        unrelated_weight: Of the unrelated texts' loss; with 0 they are not read.
        batch_pairs: Pairs, or as many unrelated texts, in one forward pass.
    """

    def __init__(
        self,
        path: ScoringPath,
        maps: EditableMaps,
        *,
        loss: EditLoss,
        unrelated_weight: float,
        batch_pairs: int,
    ) -> None:
        self.path, self.maps = path, maps
        self.loss: EditLoss = loss
        self.unrelated_weight, self.batch_pairs = unrelated_weight, batch_pairs
        self._device = next(path.model.parameters()).device

    def places(self, pairs: Sequence[PairRows]) -> dict[str, Places]:
        """What each map reads where a scored token is predicted, and the edit loss's gradient."""
        found: dict[str, list[Places]] = {name: [] for name in self.maps.shapes}
        for part in self._parts(pairs):
            batch = self._collate([row for pair in part for row in pair])
            with self.maps.watched(batch.state_index) as watched:
                (self._uneven(part, batch) / len(pairs)).backward()
            for name, places in watched.items():
                found[name].append(places)
        self.maps.clear()
        return {
            name: (torch.cat([u for u, _ in parts]), torch.cat([g for _, g in parts]))
            for name, parts in found.items()
        }

    def edited(self, batch: EditBatch, shifts: Shifts, *, gradients: bool) -> EditValues:
        """Losses of the edited model, whose weights are afterwards what they were before.

        Args:
            batch: Whose losses.
            shifts: The edit.
            gradients: Leave those of `edit + unrelated_weight * unrelated` in the maps.
        """
        with torch.no_grad():
            before = [(b, self.path.states(b)) for b in self._unrelated(batch)]
        edit = unrelated = 0.0
        with self.maps.shifted(shifts), torch.set_grad_enabled(gradients):
            for part in self._parts(batch.pairs):
                grid = self._collate([row for pair in part for row in pair])
                edit += _taken(self._uneven(part, grid) / len(batch.pairs), 1.0)
            count = self._unrelated_count(batch)
            for grid, states in before:
                unrelated += _taken(self._moved(grid, states) / count, self.unrelated_weight)
        return EditValues(edit, unrelated)

    def _uneven(self, pairs: Sequence[PairRows], batch: Batch) -> Tensor:
        """Edit loss, summed over pairs."""
        states = self.path.states(batch)
        if self.loss == "symmetric_kl":
            return self._symmetric_kl(pairs, states).sum()
        prob, logprob = (v.view(-1, 2) for v in self._means(states, batch))
        if self.loss == "official":
            return official(prob, logprob).sum()
        return squared_gap(*logprob.unbind(-1)).sum()

    def _moved(self, batch: Batch, before: Tensor) -> Tensor:
        """Loss of unrelated texts, summed over tokens, or over rows where `official`."""
        states = self.path.states(batch)
        if self.loss == "official":
            prob, _ = self._means(before, batch)
            _, logprob = self._means(states, batch)
            return official_retain(prob, logprob).sum()
        return self.path.kl_reference_policy(states, self.path, before).sum()

    def _unrelated_count(self, batch: EditBatch) -> int:
        return sum(1 if self.loss == "official" else row.num_scored for row in batch.unrelated)

    def _means(self, states: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Mean probability and mean log-probability of each row's scored tokens."""
        logprob = self.path.logprobs(states, batch.targets)
        counts = sum_by_row(torch.ones_like(logprob), batch)
        return sum_by_row(logprob.exp(), batch) / counts, sum_by_row(logprob, batch) / counts

    def _symmetric_kl(self, pairs: Sequence[PairRows], states: Tensor) -> Tensor:
        """Mean over aligned places of each pair; 0 where it has none."""
        ends = torch.tensor([row.num_scored for pair in pairs for row in pair]).cumsum(0).tolist()
        begins = [0, *ends[:-1]]
        places = [
            (begins[2 * i] + t - one.first, begins[2 * i + 1] + t - other.first, i)
            for i, (one, other) in enumerate(pairs)
            for t in aligned(one, other)
        ]
        index = torch.tensor(places, dtype=torch.long, device=states.device).view(-1, 3)
        kl = self.path.symmetric_kl(states[index[:, 0]], states[index[:, 1]])
        counts = torch.bincount(index[:, 2], minlength=len(pairs)).clamp(min=1)
        return kl.new_zeros(len(pairs)).index_add(0, index[:, 2], kl) / counts

    def _unrelated(self, batch: EditBatch) -> Iterator[Batch]:
        rows = batch.unrelated if self.unrelated_weight else ()
        return (self._collate(part) for part in self._parts(rows))

    def _collate(self, rows: Sequence[Tokens]) -> Batch:
        return collate(rows, self._device)

    def _parts(self, items: Sequence[Item]) -> Iterator[Sequence[Item]]:
        for begin in range(0, len(items), self.batch_pairs):
            yield items[begin : begin + self.batch_pairs]


def aligned(one: Tokens, other: Tokens) -> range:
    """Places in both rows, of scored tokens whose predictions are compared.

    They stand behind the token in which the variants part; up to that token both texts are one,
    and so are the predictions.
    """
    parted = next(i for i, (a, b) in enumerate(zip(one.ids, other.ids, strict=False)) if a != b)
    begin = max(parted + 1, one.first, other.first)
    return range(begin, min(len(one.ids), len(other.ids)))


def _taken(value: Tensor, weight: float) -> float:
    """A loss as a number; its gradient is added where there is one."""
    if value.requires_grad:
        (weight * value).backward()
    return value.item()
