"""The method's claim, that the equalised distribution is the nearest even one, and its parts."""

from __future__ import annotations

import math

import pytest
import torch

from tests.fixtures import make_trainer, mean_logprob_gap, pairs
from unskew.data.batches import ChunkSizes
from unskew.errors import ConfigError
from unskew.objectives.even import Even
from unskew.protocols import StreamValues

P = torch.tensor([0.30, 0.06, 0.25, 0.39], dtype=torch.float64)
"""A next-token distribution; the first two words are the pair."""


def _streams(logits: torch.Tensor) -> dict[str, StreamValues]:
    """What the loop would hand over for one slot of one token, from logits over four words."""
    q, one = logits.log_softmax(-1), torch.ones(1)
    base = P.log()
    return {
        "pairs": StreamValues(one, (q[0] - q[1])[None]),
        "slots": StreamValues(one, q[:2].logsumexp(0)[None], base[:2].logsumexp(0)[None]),
        "unrelated": StreamValues(one, kl_reference_policy=(P * (base - q)).sum()[None]),
    }


def test_the_mean_is_the_nearest_even_distribution():
    """Against a search in steps of 1/1000 over all even distributions of four words."""
    best = min(
        (
            (P * (P / torch.tensor([x, x, y, 1 - 2 * x - y], dtype=torch.float64)).log())
            .sum()
            .item(),
            x,
            y,
        )
        for x in (i / 1000 for i in range(100, 300))
        for y in (j / 1000 for j in range(150, 350))
    )
    assert best[1:] == (0.18, 0.25)


def test_the_aim_costs_nothing_and_does_not_pull():
    aim = torch.tensor([0.18, 0.18, 0.25, 0.39], dtype=torch.float64).log().requires_grad_()
    values = Even()(_streams(aim))
    loss = values["gap"] + values["mass"]
    loss.sum().backward()
    assert loss.item() == pytest.approx(0, abs=1e-12)
    assert aim.grad.abs().max().item() < 1e-7


def test_descent_arrives_at_the_aim_from_the_base():
    """With a KL that does not see the pair, as on other text, both words meet at their mean."""
    logits = P.log().clone().requires_grad_()
    optimizer = torch.optim.SGD([logits], lr=0.2)
    for _ in range(4000):
        optimizer.zero_grad()
        parts = Even(gap_width=1.0, mass_width=1.0)(_streams(logits))
        q = logits.log_softmax(-1)
        rest = q[2:] - q[2:].logsumexp(0)
        held = (P[2:] / P[2:].sum() * (P[2:] / P[2:].sum()).log()).sum()
        elsewhere = held - (P[2:] / P[2:].sum() * rest).sum()
        (parts["gap"].sum() + 10 * parts["mass"].sum() + elsewhere).backward()
        optimizer.step()
    expected = torch.tensor([0.18, 0.18, 0.25, 0.39], dtype=torch.float64)
    assert torch.allclose(logits.softmax(-1), expected, atol=5e-3)


def test_gap_by_hand_and_alike_for_both_signs():
    odds = torch.tensor([0.3, -0.3, 2.0, -2.0]).requires_grad_()
    gap = Even(gap_width=0.5)({"pairs": StreamValues(torch.ones(4), odds)})["gap"]
    assert gap.tolist() == pytest.approx([0.09, 0.09, 1.75, 1.75])
    gap.sum().backward()
    assert odds.grad.tolist() == pytest.approx([0.6, -0.6, 1, -1])


def test_with_counterfactuals_the_groups_average_is_the_aim():
    odds, teacher = torch.tensor([0.9, 0.4]), torch.tensor([0.4, 0.4])
    stream = StreamValues(torch.ones(2), odds, teacher)
    taught = Even(target="counterfactuals", gap_width=0.1)
    assert taught({"pairs": stream})["gap"].tolist() == pytest.approx([0.45, 0])
    assert Even(gap_width=0.1)({"pairs": stream})["gap"].tolist() == pytest.approx([0.85, 0.35])
    assert taught.parts["gap"].reference_over == "contexts"
    assert not Even().parts["gap"].needs_reference


def test_mass_is_one_sided():
    base = torch.tensor([0.5, 0.5, 0.5, 0.5]).log()
    policy = (base + torch.tensor([0.4, 0.0, -0.2, -math.log(4)])).requires_grad_()
    mass = Even(mass_width=0.5)({"slots": StreamValues(torch.ones(4), policy, base)})["mass"]
    assert mass.tolist() == pytest.approx([0, 0, 0.04, math.log(4) - 0.25], abs=1e-7)
    mass.sum().backward()
    assert policy.grad.tolist() == pytest.approx([0, 0, -0.4, -1], abs=1e-6)


def test_forty_steps_close_the_gaps_and_do_not_turn_them_round(tmp_path):
    trainer = make_trainer(
        tmp_path,
        objective=Even(),
        weights={"gap": 1.0, "mass": 1.0, "unrelated": 0.2},
        sizes=ChunkSizes(0, 0, 4, pairs=8, slots=8),
        settings={"max_steps": 40, "eval_steps": 40},
        controllers=[],
    )
    sizes = []
    for _ in range(2):
        each = [mean_logprob_gap(trainer.source.path, [pair]) for pair in pairs()]
        sizes.append(sum(abs(gap) for gap in each) / len(each))
        if len(sizes) == 1:
            trainer.fit()
    assert sizes[0] > 0.3
    assert sizes[1] < 0.2 * sizes[0]


@pytest.mark.parametrize("name", ["gap_width", "mass_width"])
@pytest.mark.parametrize("width", [0.0, -1.0, float("inf"), float("nan")])
def test_widths_out_of_range(name, width):
    with pytest.raises(ConfigError, match=rf"{name} is {width}; it must be a positive number"):
        Even(**{name: width})
