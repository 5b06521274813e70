"""From settings to parts: what is built, what is refused, and which folder is taken."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from tests.fixtures import encoder, pairs
from unskew import config
from unskew.assemble import (
    Parts,
    build,
    check_lengths,
    chunks_for,
    data_for,
    with_neutral_text,
)
from unskew.controllers import CONTROLLERS
from unskew.data.rows import capped
from unskew.errors import ConfigError, DataError, UnknownName
from unskew.objectives import OBJECTIVES
from unskew.output import claim_folder
from unskew.recipes import read_recipe, recipe_names
from unskew.schema import DataConfig, TrainStage
from unskew.types import Dataset, Document, Examples
from unskew.updates import SCOPES, UPDATES


def test_a_node_becomes_its_part_with_checked_arguments():
    swap = build(
        CONTROLLERS, {"name": "dynamic_swap", "swap_margin": "1.5"}, "c", categories=("a", "b")
    )
    assert swap.swap_margin == 1.5
    assert swap.directions == {"a": 1, "b": 1}


@pytest.mark.parametrize(
    ("table", "node", "message"),
    [
        (OBJECTIVES, {}, "p.name is missing; there are: .*biasunlearn"),
        (OBJECTIVES, {"name": "biasunlern"}, "unknown objective 'biasunlern'; did you mean"),
        (OBJECTIVES, {"name": "biasunlearn", "bta": 1}, "no such setting; did you mean 'beta'"),
        (UPDATES, {"name": "plain"}, "p.weights is missing; plain needs it"),
        (SCOPES, {"name": "lora", "r": "many", "alpha": "x"}, "p.r: .*; p.alpha: "),
        (
            CONTROLLERS,
            {"name": "dynamic_swap", "categories": ["a"]},
            "p.categories: dynamic_swap has no such setting",
        ),
    ],
)
def test_a_wrong_node_is_refused(table, node, message):
    with pytest.raises(ConfigError, match=message):
        build(table, node, "p", **({"categories": ("a",)} if table is CONTROLLERS else {}))


def stage(**changes):
    return TrainStage.model_validate({**read_recipe("biasunlearn")["stages"][0], **changes})


def test_weights_and_streams_have_to_fit():
    assert Parts(stage(), ("a",), "s").objective.parts
    rule = {"name": "plain", "weights": {"forgt": 1.0}}
    with pytest.raises(ConfigError, match="no such part; did you mean 'forget'"):
        Parts(stage(rule=rule), ("a",), "s")
    with pytest.raises(ConfigError, match=r"s\.chunk\.unrelated is 0; give the stream rows"):
        Parts(stage(chunk={"unrelated": 0}), ("a",), "s")
    idle = {"name": "plain", "weights": {"forget": 1.0, "retain": 1.0, "unrelated": 0.0}}
    assert Parts(stage(chunk={"unrelated": 0}, rule=idle), ("a",), "s")


@pytest.mark.parametrize("name", recipe_names())
def test_the_stages_of_every_recipe_can_be_put_together(name):
    settings = config.load(
        name, options={"model.name_or_path": "m", "data.name_or_path": "d"}, overrides=()
    )
    masks = [s.name for s in settings.stages if s.kind == "saliency"]
    for index, made in enumerate(settings.stages):
        if isinstance(made, TrainStage):
            assert Parts(made, ("a", "b"), f"stages.{index}", masks).rule


def test_the_world_takes_no_settings_of_files():
    with pytest.raises(ConfigError, match=r"leave out data\.categories, data\.splits"):
        data_for(DataConfig(name_or_path="world", categories=["a"], splits={"seed": 1}))


def test_neutral_text_is_added_where_there_is_none_and_no_line_twice():
    own = Examples(documents=(Document("own", "a text"),))
    made = with_neutral_text(
        Dataset("d", {"train": Examples(), "select": Examples(), "report": Examples()})
    )
    select, report = ({d.id for d in made.splits[s].documents} for s in ("select", "report"))
    assert select and report and not select & report
    assert not made.splits["train"].documents
    assert with_neutral_text(Dataset("d", {"report": own})).splits["report"] == own


def test_a_cap_keeps_the_same_pairs_whatever_their_order():
    some = tuple(pairs())
    kept = capped(Examples(pairs=some), 3).pairs
    assert [p.category for p in kept].count("gender") == 3 and len(kept) == 6
    assert set(capped(Examples(pairs=some[::-1]), 3).pairs) == set(kept)


def test_a_cap_takes_of_all_targets_though_ids_begin_with_them():
    first = pairs()[0]
    some = [
        replace(first, id=f"{t:02}/{i:02}", target=str(t)) for t in range(20) for i in range(24)
    ]
    kept = capped(Examples(pairs=tuple(some)), 240).pairs
    # By name these would be 10 targets, whole. By chance 12 of each are taken, give or take 2.5.
    counts = Counter(p.target for p in kept)
    assert len(counts) == 20 and max(counts.values()) <= 20


def test_the_worlds_recipe_scores_the_whole_select_split():
    """Part of it has unequal poles, so that a preference for words would pass for bias."""
    select = data_for(DataConfig(name_or_path="world")).splits["select"]
    cap = read_recipe("biasunlearn_world")["evaluation"]["select_per_category"]
    assert len(capped(select, cap).pairs) == len(select.pairs)


def test_texts_longer_than_the_context_are_told_early():
    data = Dataset("d", {"report": Examples(pairs=tuple(pairs()))})
    check_lengths(data, encoder())
    with pytest.raises(DataError, match=r"tokens in .*, but the model's context holds 5; shorten"):
        check_lengths(data, encoder(max_length=5))


def test_a_folder_is_claimed_once(tmp_path):
    new = tmp_path / "deep" / "new"
    claim_folder(new, "a: 1\n", resume=False)
    assert (new / "config.yaml").read_text() == "a: 1\n"
    claim_folder(new, "a: 1\n", resume=True)
    with pytest.raises(ConfigError, match="already holds a run; go on with --resume"):
        claim_folder(new, "a: 1\n", resume=False)
    with pytest.raises(ConfigError, match="other settings"):
        claim_folder(new, "a: 2\n", resume=True)
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="is a file; choose another --output-dir"):
        claim_folder(tmp_path / "file", "a: 1\n", resume=False)
    with pytest.raises(ConfigError, match="is not empty and holds no run"):
        claim_folder(tmp_path, "a: 1\n", resume=True)


def test_an_unknown_name_says_what_there_is():
    with pytest.raises(UnknownName, match=r"there are: full, lora"):
        build(SCOPES, {"name": "everything"}, "scope")


def _recipe_stage(name, **chunk) -> TrainStage:
    node = read_recipe(name)["stages"][0]
    return TrainStage(**{**node, "chunk": {**node["chunk"], **chunk}})


@pytest.mark.parametrize(
    ("recipe", "contexts", "message"),
    [("even_counterfactual", 0, "is 0, but the objective needs some"), ("even", 3, "reads none")],
)
def test_contexts_go_with_an_objective_that_reads_them(recipe, contexts, message):
    with pytest.raises(ConfigError, match=rf"stages.0.chunk.contexts .*{message}"):
        Parts(_recipe_stage(recipe, contexts=contexts), ("gender",), "stages.0")


@pytest.mark.parametrize(
    ("recipe", "chunk"),
    [("cda", {"word_table": None}), ("even_counterfactual", {"contexts": 0})],
)
def test_a_word_table_goes_with_a_use(recipe, chunk):
    with pytest.raises(ConfigError, match=r"need chunk.word_table, a file of words or targets"):
        chunks_for(_recipe_stage(recipe, **chunk), Examples(tuple(pairs())), seed=0)


@pytest.mark.parametrize("recipe", ["cda", "even", "even_counterfactual", "dpo"])
def test_a_recipe_fills_the_streams_it_weighs(recipe):
    stage = _recipe_stage(recipe)
    parts = Parts(stage, ("gender", "race"), "stages.0")
    rows = chunks_for(stage, Examples(tuple(pairs())), seed=0).next()
    asked = {parts.objective.parts[name].stream for name in stage.rule["weights"]}
    assert {r.stream for r in rows} == asked
