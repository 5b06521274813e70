"""Asks a model what benchmarks want to know: deduplicated, sorted by length, batched by tokens."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from tqdm.auto import tqdm

from unskew.errors import BenchmarkError
from unskew.evaluation.generate import sample
from unskew.evaluation.prefixes import (
    PackedRow,
    attention_of,
    collate_packed,
    longest_packed,
    pack,
)
from unskew.evaluation.processes import gathered, share_of
from unskew.models.logprobs import ScoringPath, collate, sum_by_row
from unskew.models.reference import Reference
from unskew.models.tokens import Encoder, Tokens
from unskew.types import (
    Answer,
    Divergence,
    DivergenceRequest,
    GenerationRequest,
    LikelihoodRequest,
    Request,
    Segment,
    SequenceScore,
)

PROGRESS_AFTER_SECONDS = 2.0
TOKENS_PER_BATCH = {"cpu": 768, "other": 4096}
"""Few on a CPU, so that activations stay in its caches: with 4096 it takes 1.4 times as long."""
AnyRequest = TypeVar("AnyRequest", LikelihoodRequest, DivergenceRequest, GenerationRequest)


class Runner:
    """Answers requests with one model; the answers do not depend on order or batch size.

    With several processes each answers a share, and all hold every answer afterwards.

    Args:
        path: Forward pass of the model.
        encoder: Its tokeniser.
        reference: What divergences are taken against; without one they cannot be asked for.
        tokens_per_batch: Most padded tokens in one forward pass; what suits the device if None.
        seed: Seed of sampled text.
        autocast: Context for forward passes.
    """

    def __init__(
        self,
        path: ScoringPath,
        encoder: Encoder,
        *,
        reference: Reference | None = None,
        tokens_per_batch: int | None = None,
        seed: int = 0,
        autocast: Callable[[], AbstractContextManager[Any]] = nullcontext,
    ) -> None:
        self.path = path
        self.encoder = encoder
        self.reference = reference
        kind = "cpu" if self.device.type == "cpu" else "other"
        self.tokens_per_batch = tokens_per_batch or TOKENS_PER_BATCH[kind]
        self.seed = seed
        self.autocast = autocast
        self._longest_packed = longest_packed(path)
        self._start_scores: torch.Tensor | None = None

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.path.model.parameters()).device

    @torch.no_grad()
    def answer(self, requests: Iterable[Request], label: str = "scoring") -> dict[str, Answer]:
        """Answers by request id.

        Args:
            requests: Any mixture; ids must be unique.
            label: Shown with the progress bar, which appears after two seconds.

        Raises:
            BenchmarkError: Two requests share an id, a score is not finite (the item is named), or
                a divergence is asked for without a reference.
            DataError: A text is longer than the model's context.
        """
        asked = list(requests)
        ids = [r.id for r in asked]
        if len(set(ids)) < len(ids):
            twice = Counter(ids).most_common(1)[0][0]
            raise BenchmarkError(f"two requests have the id {twice!r}; ids must be unique")
        was_training = self.path.model.training
        self.path.model.eval()
        self._start_scores = None
        try:
            mine = share_of(asked)
            total = sum(_weight(r) for r in mine)
            with tqdm(total=total, desc=label, delay=PROGRESS_AFTER_SECONDS, leave=False) as bar:
                answers = self._answer_share(mine, bar)
        finally:
            self.path.model.train(was_training)
        return gathered(answers)

    def _answer_share(self, requests: Sequence[Request], bar: Any) -> dict[str, Answer]:
        likelihoods = [r for r in requests if isinstance(r, LikelihoodRequest)]
        divergences = [r for r in requests if isinstance(r, DivergenceRequest)]
        generations = [r for r in requests if isinstance(r, GenerationRequest)]
        answers: dict[str, Answer] = {}
        answers.update(self._likelihoods(likelihoods, bar))
        answers.update(self._divergences(divergences, bar))
        if generations:
            with self.autocast():
                answers.update(sample(self.path.model, self.encoder, generations, self.seed))
            bar.update(len(generations))
        return answers

    def _likelihoods(
        self, requests: Sequence[LikelihoodRequest], bar: Any
    ) -> dict[str, tuple[SequenceScore, ...]]:
        holders: dict[tuple[Any, ...], list[LikelihoodRequest]] = {}
        for r in requests:
            holders.setdefault((r.segments, r.start, r.window), []).append(r)
        distinct = [same[0] for same in holders.values()]
        rows, sums = self._rows(distinct)
        # Equal requests are answered once, and long texts go through several windows.
        bar.total += sum(len(m) for _, _, m in rows) - sum(len(r.segments) for r in requests)
        for batch in self._batches(rows, lambda row: len(row[0].ids)):
            self._score(batch, sums)
            bar.update(sum(len(members) for _, _, members in batch))
        answers: dict[str, tuple[SequenceScore, ...]] = {}
        for i, request in enumerate(distinct):
            scores = tuple(SequenceScore(*s) for s in sums[i])
            _refuse_non_finite(request.id, [s.logprob for s in scores])
            for same in holders[(request.segments, request.start, request.window)]:
                answers[same.id] = scores
        return answers

    def _rows(
        self, requests: Sequence[LikelihoodRequest]
    ) -> tuple[list[tuple[PackedRow, int, list[int]]], list[list[list[Any]]]]:
        """Packed rows with their request and sequence numbers, and the scores begun for each."""
        whole = [r for r in requests if r.start != "rolling"]
        tokens = iter(self.encoder.encode([s for r in whole for s in r.segments]))
        rows: list[tuple[PackedRow, int, list[int]]] = []
        sums: list[list[list[Any]]] = []
        for number, request in enumerate(requests):
            if request.start == "rolling":
                texts = [self.encoder.windows(s.text, request.window) for s in request.segments]
                sums.append([[0.0, sum(w.num_scored for w in text), True] for text in texts])
                for member, text in enumerate(texts):
                    rows.extend((row, number, [member]) for row, _ in pack(text, share=False))
                continue
            sequences = [next(tokens) for _ in request.segments]
            sums.append([[0.0, s.num_scored, True] for s in sequences])
            if request.start == "separate":
                sequences = [
                    self._without_start(s, begun)
                    for s, begun in zip(sequences, sums[-1], strict=True)
                ]
            longest = max(len(s.ids) for s in sequences)
            packed = pack(sequences, share=longest <= self._longest_packed)
            rows.extend((row, number, members) for row, members in packed)
        return rows, sums

    def _without_start(self, sequence: Tokens, begun: list[Any]) -> Tokens:
        """The bare sequence; its first token, if scored, is looked up after the start token."""
        if sequence.first == 1:
            scores = self._after_start()
            begun[0] = scores[sequence.ids[1]].item()
            begun[2] = int(scores.argmax()) == sequence.ids[1]
        return sequence.without_start()

    def _after_start(self) -> torch.Tensor:
        """Log-probabilities of all tokens after the start token alone, shape (vocab,)."""
        if self._start_scores is None:
            batch = collate([Tokens((self.encoder.start_id, 0), 1)], self.device)
            with self.autocast():
                logits = self.path.logits(self.path.states(batch))
            self._start_scores = F.log_softmax(logits[0], -1).cpu()
        return self._start_scores

    def _score(
        self, rows: Sequence[tuple[PackedRow, int, list[int]]], sums: list[list[list[Any]]]
    ) -> None:
        packed = [row for row, _, _ in rows]
        batch, extra = collate_packed(packed, self.device, attention_of(self.path) == "sdpa")
        with self.autocast():
            result = self.path.greedy(self.path.states(batch, **extra), batch.targets)
        logprobs, greedy = result.logprob.double().tolist(), result.is_greedy.tolist()
        offset = 0
        for row, request, members in rows:
            for member, scored in zip(members, row.scored, strict=True):
                begun = sums[request][member]
                begun[0] += sum(logprobs[offset + i] for i in scored)
                begun[2] = begun[2] and all(greedy[offset + i] for i in scored)
            offset += len(row.predictions)

    def _divergences(
        self, requests: Sequence[DivergenceRequest], bar: Any
    ) -> dict[str, Divergence]:
        if requests and self.reference is None:
            raise BenchmarkError(
                f"{requests[0].id!r} compares with a reference model, but none was given"
            )
        tokens = self.encoder.encode([r.segment for r in requests])
        candidates = self._candidate_ids(requests)
        # One more position, predicting what follows the text, is compared as the slot.
        rows = [
            (request, Tokens((*t.ids, t.ids[-1]), t.first), ids)
            for request, t, ids in zip(requests, tokens, candidates, strict=True)
        ]
        answers: dict[str, Divergence] = {}
        for batch in self._batches(rows, lambda row: len(row[1].ids)):
            answers.update(self._compare(batch))
            bar.update(len(batch))
        return answers

    def _candidate_ids(self, requests: Sequence[DivergenceRequest]) -> list[list[int]]:
        words = sorted({(r.segment.text[-1:], c) for r in requests for c in r.candidates})
        segments = [Segment(f"{before} {word}", len(before)) for before, word in words]
        known: dict[tuple[str, str], int] = {}
        for key, t in zip(words, self.encoder.encode(segments), strict=True):
            if t.num_scored != 1:
                raise BenchmarkError(
                    f"candidate {key[1]!r} is {t.num_scored} tokens; a slot compares single tokens"
                )
            known[key] = t.ids[-1]
        return [[known[(r.segment.text[-1:], c)] for c in r.candidates] for r in requests]

    def _compare(
        self, rows: Sequence[tuple[DivergenceRequest, Tokens, list[int]]]
    ) -> dict[str, Divergence]:
        assert self.reference is not None
        batch = collate([t for _, t, _ in rows], self.device)
        other = self.reference.path
        with self.autocast():
            states = self.path.states(batch)
            with self.reference.frozen():
                reference_states = other.states(batch)
            kl = self.path.kl_reference_policy(states, other, reference_states)
            ends = torch.bincount(batch.row_index).cumsum(0) - 1
            ours = F.log_softmax(self.path.logits(states[ends]), -1)
            theirs = F.log_softmax(other.logits(reference_states[ends]), -1)
        totals = sum_by_row(kl, batch) - kl[ends]
        answers: dict[str, Divergence] = {}
        for i, (request, t, ids) in enumerate(rows):
            answers[request.id] = Divergence(
                kl_reference_policy=totals[i].item(),
                num_tokens=t.num_scored - 1,
                slot_kl_reference_policy=kl[ends[i]].item(),
                policy_logprobs=tuple(ours[i, ids].tolist()),
                reference_logprobs=tuple(theirs[i, ids].tolist()),
            )
            _refuse_non_finite(request.id, [totals[i].item(), kl[ends[i]].item()])
        return answers

    def _batches(self, rows: Sequence[Any], length: Callable[[Any], int]) -> Iterator[list[Any]]:
        """Rows of like length together, longest first, so that memory is met at once."""
        batch: list[Any] = []
        longest = 0
        for row in sorted(rows, key=length, reverse=True):
            if batch and (len(batch) + 1) * longest > self.tokens_per_batch:
                yield batch
                batch, longest = [], 0
            longest = max(longest, length(row))
            batch.append(row)
        if batch:
            yield batch


def _weight(request: Request) -> int:
    """What a request counts for on the progress bar: its texts."""
    return len(request.segments) if isinstance(request, LikelihoodRequest) else 1


def _refuse_non_finite(request_id: str, values: Sequence[float]) -> None:
    if not all(abs(v) < float("inf") for v in values):
        raise BenchmarkError(
            f"the model's score of {request_id!r} is NaN or infinite; its weights or dtype are at "
            "fault (try --dtype float32)"
        )
