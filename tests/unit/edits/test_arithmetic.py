"""Arithmetic of dense deltas against hand-worked tensors."""

from __future__ import annotations

import pytest
import torch

from tests.fixtures import tiny_model, with_adapter
from unskew.edits.dare import Dare
from unskew.edits.linear import Linear
from unskew.edits.negation import Negation
from unskew.edits.ties import Ties
from unskew.errors import ArtifactError, ConfigError
from unskew.hub.artifacts import scale_adapter
from unskew.models.deltas import AppliedDelta, combined
from unskew.models.shadow import AdapterShadow

FIRST = torch.tensor([3.0, -1.0, 0.5, -2.0])
SECOND = torch.tensor([-1.0, -2.0, 0.1, 4.0])
IDS = torch.tensor([[1, 5, 9, 7]])


def of(edit, *changes):
    return edit.combine("w", changes or (FIRST, SECOND))


def test_linear_is_the_weighted_sum():
    assert of(Linear()).tolist() == pytest.approx([2.0, -3.0, 0.6, 2.0])
    assert of(Linear([1.0, -0.5])).tolist() == pytest.approx([3.5, 0.0, 0.45, -4.0])


def test_negation_turns_one_delta_round():
    assert of(Negation(0.5), FIRST).tolist() == [-1.5, 0.5, -0.25, 1.0]
    assert not of(Negation(0.0), FIRST).any()
    assert of(Negation(-1.0, allow_amplify=True), FIRST).tolist() == FIRST.tolist()


def test_ties_by_hand():
    """Half of each: (3, 0, 0, -2) and (0, -2, 0, 4); signs of the sums + - 0 +."""
    assert of(Ties(density=0.5)).tolist() == [3.0, -2.0, 0.0, 4.0]
    assert of(Ties(density=0.5, scale=0.5)).tolist() == [1.5, -1.0, 0.0, 2.0]


def test_a_delta_with_a_negative_weight_takes_part_in_the_election():
    """(3, -1, .5, -2) and (1, 2, -.1, -4): signs + + + -, means 2, 2, .5, -3."""
    assert of(Ties(density=1.0, weights=[1, -1])).tolist() == pytest.approx([2.0, 2.0, 0.5, -3.0])


@pytest.mark.parametrize("edit", [Ties(density=1.0), Linear(), Dare(density=1.0)])
def test_one_whole_delta_is_itself(edit):
    assert torch.equal(of(edit, FIRST), FIRST)


def test_what_cancels_is_nothing():
    assert not of(Ties(density=1.0), FIRST, -FIRST).any()


def test_trimming_keeps_the_exact_number_of_equal_entries():
    equal = torch.full((10,), 2.0)
    assert int((of(Ties(density=0.3), equal) != 0).sum()) == 3


def test_the_mean_of_dare_is_the_delta():
    """Test of section 7.2; each entry is 0 or tau/p, s.d. |tau| sqrt((1-p)/p)/100 of the mean."""
    draws = torch.stack([of(Dare(density=0.25, seed=s), FIRST) for s in range(10_000)])
    error = (draws.mean(0) - FIRST).abs()
    assert (error < 4.5 * FIRST.abs() * 3**0.5 / 100).all()
    for i, value in enumerate(FIRST.tolist()):
        assert set(draws[:, i].tolist()) == {0.0, 4 * value}


def test_dare_draws_for_each_tensor_and_delta_its_own_and_again_the_same():
    ones = torch.ones(64)
    kept = [Dare(0.5).combine(name, [ones]) for name in ("a", "b", "a")]
    assert torch.equal(kept[0], kept[2]) and not torch.equal(kept[0], kept[1])
    both = Dare(0.5).combine("a", [ones, ones])
    assert set(both.tolist()) == {0.0, 2.0, 4.0}
    assert set(Dare(0.5, then="ties").combine("a", [ones, ones]).tolist()) == {0.0, 2.0}


def test_refusals():
    for edit in (Ties, Dare):
        for density in (0.0, 1.5):
            with pytest.raises(ConfigError, match=f"density is {density}; it must be above 0"):
                edit(density=density)
    with pytest.raises(
        ConfigError, match=r"gamma is -1.*; it must be 0 or positive, or set edit\.a"
    ):
        Negation(-1.0)
    with pytest.raises(ConfigError, match="negation takes one delta, not 2"):
        of(Negation())
    with pytest.raises(ConfigError, match="2 deltas need as many finite numbers"):
        of(Linear([1.0]))
    with pytest.raises(ArtifactError, match="only deltas of one base can be combined"):
        combined(Linear().combine, [{"w": torch.ones(2)}, {"w": torch.ones(3)}])


def test_a_weight_that_one_delta_leaves_alone():
    made = combined(Linear().combine, [{"a": FIRST, "b": SECOND}, {"b": SECOND}, {"c": 0 * FIRST}])
    assert list(made) == ["a", "b"]
    assert torch.equal(made["a"].dense(), FIRST) and torch.equal(made["b"].dense(), 2 * SECOND)


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_a_negated_adapter_is_the_adapter_with_negative_scale(family):
    """The LoRA path of section 7.1 equals the dense path."""
    adapted = with_adapter(tiny_model(family), targets="all_linear")
    delta = combined(Negation(0.5).combine, [AdapterShadow(adapted)])
    dense = tiny_model(family)
    applied = AppliedDelta(dense, delta)
    scale_adapter(adapted, -0.5)
    with torch.no_grad():
        ours, theirs = dense(input_ids=IDS).logits, adapted(input_ids=IDS).logits
        # W x - .5 B A x against (W - .5 B A) x: float32 rounding of logits of order 10.
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=0)
        applied.undo()
        assert torch.equal(dense(input_ids=IDS).logits, tiny_model(family)(input_ids=IDS).logits)


def test_one_step_of_gradient_descent_is_negated_exactly():
    """Section 7.1: the task vector of one SGD step is -lr g, so negation goes along +g."""
    torch.manual_seed(0)
    layer = torch.nn.Linear(4, 3, bias=False)
    before = layer.weight.detach().clone()
    layer(torch.randn(5, 4)).square().sum().backward()
    gradient = layer.weight.grad.clone()
    torch.optim.SGD(layer.parameters(), lr=0.25).step()
    tau = layer.weight.detach() - before
    torch.testing.assert_close(of(Negation(), tau), 0.25 * gradient, atol=1e-6, rtol=0)
