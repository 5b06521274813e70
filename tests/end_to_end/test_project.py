"""A projection from end to end: fitted, attached wherever the run's model is, no weight changed."""

from __future__ import annotations

import torch
import yaml

from unskew.hub.projections import load_projection
from unskew.models.load import base_parameters, load_model
from unskew.reports.record import RunRecord
from unskew.run import Run


def test_a_run_leaves_a_projection_that_is_attached_everywhere(here, story, tmp_path, without_page):
    stage = {"name": "project", "contexts": 40, "texts": 40, "strengths": [0.5, 1.0], "refine": 0}
    # No floor and a wide window, so that a strength is kept whatever the small model does.
    choice = {"floors": [], "window": 60.0}
    file = tmp_path / "small.yaml"
    file.write_text(yaml.safe_dump({"extends": "leace", "stages": [{**stage, "choice": choice}]}))
    words = ["--model", str(story.biased), "--data", str(story.pairs)]
    out = tmp_path / "run"
    said = here("unlearn", str(file), *words, "--output-dir", str(out))
    assert said.code == 0, said.err
    record = RunRecord.load(out)
    kept = record.checkpoint
    assert kept is not None
    assert [row.strength for row in record.history] == [0.0, 0.5, 1.0]
    assert kept.strength
    proof = record.proof_of_effect
    assert proof is not None
    assert proof.num_frozen_changed == proof.num_trainable_tensors == 0
    assert proof.reload_max_abs_difference is not None
    assert proof.reload_max_abs_difference < 1e-4
    stored = load_projection(out / "projection")
    model = Run(out, record).model
    base = load_model(str(story.biased)).model
    for (_, ours), (_, theirs) in zip(base_parameters(model), base_parameters(base), strict=True):
        assert torch.equal(ours, theirs)
    ids = torch.arange(4, 12)[None]
    with torch.no_grad():
        h = base.base_model(ids).last_hidden_state
        e = stored.erasure
        wanted = base.lm_head(h - (h - e.mean) @ e.right.T @ e.left.T)
        assert torch.allclose(model(ids).logits, wanted, atol=1e-4)
    words = ["--model", str(story.biased), "--data", str(story.pairs)]
    adapter = ["--adapter", str(out / "projection"), "--benchmarks", "stereoset"]
    assert here("evaluate", *words, *adapter, "--output-dir", str(tmp_path / "eval")).code == 0
    carried = ["transfer", "--artifact", str(out / "projection"), *words]
    said = here(*carried, "--output-dir", str(tmp_path / "sibling"))
    assert said.code == 0, said.err
    assert (tmp_path / "sibling" / "projection").is_dir()
    before, after = (
        RunRecord.load(tmp_path / "sibling").find(benchmark="stereoset", metric="mean_gap", phase=p)
        for p in ("before", "after")
    )
    assert before[0].value != after[0].value


def test_it_is_the_only_stage(here, story, tmp_path):
    file = tmp_path / "two.yaml"
    stage = {"kind": "project", "projection": {"name": "leace"}}
    file.write_text(yaml.safe_dump({"stages": [{**stage, "name": n} for n in ("one", "two")]}))
    words = ["--model", str(story.biased), "--data", str(story.pairs)]
    said = here("unlearn", str(file), *words, "--output-dir", str(tmp_path / "run"))
    assert said.code != 0
    assert "must be the only one" in said.err
