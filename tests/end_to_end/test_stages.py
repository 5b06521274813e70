"""SDU from end to end: stages in order, a change inside the mask alone, resumed to the last bit."""

from __future__ import annotations

import json
import re
import shutil

import pytest
import torch
import yaml
from transformers import AutoModelForCausalLM

from tests.end_to_end.conftest import adapter_bytes, essence
from unskew.hub.deltas import load_delta
from unskew.hub.saliency import StoredSaliency
from unskew.models.masks import load_masks
from unskew.recipes import read_recipe
from unskew.reports.record import RunRecord
from unskew.run import Run
from unskew.saliency import group_fairness
from unskew.stages import categories

STREAMS = {"forget": 8, "retain": 8, "unrelated": 6, "without_start": 0.0}
SHADOW = {
    "name": "shadow",
    "training": {"max_steps": 16, "learning_rate": 2e-3, "eval_steps": 16},
    "chunk": {"forget": 16},
}
MASK = {"name": "mask", "bias_rows": {"stereotype": 40}, "reason_rows": {"unrelated": 40}}
UNBIASED = {
    "name": "unbiased",
    "training": {"max_steps": 24, "learning_rate": 2e-3, "eval_steps": 12},
    "chunk": STREAMS,
}
UPDATE = {"name": "update", "strengths": [0.25, 0.5, 1.0], "refine": 1}
UNDER_MASK = {**UNBIASED, "scope": {"name": "masked", "mask": "mask"}}
POLISH = {
    **read_recipe("sdu")["stages"][2],
    "name": "polish",
    "start": "update",
    "scope": {"name": "masked", "mask": "mask"},
    "training": {"max_steps": 6, "learning_rate": 1e-3, "eval_steps": 6},
    "chunk": STREAMS,
}


@pytest.fixture
def sdu(here, story, tmp_path, without_page):
    """Run stages of the recipe `sdu`, changed for a small model, in a folder of this name."""

    def run(name, stages, *more, code=0):
        file = tmp_path / "small.yaml"
        # No alias of YAML: settings that are the same object would be written once.
        content = json.loads(json.dumps({"extends": "sdu", "stages": stages}))
        file.write_text(yaml.safe_dump(content))
        words = ["--model", str(story.biased), "--data", str(story.pairs)]
        said = here("unlearn", str(file), *words, "--output-dir", str(tmp_path / name), *more)
        assert said.code == code, said.err
        return (tmp_path / name) if code == 0 else said.err

    return run


def kept_inside(folder, story):
    """The delta touches chosen weights alone, and base plus delta is the model of the run."""
    masks = load_masks(folder / "stages" / "mask" / "mask")
    delta = load_delta(folder / "delta")
    assert delta and all(not change.dense()[~masks[n]].any() for n, change in delta.items())
    base = AutoModelForCausalLM.from_pretrained(story.biased)
    ours = Run(folder, RunRecord.load(folder)).model.cpu()
    for (name, old), new in zip(base.named_parameters(), ours.parameters(), strict=True):
        changed = old.detach() != new.detach()
        assert not changed[~masks[name]].any() if name in masks else not changed.any()
        if name in delta:
            assert torch.equal(changed, delta[name].dense() != 0)


