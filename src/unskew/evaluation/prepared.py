"""Requests as rows of tokens: all of the work that does not depend on the model's weights.

An evaluation that is repeated during training asks the same every time and prepares it once.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain

from unskew.chat import ChatRequest
from unskew.embeddings import EmbeddingRequest
from unskew.errors import BenchmarkError
from unskew.evaluation.chatting import as_likelihood, refuse_too_long
from unskew.evaluation.prefixes import PackedRow, pack
from unskew.models.tokens import Encoder, Tokens
from unskew.types import (
    DivergenceRequest,
    GenerationRequest,
    LikelihoodRequest,
    Request,
    Segment,
)

Row = tuple[PackedRow, int, tuple[int, ...]]
"""A row, the number of its request, and which of the request's texts it holds."""


@dataclass(frozen=True, slots=True)
class ScoredText:
    """One text of a likelihood request."""

    num_scored: int
    opening: int | None = None
    """A scored token with nothing before it but the start token, which its row does not have."""


@dataclass(frozen=True, slots=True)
class LikelihoodRows:
    """Distinct likelihood requests and the rows in which their texts are scored."""

    ids: tuple[tuple[str, ...], ...]
    """For each distinct request, the ids of all that ask the same."""
    texts: tuple[tuple[ScoredText, ...], ...]
    """For each distinct request, its texts."""
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class DivergenceRow:
    """A divergence request, its tokens and the token of each of its candidates."""

    request: DivergenceRequest
    tokens: Tokens
    candidates: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class EmbeddedTexts:
    """Requests of vectors, and each distinct text of them."""

    requests: tuple[EmbeddingRequest, ...] = ()
    rows: Mapping[str, Tokens] = field(default_factory=dict)
    """Tokens of each text; every one of it but the start token counts as scored."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """What a runner answers."""

    likelihoods: LikelihoodRows
    divergences: tuple[DivergenceRow, ...]
    generations: tuple[GenerationRequest, ...]
    chats: tuple[ChatRequest, ...] = ()
    embeddings: EmbeddedTexts = EmbeddedTexts()


def prepare(requests: Sequence[Request], encoder: Encoder, longest_packed: int) -> Prepared:
    """Tokenise requests, equal ones once, and pack the texts of each that begin alike.

    Args:
        requests: Any mixture.
        encoder: The model's tokeniser.
        longest_packed: Longest text, in tokens, that may share a row.

    Raises:
        BenchmarkError: A candidate of a divergence request is not a single token.
        DataError: A text has nothing to score or is longer than the model's context, or a
            conversation would be.
    """
    chats = [r for r in requests if isinstance(r, ChatRequest)]
    likelihoods = [r for r in requests if isinstance(r, LikelihoodRequest)]
    likelihoods += [as_likelihood(r, encoder.tokenizer) for r in chats if r.options]
    divergences = [r for r in requests if isinstance(r, DivergenceRequest)]
    spoken = tuple(r for r in chats if not r.options)
    refuse_too_long(spoken, encoder)
    return Prepared(
        _likelihoods(likelihoods, encoder, longest_packed),
        _divergences(divergences, encoder),
        tuple(r for r in requests if isinstance(r, GenerationRequest)),
        spoken,
        _embedded(tuple(r for r in requests if isinstance(r, EmbeddingRequest)), encoder),
    )


def _embedded(requests: tuple[EmbeddingRequest, ...], encoder: Encoder) -> EmbeddedTexts:
    texts = list(dict.fromkeys(t for r in requests for t in (r.text, *chain(*r.sets))))
    rows = encoder.encode([Segment(text) for text in texts])
    # One more token, so that the last one of the text is among what the model reads.
    longer = (Tokens((*row.ids, row.ids[-1]), 2) for row in rows)
    return EmbeddedTexts(requests, dict(zip(texts, longer, strict=True)))


def _likelihoods(
    requests: Sequence[LikelihoodRequest], encoder: Encoder, longest_packed: int
) -> LikelihoodRows:
    same: dict[Hashable, list[LikelihoodRequest]] = {}
    for r in requests:
        same.setdefault((r.segments, r.start, r.window), []).append(r)
    distinct = [alike[0] for alike in same.values()]
    whole = [r for r in distinct if r.start != "rolling"]
    tokens = iter(encoder.encode([s for r in whole for s in r.segments]))
    texts: list[tuple[ScoredText, ...]] = []
    rows: list[Row] = []
    for number, request in enumerate(distinct):
        if request.start == "rolling":
            windows = [encoder.windows(s.text, request.window) for s in request.segments]
            texts.append(tuple(ScoredText(sum(w.num_scored for w in text)) for text in windows))
            for member, text in enumerate(windows):
                rows.extend((row, number, (member,)) for row, _ in pack(text, share=False))
            continue
        sequences = [next(tokens) for _ in request.segments]
        is_bare = request.start == "separate"
        texts.append(tuple(ScoredText(s.num_scored, _opening(s, is_bare)) for s in sequences))
        if is_bare:
            sequences = [s.without_start() for s in sequences]
        longest = max(len(s.ids) for s in sequences)
        packed = pack(sequences, share=longest <= longest_packed)
        rows.extend((row, number, tuple(members)) for row, members in packed)
    ids = tuple(tuple(r.id for r in alike) for alike in same.values())
    return LikelihoodRows(ids, tuple(texts), tuple(rows))


def _opening(tokens: Tokens, is_bare: bool) -> int | None:
    return tokens.ids[1] if is_bare and tokens.first == 1 else None


def _divergences(
    requests: Sequence[DivergenceRequest], encoder: Encoder
) -> tuple[DivergenceRow, ...]:
    tokens = encoder.encode([r.segment for r in requests])
    candidates = _candidate_ids(requests, encoder)
    # One more position, predicting what follows the text, is compared as the slot.
    return tuple(
        DivergenceRow(request, Tokens((*t.ids, t.ids[-1]), t.first), ids)
        for request, t, ids in zip(requests, tokens, candidates, strict=True)
    )


def _candidate_ids(
    requests: Sequence[DivergenceRequest], encoder: Encoder
) -> list[tuple[int, ...]]:
    words = sorted({(r.segment.text[-1:], c) for r in requests for c in r.candidates})
    segments = [Segment(f"{before} {word}", len(before)) for before, word in words]
    known: dict[tuple[str, str], int] = {}
    for key, t in zip(words, encoder.encode(segments), strict=True):
        if t.num_scored != 1:
            raise BenchmarkError(
                f"candidate {key[1]!r} is {t.num_scored} tokens; a slot compares single tokens"
            )
        known[key] = t.ids[-1]
    return [tuple(known[(r.segment.text[-1:], c)] for c in r.candidates) for r in requests]
