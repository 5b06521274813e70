"""A run under a mask: it leaves a delta, which is scored, merged and kept off other weights."""

from __future__ import annotations

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from unskew.hub.deltas import load_delta
from unskew.models.deltas import AppliedDelta
from unskew.models.masks import save_masks
from unskew.models.selection import select
from unskew.models.sites import linear_names
from unskew.reports.record import RunRecord
from unskew.run import Run


def stereoset(folder, phase):
    rows = RunRecord.load(folder).find(benchmark="stereoset", phase=phase, category=None)
    return {(r.variant, r.category, r.metric): r.value for r in rows}


def test_a_run_under_a_mask(here, story, tmp_path, without_page):
    base = AutoModelForCausalLM.from_pretrained(story.biased)
    weights = {f"{n}.weight": base.get_parameter(f"{n}.weight") for n in linear_names(base)}
    masks = select({n: w.detach().abs() for n, w in weights.items()}, 0.2)
    (tmp_path / "mask").mkdir()
    save_masks(masks, tmp_path / "mask")
    scope = f"scope={{name: masked, mask: {tmp_path / 'mask'}}}"
    out = tmp_path / "run"
    said = here(*story.unlearn(out, scope, "training.weight_decay=0.1"))
    assert said.code == 0, said.err
    record = RunRecord.load(out)
    assert record.proof_of_effect.num_frozen_changed == 0
    assert record.proof_of_effect.reload_max_abs_difference == 0.0
    assert stereoset(out, "after") != stereoset(out, "before")
    assert not (out / "adapter").exists() and not (out / "model").exists()

    delta = load_delta(out / "delta")
    assert all(not (d.dense()[~masks[n]]).any() for n, d in delta.items())
    AppliedDelta(base, delta)
    ours = Run(out, record).model.cpu()
    for (name, mine), other in zip(base.named_parameters(), ours.parameters(), strict=True):
        assert torch.equal(mine, other), name

    words = ["--model", str(story.biased), "--data", str(story.pairs), "--benchmarks", "stereoset"]
    said = here(
        "evaluate", *words, "--adapter", str(out / "delta"), "--output-dir", str(tmp_path / "eval")
    )
    assert said.code == 0, said.err
    assert stereoset(tmp_path / "eval", "evaluated") == stereoset(out, "after")

    said = here("merge", "--artifact", str(out / "delta"), "--output-dir", str(tmp_path / "merged"))
    assert said.code == 0, said.err
    assert "largest difference of a logit" in said.out
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    assert all(
        torch.equal(a, b) for a, b in zip(plain.parameters(), ours.parameters(), strict=True)
    )

    words = ["merge", "--artifact", str(out / "delta"), "--lora-rank"]
    said = here(*words, "2", "--output-dir", str(tmp_path / "rank 2"))
    assert said.code == 0, said.err
    assert 0.01 < float(said.out.split()[-1]) < 1
    said = here(*words, "256", "--output-dir", str(tmp_path / "whole"))
    assert said.code == 0, said.err
    assert float(said.out.split()[-1]) < 1e-4
    again = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(story.biased), tmp_path / "whole"
    )
    ids = torch.arange(1, 9)[None]
    torch.testing.assert_close(again(ids).logits, plain(ids).logits, atol=1e-3, rtol=0)


def test_a_run_is_not_resumed_under_another_mask(here, story, tmp_path, without_page):
    base = AutoModelForCausalLM.from_pretrained(story.biased)
    weights = {f"{n}.weight": base.get_parameter(f"{n}.weight") for n in linear_names(base)}
    scores = {n: w.detach().abs() for n, w in weights.items()}
    mask = tmp_path / "mask"
    mask.mkdir()
    save_masks(select(scores, 0.2), mask)
    words = story.unlearn(tmp_path / "run", f"scope={{name: masked, mask: {mask}}}")
    assert here(*words).code == 0
    for name in ("record.json", "report.html"):
        (tmp_path / "run" / name).unlink(missing_ok=True)
    save_masks(select({n: -s for n, s in scores.items()}, 0.2), mask)
    said = here(*words, "--resume")
    assert said.code != 0 and "was written by another configuration" in said.err
