"""A trained editor from end to end: learned, one edit kept at a strength, saved, repeated."""

from __future__ import annotations

import json

import pytest
import torch
import yaml
from safetensors import safe_open
from safetensors.torch import load_file

from tests.end_to_end import stories
from unskew.assemble import data_for
from unskew.data.pair_draws import Starts
from unskew.data.rows import balanced_pairs
from unskew.hub.deltas import load_delta
from unskew.models.editable import EditableMaps
from unskew.models.load import base_parameters, load_model
from unskew.models.logprobs import ScoringPath
from unskew.recipes import read_recipe
from unskew.reports.record import RunRecord
from unskew.run import Run
from unskew.schema import DataConfig
from unskew.training.editing import EditPasses, edit_batch
from unskew.training.editor import Editors

EDITED = "transformer.h.1.mlp.c_proj"
SMALL = {
    "name": "edit",
    "num_edits": 16,
    "batch_pairs": 8,
    "without_start": 0.0,
    "editor": {"rank": 8},
    "training": {"max_steps": 12, "learning_rate": 1e-3, "eval_steps": 4},
    "strengths": [0.5, 0.8],
    "refine": 0,
    "choice": {"signal": "mean_gap", "window": 0.005, "floors": []},
}


@pytest.fixture
def run(here, story, tmp_path, without_page):
    """Run the recipe, changed for a small model, in a folder of this name."""

    def call(name, *more, code=0, data=None, **changes):
        file = tmp_path / "small.yaml"
        file.write_text(yaml.safe_dump({"extends": "bias_edit", "stages": [{**SMALL, **changes}]}))
        words = ["--model", str(story.biased), "--data", str(data or story.pairs)]
        said = here("unlearn", str(file), *words, "--output-dir", str(tmp_path / name), *more)
        assert said.code == code, said.err
        return (tmp_path / name) if code == 0 else said.err

    return call


def test_a_run_leaves_an_edit_and_its_editor(run, here, story, tmp_path):
    out = run("run")
    record = RunRecord.load(out)
    assert [row.strength for row in record.history] == [0.0, 0.5, 0.8]
    before, after = (
        abs(
            record.find(benchmark="stereoset", metric="mean_gap", phase=p, category="overall")[
                0
            ].value
        )
        for p in ("before", "after")
    )
    assert after < 0.6 * before
    (stage,) = record.stages
    assert (stage.kind, stage.name) == ("meta_edit", "edit")
    assert stage.num_tokens
    assert [row.step for row in record.train_log] == [4, 8, 12]
    proof = record.proof_of_effect
    assert proof is not None
    assert (proof.num_moved, proof.num_frozen_changed) == (1, 0)
    assert proof.reload_max_abs_difference < 1e-5
    delta = load_delta(out / "delta")
    assert list(delta) == [f"{EDITED}.weight"]
    # The kept edit is that of the saved editor on pairs of the train split, at the strength.
    again = _edit_again(out, story)
    strength = record.checkpoint.strength
    assert strength
    assert torch.allclose(delta[f"{EDITED}.weight"].dense(), strength * again, atol=1e-5)
    base = dict(base_parameters(load_model(str(story.biased)).model))
    for name, weight in base_parameters(Run(out, record).model):
        wanted = base[name] + (delta[name].dense() if name in delta else 0)
        assert torch.allclose(weight, wanted, atol=1e-6), name
    words = ["--model", str(story.biased), "--data", str(story.pairs)]
    said = here(
        "evaluate", *words, "--adapter", str(out / "delta"), "--benchmarks", "stereoset",
        "--output-dir", str(tmp_path / "scored"),
    )  # fmt: skip
    assert said.code == 0, said.err
    merged = ["--artifact", str(out / "delta"), "--output-dir", str(tmp_path / "merged")]
    said = here("merge", *merged)
    assert said.code == 0, said.err


def _edit_again(out, story):
    """The shift of the edited map, from what the run left."""
    with safe_open(str(out / "editor" / "editor.safetensors"), framework="pt") as stored:
        info = json.loads(stored.metadata()["unskew_editor"])
    loaded = load_model(str(story.biased))
    maps = EditableMaps(loaded.model, info["maps"])
    passes = EditPasses(
        ScoringPath(loaded.model), maps, loss="squared_gap", unrelated_weight=0.0, batch_pairs=8
    )
    editors = Editors(maps, **{k: info[k] for k in ("rank", "num_blocks", "step_size")})
    editors.load_state_dict(load_file(out / "editor" / "editor.safetensors"))
    settings = yaml.safe_load((out / "config.yaml").read_text())
    train = data_for(DataConfig(**settings["data"])).splits["train"].pairs
    shown = Starts(0.0).deal(balanced_pairs(train, 16, 0))
    batch = edit_batch(shown, (), loaded.encoder, "squared_gap")
    with maps.open():
        return editors.shifts(passes.places(batch.pairs))[EDITED]


def test_the_seed_repeats_a_run_to_the_last_bit(run):
    values = [load_delta(run(n) / "delta")[f"{EDITED}.weight"].values for n in ("one", "again")]
    assert torch.equal(*values)


def test_the_official_loss_runs_on_maps_that_are_named(run):
    out = run(
        "run",
        loss="official",
        modules=["*.mlp.c_proj"],
        training={"max_steps": 4, "judged_by": "same"},
    )
    assert [n.split(".")[2] for n in load_delta(out / "delta")] == ["0", "1"]


def test_mistakes_are_told_before_anything_is_measured(run, tmp_path):
    said = run("run", code=2, num_edits=20)
    assert "stages.edit.num_edits is 20, no multiple of batch_pairs (8)" in said
    assert "last_blocks is 9, but the model has 2 blocks" in run("run", code=2, last_blocks=9)
    said = run("run", code=2, modules=["*.mlp.down_proj"])
    assert "no linear map of the model is called '*.mlp.down_proj'" in said
    assert "these pairs end there; take squared_gap" in run("run", code=2, loss="symmetric_kl")
    rows = [{k: v for k, v in row.items() if k != "unrelated"} for row in stories.rows()]
    bare = stories.write_pairs(tmp_path / "bare.jsonl", rows)
    said = run("run", code=2, data=bare)
    assert "nothing is held where it is; set unrelated_weight to 0" in said
    assert not (tmp_path / "run").exists()
    run("run", data=bare, unrelated_weight=0.0)


def test_the_official_codes_recipe_has_its_values():
    (stage,) = read_recipe("bias_edit_official_code")["stages"]
    assert stage["editor"] == {"rank": 1920, "num_blocks": 2, "step_size": 1e-7}
    assert (stage["last_blocks"], stage["num_edits"], stage["batch_pairs"]) == (3, 128, 64)
    assert (stage["loss"], stage["unrelated_weight"], stage["documents"]) == ("official", 1.0, 0)
    assert stage["training"]["learning_rate"] == 1e-6
    assert stage["training"]["judged_by"] == "same"
