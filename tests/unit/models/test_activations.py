"""Fused activations against the formula in float64."""

from __future__ import annotations

import math

import pytest
import torch
from transformers.activations import ACT2FN

from tests.fixtures import tiny_model
from unskew.models.activations import fuse_activations


@pytest.mark.parametrize("name", ["gelu_new", "gelu_fast"])
def test_the_fused_form_is_the_formula_in_value_and_gradient(name):
    model = torch.nn.Sequential(ACT2FN[name])
    fuse_activations(model)
    assert type(model[0]) is not type(ACT2FN[name])
    x = torch.linspace(-12, 12, 2001).requires_grad_()
    model(x).sum().backward()
    z = x.detach().double().requires_grad_()
    inner = math.sqrt(2 / math.pi) * (z + 0.044715 * z**3)
    expected = 0.5 * z * (1 + torch.tanh(inner))
    expected.sum().backward()
    # 1 + tanh cancels for negative x: half a unit of 1's rounding, times x and at most 3 x^2.
    torch.testing.assert_close(model(x).double(), expected, rtol=1e-6, atol=2e-6)
    torch.testing.assert_close(x.grad.double(), z.grad, rtol=1e-6, atol=2e-5)


def test_the_models_numbers_and_configuration_stay():
    model = tiny_model("gpt2")
    ids = torch.arange(1, 13).reshape(2, 6)
    before, config = model(input_ids=ids).logits, model.config.to_json_string()
    fuse_activations(model)
    torch.testing.assert_close(model(input_ids=ids).logits, before, rtol=2e-5, atol=2e-5)
    assert model.config.to_json_string() == config
    assert not any("NewGELU" in type(m).__name__ for m in model.modules())


def test_other_activations_are_left_alone():
    model = tiny_model("llama")
    before = [type(m) for m in model.modules()]
    fuse_activations(model)
    assert [type(m) for m in model.modules()] == before