def test_the_stages_leave_mask_delta_and_record(sdu, story):
    out = sdu("run", [SHADOW, MASK, UNBIASED, UPDATE])
    record = RunRecord.load(out)
    assert [(s.name, s.kind) for s in record.stages] == [
        ("shadow", "train"),
        ("mask", "saliency"),
        ("unbiased", "train"),
        ("update", "edit"),
    ]
    kept_inside(out, story)
    proof = record.proof_of_effect
    assert proof.num_frozen_changed == 0 and proof.reload_max_abs_difference == 0.0
    assert proof.num_moved == proof.num_trainable_tensors == len(load_delta(out / "delta"))

    (selection,) = record.selections
    masks = load_masks(out / "stages" / "mask" / "mask")
    assert {t.name: t.num_chosen for t in selection.tensors} == {
        n: int(m.sum()) for n, m in masks.items()
    }
    assert 0.3 < selection.fraction <= 0.5
    assert selection.completeness == pytest.approx(1, abs=0.1)
    own, held_out = selection.shadow
    assert (own.split, held_out.split) == ("train", "select")
    assert own.mean_gap_after > own.mean_gap_before + 0.1

    tried = [row for row in record.history if row.stage == "update"]
    assert [row.strength for row in tried][:4] == [0.0, 0.25, 0.5, 1.0] and len(tried) == 5
    assert record.checkpoint.strength in [row.strength for row in tried]
    ss = {p: record.value(benchmark="stereoset", metric="ss", phase=p) for p in ("before", "after")}
    assert abs(ss["after"] - 50) < abs(ss["before"] - 50) - 5

    # What the strength search reports of the strength it kept is what the delta gives.
    strengths = {row.strength: row for row in tried}
    assert strengths[0.0].metrics != strengths[record.checkpoint.strength].metrics


def test_the_weights_of_bias_types_are_compared(sdu, monkeypatch):
    for room in (categories, group_fairness):
        monkeypatch.setattr(room, "MIN_ROWS", 8)
    out = sdu(
        "run",
        [SHADOW, {**MASK, "category_rows": 16, "choose": {"fraction": 0.1}}, UNBIASED, UPDATE],
    )
    (selection,) = RunRecord.load(out).selections
    found = selection.categories
    assert found.num_rows == 16 and found.fraction == 0.1
    assert [share.category for share in found.shares] == ["creed", "trade"]
    (overlap,) = found.overlaps
    assert overlap.by_chance == pytest.approx(0.1 / 1.9, abs=0.002)
    assert overlap.jaccard > 1.5 * overlap.by_chance and overlap.z > 3
    assert 0 < overlap.ceiling < 1 and -1 < overlap.spearman < 1

    # By hand from what is on disk.
    folder = out / "stages" / "mask"
    creed, trade = (StoredSaliency(folder / "categories" / f"{i}-0") for i in range(2))
    tops = [{n: top_tenth(scores[n]) for n in scores} for scores in (creed, trade)]
    common, either = (
        sum(int(how(tops[0][n], tops[1][n]).sum()) for n in creed)
        for how in (torch.logical_and, torch.logical_or)
    )
    assert overlap.jaccard == pytest.approx(common / either, abs=0.01)
    masks, kept = load_masks(folder / "mask"), StoredSaliency(folder / "reason")
    shared = sum(int((tops[1][n] & top_tenth(kept[n])).sum()) for n in trade)
    covered = sum(trade[n][masks[n]].sum().item() for n in trade)
    share = found.shares[1]
    assert share.entanglement == pytest.approx(
        shared / sum(int(t.sum()) for t in tops[1].values()), abs=0.01
    )
    assert share.coverage == pytest.approx(covered / sum(trade[n].sum().item() for n in trade))


def top_tenth(scores):
    flat = scores.flatten()
    chosen = torch.zeros(len(flat), dtype=torch.bool)
    chosen[flat.topk(round(len(flat) / 10)).indices] = True
    return chosen.view(scores.shape)


