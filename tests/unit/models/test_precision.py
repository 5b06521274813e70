"""Mixed precision: autocast's numbers, without rounding the frozen model at every pass."""

from __future__ import annotations

import torch
from transformers import GPT2Config, GPT2LMHeadModel

from unskew.models.precision import MixedPrecision
from unskew.updates.scope import LoraScope


def _model() -> torch.nn.Module:
    torch.manual_seed(0)
    config = GPT2Config(n_layer=2, n_embd=32, n_head=2, vocab_size=64, n_positions=32)
    model = LoraScope(r=2).apply(GPT2LMHeadModel(config).eval())
    for name, p in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(p, std=0.1)
    return model


def test_equals_autocast_in_values_and_gradients() -> None:
    ids = torch.arange(24).reshape(2, 12)

    def run(context: object) -> tuple[torch.Tensor, list[torch.Tensor]]:
        model = _model()
        made = MixedPrecision(model) if context is MixedPrecision else None
        with made() if made else torch.autocast("cpu", torch.bfloat16):
            logits = model(input_ids=ids).logits
        logits.float().square().mean().backward()
        return logits, [p.grad for p in model.parameters() if p.grad is not None]

    logits, grads = run(MixedPrecision)
    expected, expected_grads = run(None)
    assert torch.equal(logits, expected)
    assert len(grads) == len(expected_grads) > 0
    assert all(torch.equal(a, b) for a, b in zip(grads, expected_grads, strict=True))


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
