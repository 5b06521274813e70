"""Token log-probabilities and divergences in float32, at the wanted positions only.

The only place that shifts tokens by one. The vocabulary is met block by block: a block of logits
lives only while its log-probabilities and their gradient with respect to the hidden state are
taken, so memory does not grow with positions times vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from unskew.errors import ModelError
from unskew.models.rows import product
from unskew.models.sites import body_and_head
from unskew.models.tokens import Tokens

BLOCK_ELEMENTS = 1 << 24
"""Logits held at once: 64 MiB in float32. Each block reads the head's weights three times, so that
half of it costs a step of GPT-2's 124M shape 8 % more in bfloat16, and twice as much gains 1 %."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows padded on the right. Causal attention keeps padding from reaching real tokens.

    The last token of a row is not among its inputs: no scored token is predicted from it.
    """

    input_ids: Int[Tensor, "row seq"]
    state_index: Int[Tensor, " position"]
    """Into the flattened (row, seq) grid: the state that predicts each scored token."""
    targets: Int[Tensor, " position"]
    row_index: Int[Tensor, " position"]
    num_rows: int


def collate(rows: Sequence[Tokens], device: torch.device | str = "cpu") -> Batch:
    """Pad rows to the longest and index the states that predict their scored tokens."""
    seq = max(len(r.ids) for r in rows) - 1
    # Padding repeats the row's last token: a padding token would make transformers ask for a mask.
    ids = torch.tensor([(*r.ids[:-1], *r.ids[-1:] * (seq + 1 - len(r.ids))) for r in rows])
    state_index: list[int] = []
    targets: list[int] = []
    row_index: list[int] = []
    for i, r in enumerate(rows):
        state_index.extend(range(i * seq + r.first - 1, i * seq + len(r.ids) - 1))
        targets.extend(r.ids[r.first :])
        row_index.extend([i] * r.num_scored)
    as_tensor = (
        torch.tensor(values, dtype=torch.long) for values in (state_index, targets, row_index)
    )
    states, target, row = (t.to(device) for t in as_tensor)
    return Batch(ids.to(device), states, target, row, len(rows))


class Greedy(NamedTuple):
    """Log-probability of each target and whether it was the most probable token."""

    logprob: Float[Tensor, " position"]
    is_greedy: Bool[Tensor, " position"]


class ScoringPath:
    """A model's forward pass, cut before the vocabulary.

    What it hands out as states is its own business (`evaluation.decoding` keeps several for each
    position) as long as they are indexed by position.

    Args:
        model: A causal language model, with or without PEFT adapters.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        parts = body_and_head(model)
        self.body: nn.Module | None = parts[0] if parts else None
        self.head: nn.Module | None = parts[1] if parts else None

    def states(self, batch: Batch, **kwargs: Any) -> Float[Tensor, " position *width"]:
        """What predicts each scored token: hidden states, or logits where there is no such cut.

        Args:
            batch: The rows.
            **kwargs: Passed to the model, e.g. `attention_mask` and `position_ids`.
        """
        forward = self.body if self.body is not None else self.model
        out = forward(input_ids=batch.input_ids, use_cache=False, **kwargs)
        grid = out.last_hidden_state if self.body is not None else out.logits
        return grid.flatten(0, 1).index_select(0, batch.state_index)

    @torch.no_grad()
    def hidden(self, batch: Batch) -> Float[Tensor, "position width"]:
        """The hidden states at the batch's positions as the head reads them, in float32.

        Raises:
            ModelError: The model has no part before its head.
        """
        inner = self.model.get_base_model() if hasattr(self.model, "get_base_model") else self.model
        body = inner.base_model
        if body is inner:
            raise ModelError(
                f"{type(inner).__name__} has no part before its head whose hidden states could be "
                "read; leave out the benchmarks of them"
            )
        grid = body(input_ids=batch.input_ids, use_cache=False).last_hidden_state
        return grid.flatten(0, 1).index_select(0, batch.state_index).float()

    def logits(self, states: Float[Tensor, " position *width"]) -> Float[Tensor, "position vocab"]:
        """Logits in float32."""
        return (self.head(states) if self.head is not None else states).float()

    def logprobs(
        self, states: Float[Tensor, " position *width"], targets: Int[Tensor, " position"]
    ) -> Float[Tensor, " position"]:
        """Log-probability of each target in nats, differentiable in `states` and the head."""
        frozen = _frozen_linear(self.head)
        if frozen is not None and torch.is_grad_enabled() and states.requires_grad:
            return _TokenLogprob.apply(states, *frozen, targets)

        def block_logprobs(block: Tensor, target: Tensor) -> Tensor:
            return _pick(F.log_softmax(self.logits(block), -1), target)

        return torch.cat(
            [_recomputed(block_logprobs, states[b], targets[b]) for b in self._blocks(states)]
        )

    @torch.no_grad()
    def greedy(
        self, states: Float[Tensor, " position *width"], targets: Int[Tensor, " position"]
    ) -> Greedy:
        """Log-probabilities of the targets and whether each was the arg-max; no gradient."""
        logprob = torch.empty(len(targets), device=targets.device)
        is_greedy = torch.empty(len(targets), dtype=torch.bool, device=targets.device)
        for b in self._blocks(states):
            logits = self.logits(states[b])
            is_greedy[b] = _is_argmax(logits, targets[b])
            logprob[b] = _pick(F.log_softmax(logits, -1), targets[b])
        return Greedy(logprob, is_greedy)

    def kl_reference_policy(
        self,
        states: Float[Tensor, " position *width"],
        reference: ScoringPath,
        reference_states: Float[Tensor, " position *width_r"],
    ) -> Float[Tensor, " position"]:
        """KL(reference || policy) at each position in nats, differentiable in the policy.

        Source: BiasUnlearn (arXiv 2509.25673) eq. 3 with the direction of its prose, reference
        first. Zero where both agree.
        """
        frozen = _frozen_linear(self.head)
        if frozen is not None and torch.is_grad_enabled() and states.requires_grad:
            return _KlReferencePolicy.apply(states, *frozen, reference, reference_states)

        def block_kl(block: Tensor, reference_block: Tensor) -> Tensor:
            ours = F.log_softmax(self.logits(block), -1)
            theirs = F.log_softmax(reference.logits(reference_block), -1)
            return (theirs.exp() * (theirs - ours)).sum(-1)

        return torch.cat(
            [_recomputed(block_kl, states[b], reference_states[b]) for b in self._blocks(states)]
        )

    def symmetric_kl(
        self,
        states: Float[Tensor, " position *width"],
        others: Float[Tensor, " position *width"],
    ) -> Float[Tensor, " position"]:
        """KL in both directions, summed, between the predictions of two states of this model.

        In nats; differentiable in both.
        """

        def block_kl(block: Tensor, other_block: Tensor) -> Tensor:
            one, other = (F.log_softmax(self.logits(b), -1) for b in (block, other_block))
            return ((one.exp() - other.exp()) * (one - other)).sum(-1)

        return torch.cat(
            [_recomputed(block_kl, states[b], others[b]) for b in self._blocks(states)]
        )

    def _blocks(self, states: Tensor) -> Iterator[slice]:
        vocab = self.model.config.get_text_config().vocab_size
        yield from blocks(len(states), vocab)


