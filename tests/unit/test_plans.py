"""A plan is read whole, refuses what cannot be run, and goes on after a failure."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from tests.unit.comparison.small_runs import unlearned
from unskew import executing
from unskew.errors import ConfigError, RunError, UnknownName
from unskew.executing import LocalExecutor
from unskew.planning import ended_runs, run_plan, summarise
from unskew.plans import Plan, only, plan_names, read_plan

ONE = {"name": "one", "recipe": "dpo"}
OTHER = {"name": "other", "recipe": "npo", "settings": ["beta=1"]}


def plan(**changes) -> Plan:
    given = {"description": "d", "source": "s", "models": ["m"], "data": "d", "seeds": [0, 1]}
    return Plan.model_validate({**given, "contenders": [ONE], **changes})


@pytest.mark.parametrize("name", plan_names())
def test_every_run_of_a_plan_that_comes_along_is_valid(name):
    found = read_plan(name)
    hashes = [found.configuration(task).sha256() for task in found.runs() if task.source is None]
    made = sum(c.num_seeds or len(found.seeds) for c in found.contenders if c.recipe)
    # What is carried comes from a run on each base, which no contender of the plan is.
    num_models = len(found.models) + len(found.bases)
    assert len(set(hashes)) == len(hashes) == made * num_models
    carried = [task for task in found.runs() if task.source is not None]
    assert len(carried) == len(list(found.tasks())) - made * len(found.models)
    assert all(found.configuration(task) for task in carried)


def test_on_the_world_all_choose_their_checkpoint_alike():
    found = read_plan("world")
    choices = {
        found.configuration(task).stages[-1].choice.model_dump_json() for task in found.tasks()
    }
    assert len(choices) == 1


def test_the_first_seed_of_all_comes_before_the_second_of_any():
    tasks = list(plan(contenders=[ONE, OTHER]).tasks())
    assert [(t.seed, t.contender.name) for t in tasks] == [
        (0, "one"),
        (0, "other"),
        (1, "one"),
        (1, "other"),
    ]
    assert tasks[0].folder == Path("m", "one", "seed=0")


def test_what_draws_nothing_is_run_with_the_first_seed_alone():
    tasks = plan(contenders=[{**ONE, "num_seeds": 1}, OTHER]).tasks()
    assert [(t.seed, t.contender.name) for t in tasks] == [(0, "one"), (0, "other"), (1, "other")]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"contenders": [ONE, ONE]}, "contenders: 'one' is there twice"),
        ({"models": ["a/b", "a_b"]}, "models: 'a_b' is there twice"),
        ({"seeds": [1, 1]}, "seeds: '1' is there twice"),
        ({"beside": ["onee"]}, "no contender 'onee'.*one"),
    ],
)
def test_what_would_share_a_folder_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        plan(**changes)


def test_a_wrong_setting_names_its_contender(tmp_path):
    with pytest.raises(ConfigError, match=r"contender 'other': .*beta"):
        run_plan(plan(contenders=[ONE, OTHER]), tmp_path)
    assert not any(tmp_path.iterdir())


def test_unknown_plans_and_keys_are_told(tmp_path):
    with pytest.raises(UnknownName, match=r"unknown plan 'wrold'.*world"):
        read_plan("wrold")
    file = tmp_path / "p.yaml"
    file.write_text("description: d\nsource: s\nmodels: [m]\ndata: d\nseeds: [0]\nseed: 1\n")
    with pytest.raises(ConfigError, match="contenders"):
        read_plan(str(file))


def test_models_and_seeds_of_a_plan_can_be_replaced():
    found = only(plan(), models=["x", "y"], seeds=["4"])
    assert (found.models, found.seeds, found.data) == (["x", "y"], [4], "d")


@pytest.fixture
def execute(monkeypatch):
    """In place of a run: seed 1 fails, seed 2 is killed, the others leave a small record."""

    def run(settings, folder, *, resume, tell, baselines):
        tell("begun")
        if settings.seed == 1:
            raise RunError("no\nluck")
        if settings.seed == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        changes = {"config_sha256": settings.sha256(), "seed": settings.seed}
        unlearned(folder, [1, 1, 1, 1], [1, 0, 1, settings.seed % 2], **changes)

    monkeypatch.setattr(executing, "execute", run)
    monkeypatch.setattr(
        executing, "_context", lambda: executing.multiprocessing.get_context("fork")
    )


def test_failed_and_killed_runs_are_told_and_never_become_numbers(execute, tmp_path):
    three = plan(seeds=[0, 1, 2, 3])
    told = []
    ended = run_plan(three, tmp_path, tell=told.append)
    errors = {task.seed: run.error for task, run in ended.items()}
    assert errors[0] is None and errors[3] is None
    assert errors[1] == "no luck"
    assert "one on m, seed 1 failed: no luck" in told
    assert "exit code -9" in str(errors[2])
    assert "begun" in (tmp_path / "m/one/seed=0.log").read_text()
    (page,) = summarise(three, tmp_path)
    (row,) = [
        r for r in json.loads(page.with_name("overview.json").read_text())["rows"] if r["is_method"]
    ]
    assert (row["num_seeds"], [f["seed"] for f in row["failed"]]) == (2, [1, 2])
    assert {len(n["by_seed"]) for n in row["numbers"]} == {2}
    assert "one, seed 1: no luck" in page.read_text()


def test_only_what_has_no_result_is_run_again(execute, tmp_path):
    run_plan(plan(), tmp_path, executor=LocalExecutor(1))
    told = []
    run_plan(plan(), tmp_path, executor=LocalExecutor(1), tell=told.append)
    assert told[:2] == ["1 of 2 runs are there already", "1/1 one on m, seed 1"]
    # Other settings are another run.
    changed = plan(settings=["training.max_steps=7"], seeds=[0])
    run_plan(changed, tmp_path, executor=LocalExecutor(1), tell=told.append)
    assert told[-1] == "1/1 one on m, seed 0"
    assert len(ended_runs(changed, tmp_path)) == 1


def test_what_failed_is_tried_again_as_often_as_asked(execute, tmp_path):
    told = []
    run_plan(plan(), tmp_path, executor=LocalExecutor(1), retries=2, tell=told.append)
    again = [line for line in told if "again" in line]
    assert again == ["1/1 one on m, seed 1 (again, 1 of 2)", "1/1 one on m, seed 1 (again, 2 of 2)"]
