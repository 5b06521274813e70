"""Mixed precision: autocast's numbers, without rounding the frozen model at every pass."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from unskew.models.logprobs import ScoringPath, collate
from unskew.models.precision import MixedPrecision
from unskew.models.rows import ROWS_MULTIPLE
from unskew.models.tokens import Tokens
from unskew.updates.scope import LoraScope


def _model(attention: str = "eager") -> torch.nn.Module:
    torch.manual_seed(0)
    config = GPT2Config(
        n_layer=2,
        n_embd=32,
        n_head=2,
        vocab_size=64,
        n_positions=32,
        attn_implementation=attention,
    )
    model = LoraScope(r=2).apply(GPT2LMHeadModel(config).eval())
    for name, p in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(p, std=0.1)
    return model


Run = tuple[torch.Tensor, list[torch.Tensor]]


def _run(context: str, rows: int, attention: str = "eager") -> Run:
    """Logits and gradients of one pass over `rows` tokens."""
    model = _model(attention)
    contexts = {
        "ours": MixedPrecision(model),
        "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
        "float32": nullcontext,
    }
    with contexts[context]():
        logits = model(input_ids=torch.arange(rows).reshape(2, -1)).logits
    logits.float().square().mean().backward()
    return logits, [p.grad for p in model.parameters() if p.grad is not None]


def test_equals_autocast_in_values_and_gradients() -> None:
    logits, grads = _run("ours", ROWS_MULTIPLE)
    expected, expected_grads = _run("autocast", ROWS_MULTIPLE)
    assert torch.equal(logits, expected)
    assert len(grads) == len(expected_grads) > 0
    assert all(torch.equal(a, b) for a, b in zip(grads, expected_grads, strict=True))


@pytest.mark.parametrize("rows", [2, 24, 62])
def test_rows_of_zeros_change_no_value(rows: int) -> None:
    logits, grads = _run("ours", rows)
    expected, expected_grads = _run("autocast", rows)
    assert torch.equal(logits, expected)
    for got, wanted in zip(grads, expected_grads, strict=True):
        # A weight's gradient is summed over rows in another order, then rounded to 8 bits.
        torch.testing.assert_close(got, wanted, rtol=0, atol=2**-7 * wanted.abs().max().item())


@pytest.mark.parametrize("mask", [None, "bool", "float"])
def test_attention_is_exact_up_to_the_rounding_of_its_result(mask: str | None) -> None:
    g = torch.Generator().manual_seed(0)
    inputs = [torch.randn(2, 3, 5, 8, generator=g).bfloat16() for _ in range(3)]
    scale = torch.randn(2, 5, 3, 8, generator=g)
    causal = torch.ones(5, 5, dtype=torch.bool).tril()[None, None]
    lowest = torch.zeros(causal.shape).masked_fill(~causal, float("-inf")).bfloat16()
    given = {"bool": causal, "float": lowest}.get(mask or "")
    leaves = [x.clone().requires_grad_() for x in inputs]
    module = torch.nn.Module()
    module.is_causal = True
    with MixedPrecision(_model())():
        got, _ = ALL_ATTENTION_FUNCTIONS["sdpa"](module, *leaves, given)
    (got.float() * scale).sum().backward()
    query, key, value = exact = [x.double().requires_grad_() for x in inputs]
    scores = (query @ key.transpose(-1, -2) / 8**0.5).masked_fill(~causal, float("-inf"))
    expected = (scores.softmax(-1) @ value).transpose(1, 2)
    # The function's result is rounded to 8 bits, and so is the gradient that comes back.
    torch.testing.assert_close(got.double(), expected, rtol=2**-8, atol=1e-6)
    (expected * scale.bfloat16().double()).sum().backward()
    for ours, wanted in zip(leaves, exact, strict=True):
        torch.testing.assert_close(ours.grad.double(), wanted.grad, rtol=2**-8, atol=1e-5)


def test_a_trainable_head_is_recomputed_as_it_was() -> None:
    model = _model().get_base_model().requires_grad_(True)
    path = ScoringPath(model)
    batch = collate([Tokens(tuple(range(1, 9)), 1)])
    with MixedPrecision(model)():
        logprob = path.logprobs(path.states(batch), batch.targets)
    logprob.sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_attention_and_forward_methods_are_put_back() -> None:
    model = _model("sdpa")
    attention = ALL_ATTENTION_FUNCTIONS["sdpa"]
    for _ in range(2):
        with MixedPrecision(model)():
            assert ALL_ATTENTION_FUNCTIONS["sdpa"] is not attention
    with torch.no_grad(), MixedPrecision(model)():
        assert ALL_ATTENTION_FUNCTIONS["sdpa"] is attention
    assert ALL_ATTENTION_FUNCTIONS["sdpa"] is attention
    assert not any("forward" in vars(m) for m in model.modules())


def test_the_model_has_its_own_weights_outside_even_after_an_error() -> None:
    model = _model()
    before = dict(model.named_parameters())
    precision = MixedPrecision(model)
    try:
        with precision():
            assert any(p.dtype == torch.bfloat16 for p in model.parameters())
            raise KeyError
    except KeyError:
        pass
    after = dict(model.named_parameters())
    assert before.keys() == after.keys()
    assert all(after[name] is p for name, p in before.items())


def test_trainable_weights_are_not_rounded() -> None:
    model = _model()
    with MixedPrecision(model)():
        for p in model.parameters():
            assert not p.requires_grad or p.dtype == torch.float32