def test_controls_are_reported_at_equal_bias(sdu, story, tmp_path, here):
    out = sdu("run", [SHADOW, MASK, UNBIASED, UPDATE], "stages.update.controls=true")
    record = RunRecord.load(out)
    phases = ("random mask", "inverted mask", "no mask")
    assert set(phases) < {row.phase for row in record.metrics}
    kept_inside(out, story)
    notes = [w for w in record.warnings if w.startswith("control, ")]
    assert [n.split(", ")[1].split(":")[0] for n in notes] == list(phases)
    # On the select split the strengths were set so that the bias is the same.
    for note in notes:
        got, wanted = (float(text) for text in re.findall(r"(-?\d\.\d{4})", note))
        assert got == pytest.approx(wanted, abs=0.02), note
    # All weights move the model further than as many as were chosen, so less of them will do.
    found = (re.match(r"control, ([a-z ]+): strength ([\d.]+),", note) for note in notes)
    strength = {match[1]: float(match[2]) for match in found if match}
    assert strength["no mask"] < 0.9 * strength["random mask"]
    assert {row.phase for row in record.controls} == set(phases)
    (row,) = [r for r in record.controls if (r.phase, r.metric) == ("no mask", "ss")]
    ends = [record.value(benchmark="stereoset", metric="ss", phase=p) for p in ("no mask", "after")]
    assert row.difference == pytest.approx(ends[1] - ends[0])
    assert row.ci_low <= row.difference <= row.ci_high
    gaps = {
        phase: record.value(benchmark="stereoset", metric="mean_gap", phase=phase)
        for phase in ("before", "after", *phases)
    }
    assert all(abs(gaps[p] - gaps["after"]) < abs(gaps["before"] - gaps["after"]) for p in phases)
    said = here("compare", str(out), "--output-dir", str(tmp_path / "compared"))
    assert said.code == 0, said.err
    assert "run: random mask" in (tmp_path / "compared" / "compare.md").read_text()


def test_a_change_is_left_as_an_adapter_and_told_how_near_it_comes(sdu, story, tmp_path, here):
    stages = [SHADOW, MASK, UNBIASED, UPDATE]
    out = sdu("low", stages, "stages.update.lora_rank=2")
    record = RunRecord.load(out)
    assert not (out / "delta").exists()
    (told,) = [w for w in record.warnings if "LoRA adapter of rank 2" in w]
    left_out = float(re.findall(r"leaves out ([\d.]+)%", told)[0])
    whole = RunRecord.load(sdu("whole", stages))
    assert 5 < left_out < 95
    assert "reaches past the mask" in told
    ends = [
        r.value(benchmark="stereoset", metric="mean_gap", phase="after") for r in (record, whole)
    ]
    # The numbers are the adapter's, not those of the change that it comes near to.
    assert ends[0] != pytest.approx(ends[1], abs=1e-6)
    proof = record.proof_of_effect
    assert proof is not None
    assert proof.reload_max_abs_difference == 0
    assert proof.num_frozen_changed == 0
    assert proof.relative_change > 0
    words = ["--model", str(story.biased), "--data", str(story.pairs), "--benchmarks", "stereoset"]
    words += ["--adapter", str(out / "adapter"), "--output-dir", str(tmp_path / "again")]
    said = here("evaluate", *words)
    assert said.code == 0, said.err


def test_controls_of_training_under_a_mask_are_runs_of_their_own(sdu):
    told = sdu("x", [SHADOW, MASK, UNDER_MASK], "--controls", code=2)
    assert "--grid stages.mask.control=[null,random,inverted,all]" in told


def test_a_rank_that_reaches_past_the_mask_has_no_controls(sdu):
    stages = [SHADOW, MASK, UNBIASED, UPDATE]
    told = sdu("x", stages, "stages.update.lora_rank=2", "stages.update.controls=true", code=2)
    assert "lora_rank reaches past a mask; run the controls without it" in told
    told = sdu("y", [*stages, POLISH], "stages.update.lora_rank=2", code=2)
    assert "starts from update, which leaves an adapter" in told


@pytest.mark.parametrize("done", [1, 2, 3])
def test_a_run_cut_off_between_stages_goes_on_to_the_same_end(sdu, story, tmp_path, done):
    stages = [SHADOW, MASK, UNBIASED, UPDATE]
    straight = sdu("straight", stages)
    cut = tmp_path / "cut"
    shutil.copytree(straight, cut)
    record = RunRecord.load(straight)
    names = [row.name for row in record.stages]
    for name in names[done:]:
        shutil.rmtree(cut / "stages" / name, ignore_errors=True)
    shutil.rmtree(cut / "delta")
    (cut / "report.html").unlink(missing_ok=True)
    kept = [row for row in record.metrics if row.phase != "after"]
    earlier = {
        key: [r for r in getattr(record, key) if r.stage in names[:done]]
        for key in ("history", "train_log", "decisions", "selections")
    }
    until = {"metrics": kept, "stages": record.stages[:done], "proof_of_effect": None, **earlier}
    empty = {"checkpoint": None, "generations": [], "not_measured": [], "warnings": []}
    record.model_copy(update={**until, **empty}).save(cut)

    resumed = sdu("cut", stages, "--resume")
    names = [row.name for row in RunRecord.load(resumed).stages]
    assert names == ["shadow", "mask", "unbiased", "update"]
    file = "delta/delta.safetensors"
    assert (resumed / file).read_bytes() == (straight / file).read_bytes()
    assert essence(resumed) == essence(straight)
    assert adapter_bytes(resumed / "stages" / "shadow")


