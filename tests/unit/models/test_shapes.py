"""Costs counted on models without weights: published sizes, closed forms, a model with weights."""

from __future__ import annotations

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from unskew.errors import ModelError
from unskew.models.activations import fuse_activations
from unskew.models.shapes import meta_model, pass_cost
from unskew.updates.scope import LoraScope

LAYERS, WIDTH, ROWS, LENGTH = 3, 32, 4, 10
ATTENTION = ROWS * LENGTH * LAYERS * 4 * LENGTH * WIDTH


def gpt2(device="cpu"):
    with torch.device(device):
        model = GPT2LMHeadModel(GPT2Config(n_layer=LAYERS, n_embd=WIDTH, n_head=4, vocab_size=50))
    fuse_activations(model.eval())
    return model


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("openai-community/gpt2", 124_439_808),
        ("openai-community/gpt2-medium", 354_823_168),
        ("openai-community/gpt2-large", 774_030_080),
        ("openai-community/gpt2-xl", 1_557_611_200),
        ("mistralai/Mistral-7B-v0.1", 7_241_732_096),
        ("meta-llama/Meta-Llama-3-8B", 8_030_261_248),
        ("mistralai/Mistral-7B-Instruct-v0.1", 7_241_732_096),
        ("meta-llama/Meta-Llama-3-8B-Instruct", 8_030_261_248),
    ],
)
def test_known_models_have_their_published_size(name, parameters):
    model = meta_model(name, dtype="bfloat16")
    assert sum(p.numel() for p in model.parameters()) == parameters
    assert all(p.is_meta for p in model.parameters())


def test_a_model_that_is_neither_here_nor_known_is_refused(tmp_path):
    with pytest.raises(ModelError, match=r"no config\.json"):
        meta_model(str(tmp_path))


def test_operations_are_those_of_the_closed_form():
    """Kaplan et al. 2020: 24 d^2 a token and layer, and 4 L d for the attention over L tokens."""
    cost = pass_cost(LoraScope(r=2).apply(gpt2("meta")), ROWS, LENGTH)
    bare = pass_cost(gpt2("meta"), ROWS, LENGTH)
    expected = ROWS * LENGTH * LAYERS * 24 * WIDTH**2 + ATTENTION
    assert bare.forward == expected
    # Input and weight have a gradient each, the first layer's input, the embedding, too.
    assert bare.both == 3 * expected
    # Frozen maps have no gradient of a weight; adapters are small.
    assert 1.8 * expected < cost.both < 2.7 * expected


def test_what_is_counted_without_weights_is_what_a_model_with_weights_keeps():
    real = pass_cost(LoraScope(r=2).apply(gpt2()), ROWS, LENGTH)
    meta = pass_cost(LoraScope(r=2).apply(gpt2("meta")), ROWS, LENGTH)
    # The CPU's kernel of attention is not counted; its backward pass is twice its forward pass.
    assert meta.forward == real.forward + ATTENTION
    assert meta.both == real.both + 3 * ATTENTION
    # The kernel of attention differs, and with it whether probabilities are kept.
    assert 0.8 * real.saved_bytes < meta.saved_bytes < 1.6 * real.saved_bytes


def test_kept_activations_grow_with_the_rows_and_hold_no_weight():
    one = pass_cost(gpt2(), 1, LENGTH).saved_bytes
    assert pass_cost(gpt2(), 8, LENGTH).saved_bytes == pytest.approx(8 * one, rel=0.05)
