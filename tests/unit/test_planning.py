"""A contender carries what another left on the base of each model, seed by seed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.unit.comparison.small_runs import unlearned
from tests.unit.test_plans import plan
from unskew import carrying, executing
from unskew.config import ConfigError
from unskew.errors import RunError
from unskew.executing import LocalExecutor
from unskew.files import write_text
from unskew.planning import run_plan, summarise
from unskew.plans import Plan, only
from unskew.reports.record import RunRecord
from unskew.transferring import settings_sha256

ONE = {
    "name": "one",
    "recipe": "dpo",
    "for_models": {"base": ["objective.beta=0.3"], "m": ["objective.beta=0.2"]},
}
CARRIED = {"name": "carried", "carry": "one"}
BASES = {"m": "base"}


def carrying_plan(**changes) -> Plan:
    return plan(**{"contenders": [ONE, CARRIED], "bases": BASES, **changes})


def test_each_row_that_carries_is_behind_its_source_and_of_its_seed():
    runs = list(carrying_plan(last_settings=["seed=9"]).runs())
    assert [task.label for task in runs] == [
        "one on m, seed 0",
        "one on base, seed 0",
        "carried on m, seed 0",
        "one on m, seed 1",
        "one on base, seed 1",
        "carried on m, seed 1",
    ]
    for source, carried in (runs[1:3], runs[4:6]):
        assert carried.source == source
        assert source.folder == Path("base", "one", f"seed={carried.seed}")
    assert runs[1].overrides == ("objective.beta=0.3", "seed=9", "seed=0")


def test_what_is_on_the_base_is_no_row_of_the_table():
    found = carrying_plan(seeds=[0])
    assert [(t.model, t.contender.name) for t in found.tasks()] == [("m", "one"), ("m", "carried")]


def test_siblings_share_the_run_on_their_base_and_so_does_a_base_that_is_a_row():
    found = carrying_plan(models=["m", "n", "base"], bases={"m": "base", "n": "base", "base": "b0"})
    folders = [task.folder for task in found.runs()]
    assert len(set(folders)) == len(folders) == 2 * (3 + 3 + 1)


def test_what_carries_has_the_seeds_of_what_it_carries():
    found = carrying_plan(contenders=[{**ONE, "num_seeds": 1}, CARRIED])
    assert {task.seed for task in found.runs()} == {0}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bases": {}}, "from the base of 'm', which is not named; .* --bases"),
        ({"bases": {"other": "base"}}, "base of 'm', which is not named"),
        ({"bases": {"m": "m"}}, "'m' is its own base"),
        ({"models": ["a/b"], "bases": {"a/b": "a_b"}}, "'a_b' would share a folder with 'a/b'"),
        ({"contenders": [ONE]}, "bases: no contender carries anything"),
        ({"contenders": [ONE, {**CARRIED, "carry": "onee"}]}, "'onee'.*one"),
        ({"contenders": [ONE, CARRIED, {"name": "x", "carry": "carried"}]}, "no contender with a"),
        ({"contenders": [ONE, {**CARRIED, "recipe": "dpo"}]}, "'carried' needs a recipe, or carry"),
        ({"contenders": [ONE, {"name": "x"}]}, "'x' needs a recipe, or carry"),
        (
            {"contenders": [ONE, {**CARRIED, "settings": ["objective.beta=1"]}]},
            "has no settings of its own",
        ),
        ({"contenders": [ONE, {**CARRIED, "num_seeds": 1}]}, "has no num_seeds of its own"),
    ],
)
def test_what_cannot_be_carried_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        carrying_plan(**changes)


def test_other_models_need_their_bases_in_order():
    with pytest.raises(ConfigError, match="base of 'x', which is not named"):
        only(carrying_plan(), models=["x", "y"])
    with pytest.raises(ConfigError, match="bases: 1 for 2 models"):
        only(carrying_plan(), models=["x", "y"], bases=["b"])
    found = only(carrying_plan(), models=["x", "y"], bases=["b", "c"], seeds=[0])
    sources = {t.model: t.source.model for t in found.tasks() if t.source}
    assert sources == {"x": "b", "y": "c"}
    assert only(carrying_plan(), bases=["b"]).bases == {"m": "b"}
    # A folder called like a model of the plan is that model.
    assert only(carrying_plan(), models=["here/m"]).models == ["here/m"]
    with pytest.raises(ConfigError, match="no contender carries"):
        only(plan(), bases=["b"])


def test_sibling_and_base_are_measured_alike():
    given = {"base": ["evaluation.start=prefix"]}
    with pytest.raises(ConfigError, match=r"'carried': m and base have other settings of data or"):
        found = carrying_plan(for_models=given)
        [found.configuration(task) for task in found.runs()]


def test_the_sibling_keeps_its_own_precision():
    found = carrying_plan(for_models={"m": ["model.dtype=bfloat16"]}, seeds=[0])
    dtypes = {t.label: found.configuration(t).model.dtype for t in found.runs()}
    assert dtypes == {
        "one on m, seed 0": "bfloat16",
        "one on base, seed 0": "float32",
        "carried on m, seed 0": "bfloat16",
    }


@pytest.fixture
def pretend(monkeypatch, tmp_path):
    """In place of runs and transfers small records; what `failing` names fails, by model and seed.

    A transfer that is to fail does so once. Each is noted in the file that is returned.
    """
    done = tmp_path / "done.txt"
    failing = tmp_path / "failing.txt"

    def note(text: str) -> None:
        with done.open("a") as file:
            file.write(text + "\n")
        if failing.is_file() and text in failing.read_text().splitlines():
            raise RunError("no luck")

    def run(settings, folder, *, resume, tell, baselines):
        note(f"{settings.model.name_or_path} {settings.seed}")
        write_text(folder / "config.yaml", settings.to_yaml())
        write_text(folder / "adapter" / "weights", f"{settings.seed}")
        changes = {"config_sha256": settings.sha256(), "seed": settings.seed}
        unlearned(folder, [1, 1, 1, 1], [1, 0, 1, 0], **changes)

    def transfer(artifact, model, *, output_dir, like, model_options, seed):
        own = executing_settings[model, seed]
        write_text(output_dir / "samples.txt", "half of it")
        note(f"carried {model} {seed}")
        sha256 = settings_sha256(
            artifact, own.model, carrying.RunData(own.data), own.evaluation, seed=seed
        )
        return unlearned(output_dir, [1, 1, 1, 1], [1, 1, 1, 0], config_sha256=sha256, seed=seed)

    found = carrying_plan()
    executing_settings = {
        (task.model, task.seed): found.configuration(task) for task in found.tasks() if task.source
    }
    monkeypatch.setattr(executing, "execute", run)
    monkeypatch.setattr(carrying, "transfer", transfer)
    monkeypatch.setattr(
        executing, "_context", lambda: executing.multiprocessing.get_context("fork")
    )
    return done, failing


def rows(page: Path):
    content = json.loads(page.with_name("overview.json").read_text())
    return {row["name"]: row for row in content["rows"] if row["is_method"]}


def test_what_has_no_source_is_told_and_never_a_number(pretend, tmp_path):
    done, failing = pretend
    failing.write_text("base 1\n")
    told: list[str] = []
    folder = tmp_path / "out"
    ended = run_plan(carrying_plan(), folder, executor=LocalExecutor(1), tell=told.append)
    errors = {task.label: how.error for task, how in ended.items() if how.error}
    why = "there is nothing to carry from one on base, seed 1: no luck"
    assert errors == {"one on base, seed 1": "no luck", "carried on m, seed 1": why}
    assert f"carried on m, seed 1 failed: {why}" in told
    assert "carried m 1" not in done.read_text().splitlines()
    page, of_base = summarise(carrying_plan(), folder)
    assert rows(page)["carried"]["failed"] == [{"seed": 1, "error": why}]
    assert rows(page)["carried"]["num_seeds"] == 1
    assert why in page.read_text()
    assert "what one left on base, seed by seed and as it is" in page.read_text()
    assert of_base.parent.name == "base" and list(rows(of_base)) == ["one"]

    failing.unlink()
    done.unlink()
    told.clear()
    run_plan(carrying_plan(), folder, executor=LocalExecutor(1), tell=told.append)
    assert done.read_text().splitlines() == ["base 1", "carried m 1"]
    assert told[0] == "3 of 4 runs are there already"
    assert "1 of 2 runs are there already" in told


def test_a_source_that_fails_later_takes_its_number_along(pretend, tmp_path):
    _, failing = pretend
    folder, one = tmp_path / "out", carrying_plan(seeds=[0])
    run_plan(one, folder, executor=LocalExecutor(1))
    (folder / "base/one/seed=0/record.json").unlink()
    failing.write_text("base 0\n")
    run_plan(one, folder, executor=LocalExecutor(1))
    page, _ = summarise(one, folder)
    assert rows(page)["carried"]["numbers"] == []
    assert "nothing to carry" in rows(page)["carried"]["failed"][0]["error"]


def test_a_transfer_whose_process_ended_before_it_said_so_is_taken_as_it_is(pretend, tmp_path):
    done, _ = pretend
    folder, one = tmp_path / "out", carrying_plan(seeds=[0])
    run_plan(one, folder, executor=LocalExecutor(1))
    (folder / "m/carried/seed=0.json").unlink()
    done.unlink()
    ended = run_plan(one, folder, executor=LocalExecutor(1))
    assert len(ended) == 3 and all(how.error is None for how in ended.values())
    assert not done.exists()


def test_a_source_that_left_nothing_is_told(pretend, tmp_path, monkeypatch):
    def run(settings, folder, *, resume, tell, baselines):
        unlearned(folder, [1], [1], config_sha256=settings.sha256(), seed=settings.seed)

    monkeypatch.setattr(executing, "execute", run)
    ended = run_plan(carrying_plan(seeds=[0]), tmp_path / "out", executor=LocalExecutor(1))
    (error,) = [how.error for how in ended.values() if how.error]
    assert "from one on base, seed 0:" in error and "left no adapter, delta, projection" in error


def test_another_artefact_is_another_transfer(pretend, tmp_path):
    """By its content: the folder has the same name, and its card says nothing that counts."""
    done, _ = pretend
    folder, one = tmp_path / "out", carrying_plan(seeds=[0])
    run_plan(one, folder, executor=LocalExecutor(1))
    adapter = folder / "base/one/seed=0/adapter"
    (adapter / "README.md").write_text("a card")
    done.unlink()
    ended = run_plan(one, folder, executor=LocalExecutor(1))
    assert not done.exists() and all(how.error is None for how in ended.values())
    (adapter / "weights").write_text("others")
    ended = run_plan(one, folder, executor=LocalExecutor(1))
    (error,) = [how.error for how in ended.values() if how.error]
    assert "holds what was carried with other settings or from another artefact" in error
    assert RunRecord.load(folder / "m/carried/seed=0").seed == 0


def test_a_transfer_that_failed_is_tried_again_and_leaves_nothing_behind(pretend, tmp_path):
    done, failing = pretend
    failing.write_text("carried m 0\n")
    folder, one, told = tmp_path / "out", carrying_plan(seeds=[0]), []
    ended = run_plan(one, folder, executor=LocalExecutor(1), retries=1, tell=told.append)
    assert done.read_text().splitlines().count("carried m 0") == 2
    assert [how.error for how in ended.values() if how.error] == ["no luck"]
    assert told[-2:] == [
        "1/1 carried on m, seed 0 (again, 1 of 1)",
        "carried on m, seed 0 failed: no luck",
    ]
    assert sorted(f.name for f in (folder / "m/carried").iterdir()) == ["seed=0.json", "seed=0.log"]
