"""The dense change of an artefact is the same whichever way it was saved."""

from __future__ import annotations

import pytest
import torch
from peft import LoraConfig, get_peft_model

from tests.fixtures import tiny_model, word_tokenizer
from tests.unit.hub.saved import folder_of, manifest
from unskew.errors import ArtifactError
from unskew.hub.artifacts import save_artifact
from unskew.hub.changes import changes_in
from unskew.hub.deltas import save_delta
from unskew.models.deltas import difference, sparse
from unskew.models.load import base_parameters, load_model


@pytest.fixture
def base(tmp_path):
    return load_model(str(folder_of(tiny_model(), tmp_path / "base")))


def weights(model):
    return {n: p.detach().clone() for n, p in base_parameters(model)}


def with_adapter(model):
    torch.manual_seed(0)
    config = LoraConfig(r=2, target_modules=["c_fc", "c_proj"], fan_in_fan_out=True)
    policy = get_peft_model(model, config)
    for name, parameter in policy.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.02)
    return policy


def test_adapter_delta_and_model_give_the_same_change(base, tmp_path):
    before = weights(base.model)
    policy = with_adapter(base.model)
    save_artifact(policy, word_tokenizer(), tmp_path / "adapter", manifest(base), [])
    merged = weights(policy.merge_and_unload())
    save_artifact(base.model, word_tokenizer(), tmp_path / "model", None, [])
    base = load_model(str(tmp_path / "base"), device="cpu")
    expected = {n: difference(merged[n], before[n]) for n in merged}
    expected = {n: c for n, c in expected.items() if c.any()}
    assert len(expected) == 6
    delta = {n: sparse(c) for n, c in expected.items()}
    save_delta(delta, base.model, tmp_path / "delta", manifest(base), [])

    for kind in ("adapter", "delta", "model"):
        found = changes_in(base, tmp_path / kind)
        assert found.keys() == expected.keys(), kind
        for name, change in found.items():
            torch.testing.assert_close(change, expected[name], atol=1e-7, rtol=0)
        now = weights(base.model)
        assert now.keys() == before.keys()
        assert all(torch.equal(now[n], before[n]) for n in now), kind


def test_a_model_of_other_shapes_is_refused(base, tmp_path):
    other = folder_of(tiny_model(n_embd=16), tmp_path / "other")
    with pytest.raises(ArtifactError, match=r"has no .* like the base model's"):
        changes_in(base, other)
