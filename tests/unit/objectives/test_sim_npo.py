"""SimNPO against its closed form and its limits."""

from __future__ import annotations

import math

import pytest
import torch

from unskew.errors import ConfigError
from unskew.objectives.biasunlearn import npo
from unskew.objectives.sim_npo import SimNpo
from unskew.protocols import StreamValues


def _forget(logprob, num_tokens, **options) -> torch.Tensor:
    stream = StreamValues(torch.as_tensor(num_tokens, dtype=torch.float32), logprob)
    return SimNpo(**options)({"forget": stream})["forget"]


@pytest.mark.parametrize("margin", [0.0, 1.5])
def test_a_uniform_model_has_one_value_whatever_the_length(margin):
    vocab, lengths = 50, torch.tensor([1.0, 3.0, 20.0])
    value = _forget(-lengths * math.log(vocab), lengths, beta=2.5, margin=margin)
    sigmoid = 1 / (1 + math.exp(-(2.5 * math.log(vocab) - margin)))
    assert value.tolist() == pytest.approx([-2 / 2.5 * math.log(sigmoid)] * 3, rel=1e-4)


def test_the_margin_says_where_half_the_pull_is_left():
    """At nll = margin/beta the value is 2 ln 2 / beta and the weight on the nll is 1, of 2."""
    beta, margin = 2.0, 3.0
    logprob = torch.tensor([-margin / beta * 4]).requires_grad_()
    value = _forget(logprob, [4], beta=beta, margin=margin)
    assert value.item() == pytest.approx(2 * math.log(2) / beta, rel=1e-6)
    value.sum().backward()
    assert logprob.grad.item() == pytest.approx(1 / 4, rel=1e-6)


def test_gradient_is_the_papers():
    logprob = torch.tensor([-3.0, -12.0]).requires_grad_()
    _forget(logprob, [2, 4], beta=1.5).sum().backward()
    odds = [math.exp(1.5 * mean) for mean in (-1.5, -3.0)]
    expected = [2 / n * o / (1 + o) for n, o in zip((2, 4), odds, strict=True)]
    assert logprob.grad.tolist() == pytest.approx(expected, rel=1e-5)


def test_without_a_margin_it_tends_to_gradient_ascent_on_means():
    lengths = torch.tensor([1.0, 5.0, 17.0])
    logprob = (-torch.tensor([2.0, 9.0, 40.0])).requires_grad_()
    _forget(logprob, lengths, beta=1e-5).sum().backward()
    torch.testing.assert_close(logprob.grad, 1 / lengths, rtol=1e-4, atol=0)


def test_it_is_npo_per_token_against_a_reference_of_probability_one():
    logprob, lengths = torch.tensor([-3.0, -0.5]), torch.tensor([3.0, 2.0])
    expected = npo(logprob / lengths, torch.zeros(2), beta=0.7)
    torch.testing.assert_close(_forget(logprob, lengths, beta=0.7), expected)


def test_retain_and_unrelated_by_hand():
    values = StreamValues(
        torch.tensor([2.0]), torch.tensor([-3.0]), kl_reference_policy=torch.tensor([0.5])
    )
    found = SimNpo()({"retain": values, "unrelated": values})
    assert {name: value.item() for name, value in found.items()} == {
        "retain": 1.5,
        "unrelated": 0.5,
    }


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beta": 0.0}, r"beta is 0.0; SimNPO needs a positive number"),
        ({"beta": float("inf")}, r"beta is inf; SimNPO needs a positive number"),
        ({"margin": float("nan")}, r"margin is nan; SimNPO needs a finite number"),
    ],
)
def test_numbers_out_of_range(options, message):
    with pytest.raises(ConfigError, match=message):
        SimNpo(**options)
