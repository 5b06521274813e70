"""Saliency on disk: what it was made of decides whether it is still the one asked for."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from tests.fixtures import encoder, pairs, tiny_model, with_adapter, word_tokenizer
from unskew.errors import ArtifactError
from unskew.hub.artifacts import attach_adapter, save_artifact
from unskew.hub.saliency import StoredSaliency, describe, save_saliency
from unskew.models.load import load_model
from unskew.models.logprobs import ScoringPath
from unskew.models.shadow import AdapterShadow
from unskew.models.sites import linear_names
from unskew.saliency.criteria import Delta, Fisher, Grad, GradDelta
from unskew.training.attribution import Attribution, nll_losses
from unskew.types import Segment


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("base")
    tiny_model().save_pretrained(folder)
    word_tokenizer().save_pretrained(folder)
    return load_model(str(folder), device="cpu")


@pytest.fixture(scope="module")
def shadow(base, tmp_path_factory):
    folder = tmp_path_factory.mktemp("shadow") / "adapter"
    save_artifact(with_adapter(tiny_model()), base.tokenizer, folder, None, ())
    return folder


def rows(count=6):
    return encoder().encode([Segment(p.stereotype, p.completion_start) for p in pairs()[:count]])


def attribution(model, criterion, *, groups=2, shadow=None):
    names = [f"{n}.weight" for n in linear_names(tiny_model())]
    losses = nll_losses(ScoringPath(model), rows())
    return Attribution(model, names, losses, criterion, saliency_groups=groups, shadow=shadow)


def test_stored_group_by_group_and_read_back(base, tmp_path):
    info = describe("fisher", Fisher(), base, rows())
    wanted = {n: v for group in attribution(base.model, Fisher()) for n, v in group.items()}
    assert save_saliency(attribution(base.model, Fisher()), info, tmp_path / "s") == []
    found = StoredSaliency(tmp_path / "s", info)
    assert list(found) == list(wanted) and len(found) == 8
    assert all(torch.equal(found[n], v) for n, v in wanted.items())
    assert len(list((tmp_path / "s").glob("*.safetensors"))) == 2
    assert found.info["num_rows"] == 6 and found.info["completeness"] == {}


def test_path_attribution_is_stored_with_its_completeness(base, shadow, tmp_path):
    model = attach_adapter(load_model(base.name_or_path, device="cpu"), shadow, any_base=True)
    made = attribution(model, GradDelta(path_points=5), shadow=AdapterShadow(model))
    info = describe("grad_delta", GradDelta(path_points=5), base, rows(), shadow)
    warnings = save_saliency(made, info, tmp_path / "s")
    stored = StoredSaliency(tmp_path / "s", info).info
    # The adapter moves the attention alone.
    assert not any("mlp" in name for name in stored["files"])
    told = stored["completeness"]
    assert told["ratio"] == pytest.approx(told["attributed"] / told["difference"])
    assert bool(warnings) == (not 0.9 <= told["ratio"] <= 1.1)
    assert stored["warnings"] == warnings


def test_every_ingredient_changes_the_hash(base, shadow, tmp_path):
    other = tmp_path / "other"
    moved = with_adapter(tiny_model())
    with torch.no_grad():
        for name, parameter in moved.named_parameters():
            if "lora_B" in name:
                parameter.add_(1e-3)
    save_artifact(moved, base.tokenizer, other, None, ())
    another = load_model(base.name_or_path, device="cpu")
    with torch.no_grad():
        another.model.transformer.h[0].attn.c_attn.weight[0, 0] += 1
    infos = [
        describe("grad_delta", GradDelta(), base, rows(), shadow),
        describe("grad_delta", GradDelta(path_points=5), base, rows(), shadow),
        describe("grad_delta", GradDelta(signed=False), base, rows(), shadow),
        describe("grad_delta", GradDelta(), base, rows(5), shadow),
        describe("grad_delta", GradDelta(), base, rows()[::-1], shadow),
        describe("grad_delta", GradDelta(), base, rows(), other),
        describe("grad_delta", GradDelta(), another, rows(), shadow),
        describe("delta", Delta(), base, rows(), shadow),
    ]
    assert len({i.sha256() for i in infos}) == len(infos)
    again = describe("grad_delta", GradDelta(), base, rows(), shadow)
    assert again.sha256() == infos[0].sha256()
    assert describe("grad", Grad(), base, rows(), shadow).shadow_sha256 is None


def test_another_one_is_not_taken_for_it(base, tmp_path):
    info = describe("fisher", Fisher(), base, rows())
    save_saliency(attribution(base.model, Fisher()), info, tmp_path / "s")
    other = replace(info, rows_sha256="0", num_rows=9)
    with pytest.raises(ArtifactError, match=r"made of another rows_sha256, num_rows; delete"):
        StoredSaliency(tmp_path / "s", other)
    with pytest.raises(ArtifactError, match="no saliency can be read from"):
        StoredSaliency(tmp_path / "none")
    file = next((tmp_path / "s").glob("*.safetensors"))
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(ArtifactError, match=r"cannot be read: .*; make the saliency again"):
        dict(StoredSaliency(tmp_path / "s"))


def test_a_shadow_that_did_not_move_is_refused(base, tmp_path):
    model = with_adapter(tiny_model(), moved=False, targets="all_linear")
    info = describe("delta", Delta(), base, rows())
    with pytest.raises(ArtifactError, match="delta is 0 for every weight; the shadow did not move"):
        save_saliency(
            attribution(model, Delta(), shadow=AdapterShadow(model)), info, tmp_path / "s"
        )
    assert not (tmp_path / "s").exists()


def test_a_tensor_without_saliency_is_told(base, tmp_path):
    model = with_adapter(tiny_model(), targets="all_linear")
    with torch.no_grad():
        model.base_model.model.transformer.h[0].mlp.c_fc.lora_B["default"].weight.zero_()
    info = describe("delta", Delta(), base, rows())
    made = attribution(model, Delta(), shadow=AdapterShadow(model))
    told = save_saliency(made, info, tmp_path / "s")
    assert told == ["saliency is 0 all over 1 tensors, first transformer.h.0.mlp.c_fc.weight"]
    assert json.loads((tmp_path / "s" / "saliency.json").read_text())["warnings"] == told


def test_scores_that_are_not_finite_are_refused(base, tmp_path):
    class Broken(Fisher):
        def score(self, seen):
            return super().score(seen) / 0

    info = describe("fisher", Fisher(), base, rows())
    with pytest.raises(ArtifactError, match=r"the saliency of .* is not finite"):
        save_saliency(attribution(base.model, Broken()), info, tmp_path / "s")
    assert not (tmp_path / "s").exists()
