"""Scores that tell bias from reasoning: the closed form, the five ways, the normalisations."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unskew.errors import ConfigError
from unskew.models.selection import select
from unskew.saliency._combine import disentangled, normalise

BIAS = torch.tensor([1.0, 1.0, 0.0, 0.0, 0.04, 0.0])
REASON = torch.tensor([0.0, 1.0, 1.0, 1.0, 0.0, 0.0])
"""Population gradients of test (d): see tests/unit/training/test_attribution.py."""


def test_the_closed_form():
    """Test (d): mean-normalised, S_B/.34 - S_R/.5 = (2.941, .941, -2, -2, .118, 0)."""
    z = disentangled(BIAS, REASON, norm="mean")
    torch.testing.assert_close(
        z, torch.tensor([1 / 0.34, 1 / 0.34 - 2, -2, -2, 0.04 / 0.34, 0]), atol=1e-6, rtol=1e-6
    )
    first = select({"w": z}, 1 / 6, only_positive=True)["w"]
    assert first.tolist() == [True, False, False, False, False, False]
    second = select({"w": z}, 2 / 6, only_positive=True)["w"]
    assert second.tolist() == [True, True, False, False, False, False]
    whole = select({"w": z}, 1.0, only_positive=True)["w"]
    assert whole.tolist() == [True, True, False, False, True, False]


def test_ratio_is_bias_over_reason_less_one():
    bias, reason = torch.tensor([2.0, 1.0, 0.0]), torch.tensor([1.0, 1.0, 4.0])
    z = disentangled(bias, reason, disentangle="ratio")
    # Means 1 and 2: (2, 1, 0) over (.5, .5, 2).
    torch.testing.assert_close(z, torch.tensor([3.0, 1.0, -1.0]), atol=2e-4, rtol=0)


@pytest.mark.parametrize("way", ["none", "setdiff"])
def test_without_the_reasoning_the_bias_alone_ranks(way):
    z = disentangled(BIAS, None, disentangle=way, norm="none")
    assert torch.equal(z, BIAS)


def test_lambda_weighs_the_reasoning():
    z = disentangled(BIAS, REASON, norm="none", weight=0.25)
    assert torch.equal(z, BIAS - 0.25 * REASON)
    assert torch.equal(disentangled(BIAS, REASON, norm="none", weight=0.0), BIAS)


def test_projected_gradients_are_orthogonal_to_the_reasoning():
    """Test (g); where the two point apart nothing is taken off."""
    torch.manual_seed(0)
    reason = torch.randn(40, 30)
    bias = torch.randn(40, 30) + 0.5 * reason
    z = disentangled(bias, reason, disentangle="project", norm="none")
    left = z * torch.where(_projected(bias, reason) < 0, -1.0, 1.0)
    cosine = (left.double() * reason.double()).sum() / (left.norm() * reason.norm())
    assert abs(cosine) < 1e-6
    assert (bias * reason).sum() / (bias.norm() * reason.norm()) > 0.3
    away = disentangled(-bias, reason, disentangle="project", norm="none")
    assert torch.equal(away, bias.abs())


def _projected(bias, reason):
    return bias - (bias * reason).sum() / (reason * reason).sum() * reason


@given(st.lists(st.sampled_from([-2.0, -0.0, 0.0, 1e-40, 1.0, 1.5]), min_size=1, max_size=60))
def test_ranks_are_places_in_a_stable_order(values):
    ranks = normalise(torch.tensor(values), "rank")
    order = sorted(range(len(values)), key=lambda i: (values[i], i))
    places = [0.0] * len(values)
    for place, i in enumerate(order):
        places[i] = place / max(len(values) - 1, 1)
    assert ranks.tolist() == pytest.approx(places)


def test_ranks_do_not_change_under_a_rising_function():
    """Test (h)."""
    torch.manual_seed(0)
    scores = torch.rand(50, 70)
    ranks = normalise(scores, "rank")
    assert torch.equal(ranks, normalise(scores.double().exp().mul(1e6).float(), "rank"))
    assert ranks.min() == 0 and ranks.max() == 1 and ranks.shape == scores.shape


def test_mean_and_none():
    assert normalise(torch.tensor([[1.0, 3.0]]), "mean").tolist() == [[0.5, 1.5]]
    assert normalise(torch.zeros(3), "mean").tolist() == [0, 0, 0]
    assert torch.equal(normalise(BIAS, "none"), BIAS)


def test_refusals():
    with pytest.raises(ConfigError, match=r"lambda is -0\.5; it must be 0 or positive"):
        disentangled(BIAS, REASON, weight=-0.5)
    for way in ("subtract", "ratio", "project"):
        with pytest.raises(ConfigError, match=f"disentangle={way} needs a saliency for the reason"):
            disentangled(BIAS, None, disentangle=way)
    assert math.isfinite(disentangled(BIAS, torch.zeros(6), disentangle="ratio").sum())
