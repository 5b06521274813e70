"""Where things are in each family, and whether the cut before the head is the model itself."""

from __future__ import annotations

import re

import pytest
import torch
import transformers as hf

from tests.fixtures import FAMILIES, tiny_model, tokens, with_adapter
from unskew.errors import NoMatchingParameter, UnknownArchitecture
from unskew.models.logprobs import ScoringPath, collate
from unskew.models.sites import (
    ARCHITECTURES,
    body_and_head,
    layer_sites,
    linear_names,
    target_pattern,
)

# Maps per layer, counted by hand from each architecture's description.
ATTENTION_MAPS = {
    "gpt2": 2, "llama": 4, "mistral": 4, "qwen2": 4, "qwen3": 4, "gemma": 4, "gemma2": 4,
    "opt": 4, "gpt_neox": 2, "phi3": 2, "falcon": 2, "bloom": 2,
}  # fmt: skip
ALL_MAPS = {
    "gpt2": 4, "llama": 7, "mistral": 7, "qwen2": 7, "qwen3": 7, "gemma": 7, "gemma2": 7,
    "opt": 6, "gpt_neox": 4, "phi3": 4, "falcon": 4, "bloom": 4,
}  # fmt: skip


def _matches(model, targets) -> list[str]:
    pattern = target_pattern(model, targets)
    return [n for n in linear_names(model) if re.fullmatch(pattern, n)]


@pytest.mark.parametrize("family", FAMILIES)
def test_targets_are_found_in_every_layer(family):
    model = tiny_model(family)
    assert len(_matches(model, "attention")) == 2 * ATTENTION_MAPS[family]
    assert len(_matches(model, "all_linear")) == 2 * ALL_MAPS[family]


def test_gpt2_attention_does_not_match_the_mlps_c_proj():
    assert sorted(_matches(tiny_model("gpt2"), "attention")) == [
        f"transformer.h.{i}.attn.{name}" for i in (0, 1) for name in ("c_attn", "c_proj")
    ]


def test_the_head_is_no_linear_map_to_adapt():
    model = tiny_model("llama")
    assert "lm_head" in dict(model.named_modules())
    assert "lm_head" not in linear_names(model)


def test_an_unknown_architecture_lists_what_it_has():
    config = hf.MambaConfig(
        hidden_size=32, num_hidden_layers=1, vocab_size=50, state_size=4, pad_token_id=0
    )
    with pytest.raises(UnknownArchitecture, match=r"'mamba'.*target_modules, from: .*in_pro"):
        target_pattern(hf.MambaForCausalLM(config), "attention")


def test_a_row_that_fits_no_module_is_an_error(monkeypatch):
    wrong = {**ARCHITECTURES, "gpt2": ARCHITECTURES["llama"]}
    monkeypatch.setattr("unskew.models.sites.ARCHITECTURES", wrong)
    with pytest.raises(NoMatchingParameter, match=r"self_attn.q_proj.* exists in this 'gpt2'"):
        target_pattern(tiny_model("gpt2"), "attention")


@pytest.mark.parametrize("family", FAMILIES)
def test_what_a_layer_adds_is_as_wide_as_its_state(family):
    model, widths = tiny_model(family), []
    sites = layer_sites(model)
    assert len(sites) == 2
    for site in sites:
        for module in (site.attention, site.mlp):
            module.register_forward_hook(lambda m, a, o: widths.append(o.shape[-1]))
    with torch.no_grad():
        model(input_ids=torch.tensor([[1, 5, 9]]))
    assert widths == [32] * 4


def test_layers_that_are_not_known_are_refused(monkeypatch):
    config = hf.MambaConfig(
        hidden_size=32, num_hidden_layers=1, vocab_size=50, state_size=4, pad_token_id=0
    )
    with pytest.raises(UnknownArchitecture, match=r"layers of model type 'mamba'.*known are bloom"):
        layer_sites(hf.MambaForCausalLM(config))
    wrong = {**ARCHITECTURES, "gpt2": ARCHITECTURES["llama"]}
    monkeypatch.setattr("unskew.models.sites.ARCHITECTURES", wrong)
    with pytest.raises(NoMatchingParameter, match=r"o_proj and mlp.down_proj do not exist in ever"):
        layer_sites(tiny_model("gpt2"))


@pytest.mark.parametrize("adapted", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_cut_gives_the_models_logits(family, adapted):
    model = tiny_model(family)
    if adapted:
        model = with_adapter(model)
    path = ScoringPath(model)
    row = (1, 5, 9, 7, 4, 6)
    batch = collate([tokens(*row)])
    with torch.no_grad():
        expected = model(input_ids=torch.tensor([row])).logits[0, :-1].float()
        got = path.logits(path.states(batch))
    # Six tokens against five: sums of the matrix products may be blocked differently.
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)


def test_capped_logits_are_not_cut():
    assert body_and_head(tiny_model("gemma2")) is None
    assert body_and_head(tiny_model("gemma2", final_logit_softcapping=None)) is not None


def test_the_trial_leaves_the_training_mode_as_it_was():
    model = tiny_model().train()
    body_and_head(model)
    assert all(m.training for m in model.modules())
