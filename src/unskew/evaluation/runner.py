"""Asks a model what benchmarks want to know: deduplicated, sorted by length, batched by tokens."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from tqdm.auto import tqdm

from unskew.chat import ChatRequest
from unskew.embeddings import Embedding, EmbeddingRequest
from unskew.errors import BenchmarkError
from unskew.evaluation.chatting import converse
from unskew.evaluation.decoding import DecodedPath
from unskew.evaluation.embedding import Vectors
from unskew.evaluation.generate import sample
from unskew.evaluation.prefixes import attention_of, collate_packed, longest_packed
from unskew.evaluation.prepared import (
    DivergenceRow,
    EmbeddedTexts,
    LikelihoodRows,
    Prepared,
    Row,
    ScoredText,
    prepare,
)
from unskew.evaluation.processes import gathered, share_of
from unskew.models.logprobs import ScoringPath, collate, sum_by_row
from unskew.models.reference import Reference
from unskew.models.tokens import Encoder, Tokens
from unskew.types import Answer, Divergence, DivergenceRequest, Request, SequenceScore

PROGRESS_AFTER_SECONDS = 2.0
TOKENS_PER_BATCH = {"cpu": 768, "other": 16384}
"""Few on a CPU, so that activations stay in its caches: with 4096 it takes 1.4 times as long. On a
GPU 4096 takes up to 1.5 times as long, and 65536 gains nothing."""


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
        self.decoded = path if isinstance(path, DecodedPath) else None
        self.encoder = self.decoded.fitted(encoder) if self.decoded else encoder
        self.reference = reference
        kind = "cpu" if self.device.type == "cpu" else "other"
        self.tokens_per_batch = tokens_per_batch or TOKENS_PER_BATCH[kind]
        self.seed = seed
        self.autocast = autocast
        self._longest_packed = 0 if self.decoded else longest_packed(path)
        self._start_scores: torch.Tensor | None = None

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.path.model.parameters()).device

    def prepare(self, requests: Iterable[Request]) -> Prepared:
        """Tokens and rows of this process' share of the requests; good for this runner alone.

        Args:
            requests: Any mixture; ids must be unique.

        Raises:
            BenchmarkError: Two requests share an id, or one compares with a reference and there is
                none, or conversations or hidden states are asked for through a decoder.
            DataError: A text has nothing to score or is longer than the model's context.
        """
        asked = list(requests)
        ids = [r.id for r in asked]
        if len(set(ids)) < len(ids):
            twice = Counter(ids).most_common(1)[0][0]
            raise BenchmarkError(f"two requests have the id {twice!r}; ids must be unique")
        compared = next((r.id for r in asked if isinstance(r, DivergenceRequest)), None)
        if compared is not None and self.reference is None:
            raise BenchmarkError(
                f"{compared!r} compares with a reference model, but none was given"
            )
        if self.decoded and any(isinstance(r, ChatRequest) for r in asked):
            raise BenchmarkError(
                "conversations are not held through a decoder; leave out the benchmarks of them"
            )
        if self.decoded and any(isinstance(r, EmbeddingRequest) for r in asked):
            raise BenchmarkError(
                "a decoder changes no hidden state; leave out the benchmarks of them, or measure "
                "the model without it"
            )
        return prepare(share_of(asked), self.encoder, self._longest_packed)

    @torch.no_grad()
    def answer(
        self, requests: Iterable[Request] | Prepared, label: str = "scoring"
    ) -> dict[str, Answer]:
        """Answers by request id.

        Args:
            requests: What to answer; prepared, if it is asked again and again.
            label: Shown with the progress bar, which appears after two seconds.

        Raises:
            BenchmarkError: A score is not finite (the item is named), and as `prepare`.
            DataError: As `prepare`.
        """
        asked = requests if isinstance(requests, Prepared) else self.prepare(requests)
        total = len(asked.likelihoods.rows) + len(asked.divergences) + len(asked.generations)
        total += sum(len(chat.turns) for chat in asked.chats) + len(asked.embeddings.rows)
        was_training = self.path.model.training
        self.path.model.eval()
        self._start_scores = None
        answers: dict[str, Answer] = {}
        try:
            with tqdm(total=total, desc=label, delay=PROGRESS_AFTER_SECONDS, leave=False) as bar:
                answers.update(self._likelihoods(asked.likelihoods, bar))
                for rows in self._batches(asked.divergences, lambda row: len(row.tokens.ids)):
                    answers.update(self._compare(rows))
                    bar.update(len(rows))
                answers.update(self._embed(asked.embeddings, bar))
                if asked.generations:
                    with self.autocast():
                        model, how = self.path.model, (self.seed, self.decoded)
                        answers.update(sample(model, self.encoder, asked.generations, *how))
                    bar.update(len(asked.generations))
                if asked.chats:
                    with self.autocast():
                        model, encoder = self.path.model, self.encoder
                        answers.update(converse(model, encoder, asked.chats, self.seed, bar.update))
        finally:
            self.path.model.train(was_training)
        return gathered(answers)

    def _likelihoods(self, asked: LikelihoodRows, bar: Any) -> dict[str, tuple[SequenceScore, ...]]:
        sums = [[self._begun(text) for text in texts] for texts in asked.texts]
        for rows in self._batches(asked.rows, lambda row: len(row[0].ids)):
            self._score(rows, sums)
            bar.update(len(rows))
        answers: dict[str, tuple[SequenceScore, ...]] = {}
        for ids, begun in zip(asked.ids, sums, strict=True):
            scores = tuple(SequenceScore(*s) for s in begun)
            _refuse_non_finite(ids[0], [s.logprob for s in scores])
            answers.update(dict.fromkeys(ids, scores))
        return answers

    def _begun(self, text: ScoredText) -> list[Any]:
        """Score of the text so far: of the token that its row does not predict, if there is one."""
        if text.opening is None:
            return [0.0, text.num_scored, True]
        scores = self._after_start()
        is_greedy = int(scores.argmax()) == text.opening
        return [scores[text.opening].item(), text.num_scored, is_greedy]

    def _after_start(self) -> torch.Tensor:
        """Log-probabilities of all tokens after the start token alone, shape (vocab,)."""
        if self._start_scores is None:
            batch = collate([Tokens((self.encoder.start_id, 0), 1)], self.device)
            with self.autocast():
                logits = self.path.logits(self.path.states(batch))
            self._start_scores = F.log_softmax(logits[0], -1).cpu()
        return self._start_scores

    def _score(self, rows: Sequence[Row], sums: list[list[list[Any]]]) -> None:
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

    def _compare(self, rows: Sequence[DivergenceRow]) -> dict[str, Divergence]:
        assert self.reference is not None
        batch = collate([row.tokens for row in rows], self.device)
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
        for i, row in enumerate(rows):
            ids = list(row.candidates)
            found = Divergence(
                kl_reference_policy=totals[i].item(),
                num_tokens=row.tokens.num_scored - 1,
                slot_kl_reference_policy=kl[ends[i]].item(),
                policy_logprobs=tuple(ours[i, ids].tolist()),
                reference_logprobs=tuple(theirs[i, ids].tolist()),
            )
            kls = [found.kl_reference_policy, found.slot_kl_reference_policy]
            _refuse_non_finite(row.request.id, kls)
            answers[row.request.id] = found
        return answers

    def _embed(self, asked: EmbeddedTexts, bar: Any) -> dict[str, Embedding]:
        found = Vectors({request.pooling for request in asked.requests})
        rows = list(asked.rows.items())
        for batch in self._batches(rows, lambda row: len(row[1].ids)):
            tokens = collate([row for _, row in batch], self.device)
            with self.autocast():
                states = self.path.hidden(tokens)
            found.add([text for text, _ in batch], states, tokens)
            bar.update(len(batch))
        return {request.id: found.of(request) for request in asked.requests}

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


def _refuse_non_finite(request_id: str, values: Sequence[float]) -> None:
    if not all(abs(v) < float("inf") for v in values):
        raise BenchmarkError(
            f"the model's score of {request_id!r} is NaN or infinite; its weights or dtype are at "
            "fault (try --dtype float32)"
        )
