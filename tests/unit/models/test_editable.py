"""Maps that an edit shifts: found, watched, shifted and put back."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from tests.fixtures import FAMILIES, tiny_model
from unskew.errors import ConfigError, NoMatchingParameter
from unskew.models.deltas import AppliedDelta
from unskew.models.editable import EditableMaps, matching_linear, mlp_outputs

LAST = {
    "gpt2": "transformer.h.1.mlp.c_proj",
    "llama": "model.layers.1.mlp.down_proj",
    "opt": "model.decoder.layers.1.fc2",
    "gpt_neox": "gpt_neox.layers.1.mlp.dense_4h_to_h",
}


@pytest.mark.parametrize("family", LAST)
def test_the_output_map_of_the_last_mlp(family):
    assert mlp_outputs(tiny_model(family), 1) == (LAST[family],)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_has_one_in_each_block(family):
    assert len(mlp_outputs(tiny_model(family), 2)) == 2


def test_more_blocks_than_there_are_and_maps_that_are_absent_are_refused():
    model = tiny_model()
    with pytest.raises(ConfigError, match="last_blocks is 3, but the model has 2 blocks"):
        mlp_outputs(model, 3)
    with pytest.raises(
        NoMatchingParameter, match=r"called '\*.mlp.down_proj'.*stands for anything"
    ):
        matching_linear(model, ["*.mlp.c_proj", "*.mlp.down_proj"])
    names = ["transformer.h.0.mlp.c_proj", "transformer.h.1.mlp.c_proj"]
    assert list(matching_linear(model, ["*.mlp.c_proj", "*.1.mlp.*_proj"])) == names


def test_a_quantised_map_is_refused():
    model = tiny_model()
    module = model.get_submodule(LAST["gpt2"])
    module.weight = nn.Parameter(module.weight.to(torch.int8), requires_grad=False)
    with pytest.raises(
        ConfigError, match=r"stored as torch\.int8; an edit needs a model that is not"
    ):
        EditableMaps(model, [LAST["gpt2"]])


class Two(nn.Module):
    """The same map, stored both ways."""

    def __init__(self):
        super().__init__()
        self.linear, self.conv = nn.Linear(3, 2), Conv1D(2, 3)
        with torch.no_grad():
            self.conv.weight.copy_(self.linear.weight.T)
            self.conv.bias.copy_(self.linear.bias)


def test_either_way_of_storing_gives_the_same_function():
    model, x = Two(), torch.randn(4, 3)
    maps = EditableMaps(model, ["linear", "conv"])
    assert maps.shapes == {"linear": (3, 2), "conv": (3, 2)}
    shift = torch.randn(3, 2)
    shifts = {"linear": shift, "conv": shift}
    wanted = model.linear(x) + x @ shift
    with maps.open():
        with maps.shifted(shifts):
            assert torch.allclose(model.linear(x), wanted, atol=1e-6)
            assert torch.allclose(model.conv(x), wanted, atol=1e-6)
            (model.linear(x).square().sum() + model.conv(x).square().sum()).backward()
        found = maps.gradients()
        assert torch.allclose(found["linear"], x.T @ (2 * wanted), atol=1e-5)
        assert torch.allclose(found["conv"], found["linear"], atol=1e-5)
    AppliedDelta(model, maps.delta(shifts))
    assert torch.allclose(model.linear(x), wanted, atol=1e-6)
    assert torch.allclose(model.conv(x), wanted, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_weights_are_bitwise_what_they_were(dtype):
    model = tiny_model().to(dtype)
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    maps = EditableMaps(model, mlp_outputs(model, 2))
    shifts = {n: torch.randn(shape) for n, shape in maps.shapes.items()}
    with pytest.raises(KeyboardInterrupt), maps.open(), maps.shifted(shifts):
        moved = [n for n, p in model.named_parameters() if not torch.equal(p, before[n])]
        assert moved == [f"{n}.weight" for n in maps.shapes]
        raise KeyboardInterrupt
    assert all(torch.equal(p, before[n]) for n, p in model.named_parameters())
    assert all(p.requires_grad and p.grad is None for p in model.parameters())


@pytest.mark.parametrize("family", ["gpt2", "llama", "opt"])
def test_what_is_watched_is_the_input_and_the_gradient_at_the_places(family):
    """What the last block gives stays at its place, so U'G is the weight's gradient."""
    model = tiny_model(family)
    maps = EditableMaps(model, mlp_outputs(model, 1))
    ids = torch.tensor([[1, 5, 6, 7], [1, 8, 9, 4]])
    places = torch.tensor([1, 2, 6])
    with maps.open():
        with maps.watched(places) as watched:
            states = model.base_model(ids).last_hidden_state.flatten(0, 1)[places]
            states.tanh().sum().backward()
        ((u, g),) = watched.values()
        (wanted,) = maps.gradients().values()
    assert u.shape[0] == g.shape[0] == 3
    assert torch.allclose(u.T @ g, wanted, atol=1e-5)
