"""Loading: what is switched off, what is refused, what tells models apart."""

from __future__ import annotations

import json

import pytest
import torch
import transformers as hf

from tests.fixtures import gpt2_style_tokenizer, tiny_model, with_adapter, word_tokenizer
from unskew.errors import ConfigError, ModelError
from unskew.models.load import base_parameters, context_length, fingerprint, load_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("model")
    tiny_model(resid_pdrop=0.1, attn_pdrop=0.2).save_pretrained(path)
    word_tokenizer().save_pretrained(path)
    return path


def test_a_folder_loads_in_eval_mode_without_dropout(folder):
    loaded = load_model(str(folder))
    assert not loaded.model.training
    rates = [m.p for m in loaded.model.modules() if isinstance(m, torch.nn.Dropout)]
    assert rates and not any(rates)
    loaded.model.train()
    ids = torch.tensor([[1, 5, 9]], device=loaded.device)
    assert torch.equal(loaded.model(input_ids=ids).logits, loaded.model(input_ids=ids).logits)
    assert loaded.encoder.max_length == 64
    assert loaded.device.type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_dtypes(folder, dtype):
    model = load_model(str(folder), dtype=dtype, device="cpu").model
    assert next(model.parameters()).dtype == getattr(torch, dtype)


def test_an_unknown_dtype_is_refused(folder):
    with pytest.raises(ConfigError, match=r"dtype is 'fp32'; it must be one of float32, bfloat16"):
        load_model(str(folder), dtype="fp32")


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(ModelError, match=r"no config.json in .* give a model folder or a hub id"):
        load_model(str(tmp_path))


def test_an_adapter_is_refused_with_a_hint(tmp_path):
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(ModelError, match="it is an adapter: name its base model"):
        load_model(str(tmp_path))


def test_a_name_that_exists_nowhere_is_refused(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ModelError, match=r"neither a folder nor a hub repository"):
        load_model("./no/such/model")


def test_a_model_without_a_language_model_head_is_refused(tmp_path):
    hf.CLIPVisionConfig().save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"'clip_vision_model', which has no causal"):
        load_model(str(tmp_path))


def test_weights_that_are_not_safetensors_are_refused(tmp_path):
    tiny_model().config.save_pretrained(tmp_path)
    word_tokenizer().save_pretrained(tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(b"anything")
    with pytest.raises(ModelError, match="cannot load the weights"):
        load_model(str(tmp_path))


def test_a_missing_tokenizer_is_refused(tmp_path):
    tiny_model().save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"no tokenizer in .*needs tokenizer.json"):
        load_model(str(tmp_path))


def test_a_tokenizer_of_another_model_is_refused(tmp_path):
    tiny_model().save_pretrained(tmp_path)
    gpt2_style_tokenizer().save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"has id \d+, but the model's vocabulary ends at"):
        load_model(str(tmp_path))


def test_an_added_token_beyond_the_vocabulary_is_no_reason_to_refuse(tmp_path):
    tiny_model().save_pretrained(tmp_path)
    word_tokenizer().save_pretrained(tmp_path)
    tokenizer = hf.AutoTokenizer.from_pretrained(tmp_path)
    tokenizer.add_tokens(["<image>"], special_tokens=True)
    tokenizer.save_pretrained(tmp_path)
    load_model(str(tmp_path))


def test_context_length_by_family():
    assert context_length(hf.GPT2Config(n_positions=77)) == 77
    assert context_length(hf.LlamaConfig(max_position_embeddings=99)) == 99
    assert context_length(hf.BloomConfig()) == 2048


def test_fingerprint_sees_one_weight_and_ignores_an_adapter():
    model = tiny_model()
    before = fingerprint(model)
    assert fingerprint(tiny_model()) == before
    assert fingerprint(with_adapter(tiny_model())) == before
    with torch.no_grad():
        model.transformer.h[1].mlp.c_fc.bias[3] += 1
    assert fingerprint(model) != before
    assert json.dumps(before), "plain text"


def test_base_parameters_keep_their_names_under_an_adapter():
    plain = dict(base_parameters(tiny_model()))
    adapted = dict(base_parameters(with_adapter(tiny_model())))
    assert plain.keys() == adapted.keys()
    assert all(torch.equal(plain[n], adapted[n]) for n in plain)
