"""Deltas on disk: small, exact, and refused on any base but their own."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

import unskew
from tests.fixtures import pairs, tiny_model
from tests.unit.hub.saved import folder_of, manifest
from unskew.errors import ArtifactError, ConfigError
from unskew.hub.artifacts import Manifest, digests, read_manifest, read_seen
from unskew.hub.attach import attach, attach_beside_base
from unskew.hub.carry import carry
from unskew.hub.deltas import (
    SKIP,
    _from_gaps,
    _to_gaps,
    apply_saved_delta,
    load_delta,
    save_delta,
)
from unskew.hub.lora_svd import lora_svd
from unskew.models.deltas import AppliedDelta, sparse
from unskew.models.load import fingerprint, load_model

NAMES = ("transformer.h.0.attn.c_attn.weight", "transformer.h.1.mlp.c_proj.weight")
IDS = torch.tensor([[1, 5, 9, 7]])


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("base")
    return folder_of(tiny_model(), folder)


def loaded(folder, **options):
    return load_model(str(folder), device="cpu", **options)


def delta_of(model, share=0.1):
    torch.manual_seed(5)
    shapes = {n: model.get_parameter(n).shape for n in NAMES}
    return {n: sparse(torch.randn(s), torch.rand(s) < share) for n, s in shapes.items()}


@pytest.fixture
def saved(base, tmp_path):
    """A delta of the base on disk, and the same in memory."""
    origin = loaded(base)
    delta = delta_of(origin.model)
    save_delta(delta, origin.model, tmp_path / "delta", manifest(origin), digests(pairs()[:2]))
    return tmp_path / "delta", delta


def logits(model):
    with torch.no_grad():
        return model(input_ids=IDS).logits


def test_saved_loaded_and_applied_it_is_what_it_was_in_memory(base, saved):
    folder, delta = saved
    ours, theirs = loaded(base), loaded(base)
    AppliedDelta(ours.model, delta)
    applied = apply_saved_delta(theirs, folder)
    for (name, mine), other in zip(
        ours.model.named_parameters(), theirs.model.parameters(), strict=True
    ):
        assert torch.equal(mine, other), name
    again = load_delta(folder)
    assert all(torch.equal(again[n].values, d.values) for n, d in delta.items())
    assert all(torch.equal(again[n].index, d.index) for n, d in delta.items())
    applied.undo()
    assert fingerprint(theirs.model) == fingerprint(loaded(base).model)
    assert read_seen(folder) == digests(pairs()[:2])


@pytest.mark.parametrize(("dtype", "most"), [("float32", 7.0), ("bfloat16", 5.0)])
@pytest.mark.parametrize("share", [0.01, 0.1, 1.0])
def test_a_kept_weight_costs_at_most_seven_bytes(tmp_path, dtype, most, share):
    """2 bytes for the gap, 4 or 2 for the value; the rest is the header of a real layer's size."""
    torch.manual_seed(0)
    layer = torch.nn.ModuleDict({"fc": torch.nn.Linear(768, 768)})
    shape = layer["fc"].weight.shape
    delta = {"fc.weight": sparse(torch.randn(shape), torch.rand(shape) < share)}
    info = Manifest(*["x"] * 3, 0, 0, *["x"] * 5)
    save_delta(delta, layer, tmp_path / "d", info, (), dtype=dtype)
    size = (tmp_path / "d" / "delta.safetensors").stat().st_size
    assert size / len(delta["fc.weight"].index) <= most
    assert torch.equal(load_delta(tmp_path / "d")["fc.weight"].index, delta["fc.weight"].index)


@given(st.lists(st.integers(0, 4 * SKIP), unique=True, max_size=30), st.integers(0, 3))
def test_gaps_hold_any_places(places, offset):
    index = np.array(sorted(places + [k * SKIP + 4 * SKIP + 1 for k in range(offset)]))
    codes = _to_gaps(index.astype(np.int64))
    assert codes.dtype == np.uint16
    assert _from_gaps(codes).tolist() == index.tolist()


def test_hand_worked_gaps():
    """Skipped before each: 0, 0, 3, 65534, 65535 (one skip code, then 0), twice that and 3."""
    index = np.cumsum([0, 1, 4, SKIP, SKIP + 1, 2 * SKIP + 4])
    codes = _to_gaps(index)
    assert codes.tolist() == [0, 0, 3, SKIP - 1, SKIP, 0, SKIP, SKIP, 3]
    assert _from_gaps(codes).tolist() == index.tolist()


