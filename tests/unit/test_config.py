"""Recipe, file, options and overrides: who wins, what is refused, what stays the same."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from unskew import config
from unskew.assemble import Parts
from unskew.errors import ConfigError, UnknownName
from unskew.recipes import parse_yaml, recipe_names
from unskew.schema import TrainStage

NAMED = {"model.name_or_path": "m", "data.name_or_path": "d"}


def load(*overrides, recipe="biasunlearn", **more):
    return config.load(
        recipe, options={**NAMED, **more.pop("options", {})}, overrides=overrides, **more
    )


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_loads_and_says_where_it_is_from(name):
    settings = load(recipe=name)
    assert settings.recipe == name
    assert settings.description and re.search(r"arXiv|ACL", settings.source)


def test_the_papers_recipe_has_the_papers_values():
    """BiasUnlearn, arXiv 2509.25673: alphas, learning rate, batches, stop window."""
    stage = load(recipe="biasunlearn_paper").stages[0]
    assert stage.rule["weights"] == {"forget": 0.4, "retain": 0.4, "unrelated": 0.2}
    assert stage.training.learning_rate == 5e-5
    assert (stage.chunk.forget, stage.chunk.retain) == (4, 28)
    stop = next(c for c in stage.controllers if c["name"] == "early_stop")
    assert (stop["window"], stop["signal"]) == (2.0, "ss")


def test_the_official_codes_recipe_has_its_differing_choices():
    stage = load(recipe="biasunlearn_official_code").stages[0]
    assert stage.rule["weights"] == {"forget": 0.5, "retain": 0.3, "unrelated": 0.2}
    assert stage.objective["npo_reduction"] == "batch_token_mean"
    assert stage.controllers[0]["swap_mode"] == "worst_only"
    assert stage.training.schedule_steps == 1.2 * stage.training.max_steps


def test_an_override_finds_its_place_inside_the_stage():
    assert load("objective.beta=0.3").stages[0].objective["beta"] == 0.3
    assert load("stages.0.objective.beta=0.3").stages[0].objective["beta"] == 0.3
    swap = load("controllers.dynamic-swap.swap-margin=1").stages[0].controllers[0]
    assert swap["swap_margin"] == 1


def test_a_list_is_replaced_and_a_mapping_is_merged(tmp_path):
    file = tmp_path / "more.yaml"
    file.write_text("model: {dtype: bfloat16}\nevaluation: {benchmarks: [slot]}\n")
    settings = load(file=file)
    assert (settings.model.name_or_path, settings.model.dtype) == ("m", "bfloat16")
    assert settings.evaluation.benchmarks == ["slot"]


def test_all_mistakes_are_told_at_once():
    with pytest.raises(ConfigError) as error:
        load("chunk.forgett=1", "model.dtypo=x", "training.max_steps=many")
    text = str(error.value)
    assert "unknown setting 'stages.0.chunk.forgett'; did you mean 'forget'?" in text
    assert "unknown setting 'model.dtypo'; did you mean 'dtype'?" in text
    assert "stages.0.training.max_steps: Input should be a valid integer" in text


def test_a_key_below_a_value_is_refused():
    with pytest.raises(ConfigError, match="'recipe' is a single value; nothing lies below it"):
        load("recipe.more=1")
    with pytest.raises(UnknownName, match="no entry '3' \\(there are: dynamic_swap, early_stop\\)"):
        load("controllers.3.window=1")


def write(folder, **content):
    file = folder / "own.yaml"
    file.write_text(config.yaml.safe_dump(content))
    return str(file)


def test_a_setting_that_several_stages_have_needs_a_name():
    with pytest.raises(ConfigError, match=r"the stages shadow, unbiased all have it; say stages\."):
        load("training.max_steps=1", recipe="sdu")
    assert load("edit.eta=2", recipe="sdu").stages[3].edit["eta"] == 2
    settings = load("stages.unbiased.training.max_steps=7", recipe="sdu")
    assert [settings.stages[i].training.max_steps == 7 for i in (0, 2)] == [False, True]


def test_a_star_means_every_stage_that_has_the_setting():
    settings = load("stages.*.training.bf16=true", recipe="sdu")
    assert all(s.training.bf16 for s in settings.stages if s.kind == "train")
    with pytest.raises(UnknownName, match="no stage of this recipe has the setting 'mask'"):
        load("stages.*.mask=m")


def test_a_recipe_that_extends_another_says_its_stages_anew(tmp_path):
    changed = {"name": "unbiased", "training": {"max_steps": 3}}
    file = write(tmp_path, extends="sdu", seed=4, stages=["shadow", changed])
    settings = load(recipe=file)
    assert settings.recipe == "own" and settings.seed == 4
    assert [s.name for s in settings.stages] == ["shadow", "unbiased"]
    assert settings.stages[0] == load(recipe="sdu").stages[0]
    assert settings.stages[1].training.max_steps == 3
    assert settings.stages[1].chunk == load(recipe="sdu").stages[2].chunk


def test_recipes_that_extend_wrongly_are_refused(tmp_path):
    with pytest.raises(UnknownName, match="no stage 'shadw'; did you mean 'shadow'"):
        load(recipe=write(tmp_path, extends="sdu", stages=["shadw"]))
    with pytest.raises(ConfigError, match="extend each other in a circle"):
        load(recipe=write(tmp_path, extends=str(tmp_path / "own.yaml")))
    with pytest.raises(UnknownName, match="unknown recipe 'sdv'; did you mean 'sdu'"):
        load(recipe=write(tmp_path, extends="sdv"))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("stages.mask.shadow=shadw", "stages.mask.shadow: no earlier stage is called 'shadw'; did"),
        ("stages.mask.shadow=update", "no earlier stage is called 'update'"),
        ("stages.update.mask=shadow", "stages.update.mask: 'shadow' is no saliency stage but trai"),
        ("stages.unbiased.name=shadow", "'shadow' is taken or no word"),
        ("stages.unbiased.name=a b", "'a b' is taken or no word"),
        (
            "stages.mask.kind=salency",
            "stages.1.kind must be one of train, saliency, edit, meta_edit, project, decode; did",
        ),
        ("stages.mask.choos={}", "unknown setting 'stages.1.choos'; did you mean 'choose'"),
        ("stages.update.strengths=[0]", "stages.3.strengths.0: Input should be greater than 0"),
        ("stages.mask.bias_rows={stereotypes: 3}", "stages.1.bias_rows.stereotypes"),
    ],
)
def test_stages_that_do_not_fit_are_refused(override, message):
    with pytest.raises(ConfigError, match=message):
        load(override, recipe="sdu")


def test_a_mask_alone_is_no_run(tmp_path):
    with pytest.raises(ConfigError, match="changes no weight, so it cannot be the last"):
        load(recipe=write(tmp_path, extends="sdu", stages=["shadow", "mask"]))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"seed: [", "cannot read .*own.yaml: "),
        (b"- 1\n", "own.yaml is not a mapping of settings"),
        (b"\xff\xfe\x00", "cannot read .*own.yaml: "),
    ],
)
def test_a_broken_file_is_refused(tmp_path, content, expected):
    file = tmp_path / "own.yaml"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=expected):
        load(recipe=str(file))


def test_the_resolved_settings_read_back_to_the_same_hash():
    settings = load("objective.beta=2e-1", "controllers.dynamic_swap.swap_mode=off")
    again = config.parse(parse_yaml(settings.to_yaml()))
    assert again == settings
    assert again.sha256() == settings.sha256()
    assert load("objective.beta=0.3").sha256() != settings.sha256()


@pytest.mark.parametrize(
    ("text", "value"),
    [("off", "off"), ("yes", "yes"), ("true", True), ("2e-5", 2e-5), ("1", 1), ("1.5", 1.5),
     ("null", None), ("[off, 1e3]", ["off", 1000.0]), ("1.0.0", "1.0.0"), ("truer", "truer")],
)  # fmt: skip
def test_words_and_numbers_are_those_of_yaml_1_2(text, value):
    read = parse_yaml(text)
    assert (read, type(read)) == (value, type(value))


def _ablations() -> list[str]:
    text = (Path(__file__).parents[2] / "docs" / "methods.md").read_text("utf-8")
    rows = text.partition("## Ablations")[2].splitlines()
    return [row.split("`")[1] for row in rows if row.startswith("|") and "`" in row]


@pytest.mark.parametrize("ablation", _ablations())
@pytest.mark.parametrize("recipe", ["biasunlearn", "biasunlearn_paper", "biasunlearn_world"])
def test_the_documented_ablations_change_what_they_name(recipe, ablation):
    whole = load(recipe=recipe).model_dump()["stages"][0]
    stage = load(*ablation.split(), recipe=recipe).model_dump()["stages"][0]
    assert stage != whole
    assert Parts(TrainStage(**stage), ("a", "b"), "stages.0").objective is not None


def test_there_are_four_ablations():
    assert len(_ablations()) == 4
