"""Executors by name, and their refusals."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from unskew import cli, config, executors
from unskew.errors import ConfigError
from unskew.executing import Job, LocalExecutor, Notices, Unlearning
from unskew.executors import executor_for

NAMED = {"model.name_or_path": "m", "data.name_or_path": "d"}


def test_resources_go_to_the_executor():
    found = executor_for("local", workers=3, cpus_per_run=2)
    assert isinstance(found, LocalExecutor)
    assert (found.workers, found.cpus_per_run) == (3, 2)


def test_refusals(monkeypatch):
    with pytest.raises(ConfigError, match="there is no executor 'slurm'; take one of local, ray"):
        executor_for("slurm")
    with pytest.raises(ConfigError, match="gpus_per_run is for executor ray"):
        executor_for("local", gpus_per_run=1)
    with pytest.raises(ConfigError, match="workers is for executor local"):
        executor_for("ray", workers=2)
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"pip install 'unskew\[ray\]'"):
        executor_for("ray")


@pytest.mark.parametrize(("has_gpus", "seen"), [(False, ""), (True, "1")])
def test_a_task_sees_the_gpus_that_are_set_aside_and_no_others(has_gpus, seen, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    monkeypatch.setattr(
        executors, "run_job", lambda job, threads: os.environ["CUDA_VISIBLE_DEVICES"]
    )
    assert executors._run_at(None, 1, has_gpus, "no such folder") == seen


def test_what_two_nodes_have_together_is_not_enough_for_a_run():
    pytest.importorskip("ray")
    node = {"Alive": True, "Resources": {"CPU": 8.0, "GPU": 1.0}}
    gone = {"Alive": False, "Resources": {"CPU": 8.0, "GPU": 4.0}}
    executor = executors.RayExecutor(gpus_per_run=2)
    executor._ray = SimpleNamespace(nodes=lambda: [node, node, gone])
    with pytest.raises(ConfigError, match=r"1 CPU, 2 GPU, .*\(there are: 8 CPU, 1 GPU\)"):
        executor._refuse_what_never_starts()
    executor.gpus_per_run = 1
    executor._refuse_what_never_starts()


@pytest.mark.parametrize(("named", "joined"), [(None, "local"), ("auto", "auto")])
def test_ray_joins_an_instance_only_where_the_environment_names_one(named, joined, monkeypatch):
    pytest.importorskip("ray")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    if named:
        monkeypatch.setenv("RAY_ADDRESS", named)

    class Asked(Exception):
        pass

    def init(address, **more):
        raise Asked(address)

    executor = executors.RayExecutor()
    executor._ray = SimpleNamespace(is_initialized=lambda: False, init=init)
    with pytest.raises(Asked, match=joined):
        executor.run(
            [Job("one", Unlearning(config.load("dpo", options=NAMED)), Path("one"))],
            Notices(id, max),
        )


@pytest.mark.parametrize(
    ("words", "made"),
    [
        ((), None),
        (("--workers", "3"), (3, 1)),
        (("--cpus-per-run", "2"), (2, 2)),
        (("--executor", "local"), (2, 1)),
    ],
)
def test_a_sweep_leaves_this_process_where_something_asks_for_it(words, made, monkeypatch):
    """Else `--workers 3` would be taken and not heeded."""
    seen = []

    def sweep(recipe, grid, *, executor, **more):
        seen.append(executor and (executor.workers, executor.cpus_per_run))
        return SimpleNamespace(points=(), compared=None, fronts=(), failed=())

    monkeypatch.setattr("unskew.sweeping.sweep", sweep)
    with pytest.raises(SystemExit) as ended:
        cli.main(["sweep", "dpo", "--grid", "seed=[0,1]", *words])
    assert (ended.value.code, seen) == (0, [made])
