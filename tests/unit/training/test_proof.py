"""Proof that a computed change touched what it names and nothing else."""

from __future__ import annotations

import pytest
import torch

from tests.fixtures import tiny_model
from unskew.errors import NoEffect
from unskew.models.deltas import AppliedDelta, added, scaled, sparse
from unskew.training.proof import DeltaSnapshot

NAME = "transformer.h.0.mlp.c_fc.weight"


def change(model, value=0.5):
    dense = torch.zeros_like(model.get_parameter(NAME))
    dense[0, :3] = value
    return {NAME: sparse(dense)}


def test_the_effect_of_a_change_is_counted():
    model = tiny_model()
    delta = change(model)
    snapshot = DeltaSnapshot(model, delta)
    before = model.get_parameter(NAME).detach().clone()
    AppliedDelta(model, delta)
    effect = snapshot.effect(model)
    assert (effect.num_trainable_tensors, effect.num_moved, effect.num_frozen_changed) == (1, 1, 0)
    assert effect.num_frozen_tensors == len(list(model.parameters())) - 1
    after = model.get_parameter(NAME).detach()
    expected = (after - before).norm() / after.norm()
    assert effect.relative_change == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("place", [(NAME, (5, 5)), ("transformer.wte.weight", (0, 0))])
@torch.no_grad()
def test_a_weight_outside_the_change_must_not_move(place):
    model = tiny_model()
    delta = change(model)
    snapshot = DeltaSnapshot(model, delta)
    AppliedDelta(model, delta)
    name, index = place
    model.get_parameter(name)[index] += 1e-3
    with pytest.raises(NoEffect, match=f"{name} changed where the edit does not"):
        snapshot.effect(model)


def test_a_change_that_rounding_swallows_is_no_effect():
    model = tiny_model().to(torch.bfloat16)
    with torch.no_grad():
        model.get_parameter(NAME)[0, :3] = 1.0
    delta = change(model, value=1e-4)
    snapshot = DeltaSnapshot(model, delta)
    AppliedDelta(model, delta)
    with pytest.raises(NoEffect, match="lost in the precision of the weights"):
        snapshot.effect(model)


def test_deltas_add_and_scale():
    first = {"a": sparse(torch.tensor([1.0, 0.0, 2.0])), "b": sparse(torch.tensor([1.0]))}
    second = {"a": sparse(torch.tensor([-1.0, 3.0, 0.0]))}
    both = added(first, second)
    assert both["a"].dense().tolist() == [0.0, 3.0, 2.0]
    assert both["a"].index.tolist() == [1, 2] and both["b"].dense().tolist() == [1.0]
    assert scaled(both, -2.0)["a"].dense().tolist() == [0.0, -6.0, -4.0]
