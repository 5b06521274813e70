"""The chunk in hand as a GradientSource: forward, backward, reduce."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from unskew.data.batches import Example
from unskew.errors import ConfigError, Diverged, RunError
from unskew.models.logprobs import Batch, ScoringPath, collate, sum_by_row
from unskew.models.reference import LogprobCache, Reference
from unskew.models.tokens import Encoder
from unskew.protocols import Objective, Part, StreamValues
from unskew.registry import nearest
from unskew.training.microbatch import overhead_tokens, plan
from unskew.training.rows import (
    ExampleRows,
    combined,
    encode_examples,
    flatten,
    reference_values,
    scored_quantities,
)

NAMED_IDS = 5
Measured = dict[str, list[tuple[list[Example], Tensor]]]
"""By part: the rows of each micro-batch and the part's values for them."""


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
        max_examples: Most examples in one forward pass; no limit if None. A pair counts once.
        autocast: Context for forward passes.

    Raises:
        ConfigError: Two parts ask one stream for different quantities.
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
        self.autocast = autocast
        self.params = [p for p in path.model.parameters() if p.requires_grad]
        limits = {"max_tokens": max_tokens, "max_examples": max_examples}
        self._plan = partial(plan, **limits, overhead=overhead_tokens(path.model))
        self._quantities = scored_quantities(objective.parts)
        self._rows: dict[str, ExampleRows] = {}
        self._divisor: dict[str, int] = {}
        self._micro_batches: list[list[Example]] = []
        self._frozen_states: dict[str, Tensor] = {}

    @property
    def device(self) -> torch.device:
        """Where the policy is."""
        return self.params[0].device

    def load(self, rows: Sequence[Example]) -> int:
        """Take the rows of the next chunk, compute this process's share; returns all tokens."""
        fresh = {r.id: r for r in rows if r.id not in self._rows}
        self._rows |= encode_examples(list(fresh.values()), self.encoder, self._quantities)
        parts = self.objective.parts
        self._divisor = {name: self._count(part, rows) for name, part in parts.items()}
        by_length = sorted(rows, key=lambda r: self._rows[r.id].padded_length)
        mine = by_length[_rank() :: _world_size()]
        self._micro_batches = self._planned(mine)
        self._frozen_states = {}
        for name, part in parts.items():
            if part.average_over == "chunk":
                self._keep_together(name, part.stream)
        self._warm_cache(mine)
        return sum(self._rows[r.id].num_tokens for r in rows)

    def _planned(self, rows: Sequence[Example]) -> list[list[Example]]:
        lengths = [self._rows[r.id].padded_length for r in rows]
        return [[rows[i] for i in batch] for batch in self._plan(lengths)]

    def _count(self, part: Part, rows: Sequence[Example]) -> int:
        """What the part's sum over the whole chunk is divided by; 0 where it has no row."""
        own = [r for r in rows if r.stream == part.stream]
        if part.average_over == "chunk":
            return min(len(own), 1)
        if part.average_over == "examples":
            return len(own)
        return sum(self._rows[r.id].num_scored for r in own)

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
        for part in self.objective.parts.values():
            if part.needs_reference:
                own = [self._rows[r.id] for r in rows if r.stream == part.stream]
                self._reference_values(part, own)

    def _reference_values(self, part: Part, examples: Sequence[ExampleRows]) -> Tensor:
        with self.autocast():
            return reference_values(self.cache, part, examples).to(self.device)

    def gradients(self, weights: Mapping[str, float]) -> dict[str, float]:
        """Fill `.grad` of all trainable parameters; return the unweighted value of each part.

        Raises:
            ConfigError: A weight names no part of the objective.
            Diverged: A part is NaN or infinite; the message names the examples.
        """
        for name in weights.keys() - self.objective.parts.keys():
            known = self.objective.parts
            raise ConfigError(
                f"a weight is given for part {name!r}, which the objective does not have"
                f"{nearest(name, known)} (it has: {', '.join(known)})"
            )
        for p in self.params:
            p.grad = None
        parts = {n: p for n, p in self.objective.parts.items() if weights.get(n)}
        self._compute_frozen_states(parts.values())
        streams = {part.stream for part in parts.values()}
        measured: Measured = {name: [] for name in parts if self._divisor[name]}
        for batch in self._micro_batches:
            if rows := [r for r in batch if r.stream in streams]:
                self._add(rows, parts, weights, measured)
        totals = [self._total(name, found) for name, found in measured.items()]
        if _world_size() > 1:
            totals = self._reduce(totals)
        values = dict(zip(measured, totals, strict=True))
        _refuse_non_finite(values, measured)
        return values

    def _add(
        self,
        rows: list[Example],
        parts: Mapping[str, Part],
        weights: Mapping[str, float],
        measured: Measured,
    ) -> None:
        with self.autocast():
            values = self.objective(self._stream_values(rows, parts))
        loss = torch.zeros((), device=self.device)
        for name, part in parts.items():
            if (value := values.get(name)) is not None:
                loss = loss + weights[name] / self._divisor[name] * value.sum()
                own = [r for r in rows if r.stream == part.stream]
                measured[name].append((own, value.detach()))
        loss.backward()

    def _stream_values(
        self, rows: Sequence[Example], parts: Mapping[str, Part]
    ) -> dict[str, StreamValues]:
        """One forward pass over all rows, ordered by stream, and what each stream asks of it."""
        needs: dict[str, list[Part]] = {}
        for part in parts.values():
            needs.setdefault(part.stream, []).append(part)
        own = {s: m for s in needs if (m := [r for r in rows if r.stream == s])}
        batches = {s: self._collate(members) for s, members in own.items()}
        states = self.path.states(self._collate([r for members in own.values() for r in members]))
        split = states.split([len(batch.targets) for batch in batches.values()])
        pieces = dict(zip(own, split, strict=True))
        asked = [s for s in own if any(p.quantity != "kl_reference_policy" for p in needs[s])]
        logprobs = self._logprobs({s: (pieces[s], batches[s]) for s in asked})
        return {
            s: self._values(needs[s], own[s], batches[s], pieces[s], logprobs.get(s)) for s in own
        }

    def _logprobs(self, streams: Mapping[str, tuple[Tensor, Batch]]) -> dict[str, Tensor]:
        """By stream, the log-probability of each row; the vocabulary's weights are read once."""
        if not streams:
            return {}
        states = torch.cat([states for states, _ in streams.values()])
        targets = torch.cat([batch.targets for _, batch in streams.values()])
        found = self.path.logprobs(states, targets)
        pieces = found.split([len(batch.targets) for _, batch in streams.values()])
        return {
            s: sum_by_row(piece, batch)
            for piece, (s, (_, batch)) in zip(pieces, streams.items(), strict=True)
        }

    def _collate(self, rows: Sequence[Example]) -> Batch:
        return collate(flatten(self._rows[r.id] for r in rows), self.device)

    def _compute_frozen_states(self, parts: Iterable[Part]) -> None:
        """The reference's states for the chunk, in as few passes as fit and kept until the next.

        Switching an adapter off walks over the whole model and touches `requires_grad`, so it
        happens once and before the policy's graph.
        """
        streams = {p.stream for p in parts if p.quantity == "kl_reference_policy"}
        mine = [r for batch in self._micro_batches for r in batch]
        rows = [r for r in mine if r.stream in streams and r.id not in self._frozen_states]
        if not rows:
            return
        with self.autocast(), self.reference.frozen():
            for batch in self._planned(rows):
                states = self.reference.path.states(self._collate(batch))
                pieces = states.split([self._rows[r.id].num_scored for r in batch])
                self._frozen_states.update(zip((r.id for r in batch), pieces, strict=True))

    def _values(
        self,
        needs: Sequence[Part],
        rows: Sequence[Example],
        batch: Batch,
        states: Tensor,
        logprob: Tensor | None,
    ) -> StreamValues:
        tokens = [self._rows[r.id] for r in rows]
        reference_logprob = kl = None
        if logprob is not None:
            logprob = combined(self._quantities[rows[0].stream], logprob, tokens)
        if compared := [p for p in needs if p.needs_reference]:
            reference_logprob = self._reference_values(compared[0], tokens)
        if any(p.quantity == "kl_reference_policy" for p in needs):
            frozen = torch.cat([self._frozen_states[r.id] for r in rows])
            kl = self.path.kl_reference_policy(states, self.reference.path, frozen)
            kl = sum_by_row(kl, batch).view(len(rows), -1).sum(-1)
        num_tokens = torch.tensor([float(t.num_scored) for t in tokens], device=self.device)
        return StreamValues(num_tokens, logprob, reference_logprob, kl)

    def _total(self, name: str, found: Sequence[tuple[list[Example], Tensor]]) -> float:
        if not found:
            return 0.0
        values = torch.cat([value for _, value in found]).cpu().double()
        return values.sum().item() / self._divisor[name]

    def _reduce(self, totals: list[float]) -> list[float]:
        """Sum gradients and values over processes, in one message each."""
        grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in self.params]
        flat = torch.cat([g.flatten() for g in grads])
        dist.all_reduce(flat)
        pieces = flat.split([g.numel() for g in grads])
        for p, piece in zip(self.params, pieces, strict=True):
            p.grad = piece.view_as(p)
        summed = torch.tensor(totals, dtype=torch.float64, device=self.device)
        dist.all_reduce(summed)
        return summed.tolist()


def _refuse_non_finite(values: Mapping[str, float], measured: Measured) -> None:
    """Raise on every process alike, naming examples of all of them."""
    for name, value in values.items():
        if abs(value) < float("inf"):
            continue
        ids = [i for rows, found in measured[name] for i in _non_finite_ids(rows, found)]
        if _world_size() > 1:
            shares: list[list[str]] = [[] for _ in range(_world_size())]
            dist.all_gather_object(shares, ids)
            ids = [i for share in shares for i in share]
        raise Diverged(f"part {name!r} is not finite on {', '.join(ids[:NAMED_IDS])}")


def _non_finite_ids(rows: Sequence[Example], values: Tensor) -> list[str]:
    bad = (~torch.isfinite(values)).tolist()
    if len(bad) != len(rows):
        return [r.id for r in rows] if any(bad) else []
    return [r.id for r, is_bad in zip(rows, bad, strict=True) if is_bad]


def _rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def _world_size() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1
