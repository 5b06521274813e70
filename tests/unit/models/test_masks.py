"""Masks on disk: a bit a weight, read back as they were, damaged ones refused."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import save_file

from unskew.errors import ArtifactError
from unskew.models.masks import load_masks, masks_sha256, save_masks


def masks():
    torch.manual_seed(0)
    return {"a.weight": torch.rand(7, 9) < 0.3, "b.weight": torch.zeros(5, dtype=torch.bool)}


@pytest.mark.parametrize("name", ["", "mask.safetensors"])
def test_read_back(tmp_path, name):
    save_masks(masks(), tmp_path)
    found = load_masks(tmp_path / name)
    assert list(found) == list(masks())
    assert all(torch.equal(found[n], m) for n, m in masks().items())
    assert masks_sha256(found) == masks_sha256(masks())


def test_a_bit_for_each_weight(tmp_path):
    save_masks({"w": torch.rand(800, 1000) < 0.5}, tmp_path)
    assert (tmp_path / "mask.safetensors").stat().st_size < 800 * 1000 / 8 + 1000


def test_the_hash_is_of_names_shapes_and_bits():
    other = masks()
    other["b.weight"][2] = True
    shaped = {n: m.flatten() for n, m in masks().items()}
    renamed = {n.replace("b", "c"): m for n, m in masks().items()}
    turned = dict(reversed(list(masks().items())))
    hashes = [masks_sha256(m) for m in (masks(), other, shaped, renamed)]
    assert len(set(hashes)) == 4
    assert masks_sha256(turned) == hashes[0]


def test_what_is_no_mask(tmp_path):
    with pytest.raises(ArtifactError, match=r"no mask can be read from .*: .*; name a mask\.safe"):
        load_masks(tmp_path / "none")
    header = json.dumps({"w": {"shape": [9], "kept": 3}})
    save_file(
        {"w": torch.tensor([255, 0], dtype=torch.uint8)},
        tmp_path / "mask.safetensors",
        metadata={"unskew_mask": header},
    )
    with pytest.raises(ArtifactError, match="8 bits are set where 3 of 9 should be"):
        load_masks(tmp_path)
