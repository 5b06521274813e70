"""Deltas in memory: what is taken between two states is applied, and undone to the last bit."""

from __future__ import annotations

import pytest
import torch

from tests.fixtures import tiny_model
from unskew.errors import ArtifactError
from unskew.models.deltas import AppliedDelta, SparseTensor, base_digest, difference, sparse

NAME = "transformer.h.0.attn.c_attn.weight"
TIED = "transformer.wte.weight"


def state(model):
    return {n: p.detach().clone() for n, p in model.named_parameters()}


def random_delta(model, names=(NAME, "transformer.h.1.mlp.c_proj.weight"), share=0.1, size=0.1):
    torch.manual_seed(3)
    shapes = {n: model.get_parameter(n).shape for n in names}
    return {
        n: sparse(size * torch.randn(shape), torch.rand(shape) < share)
        for n, shape in shapes.items()
    }


def test_a_hand_worked_tensor():
    change = torch.tensor([[0.0, 1.0001, 0.0], [-2.0, 0.0, 0.25]])
    found = sparse(change)
    assert found.index.tolist() == [1, 3, 5]
    assert torch.equal(found.dense(), change)
    masked = sparse(change, torch.tensor([[True, True, False], [False, False, True]]))
    assert masked.index.tolist() == [0, 1, 5]
    assert torch.equal(masked.dense(), torch.tensor([[0.0, 1.0001, 0.0], [0.0, 0.0, 0.25]]))


def test_the_difference_of_16_bit_weights_is_taken_in_float32():
    before = torch.tensor([1.0], dtype=torch.bfloat16)
    after = torch.tensor([1.0078125], dtype=torch.bfloat16)
    assert difference(after, before).item() == 0.0078125
    assert difference(after, before).dtype == torch.float32


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_applied_and_undone_to_the_last_bit(dtype):
    model = tiny_model().to(dtype)
    before = state(model)
    delta = random_delta(model)
    applied = AppliedDelta(model, delta)
    for name, old in before.items():
        new = model.get_parameter(name)
        dense = delta[name].dense() if name in delta else torch.zeros(old.shape)
        assert torch.equal(new, (old.float() + dense).to(dtype)), name
    assert not torch.equal(model.get_parameter(NAME), before[NAME])
    applied.undo()
    assert all(torch.equal(model.get_parameter(n), old) for n, old in before.items())


def test_adding_the_negative_would_not_undo():
    """Why the old weights are kept: the sum is rounded."""
    model = tiny_model().bfloat16()
    before = state(model)
    delta = random_delta(model, size=10.0)
    AppliedDelta(model, delta)
    AppliedDelta(model, delta, scale=-1.0)
    assert not torch.equal(model.get_parameter(NAME), before[NAME])


def test_scale_is_a_factor():
    half, whole = tiny_model(), tiny_model()
    delta = random_delta(whole)
    AppliedDelta(half, delta, scale=0.5)
    halved = {n: SparseTensor(d.shape, d.index, 0.5 * d.values) for n, d in delta.items()}
    AppliedDelta(whole, halved)
    assert torch.equal(half.get_parameter(NAME), whole.get_parameter(NAME))


def test_undone_in_the_wrong_order_is_refused():
    model = tiny_model()
    first = AppliedDelta(model, random_delta(model))
    second = AppliedDelta(model, random_delta(model))
    with pytest.raises(ArtifactError, match="was changed after the delta was applied"):
        first.undo()
    second.undo()
    first.undo()
    assert torch.equal(model.get_parameter(NAME), tiny_model().get_parameter(NAME))


def test_a_tied_weight_changes_once_for_both_its_users():
    model = tiny_model()
    old = model.get_parameter(TIED).detach().clone()
    delta = random_delta(model, names=(TIED,))
    AppliedDelta(model, delta)
    assert model.lm_head.weight is model.transformer.wte.weight
    assert torch.equal(model.lm_head.weight, old + delta[TIED].dense())


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("transformer.h.9.attn.c_attn.weight", (32, 96), "the model has no such weight"),
        (NAME, (96, 32), r"of shape \[96, 32\], the model has the shape \[32, 96\] there"),
    ],
)
def test_a_delta_of_another_model_is_refused_and_changes_nothing(name, shape, message):
    model = tiny_model()
    before = state(model)
    delta = {**random_delta(model), name: sparse(torch.ones(shape))}
    with pytest.raises(ArtifactError, match=message):
        AppliedDelta(model, delta)
    assert all(torch.equal(model.get_parameter(n), old) for n, old in before.items())


def test_a_quantised_model_is_refused():
    model = tiny_model()
    parameter = torch.nn.Parameter(torch.zeros(32, 96, dtype=torch.int8), requires_grad=False)
    model.transformer.h[0].attn.c_attn.weight = parameter
    with pytest.raises(ArtifactError, match=r"stored as torch.int8; .* is not quantised"):
        AppliedDelta(model, random_delta(tiny_model()))


def test_the_digest_is_of_the_places_that_change():
    model = tiny_model()
    delta = random_delta(model)
    digest = base_digest(model, delta)
    free = (delta[NAME].dense() == 0).nonzero()[0]
    with torch.no_grad():
        model.get_parameter(NAME)[tuple(free)] += 1.0
        assert base_digest(model, delta) == digest
        place = delta[NAME].index[len(delta[NAME].index) // 2]
        model.get_parameter(NAME).view(-1)[place] += 1e-6
    assert base_digest(model, delta) != digest
