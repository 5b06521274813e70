"""The chunk in hand as a GradientSource: forward, backward, reduce."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.distributed as dist

from unskew.data.batches import Example
from unskew.errors import Diverged, RunError
from unskew.models.logprobs import Batch, ScoringPath, collate, sum_by_row
from unskew.models.reference import LogprobCache, Reference
from unskew.models.tokens import Encoder, Tokens
from unskew.protocols import Objective, Part, StreamValues
from unskew.training.microbatch import plan


class ChunkGradients:
    """Gradients of an objective's parts over one chunk, however it is cut.

    Every part is a sum over examples divided by a number known before the first forward pass, the
    examples or tokens of the whole chunk. Micro-batches and processes therefore only add.

    Args:
        path: Forward pass of the policy.
        reference: What the policy is held against.
        encoder: Tokeniser.
        objective: The parts.
        max_tokens: Most padded tokens in one forward pass.
        max_examples: Most rows in one forward pass; no limit if None.
        autocast: Context for forward passes.
    """

    def __init__(
        self,
        path: ScoringPath,
        reference: Reference,
        encoder: Encoder,
        objective: Objective,
        *,
        max_tokens: int = 8192,
        max_examples: int | None = None,
        autocast: Callable[[], AbstractContextManager[Any]] = nullcontext,
    ) -> None:
        self.path = path
        self.reference = reference
        self.cache = LogprobCache(reference)
        self.encoder = encoder
        self.objective = objective
        self.max_tokens = max_tokens
        self.max_examples = max_examples
        self.autocast = autocast
        self.params = [p for p in path.model.parameters() if p.requires_grad]
        self._tokens: dict[str, Tokens] = {}
        self._rows: list[Example] = []
        self._micro_batches: list[list[Example]] = []

    def load(self, rows: Sequence[Example]) -> None:
        """Take the next chunk: all its rows, of which this process computes its share."""
        self._rows = list(rows)
        self._encode(self._rows)
        by_length = sorted(self._rows, key=lambda r: len(self._tokens[r.id].ids))
        mine = by_length[_rank() :: _world_size()]
        lengths = [len(self._tokens[r.id].ids) for r in mine]
        batches = plan(lengths, max_tokens=self.max_tokens, max_examples=self.max_examples)
        self._micro_batches = [[mine[i] for i in batch] for batch in batches]
        for name, part in self.objective.parts.items():
            if part.average_over == "chunk":
                self._keep_together(name, part.stream)
        self._warm_cache(mine)

    def _encode(self, rows: Sequence[Example]) -> None:
        fresh = [r for r in rows if r.id not in self._tokens]
        tokens = self.encoder.encode([r.segment for r in fresh])
        self._tokens.update(zip((r.id for r in fresh), tokens, strict=True))

    def _keep_together(self, name: str, stream: str) -> None:
        """All rows of a part that cannot be cut in one micro-batch, the others as they were."""
        if _world_size() > 1:
            raise RunError(
                f"part {name!r} averages over the whole chunk before its loss is taken, so it "
                "cannot be split over processes; run on one process or choose "
                "objective.npo_reduction=token_mean"
            )
        together = [r for b in self._micro_batches for r in b if r.stream == stream]
        others = [[r for r in b if r.stream != stream] for b in self._micro_batches]
        self._micro_batches = [b for b in (together, *others) if b]

    def _warm_cache(self, rows: Sequence[Example]) -> None:
        """Ask for the reference log-probabilities of the chunk at once rather than piecemeal."""
        streams = {p.stream for p in self.objective.parts.values() if p.needs_reference}
        compared = [r for r in rows if r.stream in streams]
        if compared:
            batch = collate([self._tokens[r.id] for r in compared], self.params[0].device)
            with self.autocast():
                self.cache.lookup([r.id for r in compared], batch)

    def gradients(self, weights: Mapping[str, float]) -> dict[str, float]:
        """Fill `.grad` of all trainable parameters; return the unweighted value of each part.

        Raises:
            Diverged: A part is NaN or infinite; the message names the examples.
        """
        for p in self.params:
            p.grad = None
        parts = {name: part for name, part in self.objective.parts.items() if weights.get(name)}
        totals = {name: torch.zeros((), dtype=torch.float64) for name in parts}
        for rows in self._micro_batches:
            self._add(rows, parts, weights, totals)
        if _world_size() > 1:
            self._reduce(totals)
        return {name: total.item() for name, total in totals.items() if self._count(parts[name])}

    def _add(
        self,
        rows: Sequence[Example],
        parts: Mapping[str, Part],
        weights: Mapping[str, float],
        totals: dict[str, torch.Tensor],
    ) -> None:
        wanted = {part.stream for part in parts.values()}
        rows = [r for r in rows if r.stream in wanted]
        if not rows:
            return
        with self.autocast():
            values = self.objective(self._stream_values(rows, parts))
        loss = torch.zeros((), device=self.params[0].device)
        for name in parts.keys() & values.keys():
            value = values[name]
            self._refuse_non_finite(
                name, value, [r for r in rows if r.stream == parts[name].stream]
            )
            share = value.sum() / self._count(parts[name])
            loss = loss + weights[name] * share
            totals[name] += share.detach().double().cpu()
        loss.backward()

    def _count(self, part: Part) -> int:
        """What the part's sum over the whole chunk is divided by."""
        rows = [r for r in self._rows if r.stream == part.stream]
        if part.average_over == "chunk":
            return int(bool(rows))
        if part.average_over == "examples":
            return len(rows)
        return sum(self._tokens[r.id].num_scored for r in rows)

    def _stream_values(
        self, rows: Sequence[Example], parts: Mapping[str, Part]
    ) -> dict[str, StreamValues]:
        batch = collate([self._tokens[r.id] for r in rows], self.params[0].device)
        in_stream = {
            p.stream: torch.tensor(
                [r.stream == p.stream for r in rows], device=batch.input_ids.device
            )
            for p in parts.values()
        }
        reference = {
            p.stream: self._reference(rows, batch, in_stream[p.stream], p)
            for p in parts.values()
            if in_stream[p.stream].any()
        }
        states = self.path.states(batch)
        values: dict[str, StreamValues] = {}
        for part in parts.values():
            keep = in_stream[part.stream]
            if not keep.any():
                continue
            selected = keep[batch.row_index]
            own = batch.rows(keep)
            values[part.stream] = self._values(part, states[selected], own, reference[part.stream])
        return values

    def _reference(
        self, rows: Sequence[Example], batch: Batch, keep: torch.Tensor, part: Part
    ) -> torch.Tensor | None:
        """Reference states for a KL, log-probabilities for a comparison, else nothing."""
        own = batch.rows(keep)
        if part.quantity == "kl_reference_policy":
            with self.reference.frozen():
                return self.reference.path.states(own)
        if part.needs_reference:
            keys = [r.id for r, kept in zip(rows, keep.tolist(), strict=True) if kept]
            return self.cache.lookup(keys, own)
        return None

    def _values(
        self, part: Part, states: torch.Tensor, batch: Batch, reference: torch.Tensor | None
    ) -> StreamValues:
        num_tokens = torch.bincount(batch.row_index, minlength=batch.num_rows).float()
        if part.quantity == "kl_reference_policy":
            assert reference is not None
            kl = self.path.kl_reference_policy(states, self.reference.path, reference)
            return StreamValues(num_tokens, kl_reference_policy=sum_by_row(kl, batch))
        logprob = sum_by_row(self.path.logprobs(states, batch.targets), batch)
        return StreamValues(num_tokens, logprob=logprob, reference_logprob=reference)

    def _refuse_non_finite(self, name: str, value: torch.Tensor, rows: Sequence[Example]) -> None:
        bad = ~torch.isfinite(value.detach())
        if not bad.any():
            return
        if len(value) == len(rows):
            ids = [r.id for r, is_bad in zip(rows, bad.tolist(), strict=True) if is_bad]
        else:
            ids = [r.id for r in rows]
        raise Diverged(f"part {name!r} is not finite on {', '.join(ids[:5])}")

    def _reduce(self, totals: dict[str, torch.Tensor]) -> None:
        """Sum gradients and values over processes, in one message each."""
        grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in self.params]
        flat = torch.cat([g.flatten() for g in grads])
        dist.all_reduce(flat)
        pieces = flat.split([g.numel() for g in grads])
        for p, piece in zip(self.params, pieces, strict=True):
            p.grad = piece.view_as(p).clone()
        names = sorted(totals)
        values = torch.stack([totals[n] for n in names]).to(self.params[0].device)
        dist.all_reduce(values)
        totals.update(zip(names, values.cpu(), strict=True))


def _rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def _world_size() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1
