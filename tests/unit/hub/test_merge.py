"""An adapter baked into the weights: the same logits in plain transformers, or a refusal."""

from __future__ import annotations

import json

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

import unskew
from tests.fixtures import pairs, tiny_model, with_adapter, word_tokenizer
from tests.unit.hub.saved import folder_of, manifest
from unskew.errors import ArtifactError, ConfigError, LeakageError
from unskew.hub.artifacts import (
    attach_adapter,
    digests,
    read_manifest,
    read_seen,
    save_artifact,
)
from unskew.hub.deltas import save_delta
from unskew.hub.merge import merged
from unskew.models.deltas import AppliedDelta, sparse
from unskew.models.load import load_model
from unskew.models.shadow import AdapterShadow
from unskew.scoring import DataSource

IDS = torch.tensor([[1, 5, 9, 7, 4]])
# Folding B A into W moves the rounding: each of two layers adds a few float32 ulps (1.2e-7) of
# activations of order 10 to 100, so 1e-4 is ample and far below the adapter's own change of 0.1.
ROUNDING = 1e-4


def adapter_on(base, folder, **options):
    """An adapter made on the model in a folder, with its manifest, and the logits it gives."""
    origin = load_model(str(base), device="cpu")
    info = manifest(origin)
    model = with_adapter(origin.model, **options)
    save_artifact(model, origin.tokenizer, folder, info, digests(pairs()[:2]))
    with torch.no_grad():
        return model(input_ids=IDS).logits


@pytest.mark.parametrize("family", ["gpt2", "llama", "gpt_neox"])
def test_plain_transformers_gives_the_same_logits(family, tmp_path):
    """GPT-2's maps are stored as (in, out) and its head is tied; Llama's are neither."""
    base = folder_of(tiny_model(family), tmp_path / "base")
    logits = adapter_on(base, tmp_path / "adapter", targets="all_linear")
    done = unskew.merge(tmp_path / "adapter", output_dir=tmp_path / "merged")
    assert done.base_model == str(base) and done.max_logit_difference < ROUNDING
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "merged").eval()
    with torch.no_grad():
        difference = (again(input_ids=IDS).logits - logits).abs().max()
        plain = AutoModelForCausalLM.from_pretrained(base).eval()(input_ids=IDS).logits
    assert difference < ROUNDING
    assert (plain - logits).abs().max() > 100 * ROUNDING
    assert type(again) is type(tiny_model(family))
    assert AutoTokenizer.from_pretrained(tmp_path / "merged").get_vocab()
    if family == "gpt2":
        assert again.lm_head.weight is again.transformer.wte.weight


def test_what_the_artefact_knows_is_kept(tmp_path):
    base = folder_of(tiny_model(), tmp_path / "base")
    adapter_on(base, tmp_path / "adapter")
    unskew.merge(tmp_path / "adapter", str(base), output_dir=tmp_path / "merged")
    assert read_seen(tmp_path / "merged") == digests(pairs()[:2])
    assert read_manifest(tmp_path / "merged") == read_manifest(tmp_path / "adapter")


def test_evaluate_leaves_out_what_a_merged_model_learned_from(tmp_path):
    rows = [
        {
            "id": p.id,
            "category": p.category,
            "target": p.target,
            "stereotype": p.stereotype,
            "anti_stereotype": p.anti_stereotype,
        }
        for p in pairs()
    ]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    source = DataSource(str(tmp_path / "pairs.jsonl"))
    save_artifact(tiny_model(), word_tokenizer(), tmp_path / "model", None, digests(pairs()[:6]))
    kept = source.load(None, tmp_path / "model")
    assert len(kept.splits["report"].pairs) == 10
    assert {d.reason for d in kept.drops} == {"the model or adapter learned from it"}
    assert len(source.load("a/hub-id").splits["report"].pairs) == 16
    save_artifact(tiny_model(), word_tokenizer(), tmp_path / "model", None, digests(pairs()))
    with pytest.raises(LeakageError, match=r"model was trained on or chosen by all 16 pairs"):
        source.load(tmp_path / "model")


def test_dropout_of_the_base_is_kept(tmp_path):
    """It is off while unskew works, but whoever trains the merged model wants what the base had."""
    base = folder_of(tiny_model(attn_pdrop=0.25), tmp_path / "base")
    adapter_on(base, tmp_path / "adapter")
    unskew.merge(tmp_path / "adapter", output_dir=tmp_path / "merged")
    assert json.loads((tmp_path / "merged" / "config.json").read_text())["attn_pdrop"] == 0.25


def test_half_precision_is_written_in_half_precision(tmp_path):
    base = folder_of(tiny_model().bfloat16(), tmp_path / "base")
    adapter_on(base, tmp_path / "adapter")
    options = {"dtype": "bfloat16"}
    done = unskew.merge(tmp_path / "adapter", output_dir=tmp_path / "half", model_options=options)
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "half")
    assert {p.dtype for p in again.parameters()} == {torch.bfloat16}
    assert ROUNDING < done.max_logit_difference < 2.0


