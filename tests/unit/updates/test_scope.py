"""Which parameters move, in every family: the adapter's, all of them, and no other."""

from __future__ import annotations

import pytest
import torch

from tests.fixtures import FAMILIES, encoder, pairs, tiny_model
from unskew.errors import ConfigError, ModelError, NoMatchingParameter, UnknownArchitecture
from unskew.models.logprobs import ScoringPath, collate
from unskew.types import Segment
from unskew.updates.scope import FullScope, LoraScope


def _train_step(model, optimizer) -> None:
    path = ScoringPath(model)
    rows = encoder().encode([Segment(p.stereotype, p.completion_start) for p in pairs()[:4]])
    batch = collate(rows)
    optimizer.zero_grad()
    (-path.logprobs(path.states(batch), batch.targets)).mean().backward()
    optimizer.step()


def _moved(model, before) -> set[str]:
    return {n for n, p in model.named_parameters() if not torch.equal(p, before[n])}


def _copies(model) -> dict[str, torch.Tensor]:
    return {n: p.detach().clone() for n, p in model.named_parameters()}


@pytest.mark.parametrize("targets", ["attention", "all_linear"])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_lora_tensor_moves_and_no_other(family, targets):
    model = LoraScope(r=2, targets=targets).apply(tiny_model(family))
    before = _copies(model)
    lora = {n for n in before if ".lora_" in n}
    assert lora == {n for n, p in model.named_parameters() if p.requires_grad}
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1.0)
    _train_step(model, optimizer)
    # B starts at 0, so A has no gradient before B has moved.
    assert _moved(model, before) == {n for n in lora if ".lora_B." in n}
    _train_step(model, optimizer)
    assert _moved(model, before) == lora


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_a_fresh_adapter_changes_no_logit(family):
    ids = torch.tensor([[1, 5, 9, 7]])
    plain = tiny_model(family)(input_ids=ids).logits
    assert torch.equal(LoraScope().apply(tiny_model(family))(input_ids=ids).logits, plain)


def test_the_adapter_adds_alpha_over_r_times_b_a():
    model = LoraScope(r=2, alpha=6.0, target_modules=["q_proj"]).apply(tiny_model("llama"))
    module = model.base_model.model.model.layers[0].self_attn.q_proj
    with torch.no_grad():
        module.lora_B["default"].weight.normal_()
    x = torch.randn(3, 32)
    a, b = module.lora_A["default"].weight, module.lora_B["default"].weight
    torch.testing.assert_close(module(x) - module.base_layer(x), 3.0 * x @ a.T @ b.T)


def test_named_modules():
    model = LoraScope(target_modules=["mlp.c_fc"]).apply(tiny_model())
    names = {n.split(".lora_")[0] for n, p in model.named_parameters() if p.requires_grad}
    assert names == {f"base_model.model.transformer.h.{i}.mlp.c_fc" for i in (0, 1)}


@pytest.mark.parametrize("name", ["q_prj", "lm_head"])
def test_a_name_that_is_no_linear_map_is_refused(name):
    with pytest.raises(NoMatchingParameter, match=rf"ends in '{name}'; there are .*q_proj"):
        LoraScope(target_modules=["q_proj", name]).apply(tiny_model("llama"))


def test_a_second_adapter_is_refused():
    model = LoraScope().apply(tiny_model())
    with pytest.raises(ModelError, match=r"already carries an adapter; load the base model"):
        LoraScope().apply(model)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"r": 0}, r"scope.r is 0; the rank must be at least 1"),
        ({"alpha": 0.0}, r"scope.alpha is 0.0; the scale must be positive"),
        ({"dropout": 1.0}, r"scope.dropout is 1.0; it must be in \[0, 1\)"),
    ],
)
def test_numbers_out_of_range(options, message):
    with pytest.raises(ConfigError, match=message):
        LoraScope(**options)


def test_full_scope_moves_everything():
    model = FullScope().apply(tiny_model().requires_grad_(False))
    before = _copies(model)
    _train_step(model, torch.optim.SGD(model.parameters(), lr=1.0))
    assert _moved(model, before) == set(before)


def test_linear_scope_leaves_embeddings_norms_and_head_alone():
    model = FullScope("linear").apply(tiny_model())
    before = _copies(model)
    _train_step(model, torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1.0))
    maps = ("attn.c_attn.", "attn.c_proj.", "mlp.c_fc.", "mlp.c_proj.")
    assert _moved(model, before) == {n for n in before if any(m in n for m in maps)}


def test_linear_scope_needs_a_known_architecture():
    model = tiny_model()
    model.config.model_type = "gpt22"
    with pytest.raises(UnknownArchitecture, match=r"'gpt22'; did you mean 'gpt2'\?"):
        FullScope("linear").apply(model)
