"""One batch of pairs through a model that is edited: places before, losses and gradients after."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from unskew.data.pair_draws import ShownPair
from unskew.edits.evenness import EditLoss, official, official_retain, squared_gap
from unskew.models.editable import EditableMaps, Places, Shifts
from unskew.models.logprobs import Batch, ScoringPath, collate, sum_by_row
from unskew.models.tokens import Encoder, Tokens, parting
from unskew.types import Segment


@dataclass(frozen=True, slots=True)
class EditPair:
    """A pair as token rows; of each the scored tokens are those that count."""

    id: str
    rows: tuple[Tokens, Tokens]
    """Stereotype and anti-stereotype."""
    unrelated: Tokens | None

    @property
    def num_tokens(self) -> int:
        """Tokens of all rows."""
        rows = self.rows if self.unrelated is None else (*self.rows, self.unrelated)
        return sum(len(row.ids) for row in rows)


@dataclass(frozen=True, slots=True)
class EditValues:
    """Losses of a batch."""

    edit: float
    """How uneven the pairs are, a mean over pairs."""
    unrelated: float
    """How far the unrelated texts are from the base; 0 where it has no weight."""


def edit_pairs(shown: Sequence[ShownPair], encoder: Encoder, loss: EditLoss) -> list[EditPair]:
    """Tokenise pairs; `official` scores whole texts, the other losses what follows the context.

    Raises:
        DataError: A text has nothing to score or is too long, or nothing tells two variants apart.
    """
    texts = [(t, p.completion_start if loss != "official" else 0) for p, _ in shown for t in p.texts]
    rows = iter(encoder.encode([Segment(*text) for text in texts]))
    made: list[EditPair] = []
    for pair, has_start in shown:
        own = [next(rows) for _ in pair.texts]
        bare = [row.without_start() for row in own]
        # A text of one token has nothing left to score without its start.
        if not has_start and all(row.num_scored for row in bare):
            own = bare
        parting(own[0], own[1], name=f"pair {pair.id}")
        made.append(EditPair(pair.id, (own[0], own[1]), own[2] if len(own) > 2 else None))
    return made


class EditPasses:
    """The passes of a batch through a model.

    A loss is a sum over pairs (of unrelated texts: over tokens) divided by their number in the
    whole batch, so `batch_pairs` changes memory and no result.

    Args:
        path: Forward pass of the model, whose head no edit touches.
        maps: What is edited; to be used inside `maps.open()`.
        loss: What makes a pair even.
        unrelated_weight: Of the unrelated texts' loss; with 0 they are not read.
        batch_pairs: Pairs in one forward pass.
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
        self.unrelated_weight = unrelated_weight
        self.batch_pairs = batch_pairs
        self._device = next(path.model.parameters()).device

    def places(self, pairs: Sequence[EditPair]) -> dict[str, Places]:
        """What each map reads where a scored token is predicted, and the edit loss's gradient."""
        found: dict[str, list[Places]] = {name: [] for name in self.maps.shapes}
        for part in self._parts(pairs):
            batch = self._collate([row for pair in part for row in pair.rows])
            with self.maps.watched(batch.state_index) as watched:
                self._edit_loss(part, batch, len(pairs)).backward()
            for name, places in watched.items():
                found[name].append(places)
        self.maps.clear()
        return {
            name: (torch.cat([u for u, _ in parts]), torch.cat([g for _, g in parts]))
            for name, parts in found.items()
        }

    def edited(
        self, pairs: Sequence[EditPair], shifts: Shifts, *, gradients: bool
    ) -> EditValues:
        """Losses of the edited model.

        Args:
            pairs: Whose losses.
            shifts: The edit; afterwards the weights are what they were before.
            gradients: Leave the gradients of `edit + unrelated_weight * unrelated` in the maps.
        """
        with torch.no_grad():
            before = list(self._unrelated_states(pairs))
        totals = [0.0, 0.0]
        with self.maps.shifted(shifts), torch.set_grad_enabled(gradients):
            for part in self._parts(pairs):
                batch = self._collate([row for pair in part for row in pair.rows])
                totals[0] += self._taken(self._edit_loss(part, batch, len(pairs)), 1.0)
            for batch, states in before:
                value = self._unrelated_loss(batch, states, pairs)
                totals[1] += self._taken(value, self.unrelated_weight)
        return EditValues(*totals)

    def _taken(self, value: Tensor, weight: float) -> float:
        if value.requires_grad:
            (weight * value).backward()
        return value.item()

    def _edit_loss(self, pairs: Sequence[EditPair], batch: Batch, count: int) -> Tensor:
        states = self.path.states(batch)
        if self.loss == "symmetric_kl":
            return self._symmetric_kl(pairs, states).sum() / count
        prob, logprob = (v.view(-1, 2) for v in self._means(states, batch))
        values = (
            official(prob, logprob)
            if self.loss == "official"
            else squared_gap(logprob[:, 0], logprob[:, 1])
        )
        return values.sum() / count

    def _unrelated_loss(self, batch: Batch, before: Tensor, pairs: Sequence[EditPair]) -> Tensor:
        states = self.path.states(batch)
        if self.loss == "official":
            prob, _ = self._means(before, batch)
            _, logprob = self._means(states, batch)
            return official_retain(prob, logprob).sum() / len(pairs)
        kl = self.path.kl_reference_policy(states, self.path, before)
        return kl.sum() / sum(p.unrelated.num_scored for p in pairs if p.unrelated is not None)

    def _means(self, states: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Mean probability and mean log-probability of each row's scored tokens."""
        logprob = self.path.logprobs(states, batch.targets)
        counts = sum_by_row(torch.ones_like(logprob), batch)
        return sum_by_row(logprob.exp(), batch) / counts, sum_by_row(logprob, batch) / counts

    def _symmetric_kl(self, pairs: Sequence[EditPair], states: Tensor) -> Tensor:
        """Mean over aligned places of each pair; 0 where it has none."""
        lengths = [row.num_scored for pair in pairs for row in pair.rows]
        starts = torch.tensor([0, *lengths]).cumsum(0).tolist()
        one, other, owners = [], [], []
        for i, pair in enumerate(pairs):
            first, other_first, count = aligned(pair)
            one += [starts[2 * i] + first + k for k in range(count)]
            other += [starts[2 * i + 1] + other_first + k for k in range(count)]
            owners += [i] * count
        index, others, owner = (
            torch.tensor(v, dtype=torch.long, device=states.device) for v in (one, other, owners)
        )
        kl = self.path.symmetric_kl(states[index], states[others])
        counts = torch.bincount(owner, minlength=len(pairs)).clamp(min=1)
        return kl.new_zeros(len(pairs)).index_add(0, owner, kl) / counts

    def _unrelated_states(self, pairs: Sequence[EditPair]) -> Iterator[tuple[Batch, Tensor]]:
        for part in self._parts(pairs) if self.unrelated_weight else ():
            rows = [pair.unrelated for pair in part if pair.unrelated is not None]
            if rows:
                batch = self._collate(rows)
                yield batch, self.path.states(batch)

    def _collate(self, rows: Sequence[Tokens]) -> Batch:
        return collate(rows, self._device)

    def _parts(self, pairs: Sequence[EditPair]) -> Iterator[Sequence[EditPair]]:
        for begin in range(0, len(pairs), self.batch_pairs):
            yield pairs[begin : begin + self.batch_pairs]


def aligned(pair: EditPair) -> tuple[int, int, int]:
    """First aligned place among the scored ones of each variant, and how many there are.

    Places are aligned that stand as far behind the token in which the variants part; up to that
    token both texts are one, and so are the predictions.
    """
    one, other = pair.rows
    parted = parting(one, other, name=f"pair {pair.id}")
    begin = max(parted + 1, one.first, other.first)
    end = min(len(one.ids), len(other.ids))
    return begin - one.first, begin - other.first, max(end - begin, 0)
