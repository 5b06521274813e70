"""Log-probabilities and divergences against torch's own softmax and autograd."""

from __future__ import annotations

import copy
import math

import pytest
import torch
import torch.nn.functional as F

from tests.fixtures import encoder, pairs, tiny_model, tokens
from unskew.models import logprobs as module
from unskew.models.logprobs import ScoringPath, collate, sum_by_row
from unskew.types import Segment

ROWS = [tokens(1, 5, 9, 7), tokens(1, 6, 4, first=2), tokens(1, 8)]
# One rounding of a sum of ~30 float32 products, relative to values of order 10.
FLOAT32 = {"rtol": 2e-5, "atol": 2e-5}


def _plain(path: ScoringPath, row) -> torch.Tensor:
    """Log-probabilities of a row's scored tokens by the model's own logits, one row alone."""
    logits = path.model(input_ids=torch.tensor([row.ids])).logits[0].float()
    everything = F.log_softmax(logits, -1)
    return torch.stack([everything[i - 1, row.ids[i]] for i in range(row.first, len(row.ids))])


def _corpus():
    return encoder().encode([Segment(t, p.completion_start) for p in pairs()[:6] for t in p.texts])


@pytest.mark.parametrize("family", ["gpt2", "llama", "gemma2"])
def test_scores_are_the_models_own(family):
    path = ScoringPath(tiny_model(family))
    batch = collate(ROWS)
    got = path.logprobs(path.states(batch), batch.targets)
    torch.testing.assert_close(got, torch.cat([_plain(path, r) for r in ROWS]), **FLOAT32)
    greedy = path.greedy(path.states(batch), batch.targets)
    torch.testing.assert_close(greedy.logprob, got, **FLOAT32)


def test_greedy_says_whether_the_target_was_the_most_probable():
    path = ScoringPath(tiny_model())
    best = int(path.model(input_ids=torch.tensor([[1, 5]])).logits[0, -1].argmax())
    batch = collate([tokens(1, 5, best, first=2), tokens(1, 5, (best + 1) % 20, first=2)])
    assert path.greedy(path.states(batch), batch.targets).is_greedy.tolist() == [True, False]


def test_batched_is_one_by_one():
    path = ScoringPath(tiny_model())
    rows = _corpus()
    together = collate(rows)
    sums = sum_by_row(path.logprobs(path.states(together), together.targets), together)
    for row, total in zip(rows, sums, strict=True):
        alone = collate([row])
        own = sum_by_row(path.logprobs(path.states(alone), alone.targets), alone)
        assert own.item() / row.num_scored == pytest.approx(total.item() / row.num_scored, abs=1e-5)


@pytest.mark.parametrize("columns", [1, 20])
def test_padding_columns_change_no_value_and_no_gradient(columns):
    model = tiny_model()
    path = ScoringPath(model)
    rows = _corpus()[:5]
    padding = tokens(1, *[5] * (max(len(r.ids) for r in rows) + columns - 1))

    def run(extra):
        model.zero_grad()
        batch = collate([*rows, *extra])
        values = path.logprobs(path.states(batch), batch.targets)
        own = sum_by_row(values, batch)[: len(rows)]
        own.sum().backward()
        return own.detach(), {n: p.grad.clone() for n, p in model.named_parameters()}

    plain, gradients = run([])
    padded, padded_gradients = run([padding])
    torch.testing.assert_close(padded, plain, **FLOAT32)
    for name, gradient in gradients.items():
        torch.testing.assert_close(padded_gradients[name], gradient, rtol=1e-4, atol=1e-4)


def test_the_last_token_is_no_input():
    batch = collate([tokens(1, 5, 9), tokens(1, 5, 9, 7)])
    assert batch.input_ids.shape == (2, 3)
    assert 7 not in batch.input_ids.tolist()[1]


class _Head(torch.nn.Module):
    """A model that is nothing but a linear head: its hidden states are given."""

    def __init__(self, weight, bias):
        super().__init__()
        vocab, width = weight.shape
        self.head = torch.nn.Linear(width, vocab, bias=bias is not None, dtype=weight.dtype)
        self.head.requires_grad_(False)
        self.head.weight.copy_(weight)
        if bias is not None:
            self.head.bias.copy_(bias)


