"""The weights that may move: how many, which, what is told, what is refused."""

from __future__ import annotations

import pytest
import torch

from unskew.errors import ConfigError
from unskew.saliency._overlap import Overlap
from unskew.saliency.choice import Chooser, inverted_masks, random_masks

BIAS = {
    "h.0.w": torch.tensor([[1.0, 1.0, 0.0], [0.0, 0.04, 0.0]]),
    "h.1.w": torch.tensor([[0.2, 0.9, 0.3, 0.4]]),
}
REASON = {
    "h.0.w": torch.tensor([[0.0, 1.0, 1.0], [1.0, 0.0, 0.0]]),
    "h.1.w": torch.tensor([[0.1, 0.8, 0.0, 0.7]]),
}


def chosen(bias=BIAS, reason=REASON, **settings):
    found = Chooser(**settings).choose(bias, reason)
    return {n: m.int().flatten().tolist() for n, m in found.masks.items()}


def test_the_shared_weight_is_left_to_the_reasoning():
    """Test (d) at rho = 1/6, and at 1 the weights that are not more biased than reasoning."""
    masks = chosen(fraction=1 / 6, norm="mean")
    assert masks["h.0.w"] == [1, 0, 0, 0, 0, 0]
    assert chosen(fraction=1.0, norm="mean")["h.0.w"] == [1, 1, 0, 0, 1, 0]
    assert chosen(fraction=1.0, norm="none")["h.0.w"] == [1, 0, 0, 0, 1, 0]


def test_lambda_zero_and_none_take_what_is_asked_for():
    for settings in ({"reason_weight": 0.0}, {"disentangle": "none"}):
        masks = chosen(fraction=0.5, norm="none", **settings)
        assert masks == {"h.0.w": [1, 1, 0, 0, 1, 0], "h.1.w": [0, 1, 0, 1]}


def test_setdiff_takes_the_reasoning_off():
    """Halves of the bias: 0 1 4, 1 3; of the reasoning: 1 2 3, 1 3; a fourth of it: 1 2, 1."""
    masks = chosen(fraction=0.5, disentangle="setdiff", norm="none")
    assert masks == {"h.0.w": [1, 0, 0, 0, 1, 0], "h.1.w": [0, 0, 0, 0]}
    masks = chosen(fraction=0.5, disentangle="setdiff", norm="none", reason_fraction=0.25)
    assert masks == {"h.0.w": [1, 0, 0, 0, 1, 0], "h.1.w": [0, 0, 0, 1]}


def test_equal_saliency_still_gives_the_exact_number():
    """Test (c)."""
    even = {"w": torch.full((30, 10), 0.5)}
    found = Chooser(fraction=0.1, disentangle="none").choose(even)
    assert int(found.masks["w"].sum()) == 30
    assert found.fraction == pytest.approx(0.1) and found.overlap is None


def test_the_effective_fraction_is_told():
    found = Chooser(fraction=1.0, norm="none").choose(BIAS, REASON)
    assert found.fraction_by_tensor == pytest.approx({"h.0.w": 2 / 6, "h.1.w": 3 / 4})
    assert found.fraction == pytest.approx(5 / 10)
    assert found.warnings == ()


def test_an_empty_tensor_and_ranks_over_all_are_told():
    reason = {**REASON, "h.1.w": torch.full((1, 4), 9.0)}
    found = Chooser(fraction=0.5, norm="none").choose(BIAS, reason)
    assert found.warnings == ("1 tensors have no weight chosen, first h.1.w",)
    found = Chooser(fraction=0.5, norm="rank", ranking="global").choose(BIAS, REASON)
    assert any("norm=mean tells them apart" in w for w in found.warnings)


def test_overlap_by_hand():
    """Tops of half: {0,1,4} and {1,2,3}, {1,3} and {1,3}: 3 of 7; shares 1/2 give 1/3 by chance."""
    found = Chooser(fraction=0.5, norm="none").choose(BIAS, REASON).overlap
    assert found.jaccard == pytest.approx(3 / 7)
    assert found.by_chance == pytest.approx(1 / 3)


def test_chance_is_rho_over_two_less_rho():
    torch.manual_seed(0)
    drawn = [(torch.rand(50_000) < 0.1, torch.rand(50_000) < 0.1) for _ in range(4)]
    found = Overlap.total(Overlap.of(*masks) for masks in drawn)
    assert found.by_chance == pytest.approx(0.0526, abs=0.001)
    # 200 000 weights, 38 000 in either: standard error .0011.
    assert found.jaccard == pytest.approx(found.by_chance, abs=0.004)
    same = Overlap.of(torch.tensor([True, False]), torch.tensor([True, False]))
    assert same.jaccard == 1.0
    none = Overlap.of(torch.zeros(2, dtype=torch.bool), torch.zeros(2, dtype=torch.bool))
    assert none.jaccard == none.by_chance == 0.0


def test_controls_choose_as_many_of_each_tensor():
    torch.manual_seed(0)
    scores = {"a": torch.rand(40, 30), "b": torch.rand(7)}
    masks = Chooser(fraction=0.1, disentangle="none", norm="none").choose(scores).masks
    drawn, other = random_masks(masks, 0), random_masks(masks, 1)
    inverted = inverted_masks(masks, scores)
    for name, mask in masks.items():
        for control in (drawn, other, inverted):
            assert int(control[name].sum()) == int(mask.sum())
        assert not (inverted[name] & mask).any()
        assert scores[name][inverted[name]].max() < scores[name][mask].min()
    assert torch.equal(drawn["a"], random_masks(masks, 0)["a"])
    assert not torch.equal(drawn["a"], other["a"])


SIGNED = {n: s - 0.5 for n, s in BIAS.items()}


@pytest.mark.parametrize(
    ("bias", "reason", "settings", "message"),
    [
        (BIAS, None, {}, "disentangle=subtract needs a saliency for the reasoning"),
        (BIAS, {"h.0.w": REASON["h.0.w"]}, {}, "lacks 1 tensors, first h.1.w; make both of the"),
        (BIAS, REASON, {"fraction": 0.0}, "fraction is 0.0; it must be above 0 and at most 1"),
        (BIAS, REASON, {"reason_weight": -1.0}, "lambda is -1.0; it must be 0 or positive"),
        (BIAS, REASON, {"disentangle": "project"}, r"for the bias has no signs; make it with {nam"),
        (SIGNED, REASON, {}, "for the bias has negative scores, which only disentangle=project"),
        (BIAS, SIGNED, {}, "for the reasoning has negative scores"),
        (
            {n: 0 * s for n, s in BIAS.items()},
            REASON,
            {},
            "the saliency for the bias is 0 for every weight; nothing is found",
        ),
        (BIAS, BIAS, {"norm": "none"}, "no weight is more responsible for the bias than for the"),
    ],
)
def test_refusals(bias, reason, settings, message):
    with pytest.raises(ConfigError, match=message):
        Chooser(**settings).choose(bias, reason)


def test_projected_gradients_choose():
    bias = {"w": torch.tensor([3.0, 1.0, -2.0])}
    reason = {"w": torch.tensor([1.0, 0.0, -0.0]) - torch.tensor([0.0, 0.0, 1e-9])}
    found = Chooser(fraction=1 / 3, disentangle="project", norm="none").choose(bias, reason)
    assert found.masks["w"].tolist() == [False, False, True]
