"""`transfer` beyond an adapter carried over whole; see also `test_scoring.py`."""

from __future__ import annotations

import pytest
import torch

from tests.end_to_end.test_scoring import stereoset
from unskew.hub.artifacts import read_manifest, read_seen
from unskew.hub.changes import changes_in
from unskew.hub.deltas import load_delta, save_delta
from unskew.models.deltas import sparse
from unskew.models.load import load_model


@pytest.fixture(scope="module")
def delta(story, straight, tmp_path_factory):
    """What the straight run changed, as a sparse delta: the larger half of every tensor."""
    base = load_model(str(story.biased), device="cpu")
    adapter = straight / "adapter"
    changes = {
        name: sparse(change, change.abs() > change.abs().median())
        for name, change in changes_in(base, adapter).items()
    }
    base = load_model(str(story.biased), device="cpu")
    folder = tmp_path_factory.mktemp("delta") / "delta"
    save_delta(changes, base.model, folder, read_manifest(adapter), read_seen(adapter))
    return folder


def test_a_delta_is_carried_and_is_the_siblings_own(here, story, delta, tmp_path):
    words = ["--artifact", str(delta), "--model", str(story.sibling), "--data", str(story.pairs)]
    out = tmp_path / "carried"
    said = here("transfer", *words, "--output-dir", str(out), "--scale", "0.5")
    assert said.code == 0, said.err
    whole, carried = load_delta(delta), load_delta(out / "delta")
    assert {n: c.shape for n, c in carried.items()} == {n: c.shape for n, c in whole.items()}
    assert all(torch.equal(carried[n].values, 0.5 * c.values) for n, c in whole.items())
    assert read_manifest(out / "delta").base_model == str(story.sibling)
    before, after = (
        stereoset(out, phase)["pair", "overall", "mean_gap"][0] for phase in ("before", "after")
    )
    assert abs(after) < abs(before)
    words = ["--model", str(story.sibling), "--data", str(story.pairs), "--benchmarks", "stereoset"]
    said = here(
        "evaluate", *words, "--adapter", str(out / "delta"), "--output-dir", str(tmp_path / "again")
    )
    assert said.code == 0, said.err
    assert stereoset(tmp_path / "again", "evaluated") == stereoset(out, "after")