def _path(weight, bias, *, frozen=True) -> ScoringPath:
    path = ScoringPath.__new__(ScoringPath)
    holder = _Head(weight, bias)
    path.model, path.body, path.head = _Config(weight.shape[0]), holder, holder.head
    path.head.requires_grad_(not frozen)
    return path


class _Config:
    """What ScoringPath asks of a model once the states are there."""

    def __init__(self, vocab):
        self.config = self
        self.vocab_size = vocab

    def get_text_config(self):
        return self


def _inputs(positions, dtype, *, with_bias, seed=0, width=8, vocab=13):
    g = torch.Generator().manual_seed(seed)
    weight = torch.randn(vocab, width, generator=g, dtype=torch.float64).to(dtype)
    bias = torch.randn(vocab, generator=g, dtype=torch.float64).to(dtype) if with_bias else None
    states = torch.randn(positions, width, generator=g, dtype=torch.float64).to(dtype)
    targets = torch.randint(0, vocab, (positions,), generator=g)
    scale = torch.randn(positions, generator=g)
    return weight, bias, states, targets, scale


# bfloat16 keeps 8 bits: the hidden state's gradient is rounded to it once or twice.
TOLERANCE = {torch.float32: 2e-5, torch.bfloat16: 6e-2}


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize("block", [1, 26, 1 << 20])
@pytest.mark.parametrize("positions", [0, 1, 7])
def test_logprob_through_a_frozen_head_is_autograds(
    monkeypatch, dtype, with_bias, block, positions
):
    monkeypatch.setattr(module, "BLOCK_ELEMENTS", block)
    weight, bias, states, targets, scale = _inputs(positions, dtype, with_bias=with_bias)
    ours = states.clone().requires_grad_()
    value = _path(weight, bias).logprobs(ours, targets)
    (value * scale).sum().backward()
    exact = states.double().requires_grad_()
    logits = F.linear(exact, weight.double(), None if bias is None else bias.double())
    expected = F.log_softmax(logits, -1).gather(-1, targets[:, None])[:, 0]
    (expected * scale).sum().backward()
    assert value.dtype == torch.float32
    tolerance = TOLERANCE[dtype]
    torch.testing.assert_close(value.double(), expected, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(ours.grad.double(), exact.grad, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize("block", [1, 26, 1 << 20])
@pytest.mark.parametrize("positions", [0, 1, 7])
def test_kl_through_a_frozen_head_is_autograds(monkeypatch, dtype, with_bias, block, positions):
    monkeypatch.setattr(module, "BLOCK_ELEMENTS", block)
    weight, bias, states, _, scale = _inputs(positions, dtype, with_bias=with_bias)
    other = _inputs(positions, dtype, with_bias=with_bias, seed=1)
    ours = states.clone().requires_grad_()
    value = _path(weight, bias).kl_reference_policy(ours, _path(other[0], other[1]), other[2])
    (value * scale).sum().backward()

    def log_softmax(states, weight, bias):
        bias = None if bias is None else bias.double()
        return F.log_softmax(F.linear(states.double(), weight.double(), bias), -1)

    exact = states.double().requires_grad_()
    policy, reference = log_softmax(exact, weight, bias), log_softmax(other[2], *other[:2])
    expected = F.kl_div(policy, reference, log_target=True, reduction="none").sum(-1)
    (expected * scale).sum().backward()
    tolerance = TOLERANCE[dtype]
    torch.testing.assert_close(value.double(), expected, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(ours.grad.double(), exact.grad, rtol=tolerance, atol=tolerance)


def test_kl_of_a_hand_worked_pair():
    # p = (.5, .5), q = (.75, .25): sum p ln(p/q) = .5 ln(.5/.75) + .5 ln(.5/.25) = .143841.
    identity = torch.eye(2)
    p, q = torch.tensor([[0.5, 0.5]]).log(), torch.tensor([[0.75, 0.25]]).log()
    reference, policy = _path(identity, None), _path(identity, None)
    assert policy.kl_reference_policy(q, reference, p).item() == pytest.approx(0.143841, abs=1e-6)
    learning = policy.kl_reference_policy(q.clone().requires_grad_(), reference, p)
    assert learning.item() == pytest.approx(0.143841, abs=1e-6)


@pytest.mark.parametrize("block", [1, 26, 1 << 20])
def test_a_trainable_head_gets_its_gradient(monkeypatch, block):
    monkeypatch.setattr(module, "BLOCK_ELEMENTS", block)
    weight, bias, states, targets, scale = _inputs(7, torch.float32, with_bias=True)
    path = _path(weight, bias, frozen=False)
    ours = states.clone().requires_grad_()
    (path.logprobs(ours, targets) * scale).sum().backward()
    exact = [t.double().requires_grad_() for t in (states, weight, bias)]
    logprobs = F.log_softmax(F.linear(*exact), -1).gather(-1, targets[:, None])[:, 0]
    (logprobs * scale).sum().backward()
    for got, expected in zip((ours, path.head.weight, path.head.bias), exact, strict=True):
        torch.testing.assert_close(got.grad.double(), expected.grad, rtol=2e-5, atol=2e-5)


def test_tied_embeddings_get_the_gradient_of_both_ends():
    model = tiny_model(tie_word_embeddings=True)
    model.requires_grad_(True)
    twin = copy.deepcopy(model)
    path, rows = ScoringPath(model), _corpus()[:4]
    batch = collate(rows)
    path.logprobs(path.states(batch), batch.targets).sum().backward()
    sum(_plain(ScoringPath(twin), r).sum() for r in rows).backward()
    for (name, ours), (_, plain) in zip(
        model.named_parameters(), twin.named_parameters(), strict=True
    ):
        torch.testing.assert_close(
            ours.grad, plain.grad, rtol=1e-4, atol=1e-4, msg=lambda m, n=name: f"{n}: {m}"
        )


def test_uniform_logits_give_the_log_of_the_vocabulary():
    path = _path(torch.zeros(13, 8), None)
    value = path.logprobs(torch.randn(3, 8), torch.tensor([0, 5, 12]))
    assert value.tolist() == pytest.approx([-math.log(13)] * 3, abs=1e-6)


def test_sum_by_row_keeps_rows_apart():
    batch = collate(ROWS)
    assert sum_by_row(torch.ones(5), batch).tolist() == [3.0, 1.0, 1.0]


def test_kl_keeps_float32_inside_autocast():
    weight, bias, states, _, _ = _inputs(7, torch.bfloat16, with_bias=True)
    other = _inputs(7, torch.bfloat16, with_bias=True, seed=1)
    path, reference = _path(weight, bias), _path(other[0], other[1])
    with torch.autocast("cpu", torch.bfloat16):
        ours = states.clone().requires_grad_()
        value = path.kl_reference_policy(ours, reference, other[2])
        policy, theirs = path.logits(states).double(), reference.logits(other[2]).double()
    expected = F.kl_div(
        F.log_softmax(policy, -1), F.log_softmax(theirs, -1), log_target=True, reduction="none"
    ).sum(-1)
    # From the same rounded logits on: 13 products of order 1, far below bfloat16's 4e-3.
    torch.testing.assert_close(value.double(), expected, **FLOAT32)


def test_a_tie_is_greedy_for_the_first_only():
    weight = torch.tensor([[1.0], [2.0], [2.0], [0.0]])
    path = _path(weight, None)
    greedy = path.greedy(torch.ones(4, 1), torch.arange(4))
    assert greedy.is_greedy.tolist() == [i == int(weight.argmax()) for i in range(4)]
    assert greedy.is_greedy.sum() == 1


def test_symmetric_kl_is_that_of_whole_distributions_and_moves_both_sides(monkeypatch):
    monkeypatch.setattr(module, "BLOCK_ELEMENTS", 1 << 7)  # several blocks
    path = ScoringPath(tiny_model())
    states = torch.randn(7, 32, requires_grad=True)
    others = torch.randn(7, 32, requires_grad=True)
    found = path.symmetric_kl(states, others)
    p, q = (torch.log_softmax(path.logits(s), -1) for s in (states, others))
    wanted = (p.exp() * (p - q)).sum(-1) + (q.exp() * (q - p)).sum(-1)
    assert torch.allclose(found, wanted, atol=1e-4)
    ours = torch.autograd.grad(found.sum(), (states, others))
    theirs = torch.autograd.grad(wanted.sum(), (states, others))
    assert all(torch.allclose(a, b, atol=1e-4) for a, b in zip(ours, theirs, strict=True))
    assert path.symmetric_kl(states, states).abs().max() < 1e-6
