"""Text to token ids, with the first scored token. The only place that knows about start tokens."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from unskew.errors import DataError, ModelError
from unskew.types import Segment

TOKENIZER_BATCH = 2048


@dataclass(frozen=True, slots=True)
class Tokens:
    """A tokenised segment.

    Scored are the tokens from `first` on; token `i` is predicted from `ids[:i]`, so `first` >= 1.
    """

    ids: tuple[int, ...]
    first: int

    @property
    def num_scored(self) -> int:
        """Number of scored tokens."""
        return len(self.ids) - self.first

    def without_start(self) -> Tokens:
        """The same without the start token; a scored first token is then given, not scored."""
        return Tokens(self.ids[1:], max(self.first - 1, 1))


def parting(one: Tokens, other: Tokens, *, name: str) -> int:
    """Position of the first token in which two rows differ.

    Args:
        one: A row.
        other: A row with the same beginning.
        name: Of the two, for the message.

    Raises:
        DataError: The rows are the same, or one is the beginning of the other.
    """
    shared = zip(one.ids, other.ids, strict=False)
    place = next((i for i, (a, b) in enumerate(shared) if a != b), None)
    if place is None:
        raise DataError(
            f"the tokens of one variant of {name} are the beginning of the other's, so nothing "
            "tells them apart; leave the pair out"
        )
    return place


class Encoder:
    """Tokenises segments for one tokenizer.

    Args:
        tokenizer: A fast `transformers` tokenizer (offsets are needed).
        max_length: Longest sequence the model takes, start token included.

    Raises:
        ModelError: The tokenizer gives no offsets, or has neither BOS nor EOS.
    """

    def __init__(self, tokenizer: Any, max_length: int) -> None:
        if not getattr(tokenizer, "is_fast", False):
            raise ModelError(
                f"tokenizer {type(tokenizer).__name__} gives no character offsets; "
                "unskew needs a fast tokenizer (a folder with tokenizer.json)"
            )
        self.tokenizer = tokenizer
        self.max_length = max_length
        self.start_id = start_token(tokenizer)

    def encode(self, segments: Sequence[Segment]) -> list[Tokens]:
        """Tokenise segments, with the start token in front.

        The first scored token is the first whose end lies beyond `completion_start`, so a token
        that joins a space to the first scored word counts.

        Raises:
            DataError: A segment has no token to score, or is longer than the model's context.
        """
        encoded: list[Tokens] = []
        for begin in range(0, len(segments), TOKENIZER_BATCH):
            block = segments[begin : begin + TOKENIZER_BATCH]
            batch = self.tokenizer(
                [s.text for s in block], add_special_tokens=False, return_offsets_mapping=True
            )
            for segment, ids, offsets in zip(
                block, batch["input_ids"], batch["offset_mapping"], strict=True
            ):
                encoded.append(self._tokens(segment, ids, offsets))
        return encoded

    def places(self, text: str, spans: Sequence[tuple[int, int]]) -> tuple[int, ...]:
        """Which tokens of an encoded text hold a character of one of the spans.

        Args:
            text: The text, as given to `encode`.
            spans: First character and the one after the last.

        Returns:
            Places in `Tokens.ids`, start token counted, in ascending order.
        """
        offsets = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)[
            "offset_mapping"
        ]
        return tuple(
            place
            for place, (begin, end) in enumerate(offsets, start=1)
            if any(begin < last and first < end for first, last in spans)
        )

    def windows(self, text: str, longest: int | None = None) -> list[Tokens]:
        """Tokenise a text of any length as windows in which each of its tokens is scored once.

        The start token stands before the first window's tokens. Every other window continues
        where the one before it ended, and the last one is filled up with the tokens before it.

        Args:
            text: What to score.
            longest: Most tokens that one forward pass reads; the model's context if None.

        Raises:
            DataError: The text has no token.

        Source: the rolling likelihood of lm-evaluation-harness. Departs: `longest`.
        """
        ids = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        if not ids:
            raise DataError(f"nothing to score in {text!r}: it has no token; leave it out")
        stream = (self.start_id, *ids)
        size = min(self.max_length, longest or self.max_length)
        ends = [min(end, len(ids)) for end in range(size, len(ids) + size, size)]
        windows: list[Tokens] = []
        scored = 0
        for end in ends:
            begin = max(0, end - size)
            windows.append(Tokens(stream[begin : end + 1], scored + 1 - begin))
            scored = end
        return windows

    def _tokens(
        self,
        segment: Segment,
        ids: Sequence[int],
        offsets: Sequence[tuple[int, int]],
    ) -> Tokens:
        shown = segment.text if len(segment.text) <= 80 else segment.text[:77] + "..."
        first = next(
            (i for i, (_, end) in enumerate(offsets) if end > segment.completion_start), None
        )
        length = len(ids) + 1
        if first is None:
            raise DataError(
                f"nothing to score in {shown!r}: no token ends beyond character "
                f"{segment.completion_start}; give it a completion or leave the row out"
            )
        if length > self.max_length:
            raise DataError(
                f"{length} tokens in {shown!r}, but the model's context holds {self.max_length}; "
                "shorten the text or leave the row out (cutting it would change the score)"
            )
        return Tokens((self.start_id, *ids), first + 1)

    def fingerprint(self) -> str:
        """Hash of vocabulary and start token: what cached scores depend on besides the weights."""
        vocabulary = sorted(self.tokenizer.get_vocab().items())
        text = f"{self.start_id}|{vocabulary}"
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def start_token(tokenizer: Any) -> int:
    """Id of the token that stands before a text: BOS, else EOS (the separator of pre-training).

    Raises:
        ModelError: The tokenizer has neither.
    """
    for token_id in (tokenizer.bos_token_id, tokenizer.eos_token_id):
        if token_id is not None:
            return int(token_id)
    raise ModelError(
        "the tokenizer has neither a BOS nor an EOS token, so the first word of a text cannot be "
        "scored; set tokenizer.bos_token and save the folder again"
    )