def test_a_run_that_no_strength_makes_better_keeps_the_base(sdu, story):
    """SS is held at its value: a floor of LMS that nothing meets leaves strength 0."""
    floor = [{"benchmark": "stereoset", "metric": "mean_gap", "max_loss": 0.0}]
    worse = {**UPDATE, "edit": {"name": "negation", "gamma": -1, "allow_amplify": True}}
    stage = {**worse, "deltas": ["shadow"], "mask": None, "choice": {"floors": floor}}
    out = sdu("run", [SHADOW, stage])
    record = RunRecord.load(out)
    assert record.checkpoint.strength == 0.0 and record.proof_of_effect is None
    assert not (out / "delta").exists()
    assert any("no strength was better than the base model" in w for w in record.warnings)
    ours = Run(out, record).model.cpu()
    base = AutoModelForCausalLM.from_pretrained(story.biased)
    for mine, old in zip(ours.parameters(), base.parameters(), strict=True):
        assert torch.equal(mine, old)


def test_training_under_the_mask(sdu, story):
    out = sdu("run", [SHADOW, MASK, UNDER_MASK])
    kept_inside(out, story)
    assert RunRecord.load(out).proof_of_effect.num_frozen_changed == 0


def test_merging_then_polishing_stays_inside_the_mask(sdu, story):
    out = sdu("run", [SHADOW, MASK, UNBIASED, UPDATE, POLISH])
    kept_inside(out, story)
    merged, polished = (load_delta(f / "delta") for f in (out / "stages" / "update", out))
    assert any(not torch.equal(merged[n].dense(), polished[n].dense()) for n in merged)


def test_a_shadow_that_learned_nothing_is_refused(sdu):
    idle = {**SHADOW, "training": {"max_steps": 4, "learning_rate": 1e-6}}
    said = sdu("run", [idle, MASK, UNBIASED, UPDATE], code=2)
    assert "the shadow of stage shadow did not become more biased" in said
    assert "stages.mask.min_rise" in said


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"reason_rows": {"documents": 4}}, "stages.mask.reason_rows.documents: the train split"),
        ({"bias_rows": {"stereotype": -1}}, "stages.mask.bias_rows.stereotype is -1"),
        ({"bias_rows": {"stereotype": 0}}, "stages.mask.bias_rows asks for no row"),
        ({"reason_rows": {"stereotype": 4}}, "rows stand for bias and for reasoning at once"),
    ],
)
def test_rows_that_cannot_tell_bias_from_reasoning_are_refused(sdu, change, message):
    stage = {**read_recipe("sdu")["stages"][1], **MASK, **change}
    assert message in sdu("run", [SHADOW, stage, UNBIASED, UPDATE], code=2)


def test_a_wrong_part_of_a_late_stage_is_told_before_anything_is_trained(sdu, tmp_path):
    wrong = {**UPDATE, "edit": {"name": "masked_merg"}}
    assert "unknown edit 'masked_merg'" in sdu("run", [SHADOW, MASK, UNBIASED, wrong], code=2)
    chooser = {**MASK, "choose": {"fractoin": 0.2}}
    assert "did you mean 'fraction'" in sdu("run", [SHADOW, chooser, UNBIASED, UPDATE], code=2)
    assert not (tmp_path / "run").exists()
