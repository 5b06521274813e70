"""Projections on disk: read back to the bit, refused on another base or when damaged."""

from __future__ import annotations

import pytest
import torch

from tests.fixtures import pairs, tiny_model
from tests.unit.hub.saved import folder_of, manifest
from tests.unit.models.test_projections import erasure, logits
from unskew.errors import ArtifactError, ConfigError
from unskew.hub.artifacts import digests, read_manifest, read_seen
from unskew.hub.attach import attach, attach_beside_base
from unskew.hub.carry import carry
from unskew.hub.changes import changes_in
from unskew.hub.projections import (
    HEADER,
    TENSORS,
    StoredProjection,
    attach_projection,
    load_projection,
    save_projection,
)
from unskew.merging import merge
from unskew.models.load import fingerprint, load_model


@pytest.fixture
def base(tmp_path):
    return load_model(str(folder_of(tiny_model(), tmp_path / "base")), device="cpu")


@pytest.fixture
def sibling(tmp_path):
    model = tiny_model()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.1)
    return load_model(str(folder_of(model, tmp_path / "sibling")), device="cpu")


@pytest.fixture
def saved(base, tmp_path):
    stored = StoredProjection(erasure(), "final")
    folder = tmp_path / "projection"
    save_projection(stored, folder, manifest(base), digests(pairs()[:2]))
    return folder


def test_it_is_read_back_as_it_was(base, saved):
    found, wanted = load_projection(saved), erasure()
    assert found.site == "final"
    for name in ("mean", "left", "right"):
        assert torch.equal(getattr(found.erasure, name), getattr(wanted, name))
    assert read_seen(saved) == digests(pairs()[:2])


def test_attached_beside_its_base(base, saved):
    before = logits(base.model)
    model, reference = attach_beside_base(base, saved)
    assert not torch.allclose(logits(model), before, atol=0.1)
    with reference.frozen():
        assert torch.equal(logits(reference.path.model), before)


def test_another_base_is_refused_and_a_damaged_file_too(base, sibling, saved):
    with pytest.raises(ArtifactError, match=r"projection in .* unskew transfer"):
        attach(sibling, saved)
    content = bytearray((saved / TENSORS).read_bytes())
    content[-1] ^= 1
    (saved / TENSORS).write_bytes(bytes(content))
    with pytest.raises(ArtifactError, match="is not the one"):
        attach(base, saved)
    (saved / HEADER).write_text("{}")
    with pytest.raises(ArtifactError, match="cannot be read"):
        attach(base, saved)


def test_it_changes_no_weight_so_it_is_no_delta(base, saved):
    with pytest.raises(ArtifactError, match="no delta to combine"):
        changes_in(base, saved)


def test_carried_to_a_sibling(sibling, saved, tmp_path):
    before = logits(sibling.model)
    carried = carry(sibling, saved)
    with carried.at(0.5):
        after = logits(carried.model)
        assert not torch.equal(after, before)
    with carried.off():
        assert torch.equal(logits(carried.model), before)
    carried.save(0.5, tmp_path / "out", read_seen(saved))
    written = tmp_path / "out" / "projection"
    found = read_manifest(written)
    assert found is not None
    assert found.base_fingerprint == fingerprint(sibling.model)
    carried.model.projection.remove()
    attach_projection(sibling, written)
    assert torch.equal(logits(sibling.model), after)


def test_merged_into_a_model_folder(base, tmp_path):
    folder = tmp_path / "linear"
    save_projection(StoredProjection(erasure(0.0), "final"), folder, manifest(base), [])
    done = merge(folder, output_dir=tmp_path / "merged")
    assert done.max_logit_difference < 1e-3
    merged = load_model(str(done.folder), device="cpu").model
    assert torch.allclose(logits(merged), logits(attach(base, folder)), atol=1e-4)


def test_a_merge_that_cannot_be_is_refused(saved, tmp_path):
    with pytest.raises(ArtifactError, match="no bias"):
        merge(saved, output_dir=tmp_path / "merged")
    with pytest.raises((ArtifactError, ConfigError), match="no delta"):
        merge(saved, output_dir=tmp_path / "other", edit={"name": "negation"})
