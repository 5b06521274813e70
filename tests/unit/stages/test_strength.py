"""The search for a strength, against a model whose bias is a known function of it."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from unskew.controllers.checkpoint_choice import CheckpointChoice, Floor
from unskew.models.deltas import AppliedDelta, sparse
from unskew.stages.strength import StrengthSearch
from unskew.types import Metric


class Scalar(nn.Module):
    """One weight, 0 in the base model; a delta of 1 makes it the strength."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.zeros(1))


def metric(name, value, category="overall", ideal=None, better="higher"):
    fields = {"benchmark": "stereoset", "variant": "v", "split": "select", "unit": "%", "n": 100}
    interval = {"ci_low": None, "ci_high": None}
    return Metric(
        **fields,
        **interval,
        category=category,
        metric=name,
        value=value,
        ideal=ideal,
        better=better,
    )


def search_for(gap, *, lms=lambda s: 100.0, floors=(), model=None):
    """A search in which the mean gap, SS and LMS at a strength are these."""
    model = model or Scalar()

    def evaluate(_):
        s = model.w.item()
        ss = 50 + 100 * gap(s)
        return [
            metric("mean_gap", gap(s)),
            metric("ss", ss, "all", 50.0, "closer"),
            metric("lms", lms(s)),
        ]

    choice = CheckpointChoice(floors, window=0.01, over="average")
    delta = {"w": sparse(torch.ones(1))}

    def apply(strength):
        return AppliedDelta(model, delta, strength).undo

    return StrengthSearch.begin(model, apply, evaluate, choice)


def test_the_model_is_put_back_after_every_trial():
    model = Scalar()
    search = search_for(lambda s: 0.3 - 0.4 * s, model=model)
    search.run([0.5, 1.0], refine=2)
    assert model.w.item() == 0.0
    assert search.strengths[:3] == [0.0, 0.5, 1.0]


def test_refining_closes_in_on_the_even_strength():
    """Even at .75: between .5 and 1 the middle is tried, then the middle of what is left."""
    search = search_for(lambda s: 0.3 - 0.4 * s)
    search.run([0.5, 1.0], refine=1)
    assert search.strengths[search.best] == 0.75
    search = search_for(lambda s: 0.35 - 0.5 * s)  # even at .7
    search.run([0.5, 1.0], refine=4)
    assert search.strengths[search.best] == pytest.approx(0.7, abs=0.02)


def test_a_floor_keeps_the_strength_below_what_is_even():
    floors = [Floor("stereoset", "lms", 2.0)]
    search = search_for(lambda s: 0.3 - 0.4 * s, lms=lambda s: 100 - 5 * s, floors=floors)
    search.run([0.25, 0.5, 0.75], refine=3)
    assert search.strengths[search.best] <= 0.4 + 1e-6
    assert search.strengths[search.best] > 0.3


@pytest.mark.parametrize("shape", [lambda s: 0.3 - 0.4 * s, lambda s: 0.3 * math.exp(-3 * s)])
def test_a_wanted_gap_is_met(shape):
    search = search_for(shape)
    strength = search.match(0.1, [0.1, 0.2, 0.5, 1.0])
    assert shape(strength) == pytest.approx(0.1, abs=2e-3)


def test_a_gap_out_of_reach_gives_the_nearest():
    search = search_for(lambda s: 0.3 - 0.1 * s)
    assert search.match(0.05, [0.5, 1.0]) == 1.0
    assert search_for(lambda s: 0.3 + 0.1 * s).match(0.05, [0.5, 1.0]) == 0.0