def test_a_model_that_carries_it_already_is_refused(base, saved):
    """The fingerprint is of the ends of each tensor; the digest is of the places that change."""
    folder, _ = saved
    twice = loaded(base)
    delta = load_delta(folder)
    with torch.no_grad():
        for name in NAMES:
            flat = twice.model.get_parameter(name).view(-1)
            flat[1000:2000] += delta[name].dense().flatten()[1000:2000]
    assert fingerprint(twice.model) == read_manifest(folder).base_fingerprint
    with pytest.raises(ArtifactError, match=r"are not those it was made on; .*carry it already"):
        apply_saved_delta(twice, folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "llama"}, "the delta in .* is for model type 'llama'"),
        ({"tokenizer_fingerprint": "0"}, "has another vocabulary than the model behind"),
        (
            {"base_fingerprint": "0"},
            "is not the model the delta in .* was made on .*use unskew transfer to carry it over",
        ),
    ],
)
def test_another_base_is_refused(base, tmp_path, changes, message):
    origin = loaded(base)
    info = manifest(origin, **changes)
    save_delta(delta_of(origin.model), origin.model, tmp_path / "delta", info, ())
    before = logits(origin.model)
    with pytest.raises(ArtifactError, match=message):
        attach(origin, tmp_path / "delta")
    assert torch.equal(logits(origin.model), before)


def test_a_delta_beside_its_base(base, saved):
    folder, _ = saved
    plain = logits(loaded(base).model)
    model, reference = attach_beside_base(loaded(base), folder)
    assert torch.equal(logits(reference.path.model), plain)
    assert not torch.equal(logits(model), plain)


@pytest.fixture
def sibling(tmp_path):
    model = tiny_model()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.1)
    return loaded(folder_of(model, tmp_path / "sibling"))


def test_carried_to_a_sibling_it_is_the_siblings_own(saved, sibling, tmp_path):
    """Added there to the bit, taken off to the bit, and saved for no other model."""
    folder, delta = saved
    plain = logits(sibling.model)
    carried = carry(sibling, folder)
    with carried.at(0.5):
        changed = logits(sibling.model)
        with carried.reference.frozen():
            assert torch.equal(logits(carried.reference.path.model), plain)
    with carried.off():
        assert torch.equal(logits(sibling.model), plain)
    wanted = AppliedDelta(sibling.model, delta, 0.5)
    assert torch.equal(logits(sibling.model), changed)
    wanted.undo()
    carried.save(0.5, tmp_path / "out", ["seen"])
    attach(sibling, tmp_path / "out" / "delta")
    assert torch.equal(logits(sibling.model), changed)
    assert not torch.equal(changed, plain)
    info = read_manifest(tmp_path / "out" / "delta")
    assert info.base_model == sibling.name_or_path
    assert info.base_fingerprint != read_manifest(folder).base_fingerprint
    assert read_seen(tmp_path / "out" / "delta") == {"seen"}


def test_a_delta_of_other_shapes_is_not_carried(base, tmp_path):
    origin = loaded(base)
    wide = {NAMES[0]: sparse(torch.ones(32, 100))}
    wider = loaded(base).model
    wider.get_submodule(NAMES[0].removesuffix(".weight")).weight = torch.nn.Parameter(
        torch.ones(32, 100)
    )
    save_delta(wide, wider, tmp_path / "delta", manifest(origin), ())
    with pytest.raises(ArtifactError, match=r"of shape \[32, 100\], the model has the shape"):
        carry(origin, tmp_path / "delta")
    info = manifest(origin, tokenizer_fingerprint="0")
    save_delta(delta_of(origin.model), origin.model, tmp_path / "other", info, ())
    with pytest.raises(ArtifactError, match="has another vocabulary than the model behind"):
        carry(origin, tmp_path / "other")


def test_merged_it_is_the_model_in_memory(base, saved, tmp_path):
    folder, delta = saved
    ours = loaded(base).model
    AppliedDelta(ours, delta)
    done = unskew.merge(folder, output_dir=tmp_path / "merged")
    assert done.max_logit_difference == 0.0
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "merged").eval()
    for (name, mine), other in zip(ours.named_parameters(), again.parameters(), strict=True):
        assert torch.equal(mine, other), name


def test_what_cannot_be_saved(base, tmp_path):
    origin = loaded(base)
    info = manifest(origin)
    delta = delta_of(origin.model)
    with pytest.raises(ConfigError, match="dtype is 'int8'; it must be one of float32"):
        save_delta(delta, origin.model, tmp_path / "d", info, (), dtype="int8")
    with pytest.raises(ArtifactError, match="the delta changes no weight"):
        save_delta(delta_of(origin.model, 0.0), origin.model, tmp_path / "d", info, ())
    delta[NAMES[0]].values[0] = 1e6
    with pytest.raises(ArtifactError, match=r"of transformer.h.0.* is not finite in float16"):
        save_delta(delta, origin.model, tmp_path / "d", info, (), dtype="float16")
    assert not (tmp_path / "d").exists()


