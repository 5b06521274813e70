"""Sampling: seeded by request, right in distribution, blind to its neighbours."""

from __future__ import annotations

import math

import pytest
import torch

from tests.fixtures import encoder, tiny_model
from unskew.errors import DataError
from unskew.evaluation.generate import sample
from unskew.types import GenerationRequest

PROMPTS = ["The nurse is", "Every old", "The", "Every old soldier is bold and", "kind"]


def _requests(length=8) -> list[GenerationRequest]:
    return [GenerationRequest(f"r{i}", p, length) for i, p in enumerate(PROMPTS)]


def _sample(requests, *, model=None, seed=0, max_length=64):
    with torch.no_grad():
        return sample(model or tiny_model(), encoder(max_length=max_length), requests, seed)


def test_the_same_alone_in_a_batch_and_in_another_order():
    model = tiny_model()
    together = _sample(_requests(), model=model)
    backwards = _sample(_requests()[::-1], model=model)
    for request in _requests():
        alone = _sample([request], model=model)[request.id]
        assert alone.text == together[request.id].text == backwards[request.id].text
        assert alone.mean_entropy == pytest.approx(together[request.id].mean_entropy, abs=1e-4)


def test_the_seed_and_the_id_change_the_text():
    requests = [GenerationRequest(f"r{i}", "The nurse is", 12) for i in range(4)]
    first, other = _sample(requests), _sample(requests, seed=1)
    assert len({g.text for g in first.values()}) == 4
    assert [g.text for g in first.values()] != [g.text for g in other.values()]


def test_the_draws_follow_the_models_distribution():
    model = tiny_model()
    n = 2000
    drawn = _sample([GenerationRequest(str(i), "The nurse is", 1) for i in range(n)], model=model)
    ids = encoder().tokenizer("The nurse is")["input_ids"]
    with torch.no_grad():
        p = model(input_ids=torch.tensor([[1, *ids]])).logits[0, -1].softmax(-1)
    assert len(p) < GenerationRequest.__dataclass_fields__["top_k"].default, (
        "the whole vocabulary may be drawn"
    )
    likely = int(p.argmax())
    hits = sum(g.token_ids == (likely,) for g in drawn.values()) / n
    # Four standard errors of a share.
    assert hits == pytest.approx(p[likely].item(), abs=4 * math.sqrt(0.25 / n))
    entropy = -(p * p.log()).sum().item()
    assert drawn["0"].mean_entropy == pytest.approx(entropy, abs=1e-4)


def test_a_temperature_near_zero_is_greedy():
    model = tiny_model()
    cold = [GenerationRequest(str(i), "The nurse is", 8, temperature=1e-4) for i in range(6)]
    greedy = _sample([GenerationRequest("g", "The nurse is", 8, do_sample=False)], model=model)
    assert {g.text for g in _sample(cold, model=model).values()} == {greedy["g"].text}


def test_generation_ends_at_the_end_token_and_leaves_it_out():
    model = tiny_model()
    with torch.no_grad():
        model.lm_head.weight.zero_()
    model.lm_head.bias = torch.nn.Parameter(torch.full((model.config.vocab_size,), -50.0))
    with torch.no_grad():
        model.lm_head.bias[2] = 50.0
    answers = _sample(_requests(), model=model)
    assert {(g.text, g.token_ids) for g in answers.values()} == {("", ())}
    assert all(g.mean_entropy < 1e-6 for g in answers.values())


def test_the_checkpoints_generation_settings_are_not_used():
    model = tiny_model()
    plain = _sample(_requests(20), model=model)
    model.generation_config.repetition_penalty = 1.8
    model.generation_config.no_repeat_ngram_size = 1
    model.generation_config.min_new_tokens = 15
    assert _sample(_requests(20), model=model) == plain


def test_each_prompt_has_the_room_it_has_alone():
    # Context 10: the longest prompt leaves 3 tokens, the shortest 8; each gets its own.
    requests = _requests(length=30)
    together = _sample(requests, max_length=10)
    for request in requests:
        assert together[request.id].text == _sample([request], max_length=10)[request.id].text
    room = 10 - 1 - len(PROMPTS[2].split())
    assert len(together["r2"].token_ids) <= room


def test_a_prompt_that_fills_the_context_is_refused():
    with pytest.raises(DataError, match=r"prompt of 'r3' fills the model's context of 7 tokens"):
        _sample(_requests(), max_length=7)
