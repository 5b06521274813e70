"""Distances worked by hand, and every reason for which there is none."""

from __future__ import annotations

import shutil

import pytest
import torch

from tests.fixtures import tiny_model
from tests.unit.hub.saved import folder_of, manifest
from unskew.errors import ArtifactError
from unskew.hub.artifacts import MANIFEST
from unskew.hub.carry import carry
from unskew.hub.deltas import save_delta
from unskew.hub.distance import base_of, local_folder, relative_distance
from unskew.models.deltas import sparse
from unskew.models.load import load_model
from unskew.updates.scope import LoraScope

NAMES = ("transformer.h.0.attn.c_attn.weight", "transformer.h.1.mlp.c_proj.weight")


@pytest.fixture
def base(tmp_path):
    return load_model(str(folder_of(tiny_model(), tmp_path / "base")), device="cpu")


def test_it_is_a_ratio_of_norms_over_the_named_weights_alone():
    ours, theirs = tiny_model(), tiny_model()
    with torch.no_grad():
        for name, value in zip(NAMES, (3.0, 4.0), strict=True):
            theirs.get_parameter(name).zero_().view(-1)[0] = value
            ours.get_parameter(name).copy_(theirs.get_parameter(name))
        ours.get_parameter(NAMES[0]).view(-1)[7] = 1.0
        ours.get_parameter(NAMES[1]).view(-1)[7] = -2.0
        ours.get_parameter("transformer.wte.weight").mul_(9)
    # sqrt(1 + 4) over sqrt(9 + 16)
    assert relative_distance(ours, theirs, NAMES) == pytest.approx(5**0.5 / 5)
    assert relative_distance(theirs, theirs, NAMES) == 0
    policy = LoraScope(r=2, alpha=4.0).apply(ours)
    assert relative_distance(policy, theirs, NAMES) == pytest.approx(5**0.5 / 5)


def test_unrelated_weights_are_the_root_of_two_apart():
    torch.manual_seed(1)
    ours, theirs = (torch.nn.ModuleDict({"x": torch.nn.Linear(200, 200)}) for _ in range(2))
    assert relative_distance(ours, theirs, ["x.weight"]) == pytest.approx(2**0.5, abs=0.02)


def test_a_base_without_the_weight_is_told():
    with pytest.raises(ArtifactError, match="the base has no lost of the sibling's shape"):
        relative_distance(torch.nn.Linear(2, 2), tiny_model(), ["lost"])
    with pytest.raises(ArtifactError, match="the base has no transformer"):
        relative_distance(tiny_model(), torch.nn.Linear(2, 2), NAMES)


def test_the_base_is_found_where_the_artefact_says(base, tmp_path):
    """Under its name there must be the very weights; a folder that is gone is told."""
    delta = {NAMES[0]: sparse(torch.ones(base.model.get_parameter(NAMES[0]).shape))}
    folder = tmp_path / "delta"
    save_delta(delta, base.model, folder, manifest(base), ())
    found = base_of(folder)
    assert torch.equal(found.get_parameter(NAMES[0]), base.model.get_parameter(NAMES[0]))
    assert carry(base, folder).touched() == [NAMES[0]]
    with pytest.raises(
        ArtifactError, match=r"in bfloat16 has not the weights .* another precision"
    ):
        base_of(folder, dtype="bfloat16")
    shutil.rmtree(base.name_or_path)
    with pytest.raises(ArtifactError, match="is not on this machine; fetch it first"):
        base_of(folder)
    (folder / MANIFEST).unlink()
    with pytest.raises(ArtifactError, match="names no base model"):
        base_of(folder)


def test_what_the_hubs_cache_lacks_is_not_fetched(monkeypatch, tmp_path):
    """Neither what was never loaded nor what has its settings there alone."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    for name in ("some/model", "no name at all"):
        with pytest.raises(ArtifactError, match=f"the base '{name}' is not on this machine"):
            local_folder(name)
    snapshot = tmp_path / "models--some--model" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    refs = tmp_path / "models--some--model" / "refs"
    refs.mkdir()
    (refs / "main").write_text("abc")
    (snapshot / "config.json").write_text("{}")
    with pytest.raises(ArtifactError, match="is not on this machine"):
        local_folder("some/model")
    (snapshot / "model.safetensors").write_text("")
    assert local_folder("some/model") == str(snapshot)
