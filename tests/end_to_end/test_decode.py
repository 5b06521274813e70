"""A run whose result is a decoder: found on select, saved, reproduced, and refused as weights."""

from __future__ import annotations

import json

import pytest
import torch
import yaml

from unskew.comparison.table import costs
from unskew.reports.record import RunRecord
from unskew.run import Run

RECIPE = {
    "description": "Self-Debias with the words of the story.",
    "source": "arXiv 2103.00453",
    "stages": [
        {
            "kind": "decode",
            "decoder": {
                "name": "self_debias",
                "decay": 20.0,
                "prefixes": {"trade": "everyone calls them"},
            },
            "strengths": [0.5, 1.0],
            "choice": {"signal": "mean_gap", "window": 0.005},
        }
    ],
    "evaluation": {"benchmarks": ["stereoset"]},
}


def _recipe(folder, **changes):
    stage = {**RECIPE["stages"][0], **changes}
    path = folder / "decoded.yaml"
    path.write_text(yaml.safe_dump({**RECIPE, "stages": [stage]}))
    return path


def _unlearn(story, recipe, out, *more):
    named = ["--model", str(story.biased), "--data", str(story.pairs), "--output-dir", str(out)]
    return ["unlearn", str(recipe), *named, *more]


def _stereoset(folder, phase):
    rows = RunRecord.load(folder).find(benchmark="stereoset", phase=phase, category=None)
    return {(r.variant, r.category, r.metric): r.value for r in rows}


def test_a_run_with_a_decoder(here, story, tmp_path):
    """As it is taken, without a choice, so that a strength is kept whatever it does."""
    out = tmp_path / "run"
    said = here(*_unlearn(story, _recipe(tmp_path, choice=None), out))
    assert said.code == 0, said.err
    record = RunRecord.load(out)
    assert record.forwards_per_token == 2.0
    assert costs(record)["forwards"] == 2.0
    assert [(s.name, s.kind) for s in record.stages] == [("decode", "decode")]
    assert _stereoset(out, "after") != _stereoset(out, "before")
    assert not any((out / name).exists() for name in ("adapter", "delta", "model"))
    saved = json.loads((out / "decoder" / "decoder.json").read_text())
    assert (saved["name"], saved["strength"]) == ("self_debias", 1.0)
    assert "2 forward passes" in (out / "decoder" / "README.md").read_text()

    words = ["--model", str(story.biased), "--data", str(story.pairs), "--benchmarks", "stereoset"]
    decoder = ["--adapter", str(out / "decoder")]
    said = here("evaluate", *words, *decoder, "--output-dir", str(tmp_path / "eval"))
    assert said.code == 0, said.err
    again = _stereoset(tmp_path / "eval", "evaluated")
    # Batched in another order; float32 differs in the seventh digit.
    assert again == pytest.approx(_stereoset(out, "after"), abs=1e-5)
    assert RunRecord.load(tmp_path / "eval").forwards_per_token == 2.0

    run = Run(out, record)
    ids = torch.tensor([[1, 5, 6]])
    mask = torch.ones_like(ids)
    model = run.decoder.model.cpu()
    greedy = {"do_sample": False, "max_new_tokens": 4, "attention_mask": mask}
    told = model.generate(ids, logits_processor=[run.decoder.processor(mask)], **greedy)
    prompt = run.decoder.processor(mask)
    first = prompt(ids, model(input_ids=ids).logits[:, -1]).argmax(-1)
    assert told[0, 3] == first[0]
    assert type(run.model) is type(model)

    for refused in (
        ["merge", "--artifact", str(out / "decoder"), "--output-dir", str(tmp_path / "merged")],
        [
            "transfer",
            "--artifact",
            str(out / "decoder"),
            *words[:4],
            "--output-dir",
            str(tmp_path / "t"),
        ],
    ):
        said = here(*refused)
        assert said.code == 2
        assert "holds a decoder, which changes no weight" in said.err

    other = ["--model", str(story.sibling), *words[2:], *decoder]
    said = here("evaluate", *other, "--output-dir", str(tmp_path / "other"))
    assert said.code == 2 and "is not the model the decoder in" in said.err


def test_a_strength_is_chosen_on_select(here, story, tmp_path, without_page):
    out = tmp_path / "run"
    said = here(*_unlearn(story, _recipe(tmp_path), out, "decoder.decay=30"))
    assert said.code == 0, said.err
    assert "decay: 30" in (out / "config.yaml").read_text()
    record = RunRecord.load(out)
    assert [row.strength for row in record.history] == [0.0, 0.5, 1.0]
    assert record.history[0].metrics != record.history[2].metrics
    kept = record.checkpoint.strength
    assert kept in (0.0, 0.5, 1.0)
    assert (out / "decoder").is_dir() == bool(kept)
    if not kept:
        assert _stereoset(out, "after") == pytest.approx(_stereoset(out, "before"), abs=1e-6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"decoder": {"name": "self_debais", "prefixes": {}}}, "did you mean 'self_debias'"),
        ({"decoder": {"name": "self_debias"}}, "prefixes is missing; self_debias needs it"),
        (
            {"decoder": {"name": "self_debias", "prefixes": {"a": "b"}, "decay": -1}},
            "decay is -1.0; it must be 0 or more",
        ),
        ({"word_table": "targets"}, "self_debias has no such setting"),
        ({"strengths": [0]}, "greater than 0"),
    ],
)
def test_wrong_settings_are_refused_and_the_folder_given_back(
    here, story, tmp_path, changes, message
):
    out = tmp_path / "run"
    said = here(*_unlearn(story, _recipe(tmp_path, **changes), out))
    assert said.code == 2
    assert message in said.err
    assert not out.exists()


def test_a_decoder_beside_other_stages_is_refused(here, story, tmp_path):
    recipe = tmp_path / "both.yaml"
    recipe.write_text(yaml.safe_dump({"extends": "cda", "stages": ["train", RECIPE["stages"][0]]}))
    said = here(*_unlearn(story, recipe, tmp_path / "run"))
    assert said.code == 2
    assert "stages.decode: a decode stage works on the base model" in said.err
