"""A model read through a decoder: in scoring, as its forward pass, and while it generates."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from unskew.errors import ConfigError, DataError
from unskew.models.logprobs import Batch, ScoringPath, blocks
from unskew.models.tokens import Encoder
from unskew.protocols import Contexts, Decoder

LARGEST_SHARE = 0.5
"""Of the model's context that a decoder may take for itself."""


class DecodedPath(ScoringPath):
    """The forward pass of a model whose next-token distributions a decoder changes.

    All that is asked of a `ScoringPath` without gradients is answered with the changed
    distributions; rows are read one by one, never packed.

    Args:
        model: A causal language model; its weights stay as they are.
        decoder: What changes its distributions; may be set to another strength of the same.
        encoder: The model's tokeniser.

    Raises:
        ConfigError: The decoder takes more than half of the model's context for itself.
    """

    def __init__(self, model: Any, decoder: Decoder, encoder: Encoder) -> None:
        super().__init__(model)
        self.decoder = decoder
        self.reader = decoder.reader(encoder)
        self.num_tokens = self.num_contexts = 0
        self._longest = encoder.max_length
        reserved = self.reader.reserved_tokens
        if reserved > LARGEST_SHARE * encoder.max_length:
            raise ConfigError(
                f"the decoder needs {reserved} tokens of the model's context of "
                f"{encoder.max_length} for itself; it may take half, so shorten its prefixes"
            )

    def fitted(self, encoder: Encoder) -> Encoder:
        """The tokeniser, with room for what the decoder adds to a text."""
        return Encoder(encoder.tokenizer, self._longest - self.reader.reserved_tokens)

    @property
    def forwards_per_token(self) -> float:
        """Forward passes for each token so far; 1 where the decoder had nothing to ask."""
        return 1 + self.num_contexts / max(self.num_tokens, 1)

    def contexts(self, ids: Sequence[int], places: Sequence[int]) -> Contexts:
        """The contexts of predictions in one row, counted.

        Raises:
            DataError: One is longer than the model's context.
        """
        found = self.reader(ids, places)
        longest = max((len(row) for row in found.rows), default=0)
        if longest > self._longest:
            raise DataError(
                f"a context of the decoder has {longest} tokens, the model's context "
                f"{self._longest}; leave out the text that begins with the tokens "
                f"{list(ids[:8])}, or shorten it"
            )
        self.num_tokens += len(places)
        self.num_contexts += sum(len(reading) for reading in found.readings)
        return found

    def states(self, batch: Batch, **kwargs: Any) -> Float[Tensor, "position context width"]:
        """What predicts each scored token, in the text itself and in each of its contexts.

        The last number of a state tells whether there is such a context.
        """
        own = super().states(batch, **kwargs)
        rows, readings = self._further(batch)
        most = max((len(reading) for reading in readings), default=0)
        grid = own.new_zeros(len(own), 1 + most, own.shape[-1] + 1)
        grid[:, 0, :-1] = own
        grid[:, 0, -1] = 1
        by_row: list[list[tuple[int, int, int]]] = [[] for _ in rows]
        for position, reading in enumerate(readings):
            for number, (row, state) in enumerate(reading):
                by_row[row].append((state, position, 1 + number))
        room = max(batch.input_ids.numel(), max((len(row) for row in rows), default=0))
        for chosen in _chunks(rows, room):
            part, places = _collated([(rows[i], by_row[i]) for i in chosen], batch.input_ids.device)
            grid[places[:, 0], places[:, 1], :-1] = super().states(part)
            grid[places[:, 0], places[:, 1], -1] = 1
        return grid

    def _further(
        self, batch: Batch
    ) -> tuple[list[tuple[int, ...]], list[Sequence[tuple[int, int]]]]:
        """Rows to read besides, and for each scored token the (row, position) of its contexts."""
        seq = batch.input_ids.shape[1]
        asked: dict[int, list[tuple[int, int]]] = {}
        for position, state in enumerate(batch.state_index.tolist()):
            asked.setdefault(state // seq, []).append((position, state % seq + 1))
        rows: list[tuple[int, ...]] = []
        readings: list[Sequence[tuple[int, int]]] = [()] * len(batch.state_index)
        for row, ids in enumerate(batch.input_ids.tolist()):
            wanted = asked.get(row, [])
            if not wanted:
                continue
            places = [place for _, place in wanted]
            found = self.contexts(ids[: max(places)], places)
            for (position, _), reading in zip(wanted, found.readings, strict=True):
                readings[position] = [(len(rows) + r, state) for r, state in reading]
            rows.extend(found.rows)
        return rows, readings

    def logits(self, states: Float[Tensor, "position context width"]) -> Tensor:
        """Log-probabilities under the decoder in float32, shape (position, vocab)."""
        own = F.log_softmax(super().logits(states[:, 0, :-1]), -1)
        present = states[:, 1:, -1] > 0
        if not present.any():
            return own
        others = F.log_softmax(super().logits(states[:, 1:, :-1].flatten(0, 1)), -1)
        return self.decoded(own, others.view(*present.shape, -1), present)

    def decoded(self, own: Tensor, others: Tensor, present: Tensor) -> Tensor:
        """What the decoder makes of it; the text's own where there is no context."""
        changed = self.decoder.combine(own, others, present)
        return torch.where(present.any(-1)[:, None], changed, own)

    def _blocks(self, states: Tensor) -> Iterator[slice]:
        vocab = self.model.config.get_text_config().vocab_size
        yield from blocks(len(states), vocab * states.shape[1])

    def processor(self, attention_mask: Int[Tensor, "row seq"]) -> DecodingProcessor:
        """What `generate` takes among its `logits_processor` for a batch of prompts.

        Args:
            attention_mask: Of the prompts, which are padded on the left.
        """
        return DecodingProcessor(self, attention_mask)


class DecodingProcessor:
    """Lets a decoder change every step of `generate`; the contexts have a cache of their own.

    Args:
        path: Model and decoder.
        attention_mask: Of the prompts.

    Raises:
        ConfigError: The prompts are padded on the right.
    """

    def __init__(self, path: DecodedPath, attention_mask: Int[Tensor, "row seq"]) -> None:
        if (attention_mask.diff(dim=1) < 0).any():
            raise ConfigError(
                "the prompts are padded on the right; set tokenizer.padding_side='left'"
            )
        self.path = path
        self.num_padding: list[int] = (attention_mask == 0).sum(1).tolist()
        self._rows: list[tuple[int, ...]] = []
        self._mask = attention_mask[:0]
        self._cache: Any = None
        forward = inspect.signature(path.model.forward).parameters
        self._takes = {"position_ids", "logits_to_keep"} & forward.keys()

    @torch.no_grad()
    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Log-probabilities of the next token under the decoder, shape (row, vocab).

        Args:
            input_ids: Prompts and what was generated so far.
            scores: Of the next token by the model itself.

        Raises:
            ConfigError: There is not one row for each prompt.
        """
        if len(input_ids) != len(self.num_padding):
            raise ConfigError(
                f"{len(self.num_padding)} prompts, but {len(input_ids)} rows are generated; a "
                "decoder takes num_beams=1 and num_return_sequences=1"
            )
        own = F.log_softmax(scores.float(), -1)
        rows: list[tuple[int, ...]] = []
        owners: list[tuple[int, int]] = []
        for index, ids in enumerate(input_ids.tolist()):
            ids = ids[self.num_padding[index] :]
            found = self.path.contexts(ids, [len(ids)])
            for number, (row, state) in enumerate(found.readings[0]):
                rows.append(found.rows[row][: state + 1])
                owners.append((index, number))
        if not rows:
            self._rows = []
            return own
        most = 1 + max(number for _, number in owners)
        others = own.new_zeros(len(own), most, own.shape[-1])
        present = torch.zeros(len(own), most, dtype=torch.bool, device=own.device)
        index, number = torch.tensor(owners, device=own.device).T
        others[index, number] = F.log_softmax(self._next(rows, own.device), -1)
        present[index, number] = True
        return self.path.decoded(own, others, present)

    def _next(self, rows: list[tuple[int, ...]], device: torch.device) -> Tensor:
        """Logits after each row; one token a row is read where all grew by one since last time."""
        grew = len(rows) == len(self._rows) and all(
            new[:-1] == old for new, old in zip(rows, self._rows, strict=True)
        )
        if grew:
            ids = torch.tensor([row[-1:] for row in rows], device=device)
            self._mask = F.pad(self._mask, (0, 1), value=1)
        else:
            width = max(len(row) for row in rows)
            ids = torch.tensor([(0,) * (width - len(row)) + row for row in rows], device=device)
            lengths = torch.tensor([len(row) for row in rows], device=device)
            self._mask = (torch.arange(width, device=device) >= width - lengths[:, None]).long()
            self._cache = None
        self._rows = rows
        positions = (self._mask.cumsum(-1) - 1).clamp_min(0)[:, -ids.shape[1] :]
        further = {"position_ids": positions, "logits_to_keep": 1}
        out = self.path.model(
            input_ids=ids,
            attention_mask=self._mask,
            past_key_values=self._cache,
            use_cache=True,
            **{name: further[name] for name in self._takes},
        )
        self._cache = out.past_key_values
        return out.logits[:, -1].float()


def _chunks(rows: Sequence[Sequence[int]], room: int) -> Iterator[list[int]]:
    """Numbers of rows of like length together, no more than so many padded tokens at once."""
    chosen: list[int] = []
    for i in sorted(range(len(rows)), key=lambda i: -len(rows[i])):
        if chosen and (len(chosen) + 1) * len(rows[chosen[0]]) > room:
            yield chosen
            chosen = []
        chosen.append(i)
    if chosen:
        yield chosen


def _collated(
    rows: Sequence[tuple[tuple[int, ...], Sequence[tuple[int, int, int]]]],
    device: torch.device,
) -> tuple[Batch, Int[Tensor, "state 2"]]:
    """Rows and the (state, position, context) read from each, as a batch; where each state goes."""
    seq = max(len(ids) for ids, _ in rows)
    padded = torch.tensor([(*ids, *ids[-1:] * (seq - len(ids))) for ids, _ in rows])
    read = [(i, *reading) for i, (_, own) in enumerate(rows) for reading in own]
    wanted = torch.tensor(read, device=device).view(-1, 4)
    batch = Batch(
        padded.to(device), wanted[:, 0] * seq + wanted[:, 1], wanted[:, 0], wanted[:, 0], len(rows)
    )
    return batch, wanted[:, 2:]
