"""DPO against its closed form, its limits, and a pair of words that it ranks."""

from __future__ import annotations

import math

import pytest
import torch

from tests.fixtures import make_trainer, mean_logprob_gap, pairs
from unskew.data.batches import ChunkSizes
from unskew.errors import ConfigError
from unskew.objectives.dpo import Dpo
from unskew.protocols import StreamValues


def _preference(policy, reference, beta=0.1) -> torch.Tensor:
    stream = StreamValues(torch.ones(len(policy)), policy, reference)
    return Dpo(beta)({"pairs": stream})["preference"]


def test_at_the_reference_it_is_ln_two_and_pulls_by_half_beta():
    policy = torch.tensor([-3.0, 0.0, 7.0]).requires_grad_()
    value = _preference(policy, policy.detach(), beta=0.4)
    assert value.tolist() == pytest.approx([math.log(2)] * 3, rel=1e-6)
    value.sum().backward()
    assert policy.grad.tolist() == pytest.approx([-0.2] * 3, rel=1e-6)


def test_numbers_of_the_specification():
    # Margins 10 and -10 over the reference at beta .1: ln(1 + e^-1) and ln(1 + e).
    value = _preference(torch.tensor([9.0, -11.0]), torch.tensor([-1.0, -1.0]))
    assert value.tolist() == pytest.approx([0.313262, 1.313262], abs=5e-7)


def test_a_wide_margin_costs_and_pulls_nothing():
    policy = torch.tensor([400.0]).requires_grad_()
    value = _preference(policy, torch.zeros(1), beta=1.0)
    value.sum().backward()
    assert value.item() == policy.grad.item() == 0


def test_exchanging_the_variants_turns_the_first_step_round():
    """At the reference the loss of a pair and of its mirror have opposite gradients."""
    grads = []
    for sign in (1, -1):
        odds = torch.tensor([2.0]).requires_grad_()
        _preference(sign * odds, sign * odds.detach()).sum().backward()
        grads.append(odds.grad.item())
    assert grads[0] == -grads[1] < 0


def test_the_lose_side_alone_is_npo_up_to_its_factor():
    """Where the kept variant stays as it was, DPO is beta/2 times NPO of the forgotten one."""
    forgotten = torch.tensor([-2.0, -9.0])
    reference = torch.tensor([-3.0, -4.0])
    ratio = (forgotten.double() - reference.double()).tolist()
    npo = [2 / 0.1 * math.log1p(math.exp(0.1 * r)) for r in ratio]
    found = _preference(-forgotten, -reference)
    assert found.tolist() == pytest.approx([0.05 * value for value in npo], rel=1e-6)


def test_what_it_asks_of_a_pair():
    assert Dpo().parts["preference"].quantity == "log_odds"
    assert Dpo(length_normalise=True).parts["preference"].quantity == "log_odds_per_token"
    assert Dpo().parts["preference"].needs_reference


def test_twenty_steps_rank_the_anti_stereotype_higher(tmp_path):
    trainer = make_trainer(
        tmp_path,
        objective=Dpo(),
        weights={"preference": 1.0},
        sizes=ChunkSizes(0, 0, 0, pairs=8),
        settings={"max_steps": 20, "eval_steps": 20},
        controllers=[],
    )
    before = mean_logprob_gap(trainer.source.path, pairs())
    trainer.fit()
    assert mean_logprob_gap(trainer.source.path, pairs()) - before > 0.5


@pytest.mark.parametrize("beta", [0.0, -1.0, float("nan"), float("inf")])
def test_beta_out_of_range(beta):
    with pytest.raises(ConfigError, match=r"beta is .*; DPO needs a positive number"):
        Dpo(beta)
