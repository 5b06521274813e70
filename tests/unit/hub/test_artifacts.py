"""What is written with an adapter, what is refused, and what it remembers of its training."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.fixtures import pairs, tiny_model, with_adapter
from tests.unit.hub.saved import folder_of, manifest
from unskew.errors import ArtifactError
from unskew.hub.artifacts import (
    attach_adapter,
    digests,
    read_manifest,
    read_seen,
    save_artifact,
    save_carried,
    scale_adapter,
)
from unskew.models.load import fingerprint, load_model

IDS = torch.tensor([[1, 5, 9, 7]])


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("base")
    return folder_of(tiny_model(), folder)


def loaded(base):
    return load_model(str(base), device="cpu")


@pytest.fixture(scope="module")
def saved(base, tmp_path_factory):
    """An adapter of the base, and its logits before it was written."""
    origin = loaded(base)
    info = manifest(origin)
    model = with_adapter(origin.model)
    folder = tmp_path_factory.mktemp("saved") / "adapter"
    save_artifact(model, origin.tokenizer, folder, info, digests(pairs()[:2]))
    with torch.no_grad():
        return folder, model(input_ids=IDS).logits


def changed(saved, tmp_path, **manifest):
    """A copy of the adapter with another manifest."""
    folder, _ = saved
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in folder.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    values = json.loads((folder / "method.json").read_text())
    (copy / "method.json").write_text(json.dumps({**values, **manifest}))
    return copy


def test_an_adapter_reloads_to_the_same_logits(base, saved):
    folder, logits = saved
    model = attach_adapter(loaded(base), folder)
    assert not model.training
    with torch.no_grad():
        assert torch.equal(model(input_ids=IDS).logits, logits)


def test_a_whole_model_is_saved_with_its_tokenizer(base, tmp_path):
    origin = loaded(base)
    save_artifact(origin.model, origin.tokenizer, tmp_path / "model", None, ())
    again = load_model(str(tmp_path / "model"), device="cpu")
    assert fingerprint(again.model) == fingerprint(origin.model)
    assert read_manifest(tmp_path / "model") is None
    assert read_seen(tmp_path / "model") == set()


def test_sentences_are_known_again_in_another_spelling(saved):
    folder, _ = saved
    first, other = pairs()[0], pairs()[5]
    seen = read_seen(folder)
    assert seen == digests(pairs()[:2]) and len(seen) == 4
    shouted = replace(first, id="x", stereotype=first.stereotype.upper() + "!")
    assert digests([shouted]) <= seen
    assert not digests([other]) & seen


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        ({"model_type": "llama"}, "is for model type 'llama', '.*' is 'gpt2'"),
        ({"tokenizer_fingerprint": "0"}, "has another vocabulary than the model behind"),
        ({"base_fingerprint": "0"}, "is not the model the adapter .* was made on"),
    ],
)
def test_an_adapter_of_another_model_is_refused(base, saved, tmp_path, manifest, message):
    with pytest.raises(ArtifactError, match=message):
        attach_adapter(loaded(base), changed(saved, tmp_path, **manifest))


def test_transfer_accepts_another_base_of_the_same_kind(base, saved, tmp_path):
    folder = changed(saved, tmp_path, base_fingerprint="0")
    assert attach_adapter(loaded(base), folder, any_base=True)


def test_an_adapter_of_another_tool_is_known_by_the_base_it_names(base, saved, tmp_path):
    folder = changed(saved, tmp_path)
    (folder / "method.json").unlink()
    assert attach_adapter(loaded(base), folder)
    settings = json.loads((folder / "adapter_config.json").read_text())
    settings["base_model_name_or_path"] = "elsewhere"
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    with pytest.raises(ArtifactError, match="was made on 'elsewhere', not on"):
        attach_adapter(loaded(base), folder)


def test_a_tensor_that_is_missing_is_refused(base, saved, tmp_path):
    """PEFT would warn and leave it at its first value."""
    folder = changed(saved, tmp_path)
    tensors = load_file(folder / "adapter_model.safetensors")
    name = sorted(tensors)[0]
    del tensors[name]
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ArtifactError, match="1 tensors are on one side only, first base_model"):
        attach_adapter(loaded(base), folder)


def test_broken_files_are_refused(base, saved, tmp_path):
    folder = changed(saved, tmp_path)
    (folder / "method.json").write_text("{")
    with pytest.raises(ArtifactError, match=r"method\.json cannot be read"):
        attach_adapter(loaded(base), folder)
    (folder / "method.json").unlink()
    (folder / "adapter_model.safetensors").unlink()
    with pytest.raises(ArtifactError, match="pickled weights are not read"):
        attach_adapter(loaded(base), folder)


def test_a_scaled_adapter_adds_as_much_less(base, saved, tmp_path):
    folder, _ = saved
    model = attach_adapter(loaded(base), folder)
    layer = model.base_model.model.transformer.h[0].attn.c_attn
    whole = layer.get_delta_weight("default").clone()
    scale_adapter(model, 0.25)
    torch.testing.assert_close(layer.get_delta_weight("default"), 0.25 * whole)
    save_carried(model, loaded(base), folder, tmp_path / "carried", read_seen(folder))
    again = attach_adapter(loaded(base), tmp_path / "carried")
    layer = again.base_model.model.transformer.h[0].attn.c_attn
    torch.testing.assert_close(layer.get_delta_weight("default"), 0.25 * whole)
    assert read_seen(tmp_path / "carried") == read_seen(folder)
