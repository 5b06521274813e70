"""Several sequences with a common beginning in one row: the beginning is computed once.

A packed row is the shared prefix followed by each sequence's own tail, less its last token, from
which nothing is predicted. Tails see the prefix and themselves, never each other, and keep the
positions they would have alone.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unskew.models.logprobs import Batch, ScoringPath, collate
from unskew.models.tokens import Tokens

MIN_SHARED_TOKENS = 2
TOLERANCE_NATS = 1e-3
ROUNDINGS = 32
"""Log-probabilities of one text differ between two batches by about 5 units of bfloat16 or float16
rounding, those of another attention mask by nats."""
PREFIX, PADDING = 0, -1


@dataclass(frozen=True, slots=True)
class PackedRow:
    """One row of the model's input and where each sequence's scored tokens are predicted."""

    ids: tuple[int, ...]
    position_ids: tuple[int, ...]
    branch: tuple[int, ...]
    """0 for the shared prefix, 1, 2, ... for the tails."""
    predictions: tuple[tuple[int, int], ...]
    """Distinct (state, target) pairs: position of the predicting state, id of the token."""
    scored: tuple[tuple[int, ...], ...]
    """For each sequence, indices into `predictions`."""


def pack(sequences: Sequence[Tokens], *, share: bool) -> list[tuple[PackedRow, list[int]]]:
    """Pack sequences into one row if they share enough of a beginning, else into one row each.

    Returns rows with the indices of the sequences they hold.
    """
    shared = _common_prefix([s.ids for s in sequences]) if share and len(sequences) > 1 else 0
    if shared < MIN_SHARED_TOKENS:
        return [(_packed([s], 0), [i]) for i, s in enumerate(sequences) if s.num_scored]
    return [(_packed(sequences, shared), list(range(len(sequences))))]


def _packed(sequences: Sequence[Tokens], shared: int) -> PackedRow:
    ids = list(sequences[0].ids[:shared])
    positions = list(range(shared))
    branch = [PREFIX] * shared
    index: dict[tuple[int, int], int] = {}
    scored: list[tuple[int, ...]] = []
    for number, s in enumerate(sequences, start=1):
        begin = len(ids) - shared
        ids.extend(s.ids[shared:-1])
        positions.extend(range(shared, len(s.ids) - 1))
        branch.extend([number] * (len(s.ids) - 1 - shared))
        # State t - 1 predicts token t; tails lie `begin` further on than they would alone.
        states = [t - 1 if t - 1 < shared else t - 1 + begin for t in range(s.first, len(s.ids))]
        pairs = zip(states, s.ids[s.first :], strict=True)
        scored.append(tuple(index.setdefault(pair, len(index)) for pair in pairs))
    return PackedRow(tuple(ids), tuple(positions), tuple(branch), tuple(index), tuple(scored))


def collate_packed(
    rows: Sequence[PackedRow], device: torch.device | str, boolean_mask: bool
) -> tuple[Batch, dict[str, Tensor]]:
    """Pad packed rows; also the position ids and the attention mask they need, if any."""
    seq = max(len(r.ids) for r in rows)
    ids = torch.tensor([(*r.ids, *r.ids[-1:] * (seq - len(r.ids))) for r in rows])
    state_index: list[int] = []
    targets: list[int] = []
    row_index: list[int] = []
    for i, r in enumerate(rows):
        state_index.extend(i * seq + state for state, _ in r.predictions)
        targets.extend(target for _, target in r.predictions)
        row_index.extend([i] * len(r.predictions))
    as_tensor = (torch.tensor(v, dtype=torch.long) for v in (state_index, targets, row_index))
    states, target, row = (t.to(device) for t in as_tensor)
    batch = Batch(ids.to(device), states, target, row, len(rows))
    if all(max(r.branch) <= 1 for r in rows):
        return batch, {}
    extra = _mask_and_positions(rows, seq, boolean_mask)
    return batch, {name: tensor.to(device) for name, tensor in extra.items()}


def _mask_and_positions(
    rows: Sequence[PackedRow], seq: int, boolean_mask: bool
) -> dict[str, Tensor]:
    branch = torch.full((len(rows), seq), PADDING)
    positions = torch.zeros((len(rows), seq), dtype=torch.long)
    for i, r in enumerate(rows):
        branch[i, : len(r.ids)] = torch.tensor(r.branch)
        positions[i, : len(r.ids)] = torch.tensor(r.position_ids)
    same = branch[:, :, None] == branch[:, None, :]
    visible = (same | (branch == PREFIX)[:, None, :]) & torch.ones(
        seq, seq, dtype=torch.bool
    ).tril()
    mask = visible[:, None]
    if not boolean_mask:
        lowest = torch.finfo(torch.float32).min
        mask = torch.zeros(mask.shape).masked_fill_(~mask, lowest)
    return {"attention_mask": mask, "position_ids": positions}


def longest_packed(path: ScoringPath) -> int:
    """Longest sequence, in tokens, whose packed row gives this model's own numbers; 0 for none.

    Whether any does is tried, not looked up in a list. The mask of a packed row replaces the
    sliding window of models that have one, so that texts must fit into it.
    """
    if not _packs(path):
        return 0
    config = path.model.config.get_text_config()
    return getattr(config, "sliding_window", None) or sys.maxsize


def _packs(path: ScoringPath) -> bool:
    forward: Any = (path.body or path.model).forward
    config = path.model.config.get_text_config()
    takes_positions = "position_ids" in inspect.signature(forward).parameters
    if not takes_positions or attention_of(path) not in {"sdpa", "eager"}:
        return False
    low, high = 3, min(config.vocab_size, 64)
    ids = [[low + (i * 7 + j * j) % (high - low) for j in range(6)] for i in range(3)]
    sequences = [Tokens((low, low + 1, low + 2, *tail), 1) for tail in ids]
    device = next(path.model.parameters()).device
    was_training = path.model.training
    path.model.eval()
    try:
        with torch.no_grad():
            alone = collate(sequences, device)
            expected = path.greedy(path.states(alone), alone.targets).logprob.split(8)
            row = _packed(sequences, 3)
            batch, extra = collate_packed([row], device, attention_of(path) == "sdpa")
            got = path.greedy(path.states(batch, **extra), batch.targets).logprob
    except (RuntimeError, ValueError, TypeError, IndexError):
        return False
    finally:
        path.model.train(was_training)
    rounding = torch.finfo(next(path.model.parameters()).dtype).eps
    tolerance = max(TOLERANCE_NATS, ROUNDINGS * rounding)
    pairs = zip(row.scored, expected, strict=True)
    return all(((got[list(i)] - e).abs() < tolerance).all() for i, e in pairs)


def attention_of(path: ScoringPath) -> str:
    """Name of the attention implementation in use."""
    return str(path.model.config.get_text_config()._attn_implementation)


def _common_prefix(rows: Sequence[Sequence[int]]) -> int:
    length = 0
    for tokens in zip(*rows, strict=False):
        if any(t != tokens[0] for t in tokens):
            break
        length += 1
    # Every tail keeps at least one token, so each sequence is still told apart.
    return min(length, min(len(r) for r in rows) - 1)