def _cut(folder):
    file = folder / "delta.safetensors"
    file.write_bytes(file.read_bytes()[:-20])


def _fewer_values(folder):
    _rewritten(folder, f"{NAMES[0]}.values", lambda t: t[:-1])


def _beyond_the_end(folder):
    _rewritten(folder, f"{NAMES[0]}.gaps", lambda t: torch.full_like(t.int(), 60000).to(t.dtype))


def _rewritten(folder, name, change):
    file = folder / "delta.safetensors"
    with safe_open(file, "pt") as stored:
        header = stored.metadata()
    tensors = load_file(file)
    tensors[name] = change(tensors[name])
    save_file(tensors, file, metadata=header)


def _newer(folder):
    file = folder / "delta.safetensors"
    header = {"version": 2, "shapes": {}, "base_sha256": ""}
    save_file(load_file(file), file, metadata={"unskew_delta": json.dumps(header)})


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_cut, "cannot be read"),
        (_fewer_values, "values do not fill a tensor of 3072"),
        (_beyond_the_end, "values do not fill a tensor of 3072"),
        (_newer, "its version is 2, this one reads 1"),
    ],
)
def test_a_damaged_delta_is_refused(base, saved, damage, message):
    damage(saved[0])
    with pytest.raises(ArtifactError, match=message):
        apply_saved_delta(loaded(base), saved[0])


def test_a_folder_without_a_delta_or_manifest(base, saved, tmp_path):
    with pytest.raises(ArtifactError, match=r"no delta.safetensors in .*; give a run's delta"):
        apply_saved_delta(loaded(base), tmp_path)
    (saved[0] / "method.json").unlink()
    with pytest.raises(ArtifactError, match=r"no method.json in .*, so its base is not known"):
        attach(loaded(base), saved[0])


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_lora_svd_of_full_rank_is_the_delta(family):
    model = tiny_model(family)
    ends = ("c_attn.weight", "q_proj.weight")
    names = [n for n, _ in model.named_parameters() if n.endswith(ends)]
    torch.manual_seed(2)
    delta = {n: sparse(0.1 * torch.randn(model.get_parameter(n).shape)) for n in names}
    applied = AppliedDelta(model, delta)
    wanted = logits(model)
    applied.undo()
    plain = logits(model)
    found = lora_svd(model, delta, rank=32)
    # float32 sums of 32 products of order 1, in another order: some 1e-6 of logits of order 10
    torch.testing.assert_close(logits(found.model), wanted, atol=1e-3, rtol=0)
    assert (plain - wanted).abs().max() > 0.1
    assert found.relative_error < 1e-6


def test_the_error_of_a_low_rank_is_that_of_the_singular_values_left_out():
    model = tiny_model()
    torch.manual_seed(2)
    dense = {n: torch.randn(model.get_parameter(n).shape) for n in NAMES}
    found = lora_svd(model, {n: sparse(d) for n, d in dense.items()}, rank=5)
    left, whole = 0.0, 0.0
    for name, change in dense.items():
        layer = found.model.get_base_model().get_submodule(name.removesuffix(".weight"))
        rest = change - layer.get_delta_weight("default")
        share = (rest.norm() / change.norm()).item()
        assert found.relative_error_by_tensor[name] == pytest.approx(share, rel=1e-4)
        values = np.linalg.svd(change.numpy(), compute_uv=False)
        assert share == pytest.approx(
            np.sqrt((values[5:] ** 2).sum() / (values**2).sum()), rel=1e-4
        )
        left, whole = left + rest.norm().item() ** 2, whole + change.norm().item() ** 2
    assert found.relative_error == pytest.approx((left / whole) ** 0.5, rel=1e-4)
    assert 0.1 < found.relative_error < 1


def test_what_lora_cannot_carry_is_refused():
    bias = {"transformer.h.0.attn.c_attn.bias": sparse(torch.ones(96))}
    with pytest.raises(ArtifactError, match=r"changes transformer.h.0.attn.c_attn.bias, which no"):
        lora_svd(tiny_model(), bias, rank=2)
    with pytest.raises(ConfigError, match="rank is 0; it must be at least 1"):
        lora_svd(tiny_model(), {}, rank=0)
