"""The losses of a pair, by hand."""

from __future__ import annotations

import math

import pytest
import torch

from unskew.edits.evenness import official, official_retain, squared_gap


def of_tokens(one: list[float], other: list[float]) -> float:
    """The official loss of two variants with these token probabilities."""
    rows = [torch.tensor(p, dtype=torch.float64) for p in (one, other)]
    prob = torch.stack([p.mean() for p in rows])[None]
    logprob = torch.stack([p.log().mean() for p in rows])[None]
    return official(prob, logprob).item()


def test_the_squared_gap():
    gap = squared_gap(torch.tensor([-1.0, -2.0]), torch.tensor([-1.5, -2.0]))
    assert gap.tolist() == [0.25, 0.0]


def test_the_official_loss_of_one_token_is_zero_where_both_are_alike_and_there_alone():
    assert of_tokens([0.3], [0.3]) == pytest.approx(0)
    assert of_tokens([0.3], [0.2]) == pytest.approx(0.1 * math.log(1.5))
    assert of_tokens([0.2], [0.3]) == pytest.approx(0.1 * math.log(1.5))


def test_the_official_loss_of_two_tokens_is_not_zero_where_both_are_alike():
    """Mean .5, mean of logs (ln .9 + ln .1) / 2: 2 * .5 * (ln .5 - that) = .5108."""
    assert of_tokens([0.9, 0.1], [0.9, 0.1]) == pytest.approx(0.5108, abs=1e-4)


def test_each_side_is_held_against_the_other():
    prob, logprob = torch.tensor([[0.5, 0.2]]), torch.tensor([[-1.0, -3.0]])
    wanted = 0.5 * (math.log(0.5) + 3.0) + 0.2 * (math.log(0.2) + 1.0)
    assert official(prob, logprob).item() == pytest.approx(wanted, rel=1e-6)


def test_the_official_retained_text():
    found = official_retain(torch.tensor([0.5]), torch.tensor([-1.0]))
    assert found.item() == pytest.approx(0.5 * (math.log(0.5) + 1.0), rel=1e-6)