def sum_by_row(values: Float[Tensor, " position"], batch: Batch) -> Float[Tensor, " row"]:
    """Sum values of scored positions within each row."""
    return values.new_zeros(batch.num_rows).index_add(0, batch.row_index, values)


def blocks(positions: int, vocab: int) -> Iterator[slice]:
    """Positions whose logits are held at once, given how many logits each has."""
    size = max(1, BLOCK_ELEMENTS // vocab)
    for begin in range(0, max(positions, 1), size):
        yield slice(begin, min(begin + size, positions))


def _pick(scores: Tensor, targets: Tensor) -> Tensor:
    return scores.gather(-1, targets[:, None])[:, 0]


def _is_argmax(scores: Tensor, targets: Tensor) -> Tensor:
    """Whether `scores.argmax(-1) == targets`; the slow arg-max is only taken where it can be so."""
    is_highest = _pick(scores, targets) == scores.amax(-1)
    rows = is_highest.nonzero()[:, 0]
    is_highest[rows] = scores[rows].argmax(-1) == targets[rows]
    return is_highest


def _log_softmax_(logits: Tensor) -> Tensor:
    """Log-softmax in the memory of the logits, which nobody else may hold."""
    return torch.log_softmax(logits, -1, out=logits)


def _recomputed(function: Any, *args: Tensor) -> Tensor:
    """Keep no logits for the backward pass: they are computed again."""
    if torch.is_grad_enabled():
        return checkpoint(function, *args, use_reentrant=False)
    return function(*args)


def _linear(states: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return product(lambda x, w: F.linear(x, w, bias), states, weight)


def _frozen_linear(head: nn.Module | None) -> tuple[Tensor, Tensor | None] | None:
    if type(head) is not nn.Linear or any(p.requires_grad for p in head.parameters()):
        return None
    return head.weight, head.bias


class _TokenLogprob(torch.autograd.Function):
    """Log-probability of one token per row through a frozen linear head.

    Each row's value depends on its own state alone, so its gradient, (onehot - softmax) W, is
    taken while the block of logits is there and only scaled in the backward pass.
    """

    @staticmethod
    def forward(ctx: Any, states: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor):
        logprob = torch.empty(len(states), device=states.device)
        gradient = torch.empty_like(states)
        for b in blocks(len(states), weight.shape[0]):
            logprobs = _log_softmax_(_linear(states[b], weight, bias).float())
            logprob[b] = _pick(logprobs, targets[b])
            coefficient = logprobs.exp_()
            target = targets[b][:, None]
            coefficient.scatter_add_(-1, target, torch.full_like(target, -1, dtype=torch.float32))
            gradient[b] = product(torch.mm, coefficient, weight).neg_().to(states.dtype)
        ctx.save_for_backward(gradient)
        return logprob

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor):
        (gradient,) = ctx.saved_tensors
        return gradient * grad_outputs[0][:, None].to(gradient.dtype), None, None, None


class _KlReferencePolicy(torch.autograd.Function):
    """KL(reference || policy) per row through a frozen linear head; gradient (p - p_ref) W."""

    @staticmethod
    def forward(
        ctx: Any,
        states: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        reference: ScoringPath,
        reference_states: Tensor,
    ):
        kl = torch.empty(len(states), device=states.device)
        gradient = torch.empty_like(states)
        for b in blocks(len(states), weight.shape[0]):
            ours = _log_softmax_(_linear(states[b], weight, bias).float())
            theirs = F.log_softmax(reference.logits(reference_states[b]), -1)
            probability = theirs.exp()
            kl[b] = theirs.sub_(ours).mul_(probability).sum(-1)
            coefficient = ours.exp_().sub_(probability)
            gradient[b] = product(torch.mm, coefficient, weight).to(states.dtype)
        ctx.save_for_backward(gradient)
        return kl

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor):
        (gradient,) = ctx.saved_tensors
        return gradient * grad_outputs[0][:, None].to(gradient.dtype), None, None, None, None