def test_another_base_is_refused_and_nothing_is_written(tmp_path):
    base = folder_of(tiny_model(), tmp_path / "base")
    adapter_on(base, tmp_path / "adapter")
    other = tiny_model()
    with torch.no_grad():
        other.transformer.h[0].attn.c_attn.weight[0, 0] += 1.0
    folder_of(other, tmp_path / "other")
    with pytest.raises(ArtifactError, match=r"is not the model the adapter .* was made on"):
        unskew.merge(tmp_path / "adapter", str(tmp_path / "other"), output_dir=tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


def test_an_edit_acts_on_whole_deltas(tmp_path):
    """Two adapters and a delta of one base, as (1, -0.5, 2) of what each adds to the weights."""
    base = folder_of(tiny_model(), tmp_path / "base")
    adapter_on(base, tmp_path / "one", targets="all_linear")
    adapter_on(base, tmp_path / "two", targets="attention", r=3)
    origin = load_model(str(base), device="cpu")
    name = "transformer.h.0.mlp.c_fc.weight"
    third = {name: sparse(torch.ones(origin.model.get_parameter(name).shape).triu())}
    info = read_manifest(tmp_path / "one")
    save_delta(third, origin.model, tmp_path / "three", info, digests(pairs()[4:5]))
    done = unskew.merge(
        [tmp_path / n for n in ("one", "two", "three")],
        output_dir=tmp_path / "merged",
        edit={"name": "linear", "weights": [1.0, -0.5, 2.0]},
    )
    assert done.max_logit_difference == 0.0
    wanted = load_model(str(base), device="cpu").model
    for folder, weight in (("one", 1.0), ("two", -0.5)):
        adapted = attach_adapter(load_model(str(base), device="cpu"), tmp_path / folder)
        AppliedDelta(wanted, {n: sparse(c) for n, c in AdapterShadow(adapted).items()}, weight)
    AppliedDelta(wanted, third, 2.0)
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    for (name, ours), other in zip(again.named_parameters(), wanted.parameters(), strict=True):
        # One sum of three against three sums: float32 rounding of weights of order 1.
        torch.testing.assert_close(ours, other, atol=1e-5, rtol=0, msg=name)
    assert not torch.equal(again.transformer.h[0].mlp.c_fc.weight, origin.model.get_parameter(name))
    assert read_seen(tmp_path / "merged") == digests([*pairs()[:2], pairs()[4]])
    assert read_manifest(tmp_path / "merged").recipe.startswith("r, {'name': 'linear'")


def test_edits_that_cannot_be_done(tmp_path):
    base = folder_of(tiny_model(), tmp_path / "base")
    adapter_on(base, tmp_path / "one")
    both = [tmp_path / "one", tmp_path / "one"]
    with pytest.raises(ConfigError, match="2 artefacts are named; say how they are combined"):
        unskew.merge(both, output_dir=tmp_path / "merged")
    with pytest.raises(ConfigError, match="negation takes one delta, not 2"):
        unskew.merge(both, output_dir=tmp_path / "merged", edit={"name": "negation"})
    with pytest.raises(ConfigError, match=r"unknown edit 'tise'.*; did you mean 'ties'"):
        unskew.merge(both, output_dir=tmp_path / "merged", edit={"name": "tise"})
    other = tiny_model()
    with torch.no_grad():
        other.transformer.h[0].attn.c_attn.weight[0, 0] += 1.0
    adapter_on(folder_of(other, tmp_path / "other"), tmp_path / "elsewhere")
    with pytest.raises(ArtifactError, match=r"is not the model the adapter .* was made on"):
        unskew.merge(
            [tmp_path / "one", tmp_path / "elsewhere"],
            output_dir=tmp_path / "merged",
            edit={"name": "linear"},
        )
    assert not (tmp_path / "merged").exists()


def test_a_folder_that_is_taken_is_refused(tmp_path):
    folder_of(tiny_model(), tmp_path / "base")
    with pytest.raises(ConfigError, match="already holds something"):
        unskew.merge(tmp_path / "adapter", output_dir=tmp_path / "base")


def test_an_artefact_that_names_no_base(tmp_path):
    with pytest.raises(ConfigError, match="does not name its base model; give it with --model"):
        unskew.merge(tmp_path / "none", output_dir=tmp_path / "merged")


@pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`:UserWarning")
@pytest.mark.parametrize("options", [{"target_modules": ["lm_head"]}, {"target_modules": ["wte"]}])
def test_a_change_of_a_tied_weight_is_refused(options):
    """PEFT would add it to both ends of the model, and say nothing."""
    model = get_peft_model(tiny_model(), LoraConfig(r=2, **options))
    with pytest.raises(ArtifactError, match="whose weight this model also uses elsewhere"):
        merged(model)


def test_an_untied_head_may_be_changed():
    model = get_peft_model(tiny_model("llama"), LoraConfig(r=2, target_modules=["lm_head"]))
    with torch.no_grad():
        model.base_model.model.lm_head.lora_B["default"].weight.normal_()
        logits = model(input_ids=IDS).logits
        torch.testing.assert_close(merged(model)(input_ids=IDS).logits, logits, atol=1e-4, rtol=0)


def test_weights_that_are_not_finite_are_refused():
    model = with_adapter(tiny_model())
    with torch.no_grad():
        model.base_model.model.transformer.h[0].attn.c_attn.lora_B["default"].weight[0] = torch.nan
    with pytest.raises(ArtifactError, match=r"cannot be baked in: .*; its weights are damaged"):
        merged(model)
